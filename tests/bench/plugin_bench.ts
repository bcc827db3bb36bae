/**
 * What a container runtime sees of the plugin: ADD, STATUS, many at once, the first packet; beside the
 * reference plugins, in the same run.
 *
 * @module
 */
import { createLab } from "../../src/lab/lab.ts";
import type { Node } from "../../src/lab/node.ts";
import type { Pod } from "../../src/lab/pod.ts";
import { addShares, megabytesOf } from "./agent_look.ts";
import { emptyProgram, inParallel, runPlugin, samples, type Timed, timed } from "./exec.ts";
import { type Measurement, median } from "./report.ts";

const REFERENCE_DIR = "/usr/lib/cni";
const ADDS = 30;
const REFERENCE_ADDS = 20;
const PTP_ADDS = 3;
const BURST = 100;
const BURST_AT_A_TIME = 10;
const MANY_PODS = 250;

/** Measures one lab from start to end. */
export async function benchPlugin(executable: string): Promise<readonly Measurement[]> {
  await using lab = await createLab({ executable, nodes: 1 });
  await lab.start();
  const node = lab.nodes[0]!;

  const empty = await emptyProgram(lab.dir, node.netns, ADDS);
  const status = await samples(ADDS, () => runPlugin(node, executable, "STATUS"));

  const pods = await newPods(node, ADDS, "add");
  const adds: number[] = [];
  const pings: number[] = [];
  for (const pod of pods) {
    const { ms, stdout } = await runPlugin(node, executable, "ADD", pod);
    adds.push(ms);
    pod.result = JSON.parse(stdout);
    for (const family of ["ipv6", "ipv4"] as const) {
      pings.push(await firstPing(pod, lab.plan.nodes[0]!.addresses[family]!));
    }
  }
  const shares = await addShares(node);
  for (const pod of pods) await runPlugin(node, executable, "DEL", pod);

  const bridge = await benchReference(node, "bridge", REFERENCE_ADDS);
  const ptp = await benchReference(node, "ptp", PTP_ADDS);

  const burst = await newPods(node, BURST, "burst");
  const started = performance.now();
  await inParallel(BURST, BURST_AT_A_TIME, async (i) => {
    await runPlugin(node, executable, "ADD", burst[i]!);
  });
  const burstMs = performance.now() - started;

  const rest = await newPods(node, MANY_PODS - BURST, "many");
  await inParallel(rest.length, BURST_AT_A_TIME, async (i) => {
    await runPlugin(node, executable, "ADD", rest[i]!);
  });
  const memory = await megabytesOf(node, "VmRSS");

  const add = median(adds);
  return [
    { name: "ADD, exec to result, p50", unit: "ms", value: add },
    {
      name: "ADD against reference bridge",
      unit: "×",
      value: add / bridge,
      budget: 4.0,
      note: `bridge ${bridge.toFixed(1)} ms`,
    },
    {
      name: "ADD against reference ptp",
      unit: "×",
      value: add / ptp,
      budget: 0.03,
      note: `ptp ${ptp.toFixed(0)} ms`,
    },
    { name: "first ping after ADD, slowest", unit: "ms", value: Math.max(...pings), budget: 5 },
    { name: "agent's share of ADD, p50", unit: "ms", value: median(shares), budget: 14 },
    {
      name: "STATUS against an empty program",
      unit: "×",
      value: median(status) / median(empty),
      budget: 1.5,
      note: `STATUS ${median(status).toFixed(1)} ms, empty ${median(empty).toFixed(1)} ms`,
    },
    { name: "100 ADDs, 10 at a time", unit: "ms", value: burstMs, budget: 4_000 },
    { name: `agent's memory, ${MANY_PODS} pods`, unit: "MB", value: memory, budget: 100 },
  ];
}

async function newPods(node: Node, count: number, name: string): Promise<readonly Pod[]> {
  const pods: Pod[] = [];
  for (let i = 0; i < count; i++) pods.push(await node.createPod({ name: `${name}-${i}` }));
  return pods;
}

/** Milliseconds of the first packet's way there and back. @throws {Error} when it is lost */
async function firstPing(pod: Pod, to: string): Promise<number> {
  const { stdout } = await timed({
    netns: pod.netns,
    argv: ["/usr/bin/ping", "-n", "-c", "1", "-W", "1", to],
  });
  return Number(/time=([\d.]+)/.exec(stdout)?.[1] ?? NaN);
}

/** Median of a reference plugin's ADD, dual stack, with host-local addresses. */
async function benchReference(node: Node, type: string, count: number): Promise<number> {
  const dataDir = `${node.dir}/${type}`;
  const conf = {
    cniVersion: "1.0.0",
    name: type,
    type,
    ...(type === "bridge" ? { bridge: "cni0", isGateway: true } : {}),
    ipam: {
      type: "host-local",
      dataDir,
      ranges: [[{ subnet: "10.66.0.0/16" }], [{ subnet: "2001:db8:66::/64" }]],
      routes: [{ dst: "0.0.0.0/0" }, { dst: "::/0" }],
    },
  };
  const times: number[] = [];
  for (const pod of await newPods(node, count, type)) {
    const call = (verb: "ADD" | "DEL"): Promise<Timed> =>
      timed({
        netns: node.netns,
        argv: [`${REFERENCE_DIR}/${type}`],
        env: {
          ...node.cniEnv(verb, pod),
          CNI_PATH: REFERENCE_DIR,
          PATH: "/usr/sbin:/usr/bin:/sbin:/bin",
        },
        stdin: JSON.stringify(conf),
      });
    times.push((await call("ADD")).ms);
    await call("DEL");
  }
  return median(times);
}
