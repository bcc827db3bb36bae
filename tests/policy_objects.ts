/**
 * Namespaces, Pods and NetworkPolicies in the API's shape, as far as policies look at them: what tests
 * write, and what is parsed as manifests are.
 *
 * @module
 */
import type { Labels } from "../src/core/label_selector.ts";
import { parseObject } from "../src/core/manifest.ts";
import type { NetworkPolicy } from "../src/core/network_policy.ts";
import type { PolicyPod, PolicyWorld } from "../src/core/policy.ts";

/** `metav1.LabelSelector`. */
export interface ApiSelector {
  readonly matchLabels?: Readonly<Record<string, string>>;
  readonly matchExpressions?: readonly {
    readonly key: string;
    readonly operator: "In" | "NotIn" | "Exists" | "DoesNotExist";
    readonly values?: readonly string[];
  }[];
}

/** `NetworkPolicyPeer`. */
export interface ApiPeer {
  readonly podSelector?: ApiSelector;
  readonly namespaceSelector?: ApiSelector;
  readonly ipBlock?: { readonly cidr: string; readonly except?: readonly string[] };
}

/** `NetworkPolicyPort`. */
export interface ApiPort {
  readonly protocol?: string;
  readonly port?: number | string;
  readonly endPort?: number;
}

/** `NetworkPolicyIngressRule` has `from`, `NetworkPolicyEgressRule` has `to`. */
export interface ApiRule {
  readonly from?: readonly ApiPeer[] | null;
  readonly to?: readonly ApiPeer[] | null;
  readonly ports?: readonly ApiPort[] | null;
}

/** `NetworkPolicySpec`. */
export interface ApiPolicySpec {
  readonly podSelector?: ApiSelector;
  readonly policyTypes?: readonly ("Ingress" | "Egress")[];
  readonly ingress?: readonly ApiRule[] | null;
  readonly egress?: readonly ApiRule[] | null;
}

/** `networking.k8s.io/v1` NetworkPolicy. */
export interface ApiPolicy {
  readonly apiVersion: "networking.k8s.io/v1";
  readonly kind: "NetworkPolicy";
  readonly metadata: { readonly namespace: string; readonly name: string; readonly uid?: string };
  readonly spec: ApiPolicySpec;
}

/** `v1` Namespace. The API server adds the label `kubernetes.io/metadata.name`. */
export interface ApiNamespace {
  readonly apiVersion: "v1";
  readonly kind: "Namespace";
  readonly metadata: { readonly name: string; readonly labels?: Readonly<Record<string, string>> };
}

/** One of a container's ports. */
export interface ApiContainerPort {
  readonly name?: string;
  readonly containerPort: number;
  readonly protocol?: string;
}

/** `v1` Pod. */
export interface ApiPod {
  readonly apiVersion: "v1";
  readonly kind: "Pod";
  readonly metadata: {
    readonly namespace: string;
    readonly name: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
  };
  readonly spec: {
    readonly nodeName: string;
    readonly hostNetwork?: boolean;
    readonly containers: readonly {
      readonly name: string;
      readonly ports?: readonly ApiContainerPort[];
    }[];
  };
  readonly status: {
    readonly phase: "Running" | "Succeeded" | "Failed";
    readonly podIPs: readonly { readonly ip: string }[];
  };
}

/** A NetworkPolicy. */
export function networkPolicy(namespace: string, name: string, spec: ApiPolicySpec): ApiPolicy {
  return {
    apiVersion: "networking.k8s.io/v1",
    kind: "NetworkPolicy",
    metadata: { namespace, name },
    spec,
  };
}

/** A Namespace. */
export function namespace(name: string, labels?: Readonly<Record<string, string>>): ApiNamespace {
  return { apiVersion: "v1", kind: "Namespace", metadata: { name, labels } };
}

/** What a world is made of. */
export interface WorldObjects {
  readonly namespaces: readonly ApiNamespace[];
  readonly pods: readonly ApiPod[];
  readonly policies: readonly ApiPolicy[];
  /** Addresses of nodes by the node's name. */
  readonly nodes?: Readonly<Record<string, readonly string[]>>;
  /** Addresses that pods have besides `status.podIPs`, in the order of the pods. */
  readonly extra?: readonly (readonly string[])[];
}

/** What verdicts rest on, parsed from what an API server delivers. */
export function parseWorld(objects: WorldObjects): PolicyWorld {
  const { namespaces, pods, policies, nodes = {}, extra = [] } = objects;
  return {
    namespaces: new Map(namespaces.map((one): [string, Labels] => {
      const parsed = parseObject(delivered(one));
      if (parsed.kind !== "Namespace") throw new TypeError(`${parsed.kind} is no Namespace`);
      return [parsed.namespace.name, parsed.namespace.labels];
    })),
    pods: pods.flatMap((one, n): PolicyPod[] => {
      const parsed = parseObject(delivered(one));
      if (parsed.kind !== "Pod") throw new TypeError(`${parsed.kind} is no Pod`);
      if (parsed.pod.finished) return [];
      return [{ ...parsed.pod, addresses: [...parsed.pod.addresses, ...extra[n] ?? []] }];
    }),
    policies: policies.map(parsePolicy),
    nodes: new Map(Object.entries(nodes)),
  };
}

/** A policy, parsed from what an API server delivers. */
export function parsePolicy(policy: ApiPolicy): NetworkPolicy {
  const parsed = parseObject(delivered(policy));
  if (parsed.kind !== "NetworkPolicy") throw new TypeError(`${parsed.kind} is no NetworkPolicy`);
  return parsed.policy;
}

function delivered(object: unknown): unknown {
  return JSON.parse(JSON.stringify(object));
}
