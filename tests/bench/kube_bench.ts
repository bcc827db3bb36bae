/**
 * The agent of a node with many pods in a cluster with more: how long it needs to know its own, and what
 * that costs in memory; and what it costs to know all of them, for policies.
 *
 * @module
 */
import { createLab } from "../../src/lab/lab.ts";
import { until } from "../../src/lab/wait.ts";
import { apiPod, apiPolicy } from "../fakes/cluster.ts";
import type { JsonObject } from "../fakes/server_side_apply.ts";
import { ApiCluster } from "../netns/api_cluster.ts";
import { megabytesOf } from "./agent_look.ts";
import type { Measurement } from "./report.ts";

const CLUSTER_PODS = 5_000;
const OWN_PODS = 250;
const POLICIES = 1_000;
/** Kinds of pods: those of one kind have the same labels but for one. */
const APPS = 200;

/** Measures one start of an agent. */
export async function benchKube(executable: string): Promise<readonly Measurement[]> {
  await using lab = await createLab({ executable, nodes: 1 });
  const node = lab.nodes[0]!;
  const cluster = await ApiCluster.create(lab);
  for (let n = 0; n < CLUSTER_PODS; n++) {
    const own = n < OWN_PODS;
    cluster.server.store.put("pods", largePod(n, own ? node.name : `other-${n % 50}`));
  }
  const started = performance.now();
  await node.startAgent();
  await node.waitReady({ everyMs: 5 });
  const ms = performance.now() - started;
  const peak = await megabytesOf(node, "VmHWM");
  for (let n = 0; n < POLICIES; n++) cluster.server.store.put("networkpolicies", largePolicy(n));
  await until("watch of all pods", () =>
    Promise.resolve(
      cluster.server.requests.some(({ verb, resource, query }) =>
        verb === "watch" && resource === "pods" && query.fieldSelector === undefined
      ),
    ));
  const peakWithPolicies = await megabytesOf(node, "VmHWM");
  const note = `${OWN_PODS} of ${CLUSTER_PODS} pods, API server on the same machine`;
  return [
    { name: "agent's start to ready, API server", unit: "ms", value: ms, budget: 2_000, note },
    { name: "agent's memory at most, API server", unit: "MB", value: peak, budget: 160, note },
    {
      name: "agent's memory at most, with policies",
      unit: "MB",
      value: peakWithPolicies,
      budget: 220,
      note: `${POLICIES} policies, ${note}`,
    },
  ];
}

/** A policy with a few rules of each kind, for the pods of one app. */
function largePolicy(n: number): JsonObject {
  const ports: JsonObject[] = [{ port: 8_000 + n % 100 }, { protocol: "UDP", port: 53 }];
  const app = (k: number): JsonObject => ({ matchLabels: { app: `app-${k % APPS}` } });
  return apiPolicy(`policy-${n}`, {
    podSelector: app(n),
    policyTypes: ["Ingress", "Egress"],
    ingress: [
      { from: [{ podSelector: app(n + 1) }, { podSelector: app(n + 2) }], ports },
      { from: [{ namespaceSelector: { matchLabels: { team: `team-${n % 20}` } } }], ports },
    ],
    egress: [{
      to: [{ ipBlock: { cidr: "10.0.0.0/8", except: [`10.${n % 250}.0.0/16`] } }],
      ports,
    }],
  });
}

/** A pod of some 8 kB, as one with a sidecar and its managed fields is. */
function largePod(n: number, node: string): JsonObject {
  const name = `web-${n}`;
  const pod = apiPod(name, {
    node,
    labels: { app: `app-${n % APPS}`, "app.kubernetes.io/instance": `release-${n % APPS}` },
    addresses: [`10.${n >> 8}.${n & 255}.9`, `2001:db8:${n >> 8}:${n & 255}::9`],
  });
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
