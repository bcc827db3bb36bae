/**
 * A cluster in memory: what is put into it is cached at once, unless it is put into the API server only,
 * as when the watch is behind.
 *
 * @module
 */
import { claimsOf, type NodeClaim } from "../../src/core/node_claims.ts";
import type { NetworkPolicy } from "../../src/core/network_policy.ts";
import type {
  ClusterNode,
  ClusterSource,
  Namespace,
  NodeConfigObject,
  PeerPod,
  Pod,
} from "../../src/core/objects.ts";

export class FakeSource implements ClusterSource {
  synced = true;
  damaged = false;
  policiesSynced = true;
  /** Pods that only the API server has; an error means it is away. */
  api: readonly Pod[] | Error = [];
  /** How often the API server was asked. */
  fetches = 0;
  readonly nodes = new Map<string, ClusterNode>();
  readonly #pods = new Map<string, Pod>();
  readonly #configs = new Map<string, NodeConfigObject>();
  readonly #policies = new Map<string, NetworkPolicy>();
  readonly #namespaces = new Map<string, Namespace>();
  readonly #listeners = new Set<() => void>();

  /** Number of listeners. */
  get listeners(): number {
    return this.#listeners.size;
  }

  put(pod: Pod): void {
    this.#pods.set(`${pod.namespace}/${pod.name}`, pod);
    this.#notify();
  }

  remove(namespace: string, name: string): void {
    this.#pods.delete(`${namespace}/${name}`);
    this.#notify();
  }

  putConfig(name: string, spec: unknown, annotations: NodeConfigObject["annotations"] = {}): void {
    this.#configs.set(name, { name, spec, annotations });
    this.#notify();
  }

  removeConfig(name: string): void {
    this.#configs.delete(name);
    this.#notify();
  }

  putPolicy(policy: NetworkPolicy): void {
    this.#policies.set(`${policy.namespace}/${policy.name}`, policy);
    this.#notify();
  }

  removePolicy(namespace: string, name: string): void {
    this.#policies.delete(`${namespace}/${name}`);
    this.#notify();
  }

  putNamespace(namespace: Namespace): void {
    this.#namespaces.set(namespace.name, namespace);
    this.#notify();
  }

  removeNamespace(name: string): void {
    this.#namespaces.delete(name);
    this.#notify();
  }

  pods(): Iterable<Pod> {
    return this.#pods.values();
  }

  pod(namespace: string, name: string): Pod | undefined {
    return this.#pods.get(`${namespace}/${name}`);
  }

  fetchPod(namespace: string, name: string, signal: AbortSignal): Promise<Pod | undefined> {
    signal.throwIfAborted();
    this.fetches++;
    if (this.api instanceof Error) return Promise.reject(this.api);
    const found = this.api.find((pod) => pod.namespace === namespace && pod.name === name);
    return Promise.resolve(found ?? this.pod(namespace, name));
  }

  nodeConfig(name: string): NodeConfigObject | undefined {
    return this.#configs.get(name);
  }

  node(name: string): ClusterNode | undefined {
    return this.nodes.get(name);
  }

  claims(): Promise<readonly NodeClaim[]> {
    const cluster = { nodeConfigs: this.#configs.values(), nodes: this.nodes.values() };
    return Promise.resolve(claimsOf(cluster));
  }

  policies(): Iterable<NetworkPolicy> {
    return this.#policies.values();
  }

  namespaces(): Iterable<Namespace> {
    return this.#namespaces.values();
  }

  /** Every pod that was put here, as in a directory of manifests. */
  peers(): Iterable<PeerPod> {
    return this.#pods.values();
  }

  onChange(listener: () => void): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) };
  }

  run(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => signal.addEventListener("abort", () => resolve()));
  }

  #notify(): void {
    for (const listener of [...this.#listeners]) listener();
  }
}

/** A pod with what a test says of it. */
export function fakePod(pod: Partial<Pod> = {}): Pod {
  return {
    namespace: "default",
    name: "web",
    uid: "u1",
    labels: {},
    annotations: {},
    addresses: [],
    hostNetwork: false,
    ports: [],
    finished: false,
    ready: true,
    terminating: false,
    ...pod,
  };
}

/** Annotations of a mirror pod: the kubelet's of a static pod whose configuration has this hash. */
export function mirror(hash: string): Readonly<Record<string, string>> {
  return {
    "kubernetes.io/config.hash": hash,
    "kubernetes.io/config.mirror": hash,
    "kubernetes.io/config.seen": "2026-01-01T00:00:00.000000000Z",
    "kubernetes.io/config.source": "file",
  };
}
