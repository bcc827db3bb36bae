/**
 * The API server is killed for half a minute, and the node goes on: pods that are known are attached, pods
 * go, what somebody breaks is repaired. All that changes meanwhile is caught up with when it is back.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { FAMILIES } from "../../src/core/cidr.ts";
import { createLab } from "../../src/lab/lab.ts";
import type { Node } from "../../src/lab/node.ts";
import type { Pod } from "../../src/lab/pod.ts";
import { delay, until } from "../../src/lab/wait.ts";
import { EXECUTABLE } from "../executable.ts";
import { apiNode } from "../fakes/cluster.ts";
import type { JsonObject } from "../fakes/server_side_apply.ts";
import { testWith } from "../support.ts";
import { ApiCluster } from "./api_cluster.ts";
import { stored, tracesInPod } from "./node_probe.ts";

const ROUNDS = 6;
const ROUND_MS = 5_000;
/** The agent tries again after 30 s at the latest; what it learns then is done within seconds. */
const CAUGHT_UP = { timeoutMs: 40_000 };
/** A prefix that the NodeConfig gets meanwhile. */
const NEW_PREFIX = "2001:db8:f101::/64";
const ANYCAST = { "flock.fritzlab.net/anycast": "2001:db8:ffff::53,203.0.113.200" };

testWith("netns: an API server that is away for 30 s costs nothing", [
  "root",
  "bird",
  "ping",
], async (t) => {
  await using lab = await createLab({
    executable: EXECUTABLE,
    nodes: 1,
    agentArgs: ["--route-reconcile-interval", "1s"],
  });
  const node = lab.node("n1");
  const cluster = await ApiCluster.create(lab);
  const { server } = cluster;
  const network = (): string | undefined => cluster.conditions("nodes", "n1").NetworkUnavailable;
  await lab.start();
  await until("available", () => Promise.resolve(network() === "False FlockReady"));

  const names = (prefix: string): string[] =>
    Array.from({ length: ROUNDS }, (_, n) => `${prefix}-${n}`);
  const make = (all: readonly string[]): Promise<Pod[]> =>
    Promise.all(all.map((name) => node.createPod({ name })));
  const web = await node.createPod({ name: "web", annotations: ANYCAST });
  const waiting = await node.createPod({ name: "waiting", annotations: ANYCAST, ready: false });
  const changed = await node.createPod({ name: "changed" });
  const replaced = await node.createPod({ name: "replaced" });
  const known = await make(names("known"));
  const doomed = await make(names("doomed"));
  // Behind the others in the watch: where it is, they are.
  const last = await node.createPod({ name: "last" });
  for (const pod of [last, web, waiting, replaced, ...doomed]) await node.add(pod);
  const agent = node.agent!;

  await server.stop();
  const lost = server.requests.length;
  let unknown: Pod[] = [];
  let successor: Pod | undefined;

  await t.step(
    "meanwhile pods that are known come, pods go, unknown ones have to wait",
    async () => {
      unknown = await make(names("unknown"));
      for (let n = 0; n < ROUNDS; n++) {
        const next = delay(ROUND_MS);
        // Ready, not ready, …: the API server takes note of it, and nobody is told.
        await node.updatePod(web, { ready: n % 2 === 1 });
        await node.updatePod(waiting, { ready: n % 2 === 0 });
        const [refused] = await Promise.all([
          node.cni("ADD", unknown[n]!),
          node.add(known[n]!),
          node.del(doomed[n]!),
        ]);
        assertEquals([refused.code, refused.json?.code], [1, 11], refused.stdout);
        assertEquals(await tracesInPod(unknown[n]!), []);
        await node.removePod(doomed[n]!);
        await assertReached(lab.router, known[n]!);
        assertEquals((await node.cni("STATUS")).stdout, "");
        await next;
      }
    },
  );

  await t.step("meanwhile a route that somebody deletes comes back", async () => {
    const route = `${web.address("ipv6")}/128`;
    await node.ip("-6", "route", "del", route);
    await node.waitRoute(route);
    await assertReached(lab.router, web);
  });

  await t.step("what the cluster was told meanwhile is not known, and costs nothing", async () => {
    const config = server.store.get("nodeconfigs", "n1") as JsonObject;
    const spec = config.spec as JsonObject;
    const cidr6 = [...spec.cidr6 as readonly string[], NEW_PREFIX];
    await node.writeManifest("nodeconfig-n1.json", [{
      apiVersion: config.apiVersion,
      kind: config.kind,
      metadata: { name: "n1" },
      spec: { ...spec, cidr6 },
    }]);
    const annotations = { "flock.fritzlab.net/ipv4": "false" };
    await node.updatePod(changed, { annotations, ready: false });
    // As kubelet's or a cloud controller's last word.
    server.store.put("nodes", apiNode("n1"));
    // Another pod of the same name, as a StatefulSet makes one.
    await node.del(replaced);
    await node.removePod(replaced);
    successor = await node.createPod({ name: "replaced" });
    assertEquals((await node.cni("ADD", successor)).json?.code, 11);
    assertEquals(await node.route(NEW_PREFIX), undefined);
    assertEquals(server.requests.length, lost, "the API server was not away");
    for (const pod of [web, waiting, last, ...known]) await node.check(pod);
  });

  server.resume();
  await t.step(
    "it is back: pods that had to wait are attached as soon as kubelet asks",
    async () => {
      for (const pod of [...unknown, successor!]) {
        await until(`${pod.key} attached`, async () => {
          await node.add(pod);
          return true;
        });
      }
    },
  );

  await t.step("it is back: NodeConfig and pods are as they were made meanwhile", async () => {
    await node.waitRoute(NEW_PREFIX, CAUGHT_UP);
    await lab.router.waitRoute(NEW_PREFIX);
    const watches = (): boolean =>
      server.requests.slice(lost).some(({ verb, resource }) =>
        verb === "watch" && resource === "pods"
      );
    await until("watch of pods", () => Promise.resolve(watches()), CAUGHT_UP);
    // A watch needs milliseconds.
    await delay(500);
    await node.add(changed);
    assert(changed.address("ipv6") !== undefined);
    assertEquals(changed.address("ipv4"), undefined);
  });

  const all = [web, waiting, last, changed, successor!, ...known, ...unknown];
  await t.step("it is back: every attachment is whole, and no other is there", async () => {
    const kept = (await stored(node)).map(({ containerId }) => containerId);
    assertEquals(kept.sort(), all.map(({ containerId }) => containerId).sort());
    assertEquals((await hostLinks(node)).length, all.length);
    for (const pod of all) {
      await node.check(pod);
      await assertReached(lab.router, pod);
    }
  });

  await t.step("it is back: the cluster is told how the node is", async () => {
    await until("available", () => Promise.resolve(network() === "False FlockReady"), CAUGHT_UP);
    assertEquals(cluster.conditions("nodes", "n1").Ready, "True KubeletReady");
    await until("status", () => {
      const { metadata, status } = server.store.get("nodeconfigs", "n1") as JsonObject;
      const { addresses, observedGeneration } = status as JsonObject;
      const { ipv6, ipv4 } = addresses as Record<string, JsonObject>;
      assertEquals([ipv6?.allocated, ipv4?.allocated], [all.length, all.length - 1]);
      assertEquals(observedGeneration, (metadata as JsonObject).generation);
      return Promise.resolve(true);
    }, CAUGHT_UP);
    const { Accepted, Programmed, PeersEstablished } = cluster.conditions("nodeconfigs", "n1");
    assertEquals([Accepted, Programmed, PeersEstablished], [
      "True Valid",
      "True Applied",
      "True Established",
    ]);
  });

  assert(agent === node.agent && agent.running, "it was the same agent all the time");
});

