/**
 * The cluster's objects as flock sees them, and the interface of whatever delivers them: a directory of
 * manifests or an API server. Never the client's or the API's own shapes.
 *
 * @module
 */
import type { Labels } from "./label_selector.ts";
import type { NetworkPolicy } from "./network_policy.ts";
import type { NodeClaim } from "./node_claims.ts";
import type { NodeConfigStatus } from "./node_config_status.ts";
import type { NamedPort } from "./policy.ts";

/** What flock uses of a Pod. */
export interface Pod {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly nodeName?: string;
  readonly labels: Labels;
  readonly annotations: Readonly<Record<string, string>>;
  /** `status.podIPs`, canonical. */
  readonly addresses: readonly string[];
  /** `spec.hostNetwork`. */
  readonly hostNetwork: boolean;
  /** Containers' ports that have a name. */
  readonly ports: readonly NamedPort[];
  /** `status.phase` is `Succeeded` or `Failed`: its addresses may be somebody else's. */
  readonly finished: boolean;
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

/** What policies look at in a pod, of any node. */
export type PeerPod = Pick<
  Pod,
  | "namespace"
  | "name"
  | "uid"
  | "nodeName"
  | "labels"
  | "annotations"
  | "addresses"
  | "hostNetwork"
  | "ports"
  | "finished"
>;

/** What flock uses of a Namespace. */
export interface Namespace {
  readonly name: string;
  /** With `kubernetes.io/metadata.name`. */
  readonly labels: Labels;
  readonly annotations: Readonly<Record<string, string>>;
}

/** What a condition says, and since when. */
export interface KnownCondition {
  readonly type: string;
  readonly status: string;
  /** RFC 3339, as written. */
  readonly lastTransitionTime: string;
}

/** A NodeConfig as it was read, before validation. */
export interface NodeConfigObject {
  readonly name: string;
  /** Absent for one that nobody but its author numbered. */
  readonly uid?: string;
  readonly generation?: number;
  readonly annotations: Readonly<Record<string, string>>;
  readonly spec: unknown;
  /** Conditions that its status has already. */
  readonly conditions?: readonly KnownCondition[];
}

/** What flock uses of a Node. */
export interface ClusterNode {
  readonly name: string;
  /** It has the label by which nodes opt in. */
  readonly optedIn?: true;
  /** `spec.podCIDRs`, as written. */
  readonly podCidrs: readonly string[];
  /** Its addresses among `status.addresses`, as written. */
  readonly addresses: readonly string[];
  /** Condition `NetworkUnavailable`; undefined when the node has none. */
  readonly networkUnavailable?: {
    readonly status: string;
    readonly reason: string;
    /** RFC 3339, as written. */
    readonly lastTransitionTime?: string;
  };
}

/** Where a value in a Secret is. */
export interface SecretReference {
  readonly namespace: string;
  readonly name: string;
  readonly key: string;
}

/** What came of reading a value in a Secret. */
export type SecretValue =
  | { readonly kind: "value"; readonly value: string }
  | { readonly kind: "missing"; readonly reason: string }
  /** Nobody granted this Secret to flock. */
  | { readonly kind: "forbidden" };

/** Something a person should see with `kubectl describe`. */
export interface ClusterEvent {
  readonly object:
    | {
      readonly kind: "Pod";
      readonly namespace: string;
      readonly name: string;
      readonly uid: string;
    }
    | { readonly kind: "NodeConfig"; readonly name: string; readonly uid?: string };
  readonly type: "Normal" | "Warning";
  /** One word in UpperCamelCase. */
  readonly reason: string;
  readonly message: string;
}

/** Where Pods and NodeConfigs come from. */
export interface ClusterSource {
  /** True once everything was read at least once. */
  readonly synced: boolean;
  /** True when something there cannot be read: what seems to be absent may be in it. */
  readonly damaged?: boolean;
  /** All pods known, any node's. */
  pods(): Iterable<Pod>;
  /** One pod, from what is cached. */
  pod(namespace: string, name: string): Pod | undefined;
  /** One pod, asking the source of truth now. */
  fetchPod(namespace: string, name: string, signal: AbortSignal): Promise<Pod | undefined>;
  /** One NodeConfig, from what is cached. */
  nodeConfig(name: string): NodeConfigObject | undefined;
  /** The own Node, from what is cached; undefined where there are no Nodes. */
  node(name: string): ClusterNode | undefined;
  /**
   * What the nodes have for themselves, as far as it can be told: what cannot be asked now is as it was
   * last known. Rejects only when the signal aborts.
   */
  claims(signal: AbortSignal): Promise<readonly NodeClaim[]>;
  /** True once everything that policies rest on was read at least once. */
  readonly policiesSynced: boolean;
  /**
   * Why what policies rest on is not known, or not as it is now; undefined when it is.
   */
  readonly policiesProblem?: string;
  /** Every NetworkPolicy. An object that has not changed is the same one as before. */
  policies(): Iterable<NetworkPolicy>;
  /** Every namespace. */
  namespaces(): Iterable<Namespace>;
  /** The pods of all nodes, the own one's too; none where there are no policies. */
  peers(): Iterable<PeerPod>;
  /** Calls the listener after every change of what is cached. */
  onChange(listener: () => void): Disposable;
  /** Keeps the cache up to date until the signal aborts. */
  run(signal: AbortSignal): Promise<void>;
}

/** What flock tells the cluster. Every method but `recordEvent` rejects when that failed. */
export interface ClusterWriter {
  /**
   * Sets the condition `NetworkUnavailable` of a Node to False. Other conditions are left alone.
   *
   * @param now the time of the heartbeat, and of the transition where it is one
   */
  setNetworkAvailable(node: string, now: Date, signal: AbortSignal): Promise<void>;
  /** Removes the condition `NetworkUnavailable` of a Node, whoever set it. Other conditions are left alone. */
  removeNetworkAvailable(node: string, signal: AbortSignal): Promise<void>;
  /** Replaces what flock says in a NodeConfig's status. */
  applyNodeConfigStatus(
    name: string,
    status: NodeConfigStatus,
    signal: AbortSignal,
  ): Promise<void>;
  /** Records an event; repeated ones are counted, too many dropped. Never waits and never throws. */
  recordEvent(event: ClusterEvent): void;
  /** One value of a Secret, as it is now. */
  readSecret(reference: SecretReference, signal: AbortSignal): Promise<SecretValue>;
}
