/**
 * What an operator waits for: `flock status`, from exec to exit, on a node with a usual number of pods.
 *
 * @module
 */
import { createLab } from "../../src/lab/lab.ts";
import type { Pod } from "../../src/lab/pod.ts";
import { emptyProgram, inParallel, samples, timed } from "./exec.ts";
import { type Measurement, median } from "./report.ts";

const PODS = 50;
const CALLS = 20;

/** Measures one lab from start to end. */
export async function benchInspection(executable: string): Promise<readonly Measurement[]> {
  await using lab = await createLab({ executable, nodes: 1 });
  await lab.start();
  const node = lab.nodes[0]!;
  const pods: Pod[] = [];
  for (let i = 0; i < PODS; i++) pods.push(await node.createPod({ name: `pod-${i}` }));
  await inParallel(PODS, 5, async (i) => void await node.add(pods[i]!));
  const times = (...args: readonly string[]): Promise<readonly number[]> =>
    samples(CALLS, () =>
      timed({
        netns: node.netns,
        argv: [executable, ...args],
        env: { FLOCK_SOCKET: node.socket },
      }));
  const empty = median(await emptyProgram(lab.dir, node.netns, CALLS));
  const status = median(await times("status"));
  const routes = median(await times("routes", "-o", "json"));
  return [
    {
      name: `flock status against an empty program, ${PODS} pods`,
      unit: "×",
      value: status / empty,
      budget: 4,
      note: `status ${status.toFixed(1)} ms, empty ${empty.toFixed(1)} ms`,
    },
    { name: `flock routes -o json, ${PODS} pods`, unit: "ms", value: routes },
  ];
}
