/**
 * A NodeConfig's status: what flock says of a node in the API, computed from what the agent knows. The
 * form is that of the CRD; conditions are `metav1.Condition`.
 *
 * | condition | True when |
 * | --- | --- |
 * | `Accepted` | the object, with what it takes from `default` and the Node, is in force |
 * | `Programmed` | BIRD runs the configuration, and no peer was left out of it |
 * | `PeersEstablished` | every BGP session is up (or none is configured) |
 * | `ImportLimitReached` | a peer announces more routes than its `importLimit`: those above it are not taken |
 * | `AnnounceOpen` | pods may announce any address: `spec.announce.allowed` is not set |
 * | `Drained` | `flock drain` took, or is taking, the node's anycast addresses out of service |
 *
 * @module
 */
import type { AnycastAddress } from "./anycast.ts";
import { FAMILIES, type Family, formatAddress } from "./cidr.ts";
import type { DrainReport } from "./drain_state.ts";
import type { NodeConfig } from "./node_config.ts";
import type { KnownCondition } from "./objects.ts";
import { poolSize } from "./pools.ts";

/** `status.conditions[]`. */
export interface StatusCondition {
  readonly type:
    | "Accepted"
    | "Programmed"
    | "PeersEstablished"
    | "ImportLimitReached"
    | "AnnounceOpen"
    | "Drained";
  readonly status: "True" | "False";
  readonly reason: string;
  readonly message: string;
  /** Generation of the object that this is said of. */
  readonly observedGeneration?: number;
  /** RFC 3339: since when `status` is what it is. */
  readonly lastTransitionTime: string;
}

/** `status.bgp[]`: one configured peer. */
export interface PeerStatus {
  readonly peer: string;
  readonly asn: number;
  /** BGP's state, as BIRD says it (`Established`), or `LeftOut`. */
  readonly state: string;
  /** Why it was left out. */
  readonly message?: string;
}

/** `status.anycast[]`: an address of the node's pods. */
export interface AnycastStatus {
  readonly address: string;
  readonly announced: boolean;
  /** `namespace/name` of those that serve it. */
  readonly pods?: readonly string[];
  /** Why others do not. */
  readonly message?: string;
}

/** `status`. */
export interface NodeConfigStatus {
  readonly observedGeneration?: number;
  readonly conditions: readonly StatusCondition[];
  /** A /64 has more addresses than a 64-bit integer counts: capacity is a decimal text. */
  readonly addresses: Readonly<
    Partial<Record<Family, { readonly allocated: number; readonly capacity: string }>>
  >;
  readonly anycast: readonly AnycastStatus[];
  readonly bgp: readonly PeerStatus[];
}

/** A peer that BIRD's configuration does without. */
export interface LeftOutPeer {
  readonly peer: string;
  readonly reason: "NoRoute" | "SecretMissing" | "SecretForbidden" | "Unusable";
  /** A sentence for people. */
  readonly message: string;
}

/** What the agent knows. */
export interface StatusFacts {
  readonly generation?: number;
  /** The configuration in force. */
  readonly config?: NodeConfig;
  /** Why the object that is there was refused. */
  readonly refused?: string;
  /** Addresses that attachments hold. */
  readonly allocated: Readonly<Record<Family, number>>;
  readonly anycast: readonly AnycastAddress[];
  /** BIRD runs what it was asked to run. */
  readonly applied: boolean;
  /** Why it does not; undefined while it is only waiting for its turn. */
  readonly applyError?: string;
  /** What BIRD's configuration waits for: what runs is an earlier one. */
  readonly waitingFor?: string;
  readonly leftOut: readonly LeftOutPeer[];
  readonly drain: Pick<DrainReport, "phase" | "since" | "withdrawsAt">;
  /** BGP's state by the peer's address; undefined when BIRD does not answer. */
  readonly sessions?: ReadonlyMap<string, string>;
  /** Peers that announce more than their import limit. */
  readonly limited?: readonly string[];
}

const MAX_MESSAGE = 4_096;
/** What the schema takes: addresses, and pods of one. */
const MAX_ANYCAST = 1_024;
const MAX_PODS = 256;

/** A condition before it is known since when it holds. */
type Judgement = Omit<StatusCondition, "lastTransitionTime" | "observedGeneration">;

/**
 * The status.
 *
 * @param last the conditions written before: one that still says the same keeps its time
 * @param now RFC 3339
 */
export function nodeConfigStatus(
  facts: StatusFacts,
  last: readonly KnownCondition[],
  now: string,
): NodeConfigStatus {
  const { generation, config } = facts;
  const peers = peersOf(facts);
  const judgements = [accepted(facts)];
  if (config !== undefined) {
    judgements.push(
      programmed(facts),
      peersEstablished(peers),
      importLimitReached(facts),
      announceOpen(config),
      drained(facts),
    );
  }
  return {
    ...(generation === undefined ? {} : { observedGeneration: generation }),
    conditions: judgements.map((judgement) => {
      const before = last.find(({ type }) => type === judgement.type);
      return {
        ...judgement,
        ...(generation === undefined ? {} : { observedGeneration: generation }),
        lastTransitionTime: before?.status === judgement.status && before.lastTransitionTime !== ""
          ? before.lastTransitionTime
          : now,
      };
    }),
    addresses: config === undefined ? {} : addressesOf(config, facts.allocated),
    anycast: facts.anycast.slice(0, MAX_ANYCAST).map(anycastOf),
    bgp: peers,
  };
}

