/**
 * Watches the BGP sessions: what comes up and goes down is logged once, with reason and duration; the address that a
 * session is established with is noted; limits and families that nobody takes are seen to. BIRD is asked every five
 * seconds, and more often for a while after anything changed: what was changed is seen to work, or not to, at once.
 *
 * @module
 */
import { birdPeerName, PEER_PREFIX } from "../core/bird_peer.ts";
import type { BirdSession } from "../core/bird_session.ts";
import {
  type Address,
  FAMILIES,
  type Family,
  formatAddress,
  formatPrefix,
  parseAddress,
} from "../core/cidr.ts";
import { messageOf } from "../core/errors.ts";
import type { BgpPeer } from "../core/node_config.ts";
import { BirdAbsentError, type Birdc, type BirdCounts } from "../io/birdc.ts";
import { isNews, log } from "../log.ts";
import { birdTime } from "./inspect_facts.ts";
import { ImportLimits } from "./import_limits.ts";
import type { NodeState } from "./node_state.ts";
import { Pulse } from "./pulse.ts";
import type { SessionAddresses } from "./session_addresses.ts";

/** Milliseconds between two looks: usually, and for so long after a change. */
const POLL_MS = 5_000;
const QUICK_POLL_MS = 500;
const QUICK_FOR_MS = 15_000;
/** Looks without an answer after which what was known is not told any more. */
const PATIENCE = 3;
/** BIRD tells whole seconds: two sessions are not born within so many milliseconds. */
const BIRTH_MS = 1_500;
/** Milliseconds until a family that no peer takes is told: sessions come and go. */
const UNHEARD_MS = 10_000;

/** A configured peer, as of the last look. */
export interface SessionView {
  readonly peer: string;
  readonly family: Family;
  /** BGP's state as BIRD says it, or `Unknown`. */
  readonly state: string;
  /** The session is up and carries routes of the peer's family. */
  readonly takes: boolean;
}

export interface BgpSessionsOptions {
  readonly birdc: BirdCounts & Pick<Birdc, "reloadIn">;
  readonly node: Pick<NodeState, "config" | "nodePrefixes">;
  readonly addresses: Pick<SessionAddresses, "note">;
  /** Called when a session came up or went down, or a limit was reached or is not any more. */
  readonly onChange?: () => void;
  /** A clock in milliseconds that only goes forward. */
  readonly now?: () => number;
  /** Milliseconds since the epoch. */
  readonly wallClock?: () => number;
}

/** What is known of a peer's session. */
interface Known {
  readonly isUp: boolean;
  /** When it came up, by the clock that only goes forward; undefined when BIRD does not say. */
  readonly bornMs?: number;
  /** When the session was seen to come up or go down; undefined when it was so at the first look. */
  readonly changedMs?: number;
}

/** Watches. */
export class BgpSessions {
  readonly #o: BgpSessionsOptions;
  readonly #now: () => number;
  readonly #pulse = new Pulse();
  readonly #limits: ImportLimits;
  readonly #known = new Map<string, Known>();
  readonly #flaps = new Map<string, number>();
  /** Families that no peer takes: since when, and whether that was told. */
  readonly #unheard = new Map<Family, { readonly sinceMs: number; told: boolean }>();
  #peers: readonly SessionView[] = [];
  #unanswered = 0;
  #failures = 0;
  #quickUntilMs = -Infinity;

  constructor(options: BgpSessionsOptions) {
    this.#o = options;
    this.#now = options.now ?? (() => performance.now());
    this.#limits = new ImportLimits(options.birdc, this.#now);
  }

  /** The configured peers. */
  get peers(): readonly SessionView[] {
    return this.#peers;
  }

  /** Peers that announce more routes than the import limit lets through. */
  get limited(): readonly string[] {
    return this.#limits.peers;
  }

  /** Times that each peer's session was seen to have gone down. */
  get flaps(): ReadonlyMap<string, number> {
    return this.#flaps;
  }

