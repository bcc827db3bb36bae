/**
 * Peers that announce more routes than `importLimit` lets BIRD take. The session stays, and with it what the node
 * announces; but BIRD takes no route more, not even in place of one that went, until the peer tells all of its routes
 * again. That is asked for when there is room.
 *
 *     reached ──a route went, and at most each minute──▶ told again ──▶ reached, or 30 s later not any more
 *
 * @module
 */
import { birdPeerName } from "../core/bird_peer.ts";
import type { BirdSession } from "../core/bird_session.ts";
import { formatAddress } from "../core/cidr.ts";
import type { BgpPeer } from "../core/node_config.ts";
import type { Birdc } from "../io/birdc.ts";
import { log } from "../log.ts";

/** Milliseconds between two requests to a peer: at first, and at most. */
const RELOAD_MIN_MS = 60_000;
const RELOAD_MAX_MS = 600_000;
/** Milliseconds in which a peer tells what it has: so long the limit is taken for reached. */
const SETTLE_MS = 30_000;

interface Reached {
  readonly sinceMs: number;
  /** When the peer may be asked again, and how long to wait after that. */
  reloadAtMs: number;
  gapMs: number;
  /** When it was last seen with a limit that is reached. */
  seenMs: number;
}

/** Keeps track of limits, and asks again. */
export class ImportLimits {
  readonly #birdc: Pick<Birdc, "reloadIn">;
  readonly #now: () => number;
  readonly #reached = new Map<string, Reached>();

  /** @param now a clock in milliseconds that only goes forward */
  constructor(birdc: Pick<Birdc, "reloadIn">, now: () => number) {
    this.#birdc = birdc;
    this.#now = now;
  }

  /** Peers with a limit that is reached. */
  get peers(): readonly string[] {
    return [...this.#reached.keys()];
  }

  /** Takes a look at a session into account. Does not throw. */
  async heed({ address, importLimit }: BgpPeer, session: BirdSession | undefined): Promise<void> {
    const peer = formatAddress(address);
    const now = this.#now();
    const imported = session?.routes?.imported ?? 0;
    const hit = session?.importLimitReached === true;
    let reached = this.#reached.get(peer);
    if (reached === undefined) {
      if (!hit) return;
      log.warn("Blocked routes of BGP peer", { peer, importLimit, imported });
      reached = { sinceMs: now, reloadAtMs: now, gapMs: RELOAD_MIN_MS, seenMs: now };
      this.#reached.set(peer, reached);
    }
    if (hit) reached.seenMs = now;
    // Told again it may be reached again; and nobody reloads when the limit was raised.
    if (now - reached.seenMs >= SETTLE_MS) {
      this.#reached.delete(peer);
      const durationMs = Math.round(now - reached.sinceMs);
      log.info("Unblocked routes of BGP peer", { peer, importLimit, durationMs });
    } else if (
      session?.state === "Established" && imported < importLimit && now >= reached.reloadAtMs
    ) {
      reached.reloadAtMs = now + reached.gapMs;
      reached.gapMs = Math.min(reached.gapMs * 2, RELOAD_MAX_MS);
      await this.#reload(peer, birdPeerName(address));
    }
  }

  /** Forgets peers that are configured no more. */
  keepOnly(configured: readonly string[]): void {
    for (const peer of this.#reached.keys()) {
      if (!configured.includes(peer)) this.#reached.delete(peer);
    }
  }

  async #reload(peer: string, protocol: string): Promise<void> {
    try {
      await this.#birdc.reloadIn(protocol);
      log.debug("Asked BGP peer for all of its routes", { peer });
    } catch (error) {
      log.warn("Could not ask BGP peer for all of its routes", { peer, err: error });
    }
  }
}
