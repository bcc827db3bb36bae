/**
 * `flock doctor` on a node of the lab: nothing to say of a healthy one, and each fault found when it is
 * planted, with the severity of the table, and no longer when it is mended. Where a fix can be pasted,
 * that is how it is mended.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { type CheckId, CHECKS } from "../../src/core/doctor/checks.ts";
import { runCommand } from "../../src/io/command.ts";
import type { Lab } from "../../src/lab/lab.ts";
import type { Pod } from "../../src/lab/pod.ts";
import { until } from "../../src/lab/wait.ts";
import { EXECUTABLE } from "../executable.ts";
import { testWith } from "../support.ts";
import { DoctorHost, found } from "./doctor_host.ts";
import { hostIfname, monitorOf } from "./node_probe.ts";
import { createTestLab } from "./test_lab.ts";

interface Scene {
  readonly lab: Lab;
  readonly host: DoctorHost;
  readonly pod: Pod;
}

testWith(
  "netns: flock doctor finds each fault, and none on a healthy node",
  ["root", "bird", "conntrack"],
  async (t) => {
    await using lab = await createTestLab({ executable: EXECUTABLE });
    const node = lab.node("n1");
    const host = await DoctorHost.create(node);
    await Deno.mkdir(`${host.dir}/net.d`);
    await host.startBird();
    await startAgent(host);
    const pod = await node.createPod({ name: "p" });
    await node.add(pod);
    // What the agent chains where a portmap is in the usual place.
    await Deno.copyFile("/opt/cni/bin/portmap", `${host.dir}/cni/portmap`).catch(() => {});
    await lab.router.waitSessions(["n1"]);
    await lab.router.waitRoute("2001:db8:f001::/64");
    const scene = { lab, host, pod };
    await healthy(t, scene, "before");
    for (const [name, step] of Object.entries(STEPS)) {
      assert(await t.step(name, () => step(scene)), "later steps begin with a healthy node");
    }
    await healthy(t, scene, "after");
  },
);

async function startAgent({ node, dir }: DoctorHost): Promise<void> {
  await node.startAgent({ args: ["--conflist", `${dir}/net.d/01-flock.conflist`] });
  await node.waitReady();
}

async function healthy(t: Deno.TestContext, { host }: Scene, when: string): Promise<void> {
  assert(
    await t.step(`healthy ${when}`, async () => {
      const report = await host.report();
      assertEquals(report.items.map(({ id, finding }) => [id, finding]), [
        ["design", "design b: each node has an AS number of its own (AS 65001)"],
      ]);
      assertEquals([report.code, report.skipped], [0, []]);
      assertEquals(report.passed.length, Object.keys(CHECKS).length - 1);
    }),
  );
}

/** The findings, with the severities of the table; the exit status goes with them. */
async function assertFound(
  scene: Scene,
  ids: readonly CheckId[],
  args: readonly string[] = [],
): Promise<Awaited<ReturnType<DoctorHost["report"]>>> {
  const report = await scene.host.report(args);
  const wanted = ids.map((id) => `${CHECKS[id].severity} ${id}`).sort();
  assertEquals(found(report), wanted, JSON.stringify(report.items, null, 1));
  assertEquals(report.code, report.errors > 0 ? 1 : 0);
  return report;
}

/** As `assertFound`, once BIRD and the agent have come to it. */
async function untilFound(scene: Scene, ids: readonly CheckId[]): Promise<void> {
  await until(`${ids.join(", ") || "nothing"} found`, async () => {
    await assertFound(scene, ids);
    return true;
  }, { timeoutMs: 30_000, everyMs: 300 });
}

