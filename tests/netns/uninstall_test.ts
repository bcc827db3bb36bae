/**
 * `flock install` and `flock uninstall` on a host of their own: a network namespace with everything that
 * flock makes, and beside each thing one that is somebody else's.
 * The executable is the one that was built, with its permissions.
 *
 * @module
 */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { run } from "../../scripts/run.ts";
import { type Attachment, renderState } from "../../src/core/attachment.ts";
import { renderConflist } from "../../src/core/conflist.ts";
import { EXECUTABLE } from "../executable.ts";
import { testWith } from "../support.ts";
import { confined } from "./confined.ts";
import { NodeToClean } from "./node_to_clean.ts";

const VETH = "flock0000000a";

/** What is somebody else's. */
async function makeForeign(node: NodeToClean): Promise<void> {
  await node.bird.ip(`link add eth0 type veth peer name eth0p
link add flockbr0 type veth peer name flockbr1
link set eth0 up
link set eth0p up
addr add 192.0.2.1/24 dev eth0
addr add 2001:db8:25::1/64 dev eth0 nodad
nexthop add id 7 via 192.0.2.9 dev eth0
route add 10.9.0.0/16 nhid 7
route add 10.8.0.0/16 via 192.0.2.9 proto static
route add unreachable 2001:db8:99::/64 proto 145
route add 10.9.9.0/24 via 192.0.2.9 proto bird table 77
`);
  await node.in("nft", "add", "table", "inet", "flock2");
  await node.in("sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward");
  await Deno.writeTextFile(`${node.cniDir}/99-loopback.conf.saved`, "{}");
  await Deno.writeTextFile(`${node.pluginDir}/bridge`, "");
}

/** What is flock's, pods' links apart. */
async function makeOurs(node: NodeToClean): Promise<void> {
  await node.bird.ip(`nexthop add id 1718353920 via 192.0.2.5 dev eth0 onlink proto 144
nexthop add id 1718419456 group 1718353920 type resilient buckets 8 proto 144
route add 10.1.0.1/32 nhid 1718419456 proto 144 metric 16
route add 10.1.0.2/32 dev eth0 proto 143 metric 16
route add 10.1.0.2/32 dev eth0 proto 144 metric 16 table 77
route add unreachable 10.1.0.0/24 proto 143 metric 1000
route add unreachable 2001:db8:f001::/64 proto 143 metric 2000
route add 2001:db8:ffff::1/128 via 2001:db8:25::5 dev eth0 onlink proto 144 metric 16
`);
  await node.in("nft", "add", "table", "inet", "flock");
  await node.in("sh", "-c", "echo 1 >/proc/sys/net/ipv4/fib_multipath_hash_policy");
  const { socket, stateDir, cniDir } = node;
  const sysctls = {
    "net/ipv4/ip_forward": "0",
    "net/ipv4/fib_multipath_hash_policy": "0",
    "net/ipv6/conf/gone0/accept_ra": "1",
  };
  await Deno.writeTextFile(`${stateDir}/sysctls.json`, JSON.stringify(sysctls));
  const conflist = renderConflist({ socket, stateDir, portmap: { versions: ["1.0.0"] } });
  await Deno.writeTextFile(`${cniDir}/01-flock.conflist`, conflist);
  await Deno.writeTextFile(socket, "");
  await Deno.writeTextFile(`${stateDir}/lock`, "pid 1, node a\n");
  for (const name of ["drain.json", "node_config.json", "router_id", ".flock-1.tmp"]) {
    await Deno.writeTextFile(`${stateDir}/${name}`, "");
  }
  await Deno.mkdir(`${stateDir}/deletions`);
  for (const name of ["c0@eth0.json.damaged", ".flock-2.tmp"]) {
    await Deno.writeTextFile(`${stateDir}/deletions/${name}`, "");
  }
  await Deno.mkdir(`${cniDir}/.flock-3.tmp`);
  await Deno.writeTextFile(`${cniDir}/.flock-3.tmp/content`, "");
}

