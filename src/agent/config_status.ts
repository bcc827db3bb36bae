/**
 * The NodeConfig's status, and events where it takes a turn that a person should see: refused, a peer
 * down and up again. Written on change: the first news at once, then at most every 10 s.
 *
 * @module
 */
import type { AnycastAddress } from "../core/anycast.ts";
import type { Attachment } from "../core/attachment.ts";
import { formatAddress } from "../core/cidr.ts";
import {
  type NodeConfigStatus,
  nodeConfigStatus,
  type PeerStatus,
  type StatusFacts,
} from "../core/node_config_status.ts";
import type { ClusterWriter } from "../core/objects.ts";
import { isNews, log } from "../log.ts";
import { sleep } from "../sleep.ts";
import type { BgpSpeakerState } from "./bgp.ts";
import type { BgpInput } from "./bgp_input.ts";
import type { BgpSessions } from "./bgp_sessions.ts";
import type { Drain } from "./drain.ts";
import type { NodeState } from "./node_state.ts";
import { Pulse } from "./pulse.ts";

/** Milliseconds between two looks. */
const POLL_MS = 5_000;
/** Milliseconds between being woken and looking: several changes that belong together are one. */
const SETTLE_MS = 500;
/** The least time between two writes on the average, in milliseconds, and how many may follow one another. */
const WRITE_MS = 10_000;
const WRITE_BURST = 5;

export interface ConfigStatusOptions {
  readonly nodeName: string;
  readonly node: Pick<NodeState, "object" | "config" | "error">;
  readonly attachments: () => readonly Attachment[];
  readonly anycast: () => readonly AnycastAddress[];
  readonly speaker: { readonly state: Pick<BgpSpeakerState, "applied" | "error"> };
  readonly bgpInput: Pick<BgpInput, "leftOut" | "waitingFor">;
  readonly drain: Pick<Drain, "status">;
  readonly sessions: Pick<BgpSessions, "peers" | "limited">;
  readonly writer: Pick<ClusterWriter, "applyNodeConfigStatus" | "recordEvent">;
  /** Milliseconds since the epoch. */
  readonly now?: () => number;
  /** A clock in milliseconds that only goes forward. */
  readonly clock?: () => number;
}

/** Keeps the status. */
export class ConfigStatus {
  readonly #o: Required<ConfigStatusOptions>;
  readonly #pulse = new Pulse();
  /** As it was written last. */
  #written: NodeConfigStatus | undefined;
  #uid: string | undefined;
  /** How many writes may be made as of a moment. */
  #writes = WRITE_BURST;
  #writesAt = -Infinity;
  #failures = 0;
  #refused: string | undefined;
  #peers: readonly PeerStatus[] = [];
  /** The MTU that was in force at the last look; `null` before the first. */
  #mtu: number | undefined | null = null;
  /** Peers whose going down was told, and peers whose limit was. */
  readonly #down = new Set<string>();
  #limited: readonly string[] = [];

  constructor(options: ConfigStatusOptions) {
    this.#o = { now: Date.now, clock: () => performance.now(), ...options };
  }

  /** The NodeConfig changed: look soon. */
  wake(): void {
    this.#pulse.wake();
  }

  /** Keeps the status until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.look(signal);
      await this.#pulse.wait(POLL_MS, signal);
      await sleep(SETTLE_MS, signal);
    }
  }

  /** Looks once, and tells what is new. */
  async look(signal: AbortSignal): Promise<void> {
    const { node, nodeName, writer, now, clock } = this.#o;
    if (node.object === undefined) return;
    // Another object of the same name knows nothing of what was said of the one before.
    if (node.object.uid !== this.#uid) this.#written = undefined;
    this.#uid = node.object.uid;
    const last = this.#written?.conditions ?? node.object.conditions ?? [];
    // Without fractions, as `metav1.Time` has it.
    const time = new Date(now()).toISOString().replace(/\.\d+Z$/, "Z");
    const status = nodeConfigStatus(this.#facts(), last, time);
    this.#tell(status.bgp);
    if (JSON.stringify(status) === JSON.stringify(this.#written)) return;
    const at = clock();
    this.#writes = Math.min(this.#writes + (at - this.#writesAt) / WRITE_MS, WRITE_BURST);
    this.#writesAt = at;
    if (this.#writes < 1) return;
    this.#writes--;
    try {
      await writer.applyNodeConfigStatus(nodeName, status, signal);
      this.#written = status;
      this.#failures = 0;
    } catch (error) {
      if (signal.aborted) return;
      this.#failures++;
      if (isNews(this.#failures)) {
        log.warn("Could not write NodeConfig status", { err: error, failures: this.#failures });
      }
    }
  }

  #facts(): StatusFacts {
    const { node, attachments, anycast, speaker, bgpInput, drain, sessions } = this.#o;
    const held = attachments();
    return {
      generation: node.object?.generation,
      config: node.config,
      refused: node.error,
      allocated: {
        ipv6: held.filter(({ ip6 }) => ip6 !== undefined).length,
        ipv4: held.filter(({ ip4 }) => ip4 !== undefined).length,
      },
      anycast: anycast(),
      applied: speaker.state.applied,
      applyError: speaker.state.error,
      waitingFor: bgpInput.waitingFor,
      leftOut: bgpInput.leftOut,
      drain: drain.status,
      sessions: new Map(sessions.peers.map(({ peer, state }) => [peer, state])),
      limited: sessions.limited,
    };
  }

  #tell(peers: readonly PeerStatus[]): void {
    const { node, attachments } = this.#o;
    if (node.error !== undefined && node.error !== this.#refused) {
      this.#record("Warning", "Refused", node.error);
    }
    this.#refused = node.error;
    if (node.config !== undefined) this.#tellMtu(node.config.mtu, attachments().length > 0);
    for (const { peer, state } of peers) {
      const before = this.#peers.find((one) => one.peer === peer)?.state;
      if (before === "Established" && state !== "Established") {
        this.#down.add(peer);
        this.#record("Warning", "PeerDown", `BGP session with ${peer} is down: it is ${state}`);
      } else if (state === "Established" && this.#down.delete(peer)) {
        this.#record("Normal", "PeerUp", `BGP session with ${peer} is up again`);
      }
    }
    this.#peers = peers;
    const { limited } = this.#o.sessions;
    for (const peer of limited.filter((one) => !this.#limited.includes(one))) {
      const limit = node.config?.bgp.peers.find(({ address }) => formatAddress(address) === peer)
        ?.importLimit;
      const message = `Peer ${peer} announces more routes than importLimit (${limit}): ` +
        "those above it are not taken";
      this.#record("Warning", "ImportLimitReached", message);
    }
    this.#limited = limited;
  }

  #tellMtu(mtu: number | undefined, hasPods: boolean): void {
    if (this.#mtu !== null && mtu !== this.#mtu && hasPods) {
      const now = mtu === undefined ? "the MTU of the node's way out" : `MTU ${mtu}`;
      this.#record("Normal", "MtuChanged", `New pods get ${now}; running ones keep theirs`);
    }
    this.#mtu = mtu;
  }

  #record(type: "Normal" | "Warning", reason: string, message: string): void {
    const { nodeName, node, writer } = this.#o;
    const object = { kind: "NodeConfig", name: nodeName, uid: node.object?.uid } as const;
    writer.recordEvent({ object, type, reason, message });
  }
}
