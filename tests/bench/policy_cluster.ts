/**
 * The cluster of `policy_world.ts` in an API server, and the own node's pods in it, which are real ones.
 *
 * @module
 */
import type { Lab } from "../../src/lab/lab.ts";
import type { Node } from "../../src/lab/node.ts";
import type { Pod } from "../../src/lab/pod.ts";
import { until } from "../../src/lab/wait.ts";
import type { JsonObject } from "../fakes/server_side_apply.ts";
import { ApiCluster } from "../netns/api_cluster.ts";
import { clusterPod, namespaces, otherPod, placeOf, policies, WORLD } from "./policy_world.ts";

/** A lab's cluster with many pods. */
export class PolicyCluster {
  private constructor(readonly api: ApiCluster, readonly node: Node) {}

  /** Puts in namespaces and the pods of other nodes. The lab is the cluster's from now on. */
  static async create(lab: Lab): Promise<PolicyCluster> {
    const cluster = new PolicyCluster(await ApiCluster.create(lab), lab.nodes[0]!);
    const { store } = cluster.api.server;
    for (const namespace of namespaces()) store.put("namespaces", namespace);
    for (let n = WORLD.ownPods; n < WORLD.pods; n++) store.put("pods", otherPod(n));
    return cluster;
  }

  /** Makes the own node's pods. They are not attached yet. */
  async createPods(): Promise<readonly Pod[]> {
    const pods: Pod[] = [];
    for (let n = 0; n < WORLD.ownPods; n++) {
      pods.push(await this.node.createPod({ name: `own-${n}`, ...placeOf(n) }));
    }
    const { store } = this.api.server;
    await until(
      "pods in the API server",
      () => Promise.resolve(pods.every(({ key }) => store.get("pods", key) !== undefined)),
    );
    for (const pod of pods) this.put(pod);
    return pods;
  }

  putPolicies(): void {
    for (const policy of policies()) {
      this.api.server.store.put("networkpolicies", policy as unknown as JsonObject);
    }
  }

  /** Writes an own pod as the kubelet does: once it is attached, with its addresses. */
  put(pod: Pod, labels: Readonly<Record<string, string>> = pod.options.labels!): void {
    const addresses = (["ipv4", "ipv6"] as const).map((family) => pod.address(family))
      .filter((address) => address !== undefined);
    const { namespace, options: { name }, uid } = pod;
    const written = clusterPod(name, { namespace, labels }, {
      node: this.node.name,
      uid,
      addresses,
    });
    this.api.server.store.put("pods", written);
  }

  /** Writes a pod of another node with other labels. @returns its IPv6 address */
  relabel(n: number, labels: Readonly<Record<string, string>>): string {
    const pod = otherPod(n);
    this.api.server.store.put("pods", {
      ...pod,
      metadata: { ...pod.metadata as JsonObject, labels },
    });
    return (pod.status as { podIPs: readonly { ip: string }[] }).podIPs[1]!.ip;
  }

  /**
   * Notes when each page of all nodes' pods is asked for. @returns the latest of the times, in milliseconds
   * since the epoch
   */
  notePages(now: () => number): () => number {
    let last = NaN;
    this.api.server.refuse = ({ verb, resource, query }) => {
      if (verb === "list" && resource === "pods" && query.fieldSelector === undefined) last = now();
      return false;
    };
    return () => last;
  }
}
