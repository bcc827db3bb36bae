/**
 * What NetworkPolicies mean: whether a packet may pass, and because of which policy. Pure, and written
 * to be read beside the specification; `policy_ruleset.ts` says the same to the kernel.
 *
 * @module
 */
import type { Labels } from "./label_selector.ts";
import type { NetworkPolicy, PortProtocol } from "./network_policy.ts";

/** What policies look at in a pod. */
export interface PolicyPod {
  readonly namespace: string;
  readonly name: string;
  readonly labels: Labels;
  /** Canonical texts. */
  readonly addresses: readonly string[];
  /** It has its node's network: policies know it by its addresses alone. */
  readonly hostNetwork: boolean;
  readonly ports: readonly NamedPort[];
  readonly nodeName?: string;
}

/** A port of a container that has a name. */
export interface NamedPort {
  readonly name: string;
  readonly protocol: PortProtocol;
  readonly port: number;
}

/** All that a verdict rests on. */
export interface PolicyWorld {
  readonly pods: readonly PolicyPod[];
  /** Labels by name. A namespace that is not known here is selected by no `namespaceSelector`. */
  readonly namespaces: ReadonlyMap<string, Labels>;
  readonly policies: readonly NetworkPolicy[];
  /** Addresses of nodes, canonical, by the node's name: traffic of a pod with its own node passes. */
  readonly nodes: ReadonlyMap<string, readonly string[]>;
}

/** One end of a packet. */
export interface Endpoint {
  /** Canonical; both ends' of one family. */
  readonly address: string;
  /** The pod whose link the packet comes from or goes to; undefined: no pod's. */
  readonly pod?: PolicyPod;
}

/** A packet that opens a flow. */
export interface Packet {
  readonly from: Endpoint;
  readonly to: Endpoint;
  /** Lower case, as the kernel names it: `tcp`, `udp`, `sctp`, `icmp`, `icmpv6`, … */
  readonly protocol: string;
  /** Destination port; undefined for protocols without ports. */
  readonly port?: number;
}

/** The name of a policy. */
export interface PolicyName {
  readonly namespace: string;
  readonly name: string;
}

/** What one direction says: `egress` of the pod it comes from, `ingress` of the one it goes to. */
export type Judgement =
  /** No policy selects the pod in this direction, or there is no pod. */
  | { readonly kind: "open" }
  /** Policies are not asked: the packet is between a pod and itself, or its own node. */
  | { readonly kind: "exempt"; readonly why: "itself" | "node" }
  /** The first of the policies that allow it, and its rule, from 0. */
  | { readonly kind: "allowed"; readonly policy: PolicyName; readonly rule: number }
  /** These select the pod, and none of them allows it. */
  | { readonly kind: "denied"; readonly policies: readonly PolicyName[] };

/** Whether a packet may pass. */
export interface Verdict {
  readonly allowed: boolean;
  readonly egress: Judgement;
  readonly ingress: Judgement;
}
