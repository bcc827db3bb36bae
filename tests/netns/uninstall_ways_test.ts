/**
 * `flock uninstall` where things are otherwise than usual, and the documented way off a node with a real agent.
 *
 * @module
 */
import { assertEquals, assertStringIncludes } from "@std/assert";
import { run } from "../../scripts/run.ts";
import { renderConflist } from "../../src/core/conflist.ts";
import { STATE_FILES } from "../../src/core/own_files.ts";
import { toolPath } from "../../src/io/command.ts";
import { readTextIfPresent } from "../../src/io/fs.ts";
import { until } from "../../src/lab/wait.ts";
import { EXECUTABLE } from "../executable.ts";
import { testWith } from "../support.ts";
import { createNodeLab } from "./node_probe.ts";
import { NodeToClean, type Said } from "./node_to_clean.ts";

testWith(
  "netns: flock uninstall removes files by their names, and leaves what else is with them",
  ["root", "bird"],
  async () => {
    await using node = await NodeToClean.create();
    const stateDir = `${node.bird.dir}/lib/somewhere`;
    await Deno.mkdir(`${stateDir}/deletions`, { recursive: true });
    const own = [...STATE_FILES, "deletions/c1@eth0.json"].map((name) => `${stateDir}/${name}`);
    const others = [`${stateDir}/deletions/notes`, `${node.runDir}/theirs.sock`];
    for (const path of [...own, ...others, `${node.pluginDir}/portmap`]) {
      await Deno.writeTextFile(path, path.endsWith("/sysctls.json") ? "no JSON" : "");
    }
    await Deno.writeTextFile(node.socket, "");
    // The last ones that give way to nobody: then the runtime is without a network.
    await Deno.writeTextFile(`${node.cniDir}/01-flock.conflist`, renderConflist(node));
    await Deno.mkdir(`${node.cniDir}/10-old.conf`);
    const { code, out } = await node.uninstall("--state-dir", stateDir, "--force");
    // The sysctls as they were cannot be read; all else is done.
    assertEquals(code, 1, out);
    assertEquals(out.match(/^cannot .*/gm)?.length, 1, out);
    assertStringIncludes(out, "no other network configuration is in ");
    assertStringIncludes(out, `left ${stateDir}/deletions: it holds notes`);
    assertStringIncludes(out, `left ${stateDir}: it holds deletions`);
    assertStringIncludes(out, `left ${node.runDir}: it holds theirs.sock`);
    const files = await run(["find", node.bird.dir, "-type", "f", "-o", "-name", "flock"]);
    assertEquals(
      files.stdout.trim().split("\n").sort(),
      [...others, `${node.pluginDir}/portmap`, node.runDir, node.stateDir].sort(),
    );
  },
);

testWith("netns: flock uninstall works without next-hop objects", ["root", "bird"], async () => {
  await using node = await NodeToClean.create();
  await node.bird.ip("link add eth0 type veth peer name eth0p\nlink set eth0 up\n");
  await node.bird.ip("route add unreachable 10.1.0.0/24 proto 143 metric 1000\n");
  const ip = await Deno.realPath(toolPath("ip"));
  await Deno.copyFile(ip, `${node.bird.dir}/ip`);
  const refuse = '{ echo "RTNETLINK answers: Operation not supported" >&2; exit 2; }';
  await Deno.writeTextFile(
    `${node.bird.dir}/old-ip`,
    `#!/bin/sh
case "$*" in *nexthop*) ${refuse} ;; *-batch*) ;; *) exec ${node.bird.dir}/ip "$@" ;; esac
batch=$(cat); case $batch in *nexthop*) ${refuse} ;; esac
printf '%s\\n' "$batch" | exec ${node.bird.dir}/ip "$@"
`,
    { mode: 0o755 },
  );
  const script = `mount --bind ${node.bird.dir}/old-ip ${ip} && exec "$@"`;
  const through = ["unshare", "--mount", "sh", "-c", script, "sh"];
  const { code, out, err } = await node.flockThrough(through, "uninstall", ...node.places);
  assertEquals([code, err], [0, ""], out);
  assertStringIncludes(out, "removed route unreachable 10.1.0.0/24");
});

testWith("netns: flock leaves a node by the documented way", ["root", "bird"], async (t) => {
  const { lab, node } = await createNodeLab();
  await using _lab = lab;
  const list = `${node.dir}/net.d/01-flock.conflist`;
  await Deno.mkdir(`${node.dir}/net.d`, { recursive: true });
  await node.startAgent({ args: ["--conflist", list] });
  await node.waitReady();
  const pod = await node.createPod({ name: "of-a-daemonset" });
  await node.add(pod);
  await until("the list", async () => await readTextIfPresent(list) !== undefined);
  await node.stopAgent();
  const uninstall = async (...more: readonly string[]): Promise<Said> => {
    const { code, stdout, stderr } = await node.attempt([
      ...[EXECUTABLE, "uninstall", "--state-dir", node.stateDir, "--socket", node.socket],
      ...["--bird-socket", node.birdSocket, "--plugin-dir", `${node.dir}/bin`],
      ...["--conflist", list, ...more],
    ]);
    return { code, out: stdout, err: stderr };
  };

  await t.step("while a pod is attached it is refused, and the pod's DEL works", async () => {
    const { code, err } = await uninstall();
    assertEquals(code, 1);
    assertStringIncludes(err, "have them leave the node first, DaemonSets' pods too");
    await Deno.stat(list);
    await node.del(pod);
    await node.removePod(pod);
  });

  await t.step("then it leaves nothing, of whatever the agent wrote", async () => {
    const { code, out } = await uninstall();
    assertEquals([code, out.includes("cannot")], [0, false], out);
    assertEquals(await readTextIfPresent(list), undefined);
    assertEquals(await namesIn(node.stateDir), undefined, out);
    assertEquals(await namesIn(`${node.dir}/bird`) ?? [], [], out);
    const links = (await node.ipJson("link", "show")).map(({ ifname }) => ifname);
    assertEquals(links.filter((ifname) => String(ifname).startsWith("flock")), []);
    assertEquals((await uninstall()).out, "");
  });
});

async function namesIn(dir: string): Promise<readonly string[] | undefined> {
  try {
    return await Array.fromAsync(Deno.readDir(dir), ({ name }) => name);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}
