/**
 * What policies cost a node with many pods in a cluster with more: the table written whole, one change of
 * labels, ADD, memory, and the periodic look.
 *
 * @module
 */
import type { Background } from "../../src/lab/background.ts";
import { createLab } from "../../src/lab/lab.ts";
import type { Node } from "../../src/lab/node.ts";
import type { Pod } from "../../src/lab/pod.ts";
import { delay, until } from "../../src/lab/wait.ts";
import { hostIfname } from "../netns/node_probe.ts";
import { addShares, logged, megabytesOf, now } from "./agent_look.ts";
import { inParallel, runPlugin, samples } from "./exec.ts";
import { PolicyCluster } from "./policy_cluster.ts";
import { labelsOf, placeOf, WORLD } from "./policy_world.ts";
import { type Measurement, median, percentile } from "./report.ts";

const ADDS = 25;
const BURST = 100;
const AT_A_TIME = 10;
const CHANGES = 40;
const FOUND = "Found packet filter table in force";
const STATUS_CALLS = 20;
/** An app that no policy selects, and whose pods many of them name. */
const OTHER_APP = 7;

/** Measures one lab from start to end. */
export async function benchPolicies(executable: string): Promise<readonly Measurement[]> {
  await using lab = await createLab({ executable, nodes: 1 });
  const cluster = await PolicyCluster.create(lab);
  const { node } = cluster;
  await node.startAgent();
  await node.waitReady();
  const pods = await cluster.createPods();

  const add = async (pod: Pod): Promise<void> => {
    pod.result = JSON.parse((await runPlugin(node, executable, "ADD", pod)).stdout);
    cluster.put(pod);
  };
  const statusTime = async (): Promise<number> => {
    // What was asked for is over.
    await delay(3_000);
    return median(await samples(STATUS_CALLS, () => runPlugin(node, executable, "STATUS")));
  };
  const burst = async (those: readonly Pod[]): Promise<number> => {
    const began = performance.now();
    await inParallel(those.length, AT_A_TIME, (i) => add(those[i]!));
    return (performance.now() - began) / those.length;
  };
  const [single, many, singleWith, manyWith] = [ADDS, ADDS + BURST, 2 * ADDS + BURST, pods.length];
  for (const pod of pods.slice(0, single)) await add(pod);
  const addWithout = median(await addShares(node));
  const burstWithout = await burst(pods.slice(single, many));
  const statusWithout = await statusTime();

  cluster.putPolicies();
  await until("policies in force", async () => (await chainsOf(node)) > 0, { timeoutMs: 60_000 });
  await node.waitReady();
  for (const pod of pods.slice(many, singleWith)) await add(pod);
  const addWith = median((await addShares(node)).slice(-ADDS));
  const burstWith = await burst(pods.slice(singleWith, manyWith));
  const statusWith = await statusTime();

  const changes = await labelChanges(cluster, pods);
  const memory = await megabytesOf(node, "VmRSS");
  const starts = await restarts(cluster);
  const look = await lookTime(node);
  const note = `${WORLD.policies} policies, ${WORLD.ownPods} of ${WORLD.pods} pods`;
  return [
    {
      name: "policies: start, last page of pods to table",
      unit: "ms",
      value: starts.written,
      budget: 2_000,
      note: `written whole, ${starts.chains} chains; ${note}`,
    },
    {
      name: "policies: the same, table found in force",
      unit: "ms",
      value: starts.found,
      budget: 2_000,
    },
    {
      name: "policies: other node's pod's labels to kernel, p50",
      unit: "ms",
      value: median(changes.other),
      budget: 50,
      note: `p95 ${percentile(changes.other, 0.95).toFixed(0)} ms`,
    },
    {
      name: "policies: own pod's labels to kernel, p50",
      unit: "ms",
      value: median(changes.own),
      budget: 50,
      note: `p95 ${percentile(changes.own, 0.95).toFixed(0)} ms`,
    },
    { name: "policies: agent's memory, after changes", unit: "MB", value: memory, budget: 220 },
    {
      name: "policies: agent's memory at most, start",
      unit: "MB",
      value: starts.peak,
      budget: 220,
      note: "table written whole",
    },
    {
      name: "policies: a look at the table",
      unit: "ms",
      value: look,
      note: "now and then, and after what others do to it",
    },
    {
      name: "policies: agent's share of ADD, p50",
      unit: "ms",
      value: addWith,
      note: `${addWithout.toFixed(1)} ms without policies`,
    },
    {
      name: `policies: one of ${BURST} ADDs, ${AT_A_TIME} at a time`,
      unit: "ms",
      value: burstWith,
      note: `${burstWithout.toFixed(1)} ms without policies`,
    },
    {
      name: "policies: STATUS against the same without",
      unit: "×",
      value: statusWith / statusWithout,
      budget: 1.2,
      note: `${statusWith.toFixed(1)} ms`,
    },
  ];
}

