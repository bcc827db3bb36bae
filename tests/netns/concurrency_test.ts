/**
 * Many requests at the same time, and requests that meet: no address is given twice, nothing is left, and
 * whoever asks twice gets one answer.
 *
 * @module
 */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import type { Pod } from "../../src/lab/pod.ts";
import { until } from "../../src/lab/wait.ts";
import { testWith } from "../support.ts";
import { FaultyTools } from "./faulty_tools.ts";
import {
  abandonAdd,
  ask,
  assertNothingLeft,
  createNodeLab,
  hostIfname,
  stored,
  tracesInPod,
  tracesOnNode,
} from "./node_probe.ts";

const PODS = 100;
const AT_A_TIME = 12;

testWith("netns: a hundred concurrent ADDs and DELs give no address twice and leave nothing", [
  "root",
  "bird",
], async () => {
  const { lab, node } = await createNodeLab();
  await using _lab = lab;
  await node.startAgent();
  await node.waitReady();
  const pods = await Promise.all(
    Array.from({ length: PODS }, (_, n) => node.createPod({ name: `p${n}` })),
  );
  /** Address → the pod that has it now. */
  const holders = new Map<string, Pod>();
  const given: string[] = [];
  let most = 0;

  await atATime(pods, async (pod, n) => {
    const { ips = [] } = await node.add(pod);
    for (const { address } of ips) {
      assertEquals(holders.get(address)?.key, undefined, `${address} is given to ${pod.key} too`);
      holders.set(address, pod);
      given.push(address);
    }
    most = Math.max(most, holders.size);
    assertEquals(ips.length, 2);
    // Some stay until all are there.
    if (n % 4 === 0) return;
    if (n % 4 === 1) await node.check(pod);
    // As soon as the agent has the DEL, the address is free for others.
    for (const { address } of ips) holders.delete(address);
    await node.del(pod);
  });
  assert(most > AT_A_TIME, `${most} addresses were held at a time`);
  assertEquals(given.length, 2 * PODS);
  const remaining = pods.filter((_, n) => n % 4 === 0);
  assertEquals(
    (await stored(node)).map(({ podName }) => podName).sort(),
    remaining.map((pod) => pod.options.name).sort(),
  );
  await atATime(remaining, (pod) => node.del(pod));
  await assertNothingLeft(node, pods);
});

testWith("netns: requests for the same container meet", ["root", "bird"], async (t) => {
  const { lab, node } = await createNodeLab();
  await using _lab = lab;
  const tools = await FaultyTools.create(node);
  await tools.startAgent(node);
  const pod = await node.createPod({ name: "p" });
  const name = hostIfname(pod);

  for (const step of ["host", "pod"] as const) {
    await t.step(`DEL while an ADD is at its ${step} batch undoes it`, async () => {
      await tools.plan(step, name, { kind: "hold", line: 3 });
      const add = node.cni("ADD", pod);
      await tools.held(step, name);
      let deleted = false;
      const del = ask(node, "DEL", pod).then(() => deleted = true);
      // The plugin's whole way there and back: by then the agent has the DEL, too.
      assertEquals((await node.cni("STATUS")).code, 0);
      assert(!deleted, "it waits for the ADD");
      await tools.release(step, name);
      const { code, json } = await add;
      assertEquals([code, json?.code], [1, 3]);
      assertStringIncludes(String(json?.msg), "it was deleted meanwhile");
      await del;
      await assertNothingLeft(node, [pod]);
    });
  }

  await t.step("ADD twice at the same time gives one answer", async () => {
    await tools.plan("pod", name, { kind: "hold" });
    const both = [ask(node, "ADD", pod), ask(node, "ADD", pod)];
    await tools.held("pod", name);
    await tools.release("pod", name);
    const [first, second] = await Promise.all(both);
    assertEquals(second, first);
    assertEquals((await stored(node)).length, 1);
  });

  await t.step("ADD again gives the same answer, and touches nothing", async () => {
    const before = await tracesOnNode(node);
    const first = await node.add(pod);
    assertEquals(await node.add(pod), first);
    assertEquals(await tracesOnNode(node), before);
    await node.check(pod);
    await ask(node, "DEL", pod);
    await assertNothingLeft(node, [pod]);
  });

  await t.step("a client that goes away during its ADD has it undone", async () => {
    await tools.plan("pod", name, { kind: "hold", line: 5 });
    await abandonAdd(node, pod, async () => {
      await tools.held("pod", name);
      assertEquals((await stored(node)).map(({ state }) => state), ["pending"]);
    });
    await tools.release("pod", name);
    await until("ADD undone", async () => (await stored(node)).length === 0);
    await assertNothingLeft(node, [pod]);
  });

  await t.step(
    "SIGTERM lets an ADD finish, then the agent goes and leaves the pod alone",
    async () => {
      await tools.plan("pod", name, { kind: "hold", line: 5 });
      const add = node.cni("ADD", pod);
      await tools.held("pod", name);
      const stopped = node.stopAgent("SIGTERM");
      await until("socket closed", () => refuses(node.socket));
      await tools.release("pod", name);
      const { code, stdout } = await add;
      assertEquals(code, 0, stdout);
      assertEquals((await stopped)?.code, 0);
      assertEquals((await stored(node)).map(({ state }) => state), ["committed"]);
      assert((await tracesInPod(pod)).length > 0);
      assert(await node.ping(await addressOf(pod)) !== undefined, "the pod answers");
      await tools.startAgent(node);
      await ask(node, "DEL", pod);
      await assertNothingLeft(node, [pod]);
    },
  );
});

/** Runs work for every pod, some at a time. */
async function atATime(
  pods: readonly Pod[],
  work: (pod: Pod, n: number) => Promise<unknown>,
): Promise<void> {
  const queue = [...pods.entries()];
  await Promise.all(Array.from({ length: AT_A_TIME }, async () => {
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
      await work(next[1], next[0]);
    }
  }));
}

async function refuses(socket: string): Promise<boolean> {
  try {
    (await Deno.connect({ transport: "unix", path: socket })).close();
    return false;
  } catch {
    return true;
  }
}

async function addressOf(pod: Pod): Promise<string> {
  const [link] = await pod.ipJson("-6", "addr", "show", "dev", "eth0") as [
    { addr_info: { local: string }[] },
  ];
  return link.addr_info[0]!.local;
}
