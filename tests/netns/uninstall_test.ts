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
import { STATE_FILES } from "../../src/core/own_files.ts";
import { runCommand, toolPath } from "../../src/io/command.ts";
import { readTextIfPresent } from "../../src/io/fs.ts";
import { until } from "../../src/lab/wait.ts";
import { EXECUTABLE } from "../executable.ts";
import { testWith } from "../support.ts";
import { BirdHost } from "./bird_host.ts";
import { confined } from "./confined.ts";
import { createNodeLab } from "./node_probe.ts";

const VETH = "flock0000000a";

/** What a command printed. */
interface Said {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

class NodeToClean implements AsyncDisposable {
  readonly stateDir: string;
  readonly runDir: string;
  readonly pluginDir: string;
  readonly cniDir: string;

  private constructor(readonly bird: BirdHost) {
    this.stateDir = `${bird.dir}/lib/flock`;
    this.runDir = `${bird.dir}/run/flock`;
    this.pluginDir = `${bird.dir}/opt`;
    this.cniDir = `${bird.dir}/net.d`;
  }

  static async create(): Promise<NodeToClean> {
    const node = new NodeToClean(await BirdHost.create());
    for (const dir of [node.pluginDir, node.cniDir]) await Deno.mkdir(dir);
    await node.makeDirs();
    return node;
  }

  /** Path of the agent's socket. */
  get socket(): string {
    return `${this.runDir}/flock.sock`;
  }

  /** The directories that uninstalling removes. */
  async makeDirs(): Promise<void> {
    for (const dir of [this.stateDir, this.runDir]) await Deno.mkdir(dir, { recursive: true });
  }

  async removeDirs(): Promise<void> {
    for (const dir of [this.stateDir, this.runDir]) await Deno.remove(dir, { recursive: true });
  }

  /** Runs a command of flock in the namespace, with the plugin's and the list's places. */
  async flock(command: string, ...more: readonly string[]): Promise<Said> {
    return await this.flockThrough([], command, ...more);
  }

  /** The same, started by another command. */
  async flockThrough(
    through: readonly string[],
    command: string,
    ...more: readonly string[]
  ): Promise<Said> {
    const { code, stdout, stderr } = await run([
      ...["/usr/bin/nsenter", `--net=/run/netns/${this.bird.netns}`],
      ...[...through, EXECUTABLE, command],
      ...["--plugin-dir", this.pluginDir, "--conflist", `${this.cniDir}/01-flock.conflist`],
      ...more,
    ], { env: { PATH: "/usr/bin:/bin" } });
    return { code, out: stdout, err: stderr };
  }

  async uninstall(...more: readonly string[]): Promise<Said> {
    return await this.flock("uninstall", ...this.places, ...more);
  }

  /** Options that name flock's places, but for the plugin's and the list's. */
  get places(): readonly string[] {
    const { stateDir, socket, bird } = this;
    return ["--state-dir", stateDir, "--socket", socket, "--bird-socket", bird.socket];
  }

  /** Runs a command in the namespace. */
  async in(...command: readonly string[]): Promise<string> {
    const args = [`--net=/run/netns/${this.bird.netns}`, ...command];
    return (await runCommand("nsenter", args)).stdout;
  }

  /** Everything of the namespace and of the directories that uninstalling may touch. */
  async world(): Promise<unknown> {
    const { bird } = this;
    const routes = await Promise.all(
      [[], ["-6"]].map((family) => bird.ipJson(...family, "route", "show", "table", "all")),
    );
    // BIRD's own directory is in one that has not our name here: what is in it stays.
    const files = await run(["find", bird.dir, "-name", "bird", "-prune", "-o", "-print"]);
    return {
      links: (await bird.ipJson("link", "show")).map(({ ifname }) => ifname),
      // The kernel's own come by themselves, some of them late.
      routes: routes.flat().filter(({ protocol }) => protocol !== "kernel"),
      nexthops: (await bird.ipJson("nexthop", "show")).map(({ id }) => id),
      filters: await this.in("nft", "list", "tables"),
      forwarding: await this.in("cat", "/proc/sys/net/ipv4/ip_forward"),
      hash: await this.in("cat", "/proc/sys/net/ipv4/fib_multipath_hash_policy"),
      files: files.stdout.split("\n").sort(),
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.bird[Symbol.asyncDispose]();
  }
}

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