  /** Families of the node's prefixes that no peer takes. */
  get unheard(): readonly Family[] {
    return [...this.#unheard.keys()];
  }

  /** BIRD was told something: look soon, and often. */
  wake(): void {
    this.#quickUntilMs = this.#now() + QUICK_FOR_MS;
    this.#pulse.wake();
  }

  /** Watches until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.look();
      await this.#pulse.wait(this.#now() < this.#quickUntilMs ? QUICK_POLL_MS : POLL_MS, signal);
    }
  }

  /** Looks once. Does not throw. */
  async look(): Promise<void> {
    try {
      await this.#look();
      this.#failures = 0;
    } catch (error) {
      if (isNews(++this.#failures)) {
        log.warn("Could not look at BGP sessions", { err: error, failures: this.#failures });
      }
    }
  }

  async #look(): Promise<void> {
    const { birdc, node, addresses } = this.#o;
    const configured = node.config?.bgp.peers ?? [];
    const viewOf = ({ address }: BgpPeer, session?: BirdSession): SessionView => ({
      peer: formatAddress(address),
      family: address.family,
      state: session?.state ?? "Unknown",
      takes: isUp(session) && session?.routes !== undefined,
    });
    let sessions: readonly BirdSession[] = [];
    let absent: string | undefined;
    try {
      ({ sessions } = await birdc.overview());
      this.#unanswered = 0;
    } catch (error) {
      absent = messageOf(error);
      // Whatever became of its sessions, nobody has said it.
      if (!(error instanceof BirdAbsentError)) {
        if (++this.#unanswered >= PATIENCE) this.#peers = configured.map((peer) => viewOf(peer));
        return;
      }
    }
    await addresses.note(sessions.filter(isUp).flatMap(endsOf));
    const limited = this.#limits.peers.join();
    let changed = false;
    const views: SessionView[] = [];
    for (const peer of configured) {
      const session = sessions.find(({ name }) => name === birdPeerName(peer.address));
      changed = this.#tell(formatAddress(peer.address), session, absent) || changed;
      await this.#limits.heed(peer, session);
      views.push(viewOf(peer, session));
    }
    this.#peers = views;
    this.#keepOnly(views.map(({ peer }) => peer));
    this.#tellUnheard();
    if (!changed && limited === this.#limits.peers.join()) return;
    this.#quickUntilMs = this.#now() + QUICK_FOR_MS;
    this.#o.onChange?.();
  }

  /** Tells of a session that came up or went down. True when it did either, and at the first look. */
  #tell(peer: string, session: BirdSession | undefined, absent: string | undefined): boolean {
    const now = this.#now();
    const last = this.#known.get(peer);
    const wasUp = last?.isUp === true;
    const bornMs = isUp(session) ? this.#born(session?.since) : undefined;
    const isAnother = wasUp && isUp(session) && (bornMs ?? 0) > (last.bornMs ?? now) + BIRTH_MS;
    const isChange = last !== undefined && (wasUp !== isUp(session) || isAnother);
    this.#known.set(peer, {
      isUp: isUp(session),
      bornMs: wasUp && isUp(session) && !isAnother ? last.bornMs : bornMs,
      changedMs: isChange ? now : last?.changedMs,
    });
    this.#flaps.set(peer, (this.#flaps.get(peer) ?? 0) + Number(wasUp && isChange));
    if (!isChange) return last === undefined;
    const lasted = last.changedMs === undefined ? undefined : Math.round(now - last.changedMs);
    if (wasUp) {
      const reason = isAnother
        ? "it was up again at the next look"
        : absent ?? session?.lastError ?? session?.info ?? "BIRD was told to end it";
      log.info("Lost BGP session", { peer, reason, durationMs: lasted });
    }
    if (isUp(session)) {
      const { localAddress } = session!;
      log.info("Established BGP session", {
        peer,
        localAddress,
        durationMs: wasUp ? undefined : lasted,
      });
    }
    return true;
  }

  /**
   * When a session came up. BIRD tells it by the wall clock as that is now: after a step it is another time, but not
   * another age.
   */
  #born(since: string | undefined): number | undefined {
    const at = birdTime(since);
    if (at === undefined) return undefined;
    const { wallClock = Date.now } = this.#o;
    return this.#now() - (wallClock() - Date.parse(at));
  }

  /** Tells of a family of the node's prefixes that no peer takes, once it has been so for a while. */
  #tellUnheard(): void {
    const { config, nodePrefixes } = this.#o.node;
    const now = this.#now();
    for (const family of FAMILIES) {
      const prefixes = nodePrefixes.filter((prefix) => prefix.family === family).map(formatPrefix);
      const peers = this.#peers.filter((one) => one.family === family);
      const takers = peers.filter(({ takes }) => takes).map(({ peer }) => peer);
      const unheard = this.#unheard.get(family);
      // A node without peers announces nothing, and need not.
      const isHeard = takers.length > 0 || prefixes.length === 0 || config?.bgp.peers.length === 0;
      if (isHeard) {
        this.#unheard.delete(family);
        if (unheard?.told) {
          const durationMs = Math.round(now - unheard.sinceMs);
          log.info("Found a peer for prefixes of a family", {
            family,
            peers: takers.join(", "),
            durationMs,
          });
        }
      } else if (unheard === undefined) this.#unheard.set(family, { sinceMs: now, told: false });
      else if (!unheard.told && now - unheard.sinceMs >= UNHEARD_MS) {
        unheard.told = true;
        const reason = peers.length === 0 ? "no peer has an address of it" : "no session is up";
        log.info("Found no peer for prefixes of a family", {
          family,
          prefixes: prefixes.join(", "),
          reason,
        });
      }
    }
  }

  /** Nothing grows with what an operator has tried out. */
  #keepOnly(configured: readonly string[]): void {
    for (const peer of this.#known.keys()) {
      if (configured.includes(peer)) continue;
      this.#known.delete(peer);
      this.#flaps.delete(peer);
    }
    this.#limits.keepOnly(configured);
  }
}

/** Both addresses of a session of ours. */
function endsOf(
  { name, peer, localAddress }: BirdSession,
): readonly { readonly peer: string; readonly localAddress: Address }[] {
  // Others may have neighbours without an address.
  if (localAddress === undefined || !name.startsWith(PEER_PREFIX)) return [];
  return [{ peer: formatAddress(parseAddress(peer)), localAddress: parseAddress(localAddress) }];
}

function isUp(session: BirdSession | undefined): boolean {
  return session?.state === "Established";
}
