/**
 * What operators' commands show, as the agent sends it and as `-o json` prints it. This file holds every
 * shape but those of policies; fields are added, never renamed or removed. Addresses and prefixes are canonical texts, times
 * are RFC 3339 in UTC. A field that is not there is not known, or does not apply.
 *
 * @module
 */
import type { Family } from "./cidr.ts";
import type { PolicyExplanation, PolicyForce, PolicyList } from "./policy_inspection.ts";

/** `flock status`: one screen. */
export interface Status {
  readonly kind: "Status";
  readonly node: string;
  /** Version of the agent. */
  readonly version: string;
  readonly startedAt: string;
  /** Pods can be attached. */
  readonly ready: boolean;
  /** Why not, the end of a sentence. */
  readonly notReady?: string;
  /** A pass over the routes made everything as it should be since the agent started. */
  readonly settled: boolean;
  readonly source: SourceStatus;
  readonly nodeConfig: NodeConfigView;
  readonly prefixes: readonly PrefixUse[];
  /** Pods that are attached. */
  readonly pods: number;
  readonly bird: BirdView;
  /** Without `established` BIRD does not answer. */
  readonly peers: { readonly total: number; readonly established?: number };
  readonly anycast: {
    readonly total: number;
    /** Absent: BIRD cannot be asked. */
    readonly announced?: number;
  };
  readonly drain: DrainView;
  /** Absent: the agent is of a release that knows no policies. */
  readonly policies?: PolicyForce & {
    readonly total: number;
    /** Pods of this node that some policy is about. */
    readonly selectedPods: number;
  };
  readonly differences: {
    /** False: what is wanted has not been computed since the agent started, and nothing is compared. */
    readonly computed: boolean;
    readonly count: number;
    /** The first few, each a sentence. */
    readonly first: readonly string[];
  };
  /** Warnings and errors of the agent's log, newest first. */
  readonly problems: readonly Problem[];
}

/** Where Pods and NodeConfigs come from. */
export interface SourceStatus {
  readonly kind: "kubernetes" | "manifests";
  /** Directory of the manifests. */
  readonly directory?: string;
  readonly inSync: boolean;
  /** Something there cannot be read. */
  readonly damaged: boolean;
}

/** The node's own NodeConfig. */
export interface NodeConfigView {
  readonly name: string;
  /** What is there is in force; false also while there is none. */
  readonly accepted: boolean;
  /** A configuration is in force: this one, or the last good one. */
  readonly inForce: boolean;
  readonly generation?: number;
  readonly refused?: string;
}

/** A prefix of the node. */
export interface PrefixUse {
  readonly prefix: string;
  readonly family: Family;
  readonly allocated: number;
  /** Decimal: a /64 has more addresses than a JSON number holds. */
  readonly capacity: string;
}

/** BIRD, and what the agent asked of it. */
export interface BirdView {
  readonly running: boolean;
  /** Why it cannot be asked. */
  readonly error?: string;
  readonly version?: string;
  readonly routerId?: string;
  readonly startedAt?: string;
  readonly configuredAt?: string;
  /** It runs the configuration that is wanted. */
  readonly applied: boolean;
  readonly applyError?: string;
  /** What the configuration waits for. */
  readonly waitingFor?: string;
}

/** Whether the node is out of service for anycast (`flock drain`). */
export interface DrainView {
  /** `announcing`: still announced, with GRACEFUL_SHUTDOWN (RFC 8326). */
  readonly phase: "none" | "announcing" | "withdrawn";
  readonly since?: string;
  readonly withdrawsAt?: string;
}

/** A line of the agent's log, warning or error. */
export interface Problem {
  readonly at: string;
  readonly level: "warn" | "error";
  readonly message: string;
}

/** `flock allocations`. */
export interface AllocationList {
  readonly kind: "AllocationList";
  readonly items: readonly Allocation[];
  /** Items that were left out because there are too many for one answer. */
  readonly omitted?: number;
}

