/**
 * What is said in several places is the same in all of them: versions, commands, permissions.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { renderPermissionTable } from "../scripts/permissions.ts";
import { ROOT } from "../scripts/run.ts";
import { GATE_TIERS, MACHINE_TIERS, REPEAT_TIERS, testFiles, tierFiles } from "../scripts/tiers.ts";
import { DELETIONS_DIR, STATE_FILES } from "../src/core/own_files.ts";
import { VERSION } from "../src/version.ts";
import { closure, importsOf } from "./module_graph.ts";

interface Configuration {
  readonly version: string;
  readonly denoVersion: string;
  readonly imports: Readonly<Record<string, string>>;
  readonly tasks: Readonly<Record<string, string>>;
}

const configuration: Configuration = JSON.parse(await read("deno.json"));

Deno.test("repository: src/version.ts has the version of deno.json", () => {
  assertEquals(VERSION, configuration.version);
});

Deno.test("repository: Deno's version is the same everywhere", async (t) => {
  await t.step("this Deno", () => assertEquals(Deno.version.deno, configuration.denoVersion));
  for (const file of ["README.md", "CONTRIBUTING.md", "Dockerfile", ".ci/run"]) {
    await t.step(file, async () => {
      const named = (await read(file)).matchAll(/deno(?:@|:[a-z]+-|:)(\d+\.\d+\.\d+)/g);
      const versions = new Set([...named].map(([, version]) => version));
      assertEquals([...versions], [configuration.denoVersion]);
    });
  }
});

Deno.test("repository: continuous integration runs the README's test command", async () => {
  const command = `npx -y deno@${configuration.denoVersion} task`;
  const [readme, ci] = await Promise.all([read("README.md"), read(".ci/run")]);
  assert(readme.includes(`${command} demo`), "README.md lacks the demo's command");
  assert(readme.includes(`${command} test`), "README.md lacks the tests' command");
  assert(ci.trimEnd().endsWith(`exec ${command} test`), ".ci/run ends with another command");
});

Deno.test("repository: dependencies are pinned exactly", () => {
  const loose = Object.values(configuration.imports).filter((specifier) =>
    !/^npm:(@[\w-]+\/)?[\w.-]+@\d+\.\d+\.\d+(\/|$)/.test(specifier)
  );
  assertEquals(loose, []);
});

Deno.test("repository: docs/security.md has the baked permissions", async () => {
  const [, table] = (await read("docs/security.md")).match(
    /<!-- permissions: .*? -->([^]*?)<!-- \/permissions -->/,
  ) ?? [];
  assertEquals(cells(table ?? ""), cells(renderPermissionTable()));
});

Deno.test("repository: every test file belongs to one tier", async () => {
  const files = (await Promise.all(["src", "scripts", "tests"].map(testFiles))).flat();
  const paths = [...GATE_TIERS, ...MACHINE_TIERS].flatMap((tier) => tier.paths);
  const homes = (file: string): number =>
    paths.filter((path) => file === path || file.startsWith(`${path}/`)).length;
  assertEquals(files.filter((file) => homes(file) !== 1), []);
});

Deno.test("repository: a repeated tier leaves out only what exists, with the reason", async () => {
  const files = (await Promise.all(MACHINE_TIERS.map(tierFiles))).flat();
  for (const { except } of REPEAT_TIERS) {
    assertEquals(Object.keys(except).filter((file) => !files.includes(file)), []);
    assertEquals(Object.values(except).filter((reason) => reason === ""), []);
  }
});

Deno.test("repository: what is run with the other source makes its labs with it", async () => {
  const helper = "tests/netns/test_lab.ts";
  for (const tier of REPEAT_TIERS) {
    const unaware: string[] = [];
    for (const file of await tierFiles(tier)) {
      const imports = await importsOf(`${ROOT}/${file}`, `${ROOT}/deno.json`);
      if (!closure(imports, file, { dynamic: false }).has(helper)) unaware.push(file);
      // A lab of its own would read the manifests, whatever the source.
      if (/\bcreateLab\b/.test(await read(file))) unaware.push(file);
    }
    assertEquals(unaware, []);
  }
});

Deno.test("repository: CONTRIBUTING.md names only tasks that exist", async () => {
  const named = [...(await read("CONTRIBUTING.md")).matchAll(/`deno task ([\w:]+)/g)];
  assert(named.length > 3);
  for (const [, task = ""] of named) assert(task in configuration.tasks, `no task "${task}"`);
});

/** The cells of a table, whatever their padding. */
function cells(table: string): string[][] {
  return table.trim().split("\n")
    .filter((line) => !/^[|\s-]*$/.test(line))
    .map((line) => line.split("|").map((cell) => cell.trim()));
}

async function read(path: string): Promise<string> {
  return await Deno.readTextFile(`${ROOT}/${path}`);
}

Deno.test("repository: what is written to the state directory is known to flock uninstall", async () => {
  const written = new Set<string>();
  for await (const path of walk(`${ROOT}/src`)) {
    if (path.endsWith("_test.ts")) continue;
    const text = await Deno.readTextFile(path);
    for (const [, name] of text.matchAll(/\{(?:\w+\.)*stateDir\}\/([\w.]+)/g)) written.add(name!);
  }
  assertEquals([...written].sort(), [...STATE_FILES, DELETIONS_DIR].sort());
});

async function* walk(dir: string): AsyncGenerator<string> {
  for await (const { name, isDirectory } of Deno.readDir(dir)) {
    if (isDirectory) yield* walk(`${dir}/${name}`);
    else yield `${dir}/${name}`;
  }
}
