/**
 * From a pod's readiness to the router's kernel table, by the times that `ip -ts monitor` gives there:
 * one change, many at once, what somebody else removed, restarts; and what an idle agent costs.
 *
 * @module
 */
import type { Background } from "../../src/lab/background.ts";
import { createLab, type Lab } from "../../src/lab/lab.ts";
import type { Node } from "../../src/lab/node.ts";
import type { Pod } from "../../src/lab/pod.ts";
import { delay, until } from "../../src/lab/wait.ts";
import { ask } from "../netns/node_probe.ts";
import { METRICS_ADDRESS } from "../netns/scrape.ts";
import { cpuSecondsOf, logged, now } from "./agent_look.ts";
import { inParallel } from "./exec.ts";
import { benchScrapes } from "./metrics_bench.ts";
import { type Measurement, median, percentile } from "./report.ts";

const CHANGES = 100;
const DELETIONS = 50;
const MANY_PODS = 250;
const MANY_ADDRESSES = 200;
const IDLE_SECONDS = 31;
const IDLE_PASSES = 10;
const ANYCAST = "flock.fritzlab.net/anycast";

/** Measures one lab from start to end. */
export async function benchAnycast(executable: string): Promise<readonly Measurement[]> {
  const agentArgs = ["--metrics-address", METRICS_ADDRESS];
  await using lab = await createLab({ executable, nodes: 1, agentArgs });
  await lab.start();
  const node = lab.nodes[0]!;
  const router = await RouterEvents.start(lab);
  const first = ["2001:db8:ffff::1", "203.0.113.200"] as const;
  const pod = await node.createPod({ name: "a", annotations: { [ANYCAST]: first.join(",") } });
  await node.add(pod);
  await router.waitFor(first, 0, true);
  const changes = await readinessChanges(node, pod, first, router);
  const repairs = await foreignDeletions(node, first, router);

  const pods = await manyPods(node);
  const atOnce = await allAtOnce(node, pods, router);
  const reloads = await reloadsOf(node);
  const idle = await idleShare(node);
  const scrapes = await benchScrapes(node, MANY_PODS);
  const restart = await restarts(lab, node, first, router);
  const pass = await passTime(node);
  return [
    { name: "readiness change to router, p50", unit: "ms", value: median(changes), budget: 10 },
    {
      name: "readiness change to router, p99",
      unit: "ms",
      value: percentile(changes, 0.99),
      budget: 50,
    },
    { name: "route deleted to back, p50", unit: "ms", value: median(repairs), budget: 20 },
    {
      name: "route deleted to back, p99",
      unit: "ms",
      value: percentile(repairs, 0.99),
      budget: 500,
    },
    { name: "200 readiness changes at once", unit: "ms", value: atOnce, budget: 500 },
    // One, when the agent first had a NodeConfig.
    { name: "BIRD reloads by all of these", unit: "count", value: reloads - 1, budget: 0 },
    { name: "restarts: updates at router", unit: "count", value: restart.updates, budget: 0 },
    { name: "restarts: packets lost", unit: "count", value: restart.lost, budget: 0 },
    {
      name: "idle agent, 250 pods, 200 addresses",
      unit: "%",
      value: idle * 100,
      budget: 1,
      note: `of a core, over ${IDLE_SECONDS} s`,
    },
    { name: "periodic pass with nothing to do", unit: "ms", value: pass, budget: 15 },
    ...scrapes,
  ];
}

/** The router's events, with the times it saw them. */
class RouterEvents {
  private constructor(readonly process: Background) {}

  static async start(lab: Lab): Promise<RouterEvents> {
    const process = await lab.router.spawn("events", ["ip", "-ts", "-o", "monitor", "route"]);
    await delay(200);
    return new RouterEvents(process);
  }

  /** Every line so far: milliseconds since the epoch, and what it says. */
  async all(): Promise<readonly (readonly [at: number, text: string])[]> {
    const lines = (await Deno.readTextFile(this.process.log)).split("\n");
    return lines.flatMap((line) => {
      const [, time, text] = /^\[(\S+)\] (.*)$/.exec(line) ?? [];
      return time === undefined || text === undefined ? [] : [[Date.parse(time), text] as const];
    });
  }

  /** When the last of these addresses was added, or deleted, after a time. */
  async waitFor(
    addresses: readonly string[],
    since: number,
    added: boolean,
    timeoutMs = 5_000,
  ): Promise<number> {
    return await until(`events of ${addresses.length} addresses`, async () => {
      const seen = new Map<string, number>();
      for (const [at, text] of await this.all()) {
        const [, deleted, address = ""] = /^(Deleted )?(\S+) /.exec(text) ?? [];
        if (at >= since && (deleted === undefined) === added) seen.set(address, at);
      }
      const times = addresses.map((address) => seen.get(address));
      return times.every((at) => at !== undefined) ? Math.max(...times as number[]) : undefined;
    }, { timeoutMs });
  }
}

