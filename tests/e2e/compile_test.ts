/**
 * The executable, compiled for real: what it is started as, the templates in it, the chunks that it loads
 * when asked for. Needs Deno's runtime stub, which `deno compile` otherwise downloads: `FLOCK_DENORT` is a
 * program that prints the path of one. The stub at hand is Deno 2.6's, so a compiler of that line is
 * used, on the bundle of the current one; releases are compiled with the Deno of deno.json.
 *
 * @module
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { build } from "../../scripts/build.ts";
import { mustRun, ROOT, run } from "../../scripts/run.ts";
import { isPresent } from "../../scripts/setup.ts";
import { VERSION } from "../../src/version.ts";
import { skip } from "../support.ts";

const UNPACK = Deno.env.get("FLOCK_DENORT") ?? `${ROOT}/../shared/denort/unpack`;
/** The compiler that goes with the stub: their formats have to match. */
const COMPILER = ["npx", "-y", "deno@2.6.8"];
const NAME = "e2e: the compiled executable is all there is, in one file";

if (!isPresent(UNPACK)) skip(NAME, "no runtime stub, FLOCK_DENORT names none", compiled);
else if (!isPresent("bird")) skip(NAME, "bird2 is not installed", compiled);
else if (Deno.uid() !== 0) skip(NAME, "needs root", compiled);
else Deno.test(NAME, compiled);

async function compiled(t: Deno.TestContext): Promise<void> {
  const dir = await Deno.makeTempDir({ prefix: "flock-compile-" });
  const former = Deno.env.get("DENORT_BIN");
  try {
    Deno.env.set("DENORT_BIN", (await mustRun([UNPACK])).trim());
    const kind = await build({ dist: `${dir}/dist`, compiler: COMPILER, requireCompile: true });
    assertEquals(kind, "executable");
    // Alone in an empty directory: nothing of it may come from the bundle.
    const flock = `${dir}/alone/flock`;
    await Deno.mkdir(`${dir}/alone`);
    await Deno.rename(`${dir}/dist/flock`, flock);
    await Deno.remove(`${dir}/dist`, { recursive: true });
    await examine(t, flock);
  } finally {
    if (former === undefined) Deno.env.delete("DENORT_BIN");
    else Deno.env.set("DENORT_BIN", former);
    await Deno.remove(dir, { recursive: true });
  }
}

async function examine(t: Deno.TestContext, flock: string): Promise<void> {
  const dir = flock.slice(0, flock.lastIndexOf("/"));
  await t.step("a command, loaded lazily, with an empty environment", async () => {
    assertEquals(await mustRun([flock, "version"], { env: {}, cwd: "/" }), `flock ${VERSION}\n`);
  });
  await t.step("the plugin when CNI_COMMAND is set", async () => {
    const result = await run([flock], { env: { CNI_COMMAND: "VERSION" }, cwd: "/" });
    assertEquals([result.code, result.stderr], [0, ""]);
    assertEquals(JSON.parse(result.stdout).supportedVersions, [
      "0.1.0",
      "0.2.0",
      "0.3.0",
      "0.3.1",
      "0.4.0",
      "1.0.0",
      "1.1.0",
    ]);
  });
  await t.step("the plugin's error as the specification has it", async () => {
    const { code, stdout } = await run([flock], { env: { CNI_COMMAND: "ADD" } });
    assertEquals(code, 1);
    assertEquals(JSON.parse(stdout).code, 4);
  });
  await t.step("help with exit status 2 when there is neither", async () => {
    const { code, stdout, stderr } = await run([flock], { env: {} });
    assertEquals(code, 2);
    assertMatch(stdout + stderr, /Usage: flock/);
  });
  await t.step("what argv[0] says", async () => {
    // A setting that only the agent refuses.
    const env = { FLOCK_LOG_LEVEL: "loud" };
    const agent = await run([flock, "agent"], { env });
    assertEquals(agent.code, 2);
    assertMatch(agent.stderr, /loud/);
    await Deno.symlink(flock, `${dir}/flock-agent`);
    assertEquals(await run([`${dir}/flock-agent`], { env }), agent);
    const asAgent = ["/bin/bash", "-c", 'exec -a flock-agent "$0"', flock];
    assertEquals(await run(asAgent, { env }), agent);
  });
  await t.step("a template in it, and only the permissions that were baked in", async () => {
    await runsBird(flock, `${dir}/bird`);
    const { code, stderr } = await run([
      flock,
      "agent",
      "--manifests",
      dir,
      "--state-dir",
      "/usr/flock",
    ], {
      env: {},
      timeoutMs: 30_000,
    });
    assertEquals(code, 1);
    assertMatch(stderr, /Requires (read|write) access to \\?"\/usr\/flock/);
  });
}

/** `flock bird-run` renders a template and starts BIRD with it, here in a network of its own. */
async function runsBird(flock: string, dir: string): Promise<void> {
  const args = [
    "bird-run",
    "--bird-config",
    `${dir}/bird.conf`,
    "--bird-socket",
    `${dir}/bird.ctl`,
  ];
  const child = new Deno.Command("unshare", {
    args: ["--net", flock, ...args],
    clearEnv: true,
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  }).spawn();
  const said = new Response(child.stderr).text();
  try {
    for (const deadline = Date.now() + 20_000; !isPresent(`${dir}/bird.conf.started`);) {
      assert(Date.now() < deadline, `${flock} ${args.join(" ")} did not start BIRD`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    assertMatch(await Deno.readTextFile(`${dir}/bird.conf`), /^router id \d+\.\d+\.\d+\.\d+;$/m);
  } finally {
    child.kill("SIGTERM");
    await child.status;
    await said;
  }
}
