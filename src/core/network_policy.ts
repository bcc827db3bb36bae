/**
 * NetworkPolicies (networking.k8s.io/v1) as flock sees them: every default filled in, selectors as
 * requirements, ports as ranges or names. What they mean for a packet is `policy.ts`.
 *
 * In a rule, `undefined` is "all", as in the API; an empty list is "nothing", and comes of an entry that was
 * refused: what cannot be understood allows nothing.
 *
 * @module
 */
import type { LabelSelector } from "./label_selector.ts";
import type { Prefix } from "./cidr.ts";

/** What policies can name (`NetworkPolicyPort.protocol`), and what pods have ports of. */
export type PortProtocol = "TCP" | "UDP" | "SCTP";

/** True for what policies can name; in capitals, as in the API. */
export function isPortProtocol(value: unknown): value is PortProtocol {
  return value === "TCP" || value === "UDP" || value === "SCTP";
}

/** True for the number of a port: 1 to 65535. */
export function isPort(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 1 && (value as number) <= 65_535;
}

/** `NetworkPolicyPort`. All ports of a protocol are 0 to 65535. */
export type PolicyPort =
  | {
    readonly kind: "range";
    readonly protocol: PortProtocol;
    readonly first: number;
    readonly last: number;
  }
  /** A name is another number in each pod that the packet goes to. */
  | { readonly kind: "named"; readonly protocol: PortProtocol; readonly name: string };

/** `NetworkPolicyPeer`. */
export type PolicyPeer =
  | {
    readonly kind: "pods";
    /** Undefined: the policy's own namespace. */
    readonly namespaces?: LabelSelector;
    readonly pods: LabelSelector;
  }
  | { readonly kind: "block"; readonly cidr: Prefix; readonly except: readonly Prefix[] };

/** One rule of a direction: a packet that fits a peer and a port is allowed. */
export interface PolicyRule {
  /** `from` or `to`. Undefined: everybody. */
  readonly peers?: readonly PolicyPeer[];
  /** Undefined: every protocol and port. */
  readonly ports?: readonly PolicyPort[];
}

/** A NetworkPolicy. */
export interface NetworkPolicy {
  readonly namespace: string;
  readonly name: string;
  /** Empty for one that nobody numbered. */
  readonly uid: string;
  /** The pods of its namespace that it is about. */
  readonly podSelector: LabelSelector;
  /** Undefined: it is not about packets to these pods. Empty: none is allowed. */
  readonly ingress?: readonly PolicyRule[];
  /** Undefined: it is not about packets from these pods. */
  readonly egress?: readonly PolicyRule[];
  /** What of it was refused: the path and the reason, a sentence each. */
  readonly problems: readonly string[];
}
