/**
 * The cluster's objects as flock sees them, and the interface of whatever delivers them: a directory of
 * manifests or an API server. Never the client's or the API's own shapes.
 *
 * @module
 */

/** What flock uses of a Pod. */
export interface Pod {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly nodeName?: string;
  readonly annotations: Readonly<Record<string, string>>;
  /** The controlling owner, if any. */
  readonly owner?: { readonly kind: string; readonly name: string; readonly uid: string };
  /** Label `pod-template-hash`, which a ReplicaSet's name ends with. */
  readonly templateHash?: string;
  /** `spec.containers[0].image`. */
  readonly image?: string;
  /** Condition `Ready` is true. */
  readonly ready: boolean;
  /** `deletionTimestamp` is set. */
  readonly terminating: boolean;
}

/** A NodeConfig as it was read, before validation. */
export interface NodeConfigObject {
  readonly name: string;
  readonly generation?: number;
  readonly annotations: Readonly<Record<string, string>>;
  readonly spec: unknown;
}

/** Where Pods and NodeConfigs come from. */
export interface ClusterSource {
  /** True once everything was read at least once. */
  readonly synced: boolean;
  /** All pods known, any node's. */
  pods(): Iterable<Pod>;
  /** One pod, from what is cached. */
  pod(namespace: string, name: string): Pod | undefined;
  /** One pod, asking the source of truth now. */
  fetchPod(namespace: string, name: string, signal: AbortSignal): Promise<Pod | undefined>;
  /** One NodeConfig, from what is cached. */
  nodeConfig(name: string): NodeConfigObject | undefined;
  /** Calls the listener after every change of what is cached. */
  onChange(listener: () => void): Disposable;
  /** Keeps the cache up to date until the signal aborts. */
  run(signal: AbortSignal): Promise<void>;
}