const STEPS: Readonly<Record<string, (scene: Scene) => Promise<void>>> = {
  async "services that take links and routes for their own"(scene) {
    const { host } = scene;
    const ids = ["networkd-foreign", "link-file", "networkmanager", "dhcpcd"] as const;
    const names = ["systemd-network", "systemd-udevd", "NetworkManager", "dhcpcd"];
    await host.write("/etc/systemd/networkd.conf", "[Network]\n#ManageForeignRoutes=no\n");
    await host.write(
      "/etc/systemd/network/50-any.link",
      "[Match]\nOriginalName=*\n[Link]\nMACAddress=02:00:00:00:00:01\n",
    );
    await host.write("/etc/NetworkManager/NetworkManager.conf", "[main]\nplugins=keyfile\n");
    await host.write("/etc/dhcpcd.conf", "hostname\n");
    // Nobody reads these files.
    await assertFound(scene, []);
    const ends = await Promise.all(names.map((name) => host.startProcess(name)));
    const report = await assertFound(scene, ids);
    await host.paste(report, ids);
    await assertFound(scene, []);
    await Promise.all(ends.map((end) => end()));
  },

  async "settings of the kernel"(scene) {
    const { host, pod } = scene;
    const link = hostIfname(pod);
    const ids = [
      ...["forwarding", "accept-ra", "rp-filter", "multipath-hash", "nexthop-compat"],
      ...["neighbor-table", "link-address", "agent-absent"],
    ] as CheckId[];
    // It would put them right.
    await host.node.stopAgent();
    await sysctl(host, {
      "net/ipv4/ip_forward": 0,
      "net/ipv4/conf/eth0/rp_filter": 1,
      "net/ipv4/fib_multipath_hash_policy": 0,
      "net/ipv6/fib_multipath_hash_policy": 0,
      "net/ipv4/nexthop_compat_mode": 0,
    });
    await host.node.ipBatch([
      "route add default via 2001:db8:25::1 dev eth0 proto ra metric 1024",
      `link set dev ${link} address 02:00:00:00:00:01`,
    ]);
    for (const n of [1, 2, 3]) await host.write(`/neigh/default/gc_thresh${n}`, "1\n");
    const report = await assertFound(scene, ids);
    await host.paste(report, ids.filter((id) => id !== "agent-absent"));
    await assertFound(scene, ["agent-absent"]);
    await host.node.ip("-6", "route", "del", "default");
    await startAgent(host);
  },

  async "ways out of the node"(scene) {
    const { host: { node } } = scene;
    const spec = await specOf(scene);
    const peers = [
      ...spec.bgp.peers,
      { address: "198.18.0.1", asn: 65010 },
      { address: "2001:db8:77::1", asn: 65010 },
    ];
    const own = (await node.ipJson("-6", "addr", "show", "dev", "eth0", "scope", "link"))
      .flatMap(({ addr_info }) => (addr_info ?? []) as { local?: string }[])
      .find(({ local }) => local !== undefined);
    await node.ipBatch([
      `route add 2001:db8:77::/64 dev eth0 src ${own?.local}`,
      "link set dev eth0 mtu 1400",
      "route add 198.51.100.1/32 dev eth0 mtu 1300",
      "route add 2001:db8:25:0:8000::/80 via 2001:db8:25::1 proto bgp metric 77",
    ]);
    await writeSpec(scene, { ...spec, bgp: { ...spec.bgp, peers } });
    await until("the agent has the peers", async () => await configPeers(scene) === peers.length);
    await assertFound(scene, ["peer-route", "next-hop", "mtu-pods", "mtu-path", "own-subnet"]);
    await node.ipBatch([
      "route del 2001:db8:77::/64 dev eth0",
      "link set dev eth0 mtu 1500",
      "route del 198.51.100.1/32 dev eth0",
      "route del 2001:db8:25:0:8000::/80 proto bgp metric 77",
    ]);
    await writeSpec(scene, spec);
    await until("the agent has its peers", async () => await configPeers(scene) === 2);
  },

  async "NodeConfigs against each other"(scene) {
    const { host: { dir } } = scene;
    const spec = await specOf(scene);
    await Deno.mkdir(`${dir}/manifests`);
    await Deno.writeTextFile(
      `${dir}/manifests/all.json`,
      JSON.stringify({
        apiVersion: "flock.fritzlab.net/v1alpha1",
        kind: "NodeConfigList",
        items: Object.entries({
          n1: { ...spec, bgp: { ...spec.bgp, routerID: "198.51.100.11" } },
          twin: {
            cidr4: ["10.244.0.0/16"],
            bgp: { ...spec.bgp, routerID: "198.51.100.11" },
          },
          bad: { cidr6: ["2001:db8::/129"] },
        }).map(([name, spec]) => ({ metadata: { name }, spec })),
      }),
    );
    const report = await assertFound(
      scene,
      ["node-config", "prefix-overlap", "router-id", "design-path"],
      ["--manifests", `${dir}/manifests`],
    );
    const design = report.items.find(({ id }) => id === "design")?.finding;
    assertEquals(
      design,
      "design a: nodes share an AS number and reach each other through the router " +
        "(AS 65001, also of twin)",
    );
  },

  async "tools, clock and state directory"(scene) {
    const { host } = scene;
    const stateDir = `${host.dir}/state`;
    await Deno.mkdir(stateDir);
    const nft = await Deno.realPath("/usr/sbin/nft");
    await Deno.writeTextFile(
      `${host.dir}/bin/nft`,
      '#!/bin/sh\ncase $1 in --version) echo "nftables v0.9.8 (E.D.S.)" ;; *) echo no >&2; exit 1 ;; esac\n',
      { mode: 0o755 },
    );
    await host.node.exec(host.via("mount", "--bind", `${host.dir}/bin/nft`, nft));
    const options = "size=1m,nr_inodes=100,mode=0777";
    await host.node.exec(host.via("mount", "-t", "tmpfs", "-o", options, "none", stateDir));
    // Ahead of the clock: the same as a clock that was set back.
    const far = new Date(Date.now() + 86_400_000).toISOString();
    await host.node.exec(host.via("touch", "-d", far, `${stateDir}/allocations.json`));
    await host.write("/run/systemd/timesync/synchronized", undefined);
    const end = await host.startProcess("systemd-timesyn");
    await assertFound(scene, [
      ...["kernel-feature", "tool-version", "clock", "clock-past"] as const,
      ...["state-space", "state-permissions"] as const,
    ], ["--state-dir", stateDir]);
    await end();
    await host.write("/run/systemd/timesync/synchronized", "");
    await host.node.exec(host.via("umount", stateDir, nft));
  },

  async "policies that somebody else took from the kernel"(scene) {
    const { host: { node } } = scene;
    const monitor = await monitorOf(node, "nft");
    Deno.kill(monitor, "SIGSTOP");
    try {
      await until("the lack of the table found", async () => {
        // A periodic look of the agent's may have come between.
        await node.attempt(["nft", "delete", "table", "inet", "flock"]);
        await assertFound(scene, ["policies"]);
        return true;
      });
    } finally {
      Deno.kill(monitor, "SIGCONT");
    }
    await untilFound(scene, []);
  },

  async "the runtime's directories, and an agent that cannot attach"(scene) {
    const { host, lab } = scene;
    const other = lab.node("n2");
    const config = JSON.parse(await Deno.readTextFile(`${other.manifestsDir}/nodeconfig-n2.json`));
    await other.writeManifest("nodeconfig-n2.json", []);
    await other.startAgent();
    await until(
      "the agent of n2 answers",
      async () => Number((await other.cni("STATUS")).json?.code) >= 50,
    );
    const list = await Deno.readTextFile(`${host.dir}/net.d/01-flock.conflist`);
    await host.write("/net2.d/00-other.conf", '{ "type": "bridge" }');
    await host.write("/net2.d/01-flock.conflist", list);
    const args = ["--conflist", `${host.dir}/net2.d/01-flock.conflist`];
    await assertFound(scene, ["conflist-order", "plugin", "agent"], [
      ...args,
      ...["--plugin-dir", `${host.dir}/nowhere`, "--socket", other.socket],
    ]);
    await host.write("/net2.d/01-flock.conflist", undefined);
    await host.write(
      "/net2.d/00-other.conf",
      '{ "cniVersion": "1.0.0", "cniVersions": ["1.1.0"], "plugins": [{ "type": "bridge" }] }',
    );
    const answer = '#!/bin/sh\necho \'{ "supportedVersions": ["0.4.0", "1.0.0"] }\'';
    await Deno.writeTextFile(`${host.dir}/cni/bridge`, answer, { mode: 0o755 });
    await assertFound(scene, ["conflist-missing", "conflist-versions"], args);
    await Deno.remove(`${host.dir}/cni/bridge`);
    await other.stopAgent();
    await other.writeManifest("nodeconfig-n2.json", [config]);
  },

  async "an option that is not there"({ host }) {
    assertEquals((await host.run(["--no-such-option"])).code, 2);
  },

  async "two speakers on one address"(scene) {
    const { host, lab: { client } } = scene;
    const listener = await client.spawn("listener", [
      Deno.execPath(),
      "eval",
      "const kept = []; for await (const c of Deno.listen({ port: 179 })) kept.push(c);",
    ]);
    const call = (name: string): Promise<() => Promise<void>> =>
      host.start(name, [
        "bash",
        "-c",
        "while ! exec 3<>/dev/tcp/203.0.113.10/179; do sleep 0.05; done 2>/dev/null; exec sleep 1000",
      ]);
    const ends = [await call("one"), await call("two")];
    await until("both speak", async () => {
      const report = await host.report();
      return found(report).join() === "error speakers" &&
        /^sleep .* and sleep .* from 198\.51\.100\.11 to 203\.0\.113\.10$/.test(
          report.items[0]!.finding,
        );
    });
    for (const end of ends) await end();
    await listener.stop("SIGKILL");
  },

  async "what was only configured, and passwords"(scene) {
    const { lab, host } = scene;
    const spec = await specOf(scene);
    const [six, four] = spec.bgp.peers as [Peer, Peer];
    const config = await Deno.readTextFile(`${lab.router.dir}/bird.conf`);
    await reconfigure(
      lab,
      config.replace("graceful restart on;", "graceful restart off;")
        .replace("protocol bgp n1_ipv4 from flock_node {", '$& password "secret";'),
    );
    await writeSpec(scene, {
      ...spec,
      bgp: { ...spec.bgp, peers: [{ ...six, bfd: { enabled: true } }, four] },
    });
    // The session over IPv6 comes up again, and segments of the other one are dropped.
    await untilFound(scene, ["bfd", "graceful-restart", "md5", "session-down"]);

    await writeSpec(scene, {
      ...spec,
      bgp: { ...spec.bgp, peers: [{ ...six, ttlSecurity: true }, four] },
    });
    await untilFound(scene, ["no-session", "md5", "ttl-security"]);

    // Before BIRD ends: without it the agent tries ever more rarely.
    await writeSpec(scene, spec);
    await until(
      "BIRD has the former configuration",
      async () => !/ttl security/.test(await Deno.readTextFile(host.node.birdConfig)),
    );
    await host.stopBird();
    await assertFound(scene, ["bird-absent"]);

    await reconfigure(lab, config);
    const end = await host.start("listener", [
      // There is no home directory here.
      ...["env", `DENO_DIR=${host.dir}/deno`, Deno.execPath(), "eval"],
      'Deno.listen({ hostname: "::", port: 179 }); setInterval(() => {}, 100_000);',
    ]);
    await until("the port is taken", async () => {
      const { stdout } = await host.node.exec(["cat", "/proc/net/tcp6"]);
      return stdout.split("\n").some((line) => /:00B3 .* 0A /.test(line));
    });
    await host.startBird();
    await untilFound(scene, ["no-session", "speakers", "md5"]);
    await end();
    await host.stopBird();
    await host.startBird();
    await lab.router.waitSessions(["n1"], { timeoutMs: 30_000 });
    await untilFound(scene, []);
  },
};

