/**
 * The Node's condition `NetworkUnavailable`: False from the moment on at which the node's prefixes are
 * announced. Before that the scheduler must not send pods here: nobody could reach them. Afterwards it
 * stays, also when a session goes down: one router's reboot must not taint every node. When the node loses
 * the label by which it opted in, the condition goes: flock leaves the node, and whoever comes next says it.
 *
 * @module
 */
import { birdPeerName } from "../core/bird_peer.ts";
import { formatPrefix } from "../core/cidr.ts";
import { NETWORK_READY } from "../core/config.ts";
import type { ClusterNode, ClusterSource, ClusterWriter } from "../core/objects.ts";
import type { Birdc } from "../io/birdc.ts";
import { isNews, log } from "../log.ts";
import { sleep } from "../sleep.ts";
import type { NodeState } from "./node_state.ts";
import { Pulse } from "./pulse.ts";

/** Times in milliseconds. */
export interface NodeConditionTiming {
  /** Between two looks before the node is announced. */
  readonly pollMs: number;
  /** After which the condition is written again, unasked. */
  readonly renewMs: number;
  /** Between two writes: for the watch to show the first, and as a limit where two writers fight. */
  readonly restMs: number;
  /** Until a write that failed is tried again. */
  readonly retryMs: number;
}

const TIMING: NodeConditionTiming = {
  pollMs: 1_000,
  renewMs: 10 * 60_000,
  restMs: 2_000,
  retryMs: 5_000,
};

/** Milliseconds that removing it may take: the agent's end waits for its loops for 5 s. */
const REMOVE_MS = 3_000;

export interface NodeConditionOptions {
  readonly nodeName: string;
  readonly source: Pick<ClusterSource, "synced" | "node">;
  readonly writer: Pick<ClusterWriter, "setNetworkAvailable" | "removeNetworkAvailable">;
  /** Whether the node's prefixes are announced. May throw: then they are not. */
  readonly announced: () => Promise<boolean>;
  readonly timing?: NodeConditionTiming;
  /** Milliseconds since the epoch. */
  readonly now?: () => number;
}

/** Keeps the condition. */
export class NodeCondition {
  readonly #o: Required<NodeConditionOptions>;
  readonly #pulse = new Pulse();
  #ready = false;
  /** `performance.now()` */
  #writtenAt = -Infinity;
  /** The node had the label in this run; agents that were put on nodes in another way never see it. */
  #optedIn = false;

  constructor(options: NodeConditionOptions) {
    this.#o = { now: Date.now, timing: TIMING, ...options };
  }

  /** The Node may have changed: look at once. */
  wake(): void {
    this.#optedIn ||= this.#node()?.optedIn === true;
    this.#pulse.wake();
  }

  /** Keeps the condition until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    await this.#keep(signal);
    // The label goes at the moment at which the agent is told to stop.
    try {
      if (this.#mustGo()) await this.#remove();
    } catch (error) {
      log.warn("Could not remove node condition", { node: this.#o.nodeName, err: error });
    }
  }

  async #keep(signal: AbortSignal): Promise<void> {
    const { restMs, retryMs } = this.#o.timing;
    let failures = 0;
    while (!signal.aborted) {
      this.#ready ||= await this.#o.announced().catch(() => false);
      if (!this.#isDue()) {
        await this.#pulse.wait(this.#untilDue(), signal);
        continue;
      }
      let pauseMs = restMs;
      try {
        if (this.#mustGo()) await this.#remove();
        else await this.#write(signal);
        failures = 0;
      } catch (error) {
        if (signal.aborted) return;
        pauseMs = retryMs;
        failures++;
        // At first, and then at each doubling.
        if (isNews(failures)) {
          log.warn("Could not set node condition", { err: error, retryInMs: pauseMs });
        }
      }
      // Not to be woken: what is cached may be older than what was written.
      await sleep(pauseMs, signal);
    }
  }

  /** Milliseconds until it is time to look again, unless woken. */
  #untilDue(): number {
    const { pollMs, renewMs } = this.#o.timing;
    const left = this.#writtenAt + renewMs - performance.now();
    return this.#ready ? Math.min(Math.max(left, pollMs), renewMs) : pollMs;
  }

  /** Whether the node has lost the label, and the condition is still ours. */
  #mustGo(): boolean {
    const node = this.#node();
    if (node === undefined) return false;
    return this.#optedIn && !node.optedIn && node.networkUnavailable?.reason === NETWORK_READY;
  }

  async #remove(): Promise<void> {
    const { writer, nodeName } = this.#o;
    // Not ended by the agent's end, which comes at the same time.
    await writer.removeNetworkAvailable(nodeName, AbortSignal.timeout(REMOVE_MS));
    log.info("Removed node condition", { node: nodeName });
  }

  #node(): ClusterNode | undefined {
    const { source, nodeName } = this.#o;
    return source.synced ? source.node(nodeName) : undefined;
  }

  #isDue(): boolean {
    const { timing } = this.#o;
    if (this.#mustGo()) return true;
    const node = this.#node();
    if (!this.#ready || node === undefined || (this.#optedIn && !node.optedIn)) return false;
    return node.networkUnavailable?.status !== "False" ||
      performance.now() - this.#writtenAt >= timing.renewMs;
  }

  async #write(signal: AbortSignal): Promise<void> {
    const { source, writer, nodeName, now } = this.#o;
    const was = source.node(nodeName)?.networkUnavailable;
    const at = performance.now();
    await writer.setNetworkAvailable(nodeName, new Date(now()), signal);
    this.#writtenAt = at;
    if (was?.status === "False") return;
    log.info("Set node condition", { node: nodeName, networkUnavailable: false, was: was?.status });
  }
}

/**
 * Whether BIRD runs what it was asked to run, and some peer is told of every prefix of the node that a
 * peer could be told of. A node without peers announces nothing, and need not.
 *
 * @throws {Error} when BIRD does not answer
 */
export async function isAnnounced(
  birdc: Pick<Birdc, "protocols" | "exports">,
  node: Pick<NodeState, "config" | "nodePrefixes">,
  applied: boolean,
): Promise<boolean> {
  const { config, nodePrefixes } = node;
  if (config === undefined || !applied) return false;
  const established = new Set(
    (await birdc.protocols()).filter(({ info }) => info === "Established").map(({ name }) => name),
  );
  const { peers } = config.bgp;
  if (peers.length === 0) return true;
  const names = peers.map(({ address }) => [address.family, birdPeerName(address)] as const);
  if (!names.some(([, name]) => established.has(name))) return false;
  for (const prefix of nodePrefixes) {
    const ofFamily = names.filter(([family]) => family === prefix.family);
    if (ofFamily.length === 0) continue;
    const up = ofFamily.filter(([, name]) => established.has(name));
    const told = await Promise.all(up.map(([, name]) => birdc.exports(name, formatPrefix(prefix))));
    if (!told.includes(true)) return false;
  }
  return true;
}
