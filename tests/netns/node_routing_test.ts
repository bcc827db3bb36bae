/**
 * What of the router's announcements reaches a node's routing table, and who the node says it is.
 *
 * @module
 */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { runCommand } from "../../src/io/command.ts";
import type { Node } from "../../src/lab/node.ts";
import type { NodePlan } from "../../src/lab/plan.ts";
import { until } from "../../src/lab/wait.ts";
import { EXECUTABLE } from "../executable.ts";
import { testWith } from "../support.ts";
import { createNodeLab } from "./node_probe.ts";

/** The router announces these, besides its own subnets: the nodes' link among them. */
const ANNOUNCE = `
protocol static announce6 {
  ipv6;
  route ::/0 unreachable;
  route 2001:db8:a::/48 unreachable;
  route 2001:db8:25::/64 unreachable;
  route 2001:db8:25::99/128 unreachable;
  route 2001:db8:f001:0:8000::/65 unreachable;
  route 2001:db8:f001::b/128 unreachable;
}
protocol static announce4 {
  ipv4;
  route 0.0.0.0/0 unreachable;
  route 10.9.0.0/16 unreachable;
  route 198.51.100.128/25 unreachable;
  route 10.244.1.0/25 unreachable;
  route 10.244.1.77/32 unreachable;
}`;