testWith("netns: while the API server is away, a pod's addresses are judged by what is known", [
  "root",
  "bird",
], async () => {
  await using lab = await createLab({ executable: EXECUTABLE, nodes: 1 });
  const node = lab.node("n1");
  const cluster = await ApiCluster.create(lab);
  const pods = await Promise.all(
    ["one", "two"].map((name) => node.createPod({ name, annotations: ANYCAST })),
  );
  const bad = await node.createPod({
    name: "bad",
    annotations: { "flock.fritzlab.net/anycast": "198.51.100.1" },
  });
  await node.startAgent();
  await node.waitReady();
  await cluster.server.stop();
  for (const pod of pods) await node.add(pod);
  assertEquals((await node.cni("ADD", bad)).json?.code, 102, "the node knows its peers by itself");
  assertEquals((await stored(node)).map(({ podName }) => podName).sort(), ["one", "two"]);
  const warnings = (await Deno.readTextFile(`${node.dir}/agent.log`)).split("\n")
    .filter((line) => line.includes("Could not read other nodes"));
  assertEquals(warnings.length, 1, "it is tried again after half a minute");
});

/** Asserts that a pod answers over each family it has. */
async function assertReached(from: Pick<Node, "ping">, pod: Pod): Promise<void> {
  for (const family of FAMILIES) {
    const address = pod.address(family);
    if (address === undefined) continue;
    assert(await from.ping(address) !== undefined, `${pod.key} at ${address}`);
  }
}

async function hostLinks(node: Node): Promise<string[]> {
  const links = await node.ipJson("link", "show");
  return links.map(({ ifname }) => String(ifname)).filter((name) => name.startsWith("flock"));
}
