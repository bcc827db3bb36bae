/**
 * A node's routes follow its NodeConfig, live, and come back when somebody takes them away. A NodeConfig
 * that is refused changes nothing.
 *
 * @module
 */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import type { Node } from "../../src/lab/node.ts";
import { delay, until } from "../../src/lab/wait.ts";
import { testWith } from "../support.ts";
import { ask, createNodeLab, deafen, refusal } from "./node_probe.ts";

const SPEC = {
  cidr6: ["2001:db8:f001::/64"],
  cidr4: ["10.244.1.0/24"],
  bgp: { asn: 65001, peers: [] },
};
const USUAL = [
  "unreachable 10.244.1.0/24 metric 1000",
  "unreachable 2001:db8:f001::/64 metric 2000",
];
const MORE = {
  ...SPEC,
  cidr6: ["2001:db8:f001::/64", "2001:db8:f101::/64"],
  cidr4: ["10.244.101.0/24"],
};

testWith("netns: a node's routes follow its NodeConfig", ["root", "bird"], async (t) => {
  const { lab, node } = await createNodeLab({ spec: () => SPEC });
  await using _lab = lab;
  // Of an earlier run, and of somebody else.
  await node.ipBatch([
    "route add 2001:db8:f001::dead/128 dev eth0 proto 143 metric 16",
    "route add unreachable 10.244.77.0/24 proto 143 metric 1000",
    "route add 203.0.113.200/32 dev eth0 proto 144 metric 16",
    "route add 198.18.0.0/24 dev eth0 proto static metric 16",
    "route add 2001:db8:f001::beef/128 dev eth0 proto bird metric 16",
    "route add 10.244.78.0/24 dev eth0 proto 143 metric 16 table 100",
  ]);
  await node.startAgent();
  await node.waitReady();

  await t.step("strays go when it starts, and foreign routes and tables stay", async () => {
    await waitOurs(node, USUAL);
    const all = await node.ip("route", "show", "table", "all") +
      await node.ip("-6", "route", "show", "table", "all");
    for (
      const kept of ["198.18.0.0/24 ", "2001:db8:f001::beef ", "10.244.78.0/24 dev eth0 table 100"]
    ) {
      assertStringIncludes(all, kept);
    }
  });

  const pod = await node.createPod({ name: "p" });
  const { ips } = await node.add(pod);
  const [ip6 = "", ip4 = ""] = (ips ?? []).map(({ address }) => address.split("/")[0]!);
  const podRoutes = (protocol4: number): string[] => [
    `${ip6} proto 143 metric 16`,
    `${ip4} proto ${protocol4} metric 16`,
  ];

  await t.step("prefixes that are added and removed are taken over live", async () => {
    await putConfig(node, MORE);
    await waitOurs(node, [
      "unreachable 10.244.101.0/24 metric 1000",
      "unreachable 2001:db8:f001::/64 metric 2000",
      "unreachable 2001:db8:f101::/64 metric 2000",
    ], podRoutes(144));
    // The pod keeps its address, now announced by itself, and CHECK agrees.
    await node.check(pod);
    const other = await node.createPod({ name: "q" });
    await node.add(other);
    assert(other.address("ipv4")?.startsWith("10.244.101."), other.address("ipv4"));
    await node.del(other);
    await node.removePod(other);
    await putConfig(node, SPEC);
    await waitOurs(node, USUAL, podRoutes(143));
    await node.check(pod);
  });

  await t.step("a NodeConfig that is refused changes nothing, also over a restart", async () => {
    await putConfig(node, { ...MORE, mtu: 99 });
    await until("refusal logged", async () => (await logged(node)).includes("Refused NodeConfig"));
    const line = (await logged(node)).split("\n").find((text) =>
      text.includes("Refused NodeConfig")
    )!;
    assertStringIncludes(line, "spec.mtu");
    assertStringIncludes(line, "99");
    const works = async (): Promise<void> => {
      await waitOurs(node, USUAL, podRoutes(143));
      const other = await node.createPod({ name: "q" });
      await node.add(other);
      assert(other.address("ipv4")?.startsWith("10.244.1."), other.address("ipv4"));
      await node.del(other);
      await node.removePod(other);
    };
    await works();
    await node.stopAgent();
    await node.startAgent();
    await node.waitReady();
    await works();
    await putConfig(node, SPEC);
  });

  await t.step("without a NodeConfig from the start nothing is done", async () => {
    await node.stopAgent();
    await Deno.remove(`${node.manifestsDir}/nodeconfig-n1.json`);
    await node.startAgent();
    // Before that it says that its caches are not in sync yet.
    await until("STATUS", async () => {
      const { json } = await node.cni("STATUS");
      return (json?.code === 50 || json?.code === 51) &&
        String(json.msg).includes('there is no NodeConfig "n1"');
    });
    const other = await node.createPod({ name: "r" });
    assertEquals((await refusal(ask(node, "ADD", other))).code, 11);
    await waitOurs(node, USUAL, podRoutes(143));
    // What is deleted is deleted, with or without.
    await node.del(pod);
    await putConfig(node, SPEC);
    await node.waitReady();
    await waitOurs(node, USUAL);
  });
});

