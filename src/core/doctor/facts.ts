/**
 * What `flock doctor` judges: facts as values, each known or not, and then why not. Gathered by
 * `cli/doctor_facts.ts`.
 *
 * @module
 */
import type { BfdSession, BirdSession } from "../bird_session.ts";
import type { Family } from "../cidr.ts";
import type { PluginAnswer } from "../cni_plugin.ts";
import type { IpLink, IpRoute } from "../ip_state.ts";
import type { BgpPeer, NodeConfig } from "../node_config.ts";
import type { Speaker } from "../tcp_sockets.ts";

/** A fact, or why it is not known: the end of a sentence. */
export type Fact<T> = { readonly known: T } | { readonly unknown: string };

/** The kernel's network. */
export interface NetworkFacts {
  readonly links: readonly IpLink[];
  /** The main table, both families. */
  readonly routes: readonly IpRoute[];
  /** Entries of the neighbour table that the kernel may drop. */
  readonly neighbors: Readonly<Record<Family, number>>;
}

/** The way to a peer (`ip route get`). */
export interface PeerPath {
  readonly peer: BgpPeer;
  readonly route: IpRoute | undefined;
  /** MTU of the route where it has one of its own. */
  readonly mtu?: number;
}

/** A program that runs on the host. */
export interface HostProcess {
  /** As in `/proc/PID/comm`: at most 15 characters. */
  readonly name: string;
  readonly commandLine: string;
}

/** A file of the host. */
export interface HostFile {
  readonly path: string;
  readonly text: string;
}

/** What runs on the host and how it is configured. */
export interface HostFacts {
  readonly processes: readonly HostProcess[];
  readonly files: readonly HostFile[];
}

/** What `--manifests` has of NodeConfigs. */
export interface ClusterFacts {
  readonly dir: string;
  readonly configs: readonly NodeConfig[];
  /** Those that are refused, and files that cannot be read. */
  readonly refused: readonly string[];
}

export interface BirdFacts {
  readonly routerId: string;
  readonly sessions: readonly BirdSession[];
  readonly bfd: readonly BfdSession[];
}

/** Something of the kernel that was tried. */
export interface Feature {
  readonly name: string;
  /** What the kernel or the tool said; undefined when it works. */
  readonly problem?: string;
}

export interface ToolVersion {
  readonly tool: "bird" | "ip" | "nft" | "conntrack";
  /** Undefined when it is not installed. */
  readonly version?: string;
}

export interface ClockFacts {
  /** Milliseconds since 1970. */
  readonly now: number;
  /** The file of flock that was written last. */
  readonly newest?: { readonly path: string; readonly writtenAt: number };
  /** What chrony says of itself (`Leap status`); undefined when it does not run. */
  readonly chrony?: string;
}

/** A directory and what is left on its file system. */
export interface StateDirFacts {
  readonly path: string;
  /** Permission bits. */
  readonly mode: number;
  readonly uid: number;
  readonly writable: boolean;
  readonly freeBytes: number;
  /** Undefined where the file system has no fixed number. */
  readonly freeInodes?: number;
}

/** One configuration in the runtime's directory. */
export interface RuntimeConfig {
  readonly name: string;
  readonly own: boolean;
  /** Types of its plugins, in order; none when it cannot be parsed. */
  readonly plugins: readonly string[];
  /** Versions of the specification that runtimes use it with: its `cniVersion`, the highest it offers. */
  readonly versions: readonly string[];
}

/** What is known of a plugin's file. */
export type PluginState = "missing" | "not executable" | PluginAnswer | {
  /** Why it does not answer VERSION. */
  readonly problem: string;
};

export interface RuntimeFacts {
  readonly dir: string;
  /** Sorted by name, as runtimes read them. */
  readonly configs: readonly RuntimeConfig[];
  readonly pluginDir: string;
  /** Of each plugin that the first configuration or flock's names, and of portmap where it is there. */
  readonly plugins: Readonly<Record<string, PluginState>>;
}

/** Policies, as the agent says, and the kernel. */
export interface PolicyFacts {
  readonly inForce: boolean;
  /** Why not, where that failed. */
  readonly error?: string;
  /** The packet filter has flock's table. */
  readonly hasTable: boolean;
}

/** Everything that is known. */
export interface Facts {
  readonly network: Fact<NetworkFacts>;
  /** Path below /proc/sys → value; without an entry when there is no such sysctl here. */
  readonly sysctls: Fact<Readonly<Record<string, string>>>;
  readonly host: Fact<HostFacts>;
  readonly features: Fact<readonly Feature[]>;
  readonly tools: Fact<readonly ToolVersion[]>;
  /** The NodeConfig of this node. */
  readonly config: Fact<NodeConfig>;
  readonly cluster: Fact<ClusterFacts>;
  readonly peers: Fact<readonly PeerPath[]>;
  readonly bird: Fact<BirdFacts>;
  readonly speakers: Fact<readonly Speaker[]>;
  /** Counters of TCP by their names (`/proc/net/netstat`). */
  readonly tcp: Fact<Readonly<Record<string, number>>>;
  readonly clock: Fact<ClockFacts>;
  readonly stateDir: Fact<StateDirFacts>;
  readonly runtime: Fact<RuntimeFacts>;
  /** Why the agent cannot attach pods; empty when it can. */
  readonly agent: Fact<string>;
  readonly policies: Fact<PolicyFacts>;
  /** The node's name; undefined when it is not known. */
  readonly nodeName: Fact<string>;
}

/** The value of a fact, if it is known. */
export function valueOf<T>(fact: Fact<T>): T | undefined {
  return "known" in fact ? fact.known : undefined;
}