type Peer = Readonly<Record<string, unknown>>;

interface Spec {
  readonly bgp: { readonly peers: readonly Peer[] };
}

/** The spec of n1's NodeConfig, as the test last wrote it. */
async function specOf({ host: { node } }: Scene): Promise<Spec> {
  const text = await Deno.readTextFile(`${node.manifestsDir}/nodeconfig-n1.json`);
  return JSON.parse(text).spec as Spec;
}

async function writeSpec({ host: { node } }: Scene, spec: Spec): Promise<void> {
  await node.writeManifest("nodeconfig-n1.json", [{
    apiVersion: "flock.fritzlab.net/v1alpha1",
    kind: "NodeConfig",
    metadata: { name: "n1" },
    spec,
  }]);
}

/** Number of peers of the NodeConfig in force. */
async function configPeers({ host: { node } }: Scene): Promise<number> {
  const kept = JSON.parse(await Deno.readTextFile(`${node.stateDir}/node_config.json`));
  return (kept.spec as Spec).bgp.peers.length;
}

async function sysctl(host: DoctorHost, values: Readonly<Record<string, number>>): Promise<void> {
  const script = Object.entries(values).map(([path, value]) => `echo ${value} >/proc/sys/${path}`);
  await host.node.exec(["sh", "-ec", script.join("\n")]);
}

/** Has the router go on with another configuration. */
async function reconfigure({ router }: Lab, text: string): Promise<void> {
  await Deno.writeTextFile(`${router.dir}/bird.conf`, text);
  await runCommand("birdc", ["-s", `${router.dir}/bird.ctl`, "configure"]);
}