testWith(
  "netns: a node imports neither a default route nor what is its own",
  ["root", "bird"],
  async (t) => {
    const { lab, node } = await createNodeLab({ extraRouterConfig: ANNOUNCE, defaultRoutes: true });
    await using _lab = lab;
    const before = await defaults(node);
    assertEquals(before.length, 2);
    await lab.start();
    const heard = ["10.9.0.0/16", "2001:db8:a::/48"];
    for (const prefix of heard) await node.waitRoute(prefix);

    await t.step("by default", async () => {
      // The client's link is the router's own; what it announces of the node's is not there.
      assertEquals(await learned(node), [...heard, "2001:db8:c::/64", "203.0.113.0/26"].sort());
      assertEquals(await defaults(node), before);
    });

    const withPeers = async (options: Readonly<Record<string, unknown>>): Promise<void> => {
      const peers = Object.values(lab.plan.router.addresses).map((address) => ({
        address,
        asn: 65000,
        ...options,
      }));
      const [plan] = lab.plan.nodes as [NodePlan];
      await node.writeManifest("nodeconfig-n1.json", [{
        apiVersion: "flock.fritzlab.net/v1alpha1",
        kind: "NodeConfig",
        metadata: { name: "n1" },
        spec: {
          cidr6: [plan.prefixes.ipv6],
          cidr4: [plan.prefixes.ipv4],
          bgp: { asn: plan.asn, peers },
        },
      }]);
    };

    await t.step("what BIRD resolves next hops by is no difference", async () => {
      await withPeers({ multihop: 2 });
      await until("BIRD has the node's default routes", async () => {
        const { stdout } = await runCommand("birdc", ["-s", node.birdSocket, "show", "route"]);
        return (stdout.match(/^(::|0\.0\.0\.0)\/0 +unicast \[flock_kernel/gm)?.length ?? 0) === 2;
      });
      await lab.router.waitSessions();
      for (const command of ["routes", "status"]) {
        const check = [EXECUTABLE, command, "--check", "--socket", node.socket];
        const { code, stdout } = await node.attempt(check);
        assertEquals(code, 0, stdout);
      }
    });

    await t.step("a default route too where it is asked for, beside the node's own", async () => {
      await withPeers({ importDefaultRoute: true });
      const added = await until("default routes by BGP", async () => {
        const now = (await defaults(node)).filter((route) => !before.includes(route));
        return now.length === 2 ? now : undefined;
      });
      for (const route of added) assertMatch(route, /proto bird .*metric 32\b/);
      for (const route of before) assert((await defaults(node)).includes(route), route);
      assertEquals(
        (await learned(node)).filter((dst) => dst !== "default"),
        [...heard, "2001:db8:c::/64", "203.0.113.0/26"].sort(),
      );
    });
  },
);

testWith("netns: a node keeps its router id, and speaks from its address on the peer's link", [
  "root",
  "bird",
], async (t) => {
  const { lab, node } = await createNodeLab({ defaultRoutes: true });
  await using _lab = lab;
  const routerId = async (): Promise<string> =>
    (await Deno.readTextFile(`${node.stateDir}/router_id`)).trim();
  const restart = async (): Promise<void> => {
    await node.stopAgent();
    await node.startAgent();
    await node.waitReady();
  };
  /** Waits for the rendered configuration to have this router id. */
  const rendered = (id: string): Promise<string> =>
    until(`router id ${id} in BIRD's configuration`, async () => {
      const text = await Deno.readTextFile(node.birdConfig);
      return text.includes(`router id ${id};`) && text;
    });
  await lab.start();

  await t.step("the primary IPv4 address of the way out", async () => {
    const text = await rendered("198.51.100.11");
    assertEquals(await routerId(), "198.51.100.11");
    assertStringIncludes(text, "local 2001:db8:25::11 as 65001");
    assertStringIncludes(text, "local 198.51.100.11 as 65001");
  });

  await t.step("an agent that starts again is nothing to BIRD", async () => {
    const protocols = (): Promise<string> =>
      runCommand("birdc", ["-s", node.birdSocket, "show", "protocols"]).then((o) => o.stdout);
    // With the time since when each is as it is.
    const before = await protocols();
    assertEquals(before.match(/Established/g)?.length, 2, before);
    for (const signal of ["SIGTERM", "SIGKILL"] as const) {
      await node.stopAgent(signal);
      assert(node.bird?.running);
      const passes = await passesOf(node);
      await node.startAgent();
      await until("a pass of the new agent", async () => await passesOf(node) > passes);
    }
    assertEquals(await protocols(), before);
  });

  await t.step("stays while its address is there, whatever else comes", async () => {
    await node.ipBatch([
      "addr add 198.51.100.9/32 dev eth0",
      "link add docker0 type bridge",
      "addr add 172.17.0.1/16 dev docker0",
      "addr del 198.51.100.11/24 dev eth0",
      "addr add 198.51.100.7/24 dev eth0",
      "addr add 198.51.100.11/24 dev eth0",
      "route replace default via 198.51.100.1",
    ]);
    await restart();
    await rendered("198.51.100.11");
    assertEquals(await routerId(), "198.51.100.11");
  });

  await t.step("is another of that link when its address is gone", async () => {
    await node.ip("addr", "del", "198.51.100.11/24", "dev", "eth0");
    await restart();
    const id = await until("another router id", async () => {
      const id = await routerId();
      return id !== "198.51.100.11" && id;
    });
    assert(["198.51.100.9", "198.51.100.7"].includes(id), id);
    await rendered(id);
  });
});

testWith(
  "netns: a pod's MTU is the network configuration's, the NodeConfig's, the smallest way out's",
  [
    "root",
    "bird",
  ],
  async () => {
    const { lab, node } = await createNodeLab({ defaultRoutes: true });
    await using _lab = lab;
    await node.ipBatch([
      "link add up1 mtu 1400 type veth peer name up1-peer",
      "link set up1 up",
      "link set up1-peer up",
      "addr add 198.18.0.1/24 dev up1",
      "route add default via 198.18.0.2 metric 50",
    ]);
    await node.startAgent();
    await node.waitReady();
    const mtus = async (
      conf: Readonly<Record<string, unknown>> = {},
    ): Promise<readonly unknown[]> => {
      const pod = await node.createPod({ name: `p${crypto.randomUUID().slice(0, 8)}` });
      const { interfaces } = await node.add(pod, { conf });
      const [inPod] = await pod.ipJson("link", "show", "dev", "eth0");
      const [onNode] = await node.ipJson("link", "show", "dev", interfaces![0]!.name);
      await node.check(pod, { conf });
      return [inPod?.mtu, onNode?.mtu, ...interfaces!.map(({ mtu }) => mtu)];
    };
    assertEquals(await mtus(), [1400, 1400, 1400, 1400]);
    assertEquals(await mtus({ mtu: 1300 }), [1300, 1300, 1300, 1300]);
    await node.writeManifest("nodeconfig-default.json", [{
      apiVersion: "flock.fritzlab.net/v1alpha1",
      kind: "NodeConfig",
      metadata: { name: "default" },
      spec: { mtu: 1350 },
    }]);
    await until(
      "NodeConfig taken over",
      async () => (await Deno.readTextFile(`${node.stateDir}/node_config.json`)).includes("1350"),
    );
    assertEquals(await mtus(), [1350, 1350, 1350, 1350]);
    assertEquals(await mtus({ mtu: 1300 }), [1300, 1300, 1300, 1300]);
  },
);

testWith(
  "netns: the conflist is there when pods can be attached, and stays",
  ["root", "bird"],
  async (t) => {
    const { lab, node } = await createNodeLab();
    await using _lab = lab;
    const dir = `${node.dir}/net.d`;
    const file = `${dir}/01-flock.conflist`;
    await Deno.mkdir(dir, { recursive: true });
    await Deno.writeTextFile(`${dir}/10-other.conflist`, "{}");
    const args = ["--conflist", file];
    const read = (): Promise<string> => Deno.readTextFile(file);
    const config = `${node.manifestsDir}/nodeconfig-n1.json`;

    await t.step("not before there is a NodeConfig", async () => {
      await Deno.rename(config, `${node.dir}/nodeconfig`);
      await node.startAgent({ args });
      await until("serving", async () => {
        const { json } = await node.cni("STATUS");
        return String(json?.msg).includes("there is no NodeConfig");
      });
      assertEquals(await names(dir), ["10-other.conflist"]);
      await Deno.rename(`${node.dir}/nodeconfig`, config);
      await node.waitReady();
      await until("conflist", async () => (await names(dir)).includes("01-flock.conflist"));
    });

    await t.step("its first plugin attaches a pod", async () => {
      const { cniVersion, name, plugins } = JSON.parse(await read());
      assertEquals([cniVersion, name, plugins[0].type], ["1.0.0", "flock", "flock"]);
      const pod = await node.createPod({ name: "p" });
      const stdin = JSON.stringify({ cniVersion, name, ...plugins[0] });
      const { code, stdout } = await node.cni("ADD", pod, { stdin });
      assertEquals(code, 0, stdout);
      assertEquals((await node.cni("DEL", pod, { stdin })).code, 0);
    });

    await t.step("it stays when the agent stops, and is put right by the next", async () => {
      const written = await read();
      await node.stopAgent();
      assertEquals(await read(), written);
      await Deno.writeTextFile(file, written.replace(node.socket, "/run/elsewhere.sock"));
      await node.startAgent({ args });
      await until("conflist put right", async () => await read() === written);
      assertEquals(await names(dir), ["01-flock.conflist", "10-other.conflist"]);
      assertEquals(await Deno.readTextFile(`${dir}/10-other.conflist`), "{}");
    });
  },
);

/** How many passes over routes and BIRD's configuration the node's agents have made. */
async function passesOf(node: Node): Promise<number> {
  return (await Deno.readTextFile(`${node.dir}/agent.log`)).split('"msg":"Reconciled"').length - 1;
}

/** Prefixes that BIRD wrote into the main table. */
async function learned(node: Node): Promise<readonly string[]> {
  const routes = [
    ...await node.ipJson("-4", "route", "show", "proto", "bird"),
    ...await node.ipJson("-6", "route", "show", "proto", "bird"),
  ];
  return routes.map(({ dst }) => String(dst)).sort();
}

/** The default routes of both families, as text. */
async function defaults(node: Node): Promise<readonly string[]> {
  const texts = [
    await node.ip("route", "show", "default"),
    await node.ip("-6", "route", "show", "default"),
  ];
  return texts.join("").split("\n").map((line) => line.trim()).filter((line) => line !== "");
}

async function names(dir: string): Promise<readonly string[]> {
  return (await Array.fromAsync(Deno.readDir(dir))).map(({ name }) => name).sort();
}
