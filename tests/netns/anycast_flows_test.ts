/**
 * Replicas of an anycast address on one node: one that leaves, returns or joins breaks no connection to
 * the others. The same with plain multipath, which is what a kernel without resilient next-hop groups
 * gets, shows that it would. Real connections from the client behind the router.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { parseAddress } from "../../src/core/cidr.ts";
import { hostCidr } from "../../src/core/wiring.ts";
import type { Lab, LabOptions } from "../../src/lab/lab.ts";
import type { Node } from "../../src/lab/node.ts";
import type { Pod } from "../../src/lab/pod.ts";
import { until } from "../../src/lab/wait.ts";
import { testWith } from "../support.ts";
import { addReplica, waitReplicas } from "./anycast_lab.ts";
import { FaultyTools } from "./faulty_tools.ts";
import {
  assertNoneBroken,
  brokenOf,
  type Flow,
  FlowClient,
  type HeldFlow,
  serversOf,
} from "./flows.ts";
import { createNodeLab } from "./node_probe.ts";

/** Addresses that two pods share, and addresses that all share. */
const TWO = ["2001:db8:ffff::2", "203.0.113.202"];
const FOUR = ["2001:db8:ffff::4", "203.0.113.204"];
/** Connections to each address. */
const COUNT = 200;
/** The pod that leaves, and returns or joins; a member of both. */
const MOVER = "p1";

for (const design of ["a", "b", "c"] as const) {
  testWith(
    `netns: a pod of two and of four leaves and returns, the others' clients stay: design (${design})`,
    ["root", "bird"],
    async (t) => {
      await using scene = await createScene({ design });
      const { node, pods, client } = scene;
      await addPods(scene, 4);
      for (const address of [...TWO, ...FOUR]) assert(await isGroup(node, address), address);
      await holdAll(scene);

      await t.step("it leaves", async () => {
        await node.updatePod(pods[0]!, { ready: false });
        await waitMembers(scene, pods.slice(1));
        const flows = await client.look();
        assertNoneBroken(othersOf(flows), "connections to the others");
        const own = flows.filter(({ server }) => server === MOVER);
        assertEquals(brokenOf(own).length, own.length, "its own were told");
      });
      await t.step("it returns", async () => {
        await node.updatePod(pods[0]!);
        await waitMembers(scene, pods);
        assertNoneBroken(othersOf(await client.look()), "connections to the others");
      });
      // The kernel's part is the same in every design, and takes its time.
      if (design !== "b") return;
      await t.step("it gets new connections", async () => {
        for (const address of [...TWO, ...FOUR]) await waitServed(client, address);
        assertNoneBroken(othersOf(await client.look()), "connections to the others");
      });
    },
  );
}

testWith("netns: a third pod joins two, no connection breaks", ["root", "bird"], async () => {
  await using scene = await createScene();
  const { node, pods, client } = scene;
  // In the order of their names the new one is the first: its place in the group makes no difference.
  await addPods(scene, 3);
  await node.updatePod(pods[0]!, { ready: false });
  await waitMembers(scene, pods.slice(1));
  const flows = await holdAll(scene, FOUR);
  assertEquals(serversOf(flows), ["p2", "p3"]);

  await node.updatePod(pods[0]!);
  await waitMembers(scene, pods);
  assertNoneBroken(await client.look(), "connections while a pod joins");
  // It gets buckets of the group that are idle: with 200 connections there may be none.
  await client.release(flows.filter(({ id }) => id % 2 === 0));
  for (const address of FOUR) await waitServed(client, address);
  assertNoneBroken(await client.look(), "connections after a pod joined");
});

testWith("netns: with plain multipath a pod that leaves breaks connections to others", [
  "root",
  "bird",
], async () => {
  await using scene = await createScene({}, { resilientGroups: false });
  const { node, pods, client } = scene;
  await addPods(scene, 4);
  for (const address of FOUR) assert(!await isGroup(node, address), address);
  await holdAll(scene, FOUR);
  await node.updatePod(pods[0]!, { ready: false });
  await waitMembers(scene, pods.slice(1));
  const flows = await client.look();
  for (const address of FOUR) {
    const others = othersOf(flows).filter((flow) => flow.address === address);
    assert(brokenOf(others).length > 0, `none of ${others.length} connections to ${address} broke`);
  }
});

/** One node with pods `p1`, `p2`, …, and the client behind the router. */
interface Scene extends AsyncDisposable {
  readonly lab: Lab;
  readonly node: Node;
  readonly client: FlowClient;
  readonly pods: Pod[];
}

async function createScene(
  options: Partial<LabOptions> = {},
  tools?: { readonly resilientGroups: boolean },
): Promise<Scene> {
  await using undo = new AsyncDisposableStack();
  const { lab, node } = await createNodeLab(options);
  undo.use(lab);
  await node.startBird();
  if (tools === undefined) await node.startAgent();
  else await (await FaultyTools.create(node, tools)).startAgent(node);
  await node.waitReady();
  await lab.router.waitSessions();
  const client = await FlowClient.start(lab.client);
  undo.move();
  return { lab, node, client, pods: [], [Symbol.asyncDispose]: () => lab[Symbol.asyncDispose]() };
}

/** Adds ready pods: the first two have all addresses, the others those that all share. */
async function addPods(scene: Scene, count: number): Promise<void> {
  for (let i = 1; i <= count; i++) {
    const addresses = i <= 2 ? [...TWO, ...FOUR] : FOUR;
    scene.pods.push(await addReplica(scene.node, `p${i}`, addresses));
  }
  await waitMembers(scene, scene.pods);
}

/** Waits until exactly these pods of the scene get traffic. */
async function waitMembers({ node, pods }: Scene, members: readonly Pod[]): Promise<void> {
  const two = pods.slice(0, 2).filter((pod) => members.includes(pod));
  for (const address of TWO) await waitReplicas(node, address, two);
  for (const address of FOUR) await waitReplicas(node, address, members);
}

/** Whether the node's route to an address leads to a next-hop group. */
async function isGroup(node: Node, address: string): Promise<boolean> {
  return (await node.route(hostCidr(parseAddress(address))))?.nexthopId !== undefined;
}

/** Opens connections to addresses; every pod that has one of them gets some. */
async function holdAll(
  { lab, client }: Scene,
  addresses: readonly string[] = [...TWO, ...FOUR],
): Promise<readonly HeldFlow[]> {
  const flows: HeldFlow[] = [];
  for (const address of addresses) {
    await lab.router.waitRoute(hostCidr(parseAddress(address)));
    flows.push(...await client.hold(address, COUNT));
  }
  return flows;
}

/** Waits until a new connection to an address reaches the pod that came back: once a bucket was idle. */
async function waitServed(client: FlowClient, address: string): Promise<void> {
  await until(`${MOVER} answers at ${address}`, async () => {
    const flows = await client.fetch(address, 2);
    assertNoneBroken(flows, "new connections");
    return flows.some(({ server }) => server === MOVER);
  }, { timeoutMs: 30_000, everyMs: 250 });
}

function othersOf<F extends Flow>(flows: readonly F[]): readonly F[] {
  return flows.filter(({ server }) => server !== MOVER);
}