async function writeAllocation(node: NodeToClean, bootId: string): Promise<void> {
  const attachment: Attachment = {
    ...{ containerId: "c1", ifname: "eth0", namespace: "ns", podName: "web-0", podUid: "u" },
    ...{ netns: "/run/netns/x", hostIfname: VETH, state: "committed", anycast: [], addresses: [] },
    allocatedAt: "2026-01-01T00:00:00Z",
    result: {},
  };
  const state = { node: "a", bootId, lastGiven: {}, attachments: [attachment] };
  await Deno.writeTextFile(`${node.stateDir}/allocations.json`, renderState(state));
}

testWith(
  "netns: flock install puts the plugin in place, and sets others aside",
  ["root", "bird"],
  async () => {
    await using node = await NodeToClean.create();
    await Deno.writeTextFile(`${node.cniDir}/10-other.conflist`, "{}");
    // A runtime overlooks a directory, and ends at a link that leads nowhere.
    await Deno.mkdir(`${node.cniDir}/10-old.conf`);
    await Deno.symlink("/nonexistent/list", `${node.cniDir}/11-nowhere.conf`);
    const first = await node.flock("install");
    assertEquals([first.code, first.out], [0, ""]);
    assertStringIncludes(first.err, "Installed plugin");
    const plugin = `${node.pluginDir}/flock`;
    assertEquals(await Deno.readFile(plugin), await Deno.readFile(EXECUTABLE));
    const version = await run([plugin], { env: { CNI_COMMAND: "VERSION" } });
    assertStringIncludes(version.stdout, '"supportedVersions"');
    assertEquals(await Deno.readTextFile(`${node.cniDir}/10-other.conflist`), "{}");
    const second = await node.flock("install", "--exclusive");
    assertStringIncludes(second.err, "Plugin was installed already");
    assertStringIncludes(second.err, "Set network configuration aside");
    assertStringIncludes(second.err, "11-nowhere.conf");
    assertEquals(second.code, 0);
    const names = await Array.fromAsync(Deno.readDir(node.cniDir), ({ name }) => name);
    assertEquals(names.filter((name) => /\.(conf|conflist|json)$/.test(name)), ["10-old.conf"]);
  },
);

testWith("netns: flock install needs no capability", ["root", "bird"], async () => {
  await using node = await NodeToClean.create();
  await Deno.writeTextFile(`${node.pluginDir}/flock`, "an older one", { mode: 0o755 });
  const install = [EXECUTABLE, "install", "--plugin-dir", node.pluginDir];
  const { code, stderr } = await run([...confined([]), ...install]);
  assertEquals(code, 0, stderr);
  assertEquals(await Deno.readFile(`${node.pluginDir}/flock`), await Deno.readFile(EXECUTABLE));
});

