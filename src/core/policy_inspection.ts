/**
 * What `flock policies` and `flock policies explain` show, as `inspection.ts` has it of the other
 * commands: fields are added, never renamed or removed; one that is not there is not known, or does not
 * apply.
 *
 * @module
 */
import type { Family } from "./cidr.ts";
import type { Judgement } from "./policy.ts";
import type { Count } from "./policy_counters.ts";

/** Whether what the agent knows of policies is what the kernel does. */
export interface PolicyForce {
  /** What the cluster asks for is known, and in the kernel or on its way there. */
  readonly inForce: boolean;
  /** What is not known, or what failed. */
  readonly error?: string;
}

/** `flock policies`: every NetworkPolicy, and what they make of this node's pods. */
export interface PolicyList extends PolicyForce {
  readonly kind: "PolicyList";
  readonly node: string;
  readonly items: readonly PolicyItem[];
  /** Items that were left out because there are too many for one answer. */
  readonly omitted?: number;
  readonly pods: readonly PolicyPodItem[];
  readonly podsOmitted?: number;
  /** Why the pods have no counts. */
  readonly countersError?: string;
}

/** A NetworkPolicy. */
export interface PolicyItem {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly types: readonly ("Ingress" | "Egress")[];
  /** As `kubectl get pods --selector` takes it; empty: every pod of the namespace. */
  readonly podSelector: string;
  /** Names of this node's pods that it selects. */
  readonly selects: readonly string[];
  readonly selectsOmitted?: number;
  /** Its rules in words; empty: nothing is allowed; absent: it is not about this direction. */
  readonly ingress?: readonly string[];
  readonly egress?: readonly string[];
  /** Rules that were left out because there are too many for one answer. */
  readonly rulesOmitted?: number;
  /** What of it cannot be used, and allows nothing. */
  readonly problems: readonly string[];
}

/** A pod of this node that is attached. */
export interface PolicyPodItem {
  /** `namespace/name`. */
  readonly pod: string;
  readonly hostIfname: string;
  readonly mode: "enforce" | "audit";
  readonly ingress: PolicyPodDirection;
  readonly egress: PolicyPodDirection;
  /** Packets from addresses that it does not have, dropped. */
  readonly spoofed?: Count;
}

export interface PolicyPodDirection {
  /**
   * Policies of its namespace that select it; absent: none does, and everything passes; empty: the pod is
   * not known any more, and everything is denied.
   */
  readonly policies?: readonly string[];
  readonly policiesOmitted?: number;
  /** Denied, and dropped. */
  readonly dropped?: Count;
  /** Denied, and passed in mode `audit`. */
  readonly audited?: Count;
}

/** `flock policies explain`: whether a packet may pass, and why. */
export interface PolicyExplanation extends PolicyForce {
  readonly kind: "PolicyExplanation";
  readonly node: string;
  /** As they were asked. */
  readonly from: string;
  readonly to: string;
  readonly port: string;
  /** It passes on every way. */
  readonly passes: boolean;
  /** One for each family, and for each pod that shares an address that was asked. */
  readonly items: readonly PolicyPath[];
  readonly omitted?: number;
}

/** A packet from one end to the other. */
export interface PolicyPath {
  readonly family: Family;
  readonly protocol: string;
  readonly port?: number;
  readonly from: PolicyEnd;
  readonly to: PolicyEnd;
  /** The policies allow it. */
  readonly allowed: boolean;
  /** It passes: it is allowed, or denied in mode `audit` only. */
  readonly passes: boolean;
  readonly egress: PolicyJudgement;
  readonly ingress: PolicyJudgement;
}

export interface PolicyEnd {
  readonly address: string;
  /** `namespace/name`; absent: no pod's address, as far as the agent knows. */
  readonly pod?: string;
  /** The pod has its node's network, and is known to policies by its address alone. */
  readonly hostNetwork?: true;
  /** The node that the pod is on, or whose address it is. */
  readonly node?: string;
}

/** What policies say of one direction. */
export interface PolicyJudgement {
  /** `open`: nothing selects the pod, or there is none; `exempt`: policies are not asked. */
  readonly outcome: Judgement["kind"];
  /** `namespace/name` of the one that allows it, or of all that select the pod and do not. */
  readonly policies: readonly string[];
  /** Of the policy that allows it, from 1. */
  readonly rule?: number;
  /** The mode of the pod; absent: it is not on this node, or not selected. */
  readonly mode?: "enforce" | "audit";
  readonly passes: boolean;
  readonly text: string;
}