function accepted({ refused, config }: StatusFacts): Judgement {
  if (refused === undefined && config !== undefined) {
    return { type: "Accepted", status: "True", reason: "Valid", message: "It is in force" };
  }
  const message = refused ?? "It was not read yet";
  return {
    type: "Accepted",
    status: "False",
    reason: refused === undefined ? "Pending" : "Invalid",
    message: limited(
      config === undefined ? message : `${message}; the last good one stays in force`,
    ),
  };
}

function programmed({ applied, applyError, waitingFor, leftOut }: StatusFacts): Judgement {
  const type = "Programmed";
  if (waitingFor !== undefined) {
    return { type, status: "False", reason: "Pending", message: `Waiting for ${waitingFor}` };
  }
  if (applyError !== undefined) {
    return { type, status: "False", reason: "BirdFailed", message: limited(applyError) };
  }
  if (!applied) {
    return { type, status: "False", reason: "Pending", message: "BIRD has not been asked yet" };
  }
  const [first] = leftOut;
  if (first === undefined) {
    return { type, status: "True", reason: "Applied", message: "BIRD runs the configuration" };
  }
  const messages = Map.groupBy(leftOut, ({ message }) => message);
  const shown = [...messages].map(([message, peers]) =>
    `Left out ${peers.map(({ peer }) => peer).join(", ")}: ${message}`
  );
  return { type, status: "False", reason: first.reason, message: limited(shown.join("; ")) };
}

function peersEstablished(peers: readonly PeerStatus[]): Judgement {
  const type = "PeersEstablished";
  if (peers.length === 0) {
    return { type, status: "True", reason: "NoPeers", message: "No peer is configured" };
  }
  const down = peers.filter(({ state }) => state !== "Established");
  if (down.length === 0) {
    return { type, status: "True", reason: "Established", message: "Every session is up" };
  }
  const shown = down.map(({ peer, state }) => `${peer} (${state})`).join(", ");
  const reason = down.length === peers.length ? "AllDown" : "SomeDown";
  return { type, status: "False", reason, message: limited(`Not established: ${shown}`) };
}

function importLimitReached({ limited: peers = [] }: StatusFacts): Judgement {
  const type = "ImportLimitReached";
  return peers.length === 0
    ? {
      type,
      status: "False",
      reason: "Below",
      message: "No peer announces more routes than importLimit",
    }
    : {
      type,
      status: "True",
      reason: "Blocked",
      message: limited(`Routes above importLimit are not taken from ${peers.join(", ")}`),
    };
}

function announceOpen({ announce }: NodeConfig): Judgement {
  const type = "AnnounceOpen";
  return announce.allowed === undefined
    ? {
      type,
      status: "True",
      reason: "NoGuard",
      message:
        "Whoever may create a pod may announce any address: spec.announce.allowed is missing",
    }
    : { type, status: "False", reason: "Guarded", message: "spec.announce.allowed is set" };
}

function drained({ drain: { phase, since, withdrawsAt } }: StatusFacts): Judgement {
  const type = "Drained";
  const asked = since === undefined ? "" : ` (asked for at ${since})`;
  switch (phase) {
    case "none": {
      const message = "Anycast addresses are announced while their pods are ready";
      return { type, status: "False", reason: "NotDrained", message };
    }
    case "announcing": {
      const until = withdrawsAt === undefined ? "" : ` until ${withdrawsAt}`;
      const message = `Anycast addresses are announced with GRACEFUL_SHUTDOWN${until}${asked}`;
      return { type, status: "True", reason: "Draining", message };
    }
    case "withdrawn": {
      const message = `Anycast addresses are not announced${asked}; flock undrain takes it back`;
      return { type, status: "True", reason: "Drained", message };
    }
  }
}

function peersOf({ config, leftOut, sessions }: StatusFacts): readonly PeerStatus[] {
  return (config?.bgp.peers ?? []).map(({ address, asn }) => {
    const peer = formatAddress(address);
    const without = leftOut.find((one) => one.peer === peer);
    if (without !== undefined) {
      return { peer, asn, state: "LeftOut", message: limited(without.message) };
    }
    return { peer, asn, state: sessions?.get(peer) ?? "Unknown" };
  });
}

function anycastOf({ address, legs, pods }: AnycastAddress): AnycastStatus {
  const serving = pods.filter(({ heldBack }) => heldBack === undefined).map(({ pod }) => pod);
  const others = pods.filter(({ heldBack }) => heldBack !== undefined);
  return {
    address,
    announced: legs.length > 0,
    pods: serving.sort().slice(0, MAX_PODS),
    ...(others.length > 0
      ? { message: limited(others.map(({ pod, heldBack }) => `${pod}: ${heldBack}`).join("; ")) }
      : {}),
  };
}

function addressesOf(
  config: NodeConfig,
  allocated: Readonly<Record<Family, number>>,
): NodeConfigStatus["addresses"] {
  return Object.fromEntries(
    FAMILIES.flatMap((family) => {
      const pools = family === "ipv6" ? config.cidr6 : config.cidr4;
      if (pools.length === 0) return [];
      const capacity = pools.reduce((sum, pool) => sum + poolSize(pool), 0n);
      return [[family, { allocated: allocated[family], capacity: String(capacity) }]];
    }),
  );
}

/** `metav1.Condition` allows 32,768 characters; a person reads fewer. */
function limited(text: string): string {
  return text.length > MAX_MESSAGE ? `${text.slice(0, MAX_MESSAGE - 1)}…` : text;
}
