/**
 * What docs/deploy.md says is what the code and the manifests have.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { mustRun, ROOT } from "../../scripts/run.ts";
import { VERSION } from "../../src/version.ts";
import { readDaemonSet, readManifest } from "./manifests.ts";

const page = await Deno.readTextFile(`${ROOT}/docs/deploy.md`);

/** Rows of a table between `<!-- name -->` and its end, without the head. */
function rows(name: string): string[][] {
  const kind = name.replace(/:.*/, "");
  const [, section = ""] = page.split(`<!-- ${name} -->`)[1]?.match(
    new RegExp(`^([^]*?)<!-- /${kind} -->`),
  ) ?? [];
  return section.trim().split("\n").slice(2).map((line) =>
    line.split("|").slice(1, -1).map((cell) => cell.trim())
  );
}

for (const command of ["install", "uninstall"]) {
  Deno.test(`docs: flags and defaults of flock ${command} are those of its help`, async () => {
    const flock = [Deno.execPath(), "run", "-A", "--quiet", `${ROOT}/main.ts`];
    const help = await mustRun([...flock, command, "--help"], {
      env: { ...Deno.env.toObject(), COLUMNS: "1000", NO_COLOR: "1" },
    });
    // A description may be broken into lines.
    const [, text = ""] = help.replaceAll(/\n {10,}/g, " ").split("Options:\n");
    const flags = [...text.matchAll(/^ +(?:-\w, )?(--[a-z-]+)(?:.*\(default: "?([^")]*)"?\))?/gm)]
      .filter(([, flag]) => flag !== "--help")
      .map(([, flag, value]) => [flag, value === "false" ? "" : value ?? ""]);
    const listed = rows(`flags: ${command}`)
      .map(([flag, value]) => [flag!.replaceAll("`", ""), value!.replaceAll("`", "")]);
    assertEquals(listed.sort(), flags.sort());
    assert(listed.length > 2);
  });
}

Deno.test("docs: the agent's mounts are those of the manifest", async () => {
  const [agent] = (await readDaemonSet("agent.yaml")).spec.template.spec.containers;
  assertEquals(
    rows("mounts: agent.yaml").map(([path]) => path),
    agent!.volumeMounts.map(({ mountPath }) => `\`${mountPath}\``),
  );
});

Deno.test("docs: names, labels and versions are those of the manifests", async () => {
  const manifests = (await Promise.all(["rbac.yaml", "agent.yaml", "bird.yaml"].map(readManifest)))
    .join("\n");
  for (const word of ["flock.fritzlab.net/agent", "flock-agent", "flock-bird", "flock-bgp"]) {
    assert(page.includes(word) && manifests.includes(word), word);
  }
  for (const [, version] of page.matchAll(/flock:(\d+\.\d+\.\d+)/g)) assertEquals(version, VERSION);
});
