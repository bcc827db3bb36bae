/**
 * The agent of a node with many pods in a cluster with more: how long it needs to know its own, and what
 * that costs in memory.
 *
 * @module
 */
import { createLab } from "../../src/lab/lab.ts";
import { apiPod } from "../fakes/cluster.ts";
import type { JsonObject } from "../fakes/server_side_apply.ts";
import { ApiCluster } from "../netns/api_cluster.ts";
import type { Measurement } from "./report.ts";

const CLUSTER_PODS = 5_000;
const OWN_PODS = 250;

/** Measures one start of an agent. */
export async function benchKube(executable: string): Promise<readonly Measurement[]> {
  await using lab = await createLab({ executable, nodes: 1 });
  const node = lab.nodes[0]!;
  const cluster = await ApiCluster.create(lab);
  for (let n = 0; n < CLUSTER_PODS; n++) {
    const own = n < OWN_PODS;
    cluster.server.store.put("pods", largePod(`web-${n}`, own ? node.name : `other-${n % 50}`));
  }
  const started = performance.now();
  await node.startAgent();
  await node.waitReady({ everyMs: 5 });
  const ms = performance.now() - started;
  const status = await Deno.readTextFile(`/proc/${node.agent!.pid}/status`);
  const peak = Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1] ?? NaN) * 1024 / 1e6;
  const note = `${OWN_PODS} of ${CLUSTER_PODS} pods, API server on the same machine`;
  return [
    { name: "agent's start to ready, API server", unit: "ms", value: ms, budget: 2_000, note },
    { name: "agent's memory at most, API server", unit: "MB", value: peak, budget: 160, note },
  ];
}

/** A pod of some 8 kB, as one with a sidecar and its managed fields is. */
function largePod(name: string, node: string): JsonObject {
  const pod = apiPod(name, { node });
  const managedFields = [{ manager: "kubelet", fieldsV1: { text: "f:status ".repeat(300) } }];
  const env = Array.from({ length: 60 }, (_, n) => ({
    name: `VARIABLE_${n}`,
    value: `the value of variable ${n} of ${name}, of some length`,
  }));
  const containers = [{ name: "web", image: "example.net/web:1", env }];
  return {
    ...pod,
    metadata: { ...pod.metadata as JsonObject, managedFields },
    spec: { ...pod.spec as JsonObject, containers },
  };
}