/** Chains of policies that are in the kernel. */
async function chainsOf(node: Node): Promise<number> {
  const { stdout } = await node.exec(["nft", "list", "chains", "inet"]);
  return stdout.split("\n").filter((line) => /^\tchain (in|e)gress\//.test(line)).length;
}

/** Milliseconds from a write to the API server until the kernel has told of the change. */
async function labelChanges(
  cluster: PolicyCluster,
  pods: readonly Pod[],
): Promise<{ readonly other: readonly number[]; readonly own: readonly number[] }> {
  const { node } = cluster;
  const monitor = await node.spawn("elements", ["nft", "monitor", "elements"]);
  // It begins with the pod that is changed first: what was heard of is heard of again.
  await until("monitor", async () => {
    cluster.relabel(WORLD.ownPods, labelsOf(OTHER_APP));
    cluster.relabel(WORLD.ownPods, placeOf(WORLD.ownPods).labels);
    await delay(500);
    return (await Deno.stat(monitor.log)).size > 0;
  }, { timeoutMs: 60_000 });
  const other: number[] = [];
  const own: number[] = [];
  for (let n = 1; n <= CHANGES; n++) {
    await delay(150);
    other.push(await told(monitor, () => cluster.relabel(WORLD.ownPods + n, labelsOf(OTHER_APP))));
    const pod = pods[n]!;
    await delay(150);
    own.push(
      await told(monitor, () => {
        cluster.put(pod, labelsOf(OTHER_APP));
        return `"${hostIfname(pod)}"`;
      }),
    );
  }
  await monitor.stop();
  for (const pod of pods.slice(1, CHANGES + 1)) cluster.put(pod);
  return { other, own };
}

/** Milliseconds from the begin of a change until what it returns is told by a monitor. */
async function told(monitor: Background, change: () => string): Promise<number> {
  const { size } = await Deno.stat(monitor.log);
  const began = performance.now();
  const text = change();
  await until(`"${text}" in the kernel`, async () => {
    if ((await Deno.stat(monitor.log)).size === size) return false;
    return (await Deno.readTextFile(monitor.log)).slice(size).includes(text);
  }, { everyMs: 1 });
  return performance.now() - began;
}

/** Milliseconds from what an agent reads last to what it says of the table; and its memory at most. */
async function restarts(
  cluster: PolicyCluster,
): Promise<{ written: number; found: number; peak: number; chains: number }> {
  const { node } = cluster;
  const lastPage = cluster.notePages(now);
  const start = async (msg: string): Promise<number> => {
    const before = (await logged(node, msg)).length;
    await node.startAgent();
    const line = await until(msg, async () => (await logged(node, msg))[before], {
      timeoutMs: 60_000,
    });
    return Date.parse(String(line.ts)) - lastPage();
  };
  await node.stopAgent();
  await node.exec(["nft", "delete", "table", "inet", "flock"]);
  const written = await start("Wrote packet filter table");
  const peak = await megabytesOf(node, "VmHWM");
  const chains = await chainsOf(node);
  await node.stopAgent();
  const found = await start(FOUND);
  return { written, found, peak, chains };
}

/** Milliseconds of a look at the table that finds it as it should be. */
async function lookTime(node: Node): Promise<number> {
  await node.stopAgent();
  const before = (await logged(node, FOUND)).length;
  await node.startAgent({ args: ["--route-reconcile-interval", "1s"] });
  const found = await until(FOUND, async () => (await logged(node, FOUND))[before], {
    timeoutMs: 60_000,
  });
  const look = await until(
    "a look at the table",
    async () =>
      (await logged(node, "Looked at packet filter table"))
        .find(({ ts }) => Date.parse(String(ts)) > Date.parse(String(found.ts))),
    {
      timeoutMs: 60_000,
    },
  );
  return Number(look.durationMs);
}