testWith("netns: a route that somebody deletes comes back, also where no event is heard", [
  "root",
  "bird",
], async (t) => {
  const { lab, node } = await createNodeLab({ spec: () => SPEC });
  await using _lab = lab;
  const start = async (interval: string): Promise<void> => {
    await node.startAgent({ args: ["--route-reconcile-interval", interval] });
    await node.waitReady();
  };
  const vandalize = (lines: readonly string[]): Promise<void> => node.ipBatch(lines);
  await start("1s");
  const pod = await node.createPod({ name: "p" });
  await node.add(pod);
  const [ip6, ip4] = [pod.address("ipv6")!, pod.address("ipv4")!];
  const podRoutes = [`${ip6} proto 143 metric 16`, `${ip4} proto 143 metric 16`];
  await waitOurs(node, USUAL, podRoutes);
  await deafen(node);

  await t.step("1s: deleted and changed routes are repaired, with a warning", async () => {
    await vandalize([
      `route del ${ip6}/128 metric 16`,
      "route del unreachable 2001:db8:f001::/64 metric 2000",
      `route replace ${ip4}/32 dev eth0 proto 143 metric 16`,
      "route add 2001:db8:f001::dead/128 dev eth0 proto 143 metric 16",
    ]);
    await waitOurs(node, USUAL, podRoutes, { timeoutMs: 5_000 });
    await node.check(pod);
    const lines = (await logged(node)).split("\n").filter((line) =>
      line.includes('"level":"warn"')
    );
    for (
      const prefix of [`${ip6}/128`, "2001:db8:f001::/64", `${ip4}/32`, "2001:db8:f001::dead/128"]
    ) {
      assert(lines.some((line) => line.includes(`"prefix":"${prefix}"`)), `${prefix} in ${lines}`);
    }
  });

  await t.step("0: no periodic pass", async () => {
    await node.stopAgent();
    await start("0");
    await waitOurs(node, USUAL, podRoutes);
    // By the event; its own passes at the start are over by then.
    await delay(1_500);
    await vandalize(["route del unreachable 10.244.1.0/24 metric 1000"]);
    await waitOurs(node, USUAL, podRoutes);
    await deafen(node);
    await vandalize(["route del unreachable 10.244.1.0/24 metric 1000"]);
    // Longer than the interval above: nothing to wait for, it has to stay away.
    await delay(1_500);
    assertEquals((await ours(node)).includes(USUAL[0]!), false);
    // A change of the NodeConfig is a pass, too.
    await putConfig(node, { ...SPEC, mtu: 1400 });
    await waitOurs(node, USUAL, podRoutes);
    await node.stopAgent();
  });

  await t.step("a negative one is refused, exit 2", async () => {
    const agent = await node.startAgent({ args: ["--route-reconcile-interval", "-5s"] });
    await until("agent ended", () => Promise.resolve(!agent.running));
    assertEquals((await agent.ended).code, 2);
    assertStringIncludes(await agent.tail(3), "--route-reconcile-interval");
  });
});

async function putConfig(node: Node, spec: unknown): Promise<void> {
  await node.writeManifest(`nodeconfig-${node.name}.json`, [{
    apiVersion: "flock.fritzlab.net/v1alpha1",
    kind: "NodeConfig",
    metadata: { name: node.name },
    spec,
  }]);
}

/** Routes of the main table that are marked as ours. */
async function ours(node: Node): Promise<readonly string[]> {
  const found: string[] = [];
  for (const family of ["-4", "-6"]) {
    for (const route of await node.ipJson(family, "route", "show")) {
      const { type, dst, protocol, metric } = route;
      if (protocol !== "143" && protocol !== "144") continue;
      const head = type === "unreachable" ? `unreachable ${dst}` : `${dst} proto ${protocol}`;
      found.push(`${head} metric ${metric}`);
    }
  }
  return found.sort();
}

/** Waits until exactly these routes are ours. */
async function waitOurs(
  node: Node,
  unreachable: readonly string[],
  pods: readonly string[] = [],
  options: { readonly timeoutMs?: number } = {},
): Promise<void> {
  const expected = [...unreachable, ...pods].sort();
  await until(`routes ${expected.join(", ")}`, async () => {
    assertEquals(await ours(node), expected);
    return true;
  }, options);
}

async function logged(node: Node): Promise<string> {
  return await Deno.readTextFile(`${node.dir}/agent.log`);
}
