/**
 * What has to be known of an address to explain it. `agent/explain.ts` gathers it; `explain.ts` judges it.
 *
 * @module
 */
import type { Leg } from "./anycast.ts";
import type { RecordedChange } from "./anycast_changes.ts";
import type { BirdRoute } from "./bird_routes.ts";
import type { Family } from "./cidr.ts";
import type { AddressRole } from "./inspection.ts";

/** A pod that has the address, or one that was asked about and has none. */
export interface HolderFacts {
  /** `namespace/name`; empty for a container without a Pod. */
  readonly pod: string;
  readonly uid: string;
  readonly containerId: string;
  readonly ifname: string;
  readonly state: "pending" | "committed";
  readonly leaving: boolean;
  /** RFC 3339. */
  readonly since: string;
  /** The annotation that asked for the address; undefined: it was given from a pool. */
  readonly annotation?: "anycast" | "addresses";
  /** The Pod with this UID, as the cluster has it. */
  readonly known?: { readonly ready: boolean; readonly terminating: boolean };
  readonly hostIfname: string;
  /** What is wrong with its link, the end of a sentence. */
  readonly linkProblem?: string;
  /** Why the address is not routed to it, or may not be announced: the end of a sentence. */
  readonly heldBack?: string;
}

/** A route to exactly the address, or to the prefix that is announced for it. */
export interface KernelFacts {
  /** As flock wants it; undefined: it wants none. */
  readonly wanted?: string;
  /** As it is in the kernel, at its destination and metric; undefined: it is not there. */
  readonly present?: string;
  /** Next hops and groups it needs that are not in the kernel as they should be. */
  readonly missing: readonly string[];
  /** Next-hop object or group it goes to. */
  readonly nexthopId?: number;
  /** Routes of others to the same destination. */
  readonly others: readonly OtherRoute[];
}

/** A route that is not flock's. */
export interface OtherRoute {
  readonly text: string;
  /** It has the same metric, so that both cannot be there, or a better one. */
  readonly wins: boolean;
}

/** A peer that could hear of the address. */
export interface PeerFacts {
  readonly peer: string;
  readonly asn: number;
  /** BGP's state as BIRD says it, with what hinders it; undefined: BIRD does not answer. */
  readonly state?: string;
  /** Since when, RFC 3339; undefined when BIRD does not say it whole. */
  readonly since?: string;
  /** Why BIRD's configuration does without it. */
  readonly leftOut?: string;
  readonly exported: boolean;
  /** BIRD's export filter rejects it. */
  readonly rejected: boolean;
}

/** What BIRD has. */
export interface BirdFacts {
  /** Why it cannot be asked. */
  readonly error?: string;
  /** Why it does not run the configuration it should; undefined when it does, or is about to. */
  readonly configError?: string;
  /** Of `announced`. */
  readonly routes: readonly BirdRoute[];
}

/** What is known of an address. */
export interface AddressFacts {
  readonly node: string;
  readonly address: string;
  readonly family: Family;
  readonly role: AddressRole;
  /** Whose it is where no pod has it: the end of a sentence that begins with "it is". */
  readonly owner?: string;
  readonly holders: readonly HolderFacts[];
  /** Where the kernel sends it: one for each pod that serves it. */
  readonly legs: readonly Leg[];
  /** The prefix of the node that it is in. */
  readonly nodePrefix?: string;
  /** What is announced for it: the address itself as a prefix, or the node's prefix. */
  readonly announced: string;
  readonly route: KernelFacts;
  /** Where no pod has it: the route that the kernel takes. */
  readonly toward?: string;
  readonly bird: BirdFacts;
  /** Why flock would not let it pass BIRD's export filter; the end of a sentence. */
  readonly refused?: string;
  /** The guard `spec.announce.allowed` is set. */
  readonly guarded: boolean;
  /** Of the address's family. */
  readonly peers: readonly PeerFacts[];
  /** Newest first. */
  readonly changes: readonly RecordedChange[];
}

/** A list for a sentence, cut where it gets long. */
export function listed(parts: readonly string[], most = 8): string {
  const rest = parts.length - most;
  return parts.slice(0, most).join("; ") + (rest > 0 ? `; and ${rest} more` : "");
}