testWith(
  "netns: flock uninstall removes all that is flock's and nothing else",
  ["root", "bird"],
  async (t) => {
    await using node = await NodeToClean.create();
    await makeForeign(node);
    const clean = await node.world();
    const bootId = (await Deno.readTextFile("/proc/sys/kernel/random/boot_id")).trim();

    await t.step("finds nothing where there is nothing", async () => {
      await node.removeDirs();
      assertEquals(await node.uninstall(), { code: 0, out: "", err: "" });
      await node.makeDirs();
      assertEquals(await node.world(), clean);
    });

    await makeOurs(node);
    await Deno.writeTextFile(`${node.cniDir}/10-other.conflist`, "{}");
    assertEquals((await node.flock("install", "--exclusive")).code, 0);
    await node.bird.ip(`link add ${VETH} type veth peer name podside\n`);
    node.bird.birdRun();
    await node.bird.answers();
    const dirty = await node.world();

    await t.step("is refused while a pod's link exists, and touches nothing", async () => {
      const { code, out, err } = await node.uninstall();
      assertEquals([code, out], [1, ""]);
      assertStringIncludes(err, `pods use it (link ${VETH})`);
      assertEquals(await node.world(), dirty);
    });

    await t.step("says so with --dry-run, and all the rest", async () => {
      const { code, out } = await node.uninstall("--dry-run");
      assertEquals(code, 1);
      const [first, ...rest] = out.split("\n");
      assertStringIncludes(
        first!,
        `would refuse: Cannot uninstall flock: pods use it (link ${VETH})`,
      );
      const forced = await node.uninstall("--dry-run", "--force");
      assertEquals(rest.join("\n"), forced.out);
      assertEquals(await node.world(), dirty);
    });

    await t.step("names everything with --dry-run, and touches nothing", async () => {
      const { code, out } = await node.uninstall("--dry-run", "--force");
      assertEquals(code, 0);
      const named = [
        ...["01-flock.conflist", "10-other.conflist", node.bird.socket, `link ${VETH}`],
        ...["10.1.0.1/32", "10.1.0.2/32 table main", "10.1.0.2/32 table 77", "2001:db8:f001::/64"],
        ...["2001:db8:ffff::1", "nexthop id 1718419456", "nexthop id 1718353920", "inet flock"],
        ...["fib_multipath_hash_policy 1: back to 0", node.stateDir, node.runDir],
        ...[
          `${node.pluginDir}/flock`,
          `${node.stateDir}/drain.json`,
          `${node.cniDir}/.flock-3.tmp`,
        ],
      ];
      for (const name of named) assertStringIncludes(out, `${name}`);
      // What else forwards, nobody knows.
      const left = "left sysctl net/ipv4/ip_forward at 1, it was 0: ";
      assert(
        out.trim().split("\n").every((line) =>
          line.startsWith("would remove ") || line.startsWith(left)
        ),
        out,
      );
      assertStringIncludes(out, left);
      assertEquals(await node.world(), dirty);
    });

    await t.step("is refused while the agent runs, even with --force", async () => {
      using lock = await Deno.open(`${node.stateDir}/lock`, { write: true });
      await lock.lock(true);
      const { code, err } = await node.uninstall("--force");
      assertEquals(code, 1);
      assertStringIncludes(err, "the agent runs (pid 1, node a)");
      assertEquals(await node.world(), dirty);
    });

    await t.step("is refused while an agent with another state directory runs", async () => {
      const path = `${node.runDir}/other.sock`;
      using _listener = Deno.listen({ transport: "unix", path });
      const { code, err } = await node.uninstall("--force", "--socket", path);
      assertEquals(code, 1);
      assertStringIncludes(err, `the agent runs (it answers on ${path})`);
      await Deno.remove(path);
      assertEquals(await node.world(), dirty);
    });

    await t.step("is refused for an allocation of this boot, not of an earlier one", async () => {
      await node.bird.ip(`link del ${VETH}\n`);
      await writeAllocation(node, bootId);
      const { code, out, err } = await node.uninstall("--dry-run");
      assertEquals(code, 1);
      assertEquals(err, "");
      assertStringIncludes(out, "pod ns/web-0");
      await writeAllocation(node, "00000000-0000-0000-0000-000000000000");
      assertEquals((await node.uninstall("--dry-run")).code, 0);
      await writeAllocation(node, bootId);
      await node.bird.ip(`link add ${VETH} type veth peer name podside\n`);
    });

    await t.step("removes it with --force, and finds nothing a second time", async () => {
      const { code, out, err } = await node.uninstall("--force");
      assertEquals([code, out.includes("cannot")], [0, false], `${out}${err}`);
      assertEquals((await node.bird.birds()).size, 0);
      assertEquals(await node.uninstall(), { code: 0, out: "", err: "" });
      assertEquals(await Deno.readTextFile(`${node.cniDir}/10-other.conflist`), "{}");
      await Deno.remove(`${node.cniDir}/10-other.conflist`);
      await node.makeDirs();
      assertEquals(await node.world(), clean);
    });
  },
);
