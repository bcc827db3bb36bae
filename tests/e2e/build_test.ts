/**
 * The build and what it makes, in directories of their own. The compiler that finds no runtime stub is a
 * stand-in where this machine could have one, so that the launcher is tested everywhere;
 * compile_test.ts compiles for real.
 *
 * @module
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { build } from "../../scripts/build.ts";
import { renderLauncher } from "../../scripts/launcher.ts";
import { bakedFlags } from "../../scripts/permissions.ts";
import { mustRun, run } from "../../scripts/run.ts";
import { VERSION } from "../../src/version.ts";

const NO_STUB = ["/bin/sh", "-c", "echo 'Setting up base binary.' >&2; exit 1", "sh"];
const BROKEN = ["/bin/sh", "-c", "echo 'out of memory' >&2; exit 1", "sh"];

Deno.test("e2e: the launcher is what the executable would be", async (t) => {
  await using dir = await temporaryDir();
  const dist = `${dir.path}/dist`;
  await withoutStub(() => build({ dist, compiler: NO_STUB }));
  const flock = `${dist}/flock`;

  await t.step("works with an empty environment, from anywhere", async () => {
    assertEquals(await mustRun([flock, "version"], { env: {}, cwd: "/" }), `flock ${VERSION}\n`);
  });
  await t.step("is the plugin when CNI_COMMAND is set", async () => {
    const result = await run([flock], { env: { CNI_COMMAND: "VERSION" }, cwd: "/" });
    assertEquals([result.code, result.stderr], [0, ""]);
    assertEquals(JSON.parse(result.stdout).supportedVersions.at(-1), "1.1.0");
  });
  await t.step("is a command when there is an argument, whatever CNI_COMMAND says", async () => {
    const env = { CNI_COMMAND: "VERSION" };
    assertEquals(await mustRun([flock, "version"], { env }), `flock ${VERSION}\n`);
  });
  await t.step("is help with exit status 2 when there is neither", async () => {
    for (const script of ["exec $0", "CNI_COMMAND= exec $0"]) {
      const { code, stdout, stderr } = await run(["/bin/sh", "-c", script, flock], { env: {} });
      assertEquals(code, 2);
      assertMatch(stdout + stderr, /Usage: flock/);
    }
  });
  await t.step("is the agent under the name flock-agent", async () => {
    const link = `${dir.path}/flock-agent`;
    await Deno.symlink(flock, link);
    // A setting that only the agent refuses.
    const env = { FLOCK_LOG_LEVEL: "loud" };
    const agent = await run([flock, "agent"], { env });
    assertEquals(agent.code, 2);
    assertMatch(agent.stderr, /loud/);
    assertEquals(await run([link], { env }), agent);
    assertEquals(await mustRun([link, "version"], { env: {} }), `flock ${VERSION}\n`);
  });
  await t.step("works as a copy elsewhere", async () => {
    await Deno.copyFile(flock, `${dir.path}/copy`);
    assertEquals(await mustRun([`${dir.path}/copy`, "version"], { env: {} }), `flock ${VERSION}\n`);
  });
  await t.step("writes nothing to the home directory", async () => {
    const home = `${dir.path}/home`;
    await Deno.mkdir(home);
    await mustRun([flock, "version"], { env: { HOME: home, XDG_CACHE_HOME: home } });
    assertEquals(await names(home), []);
  });
  await t.step("starts the plugin's file directly", async () => {
    await Deno.remove(`${dist}/bundle/main.js`);
    assertEquals((await run([flock, "version"], { env: {} })).code, 1);
    await mustRun([flock], { env: { CNI_COMMAND: "VERSION" } });
  });
});

Deno.test("e2e: builds at the same time do not disturb one another", async () => {
  await using dir = await temporaryDir();
  const dist = `${dir.path}/dist`;
  await withoutStub(async () => {
    const kinds = await Promise.all([1, 2, 3].map(() => build({ dist, compiler: NO_STUB })));
    assertEquals(kinds, ["launcher", "launcher", "launcher"]);
  });
  assertEquals(await mustRun([`${dist}/flock`, "version"], { env: {} }), `flock ${VERSION}\n`);
  const [bundle = "", ...rest] = (await names(dist)).filter((name) => name.startsWith("bundle-"));
  assertEquals(rest, []);
  assertEquals(await names(dist), [".stamp", "bundle", bundle, "deno-dir", "flock"]);
});

Deno.test("e2e: a failing build leaves the former executable in place", async (t) => {
  await using dir = await temporaryDir();
  const dist = `${dir.path}/dist`;
  await Deno.mkdir(dist);
  await Deno.writeTextFile(`${dist}/flock`, "former");
  const cases = [
    ["--require-compile without a stub", { compiler: NO_STUB, requireCompile: true }],
    ["another failure of the compiler", { compiler: BROKEN }],
    ["a result that does not run", { compiler: ["/bin/true"] }],
  ] as const;
  for (const [name, options] of cases) {
    await t.step(name, async () => {
      const error = await withoutStub(() => build({ dist, ...options }).catch((e) => e));
      assert(error instanceof Error);
      assertMatch(error.message, /^Cannot (compile|run) /);
      assertEquals(await Deno.readTextFile(`${dist}/flock`), "former");
      assertEquals((await names(dist)).filter((file) => file.startsWith(".flock-")), []);
    });
  }
});

Deno.test("e2e: a launcher quotes its paths and starts Deno by exec alone", async () => {
  await using dir = await temporaryDir();
  const bundle = `${dir.path}/a $b "c"`;
  await Deno.mkdir(bundle);
  await Deno.writeTextFile(`${bundle}/main.js`, `console.log(JSON.stringify(Deno.args))`);
  const script = renderLauncher({
    deno: Deno.execPath(),
    bundle,
    denoDir: `${bundle}/deno-dir`,
    flags: bakedFlags(),
  });
  await Deno.writeTextFile(`${dir.path}/flock`, script, { mode: 0o755 });
  const said = await mustRun([`${dir.path}/flock`, "a b", "$HOME", "", "*"], { env: {} });
  assertEquals(JSON.parse(said), ["a b", "$HOME", "", "*"]);
});

interface TemporaryDir extends AsyncDisposable {
  readonly path: string;
}

async function temporaryDir(): Promise<TemporaryDir> {
  const path = await Deno.makeTempDir({ prefix: "flock-build-" });
  return { path, [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }) };
}

/** Runs something as on a machine without a runtime stub. */
async function withoutStub<T>(fn: () => Promise<T>): Promise<T> {
  const stub = Deno.env.get("DENORT_BIN");
  Deno.env.delete("DENORT_BIN");
  try {
    return await fn();
  } finally {
    if (stub !== undefined) Deno.env.set("DENORT_BIN", stub);
  }
}

async function names(dir: string): Promise<string[]> {
  return (await Array.fromAsync(Deno.readDir(dir))).map(({ name }) => name).sort();
}