/** One attachment. */
export interface Allocation {
  /** `namespace/name`; empty for a container without a Pod. */
  readonly pod: string;
  readonly podUid: string;
  readonly containerId: string;
  readonly ifname: string;
  readonly hostIfname: string;
  readonly netns: string;
  readonly ipv6?: string;
  readonly ipv4?: string;
  /** Further addresses on the interface. */
  readonly addresses: readonly string[];
  readonly anycast: readonly string[];
  /** Those that an annotation asked for. */
  readonly asked: readonly string[];
  /** Pending: being wired or torn down. */
  readonly state: "pending" | "committed";
  readonly podState: "ready" | "notReady" | "terminating" | "unknown";
  readonly allocatedAt: string;
  /** Name of the CNI network. */
  readonly network?: string;
}

/** `flock routes`: every route of flock's, those with differences first. */
export interface RouteList {
  readonly kind: "RouteList";
  readonly items: readonly RouteItem[];
  /** Links' ends and next hops that are not as they should be, each a sentence. */
  readonly objects: readonly string[];
  /** False: what is wanted has not been computed since the agent started, and nothing is compared. */
  readonly computed: boolean;
  /** BIRD could be asked; else nothing is said of it. */
  readonly birdRunning: boolean;
  readonly omitted?: number;
}

/** A route as flock wants it, as the kernel has it and as BIRD has it. */
export interface RouteItem {
  readonly family: Family;
  readonly dst: string;
  readonly purpose: "prefix" | "pod" | "anycast" | "unknown";
  /** `namespace/name` of those it leads to. */
  readonly pods: readonly string[];
  /** The whole route, in the words of `ip`; absent: it is not wanted. */
  readonly desired?: KernelRoute;
  /** Absent: the kernel does not have it. */
  readonly kernel?: KernelRoute;
  /** It is to be announced by itself. */
  readonly announce: boolean;
  /** Absent: BIRD does not have it, or cannot be asked. */
  readonly bird?: BirdRouteView;
  /** Peers that are told of it. */
  readonly exportedTo: readonly string[];
  /** In which way what is there is not what is wanted, the ends of sentences; none: all agree. */
  readonly differences: readonly string[];
}

export interface KernelRoute {
  readonly text: string;
  readonly protocol: number;
  readonly metric: number;
  /** Of a route that goes to a group of next hops: its id. */
  readonly groupId?: number;
  /** Ways of a route that pods share, in the words of `ip`. */
  readonly nextHops: readonly string[];
}

export interface BirdRouteView {
  /** Name of the protocol it comes from. */
  readonly protocol: string;
  readonly preference: number;
  /** It is the one that BIRD prefers. */
  readonly best: boolean;
}

/** `flock bgp`. */
export interface PeerList {
  readonly kind: "PeerList";
  readonly asn?: number;
  readonly routerId?: string;
  /** Why BIRD cannot be asked. */
  readonly birdError?: string;
  readonly items: readonly PeerItem[];
}

/** One configured peer. */
export interface PeerItem {
  readonly peer: string;
  readonly asn: number;
  readonly family: Family;
  /** Name of BIRD's protocol. */
  readonly protocol: string;
  readonly localAddress?: string;
  /** BGP's state as BIRD says it (`Established`), `LeftOut`, or `Unknown`. */
  readonly state: string;
  readonly since?: string;
  /** Why it was left out of BIRD's configuration. */
  readonly leftOut?: string;
  readonly lastError?: string;
  readonly routes?: {
    readonly imported: number;
    readonly exported: number;
    readonly preferred: number;
    /** Announcements since the session is up: all, and those that the import filter dropped. */
    readonly received: number;
    readonly filtered: number;
  };
  /** It announces more routes than `importLimit`: those above it are not taken. */
  readonly importLimitReached?: boolean;
  /** Seconds, as negotiated. */
  readonly holdTime?: number;
  readonly bfd: {
    readonly configured: boolean;
    /** BIRD's word: `Up`, `Down`, `Init`, `AdminDown`. */
    readonly state?: string;
    readonly since?: string;
  };
  readonly gracefulRestart: {
    readonly configured: boolean;
    /** Both sides said they can; absent while no session is up. */
    readonly negotiated?: boolean;
    /** Seconds that the peer asked for. */
    readonly peerRestartTime?: number;
  };
}

