/**
 * The agent killed (SIGKILL) at any moment of an ADD, and started again: nothing is left of that ADD, or,
 * when it had been committed, a complete attachment.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { until } from "../../src/lab/wait.ts";
import type { Node } from "../../src/lab/node.ts";
import type { Pod } from "../../src/lab/pod.ts";
import { testWith } from "../support.ts";
import { type FaultStep, FaultyTools } from "./faulty_tools.ts";
import {
  ask,
  assertNothingLeft,
  createNodeLab,
  hostIfname,
  stored,
  tracesOnNode,
} from "./node_probe.ts";

const ANNOTATIONS = { "flock.fritzlab.net/anycast": "2001:db8:ffff::53,203.0.113.200" };

/** One ADD and where it is when the agent is killed. */
interface Victim {
  readonly pod: Pod;
  readonly step: FaultStep;
  /** Name of its plan. */
  readonly name: string;
  readonly line: number;
}

testWith("netns: an agent killed between or within the steps of ADDs undoes them at its start", [
  "root",
  "bird",
], async (t) => {
  const { lab, node } = await createNodeLab();
  await using _lab = lab;
  const tools = await FaultyTools.create(node);
  await tools.startAgent(node);
  const victims = await makeVictims(node, tools);
  const pods = victims.map(({ pod }) => pod);

  for (const mode of ["die with it", "outlive it"]) {
    await t.step(`commands that ${mode}`, async () => {
      const answers = victims.map(async ({ pod, step, name, line }) => {
        await tools.plan(step, name, { kind: "hold", line });
        return await ask(node, "ADD", pod).then(() => "added", () => "no answer");
      });
      for (const { step, name } of victims) await tools.held(step, name);
      assertEquals(
        (await stored(node)).map(({ state }) => state),
        victims.map(() => "pending"),
        "on disk before the first link is made",
      );
      assert((await tracesOnNode(node)).length > victims.length);
      await node.killAgent();
      assertEquals(new Set(await Promise.all(answers)), new Set(["no answer"]));
      for (const { step, name } of victims) {
        const pid = await tools.held(step, name);
        if (mode === "outlive it") await tools.release(step, name);
        else await tools.kill(step, name);
        await until(`end of ${pid}`, () => hasEnded(pid), { everyMs: 5 });
      }
      await tools.startAgent(node);
      await assertNothingLeft(node, pods);
    });
  }

  await t.step("their addresses can be given again", async () => {
    const results = await Promise.all(pods.map((pod) => ask(node, "ADD", pod)));
    const addresses = results.flatMap(({ ips }) => ips.map(({ address }) => address));
    assertEquals(new Set(addresses).size, 2 * pods.length);
    await Promise.all(pods.map((pod) => ask(node, "DEL", pod)));
    await assertNothingLeft(node, pods);
  });
});

testWith(
  "netns: an agent killed before or after a durable write of an ADD has all of it or nothing",
  [
    "root",
    "bird",
    "strace",
  ],
  async (t) => {
    const { lab, node } = await createNodeLab();
    await using _lab = lab;
    const pod = await node.createPod({ name: "p", annotations: ANNOTATIONS });
    const state = async (): Promise<string | undefined> => (await stored(node))[0]?.state;
    const temps = async (): Promise<number> =>
      (await names(node.stateDir)).filter((name) => name.endsWith(".tmp")).length;
    const wired = async (): Promise<boolean> => (await tracesOnNode(node)).length > 0;

    const moments: Readonly<Record<string, readonly [() => Promise<boolean>, left: string]>> = {
      "pending written, not in place": [
        async () => await temps() > 0 && await state() === undefined,
        "nothing",
      ],
      "pending in place": [async () => await state() === "pending" && !await wired(), "nothing"],
      "committed written, not in place": [
        async () => await temps() > 0 && await state() === "pending" && await wired(),
        "nothing",
      ],
      "committed in place, not answered": [async () => await state() === "committed", "all"],
    };
    for (const [name, [reached, left]] of Object.entries(moments)) {
      await t.step(name, async () => {
        await node.startAgent();
        await node.waitReady();
        await slowDownWrites(node);
        const answer = ask(node, "ADD", pod).then(() => "added", () => "no answer");
        await until(name, reached, { everyMs: 2 });
        await node.killAgent();
        assertEquals(await answer, "no answer");
        await node.startAgent();
        await node.waitReady();
        if (left === "all") {
          const [kept] = await stored(node);
          assertEquals(kept?.state, "committed");
          await node.add(pod);
          assertEquals(pod.address("ipv6"), kept?.ip6, "the repeated ADD has the same answer");
          await node.check(pod);
          await ask(node, "DEL", pod);
        }
        await assertNothingLeft(node, [pod]);
        assertEquals(await temps(), 0, "a temporary file of the killed agent");
        await node.stopAgent();
      });
    }
  },
);

/** One pod for each line of both batches, before it and after the last, and one that is being entered. */
async function makeVictims(node: Node, tools: FaultyTools): Promise<readonly Victim[]> {
  const create = (name: string): Promise<Pod> => node.createPod({ name, annotations: ANNOTATIONS });
  const first = await create("first");
  await ask(node, "ADD", first);
  await ask(node, "DEL", first);
  const victims: Victim[] = [{ pod: first, step: "enter", name: first.netns, line: 0 }];
  for (const step of ["host", "pod"] as const) {
    const count = (await tools.seen(step, hostIfname(first))).length;
    assert(count >= 10, `${count} lines`);
    for (let line = 0; line <= count; line++) {
      const pod = await create(`${step}-${line}`);
      victims.push({ pod, step, name: hostIfname(pod), line });
    }
  }
  return victims;
}

/** Delays what makes the agent's writes durable, so that there is time between them. */
async function slowDownWrites(node: Node): Promise<void> {
  const strace = await node.spawn("strace", [
    ...["strace", "-f", "-q", "-p", String(node.agent?.pid)],
    ...["-e", "trace=fsync,rename", "-e", "inject=fsync,rename:delay_enter=150000"],
  ]);
  await until("strace attached", async () => {
    await strace.assertRunning();
    const tasks = await names(`/proc/${node.agent?.pid}/task`);
    const traced = await Promise.all(
      tasks.map(async (task) =>
        !/^TracerPid:\t0$/m.test(
          await Deno.readTextFile(`/proc/${node.agent?.pid}/task/${task}/status`),
        )
      ),
    );
    return traced.every(Boolean);
  });
}

async function names(dir: string): Promise<readonly string[]> {
  return (await Array.fromAsync(Deno.readDir(dir))).map(({ name }) => name);
}

async function hasEnded(pid: number): Promise<boolean> {
  const stat = await Deno.readTextFile(`/proc/${pid}/stat`).catch(() => undefined);
  return stat === undefined || / \(.*\) Z /.test(stat);
}