async function readinessChanges(
  node: Node,
  pod: Pod,
  addresses: readonly string[],
  router: RouterEvents,
): Promise<number[]> {
  const times: number[] = [];
  for (let i = 0; i < CHANGES; i++) {
    const ready = i % 2 === 1;
    await delay(50);
    const at = now();
    await node.updatePod(pod, { ready });
    times.push(await router.waitFor(addresses, at, ready) - at);
  }
  return times;
}

async function foreignDeletions(
  node: Node,
  [address]: readonly string[],
  router: RouterEvents,
): Promise<number[]> {
  const times: number[] = [];
  for (let i = 0; i < DELETIONS; i++) {
    await delay(100);
    const at = now();
    await node.ip("-6", "route", "del", `${address}/128`);
    times.push(await router.waitFor([address!], at, true) - at);
  }
  return times;
}

/** Makes pods up to the number; the first 200 have an anycast address each, and are not Ready. */
async function manyPods(node: Node): Promise<readonly Pod[]> {
  const pods: Pod[] = [];
  for (let i = 0; i < MANY_PODS - 1; i++) {
    const annotations = i < MANY_ADDRESSES ? { [ANYCAST]: addressOf(i) } : undefined;
    pods.push(await node.createPod({ name: `m${i}`, annotations, ready: false }));
  }
  await inParallel(pods.length, 10, async (i) => void await ask(node, "ADD", pods[i]!));
  return pods;
}

function addressOf(i: number): string {
  return `2001:db8:ffff:1::${(i + 1).toString(16)}`;
}

async function allAtOnce(
  node: Node,
  pods: readonly Pod[],
  router: RouterEvents,
): Promise<number> {
  const addresses = Array.from({ length: MANY_ADDRESSES }, (_, i) => addressOf(i));
  const times: number[] = [];
  for (const ready of [true, false, true]) {
    await delay(1_000);
    const at = now();
    for (const pod of pods.slice(0, MANY_ADDRESSES)) await node.updatePod(pod, { ready });
    times.push(await router.waitFor(addresses, at, ready, 10_000) - at);
  }
  return Math.max(...times);
}

async function reloadsOf(node: Node): Promise<number> {
  return (await Deno.readTextFile(node.bird!.log)).split("<INFO> Reconfigured").length - 1;
}

/** Share of a core that the agent and what it runs take. */
async function idleShare(node: Node): Promise<number> {
  await delay(2_000);
  const before = await cpuSecondsOf(node);
  await delay(IDLE_SECONDS * 1_000);
  return (await cpuSecondsOf(node) - before) / IDLE_SECONDS;
}

/** A stream of 100 packets a second in both families, while the agent and then BIRD are restarted. */
async function restarts(
  lab: Lab,
  node: Node,
  addresses: readonly string[],
  router: RouterEvents,
): Promise<{ updates: number; lost: number }> {
  const streams = await Promise.all(
    addresses.map((address, i) =>
      lab.client.spawn(`stream${i}`, ["ping", "-n", "-q", "-i", "0.01", address])
    ),
  );
  await delay(500);
  const since = now();
  await node.killAgent();
  await node.startAgent();
  await node.waitReady();
  await delay(2_000);
  await node.exec(["birdc", "-s", node.birdSocket, "graceful", "restart"]);
  await node.bird!.ended;
  await node.startBird();
  await lab.router.waitSessions(undefined, { timeoutMs: 30_000 });
  await delay(2_000);
  await Promise.all(streams.map((stream) => stream.stop("SIGINT")));
  const losses = await Promise.all(streams.map(async (stream) => {
    const text = await Deno.readTextFile(stream.log);
    const [, sent, received] = /(\d+) packets transmitted, (\d+) received/.exec(text) ?? [];
    return Number(sent) - Number(received);
  }));
  const events = await router.all();
  return {
    updates: events.filter(([at]) => at >= since).length,
    lost: losses.reduce((sum, lost) => sum + lost, 0),
  };
}

/** Median of what a pass takes that finds nothing to do, in milliseconds. */
async function passTime(node: Node): Promise<number> {
  await node.stopAgent();
  await node.startAgent({ args: ["--route-reconcile-interval", "1s"] });
  await node.waitReady();
  await delay((IDLE_PASSES + 2) * 1_000);
  const passes = (await logged(node, "Reconciled")).slice(-IDLE_PASSES);
  return median(passes.map(({ durationMs }) => Number(durationMs)));
}