/** `flock anycast`. */
export interface AnycastList {
  readonly kind: "AnycastList";
  readonly drain: DrainView;
  readonly items: readonly AnycastItem[];
  readonly omitted?: number;
}

/** An anycast address of this node's pods. */
export interface AnycastItem {
  readonly address: string;
  readonly family: Family;
  /** The kernel has its route. */
  readonly routed: boolean;
  /** Some peer is told of it; absent: BIRD cannot be asked. */
  readonly announced?: boolean;
  readonly exportedTo: readonly string[];
  readonly groupId?: number;
  readonly nextHops: readonly {
    readonly pod: string;
    readonly via: string;
    readonly dev: string;
    readonly weight: number;
  }[];
  readonly pods: readonly {
    readonly pod: string;
    readonly weight: number;
    /** Why it gets none of the address' traffic, the end of a sentence. */
    readonly heldBack?: string;
  }[];
}

/** `flock config`: every value in force, and where it comes from. */
export interface Config {
  readonly kind: "Config";
  readonly node: string;
  /** Why the NodeConfig that is there is not what is in force. */
  readonly refused?: string;
  readonly items: readonly ConfigItem[];
}

export interface ConfigItem {
  /** `spec.mtu`, or `--socket` for a setting of the agent. */
  readonly name: string;
  readonly value: string | number | boolean | readonly string[] | null;
  /** `NodeConfig n1`, `NodeConfig default`, `Node podCIDRs`, `flag`, `variable FLOCK_SOCKET`, `built-in default`, … */
  readonly from: string;
}

/** `flock render`: what would be applied. Nothing is. */
export interface Rendered {
  readonly kind: "Rendered";
  readonly what: "bird" | "routes" | "nft";
  readonly text: string;
  /** It is what runs, or what is there. */
  readonly inForce: boolean;
}

/** `flock version`. */
export interface VersionInfo {
  readonly kind: "Version";
  /** Of the executable that was asked. */
  readonly version: string;
  /** Absent: no agent answers. */
  readonly agent?: { readonly version: string; readonly node: string; readonly startedAt: string };
}

/** The facts, in the order of the chain; an address that no pod has has only some of them. */
export type FactName =
  | "pod"
  | "allocation"
  | "eligible"
  | "nextHop"
  | "kernelRoute"
  | "birdRoute"
  | "filter"
  | "exported"
  | "lastChange";

/** One fact. */
export interface Fact {
  readonly fact: FactName;
  /** Unknown: it could not be asked. */
  readonly state: "ok" | "broken" | "unknown";
  /** The first of its chain that is broken. */
  readonly firstBroken?: true;
  readonly text: string;
  readonly data: Readonly<Record<string, unknown>>;
}

/**
 * What an address is to this node: one that pods share, a pod's own (its primary one, or one that it
 * asked for), one of the node's prefixes that no pod has, the node's or a peer's, another node's, or none
 * of these.
 */
export type AddressRole = "anycast" | "pod" | "unused" | "node" | "otherNode" | "unknown";

/** The chain of one address. */
export interface ExplainedAddress {
  /** Undefined for a pod that has none. */
  readonly address?: string;
  readonly role: AddressRole;
  /** Every fact is there and ok. */
  readonly ok: boolean;
  /** The first fact that is broken. */
  readonly broken?: FactName;
  readonly facts: readonly Fact[];
}

/** `flock explain`: why an address is announced, or is not. */
export interface Explanation {
  readonly kind: "Explanation";
  readonly node: string;
  /** As it was asked: an address, or `namespace/name`. */
  readonly target: string;
  readonly ok: boolean;
  readonly items: readonly ExplainedAddress[];
}

/** `flock status --html`: the page that shows the node. */
export interface Page {
  readonly kind: "Page";
  readonly html: string;
}

/** Everything that an operation answers with. */
export type Inspection =
  | Status
  | AllocationList
  | RouteList
  | PeerList
  | AnycastList
  | Config
  | Rendered
  | VersionInfo
  | Explanation
  | PolicyList
  | PolicyExplanation
  | Page;
