/**
 * What BIRD says of itself, for metrics, by looks that are shared.
 *
 * @module
 */
import { birdPeerName } from "../core/bird_peer.ts";
import type { BfdSession, BirdSession } from "../core/bird_session.ts";
import { type Family, formatAddress } from "../core/cidr.ts";
import type { NodeConfig } from "../core/node_config.ts";
import type { BirdCounts, BirdInspection } from "../io/birdc.ts";
import { SharedLook, type SharedLookTimes } from "./shared_look.ts";

/** A peer of the NodeConfig, as BIRD has it. */
export interface PeerLook {
  /** Its address. */
  readonly peer: string;
  readonly family: Family;
  readonly established: boolean;
  /** Routes accepted from it, and told to it. */
  readonly imported: number;
  readonly exported: number;
  /** Undefined without BFD. */
  readonly bfdUp?: boolean;
}

/** BIRD as it was at one look. */
export interface BirdLook {
  readonly peers: readonly PeerLook[];
  /** Routes of this node that it has: learned from the kernel, and the node's prefixes. */
  readonly own: Readonly<Record<Family, number>>;
}

export interface BirdLooksOptions extends SharedLookTimes {
  readonly birdc: BirdCounts & Pick<BirdInspection, "bfdSessions" | "ownRoutes">;
  readonly node: { readonly config: NodeConfig | undefined };
}

/** Looks at BIRD when asked to. */
export class BirdLooks {
  readonly #o: BirdLooksOptions;
  readonly #shared: SharedLook<BirdLook>;
  /** Since when each peer's session has been up, as BIRD prints it. */
  readonly #since = new Map<string, string>();
  readonly #flaps = new Map<string, number>();

  constructor(options: BirdLooksOptions) {
    this.#o = options;
    this.#shared = new SharedLook(() => this.#look(), options);
  }

  /**
   * Times that each peer's session was seen to have gone down, by address. What happens between two looks
   * counts as one.
   */
  get flaps(): ReadonlyMap<string, number> {
    return this.#flaps;
  }

  /** BIRD as it is, or was a few seconds ago; undefined when it does not answer. */
  look(): Promise<BirdLook | undefined> {
    return this.#shared.look();
  }

  async #look(): Promise<BirdLook> {
    const { birdc, node } = this.#o;
    const configured = node.config?.bgp.peers ?? [];
    const [{ sessions, imported }, bfd, routes] = await Promise.all([
      birdc.overview(),
      configured.some((peer) => peer.bfd !== undefined) ? birdc.bfdSessions() : [],
      // Then BIRD has other routes of the kernel, too, which no count tells apart.
      configured.some((peer) => peer.multihop !== undefined) ? birdc.ownRoutes() : undefined,
    ]);
    const own = (v: 4 | 6): number =>
      routes?.filter(({ dst }) => dst.includes(":") === (v === 6)).length ??
        (imported.get(`flock_kernel${v}`) ?? 0) + (imported.get(`flock_node${v}`) ?? 0);
    this.#forget(configured.map(({ address }) => formatAddress(address)));
    return {
      peers: configured.map(({ address, bfd: wanted }): PeerLook => {
        const session = sessions.find(({ name }) => name === birdPeerName(address));
        const peer = formatAddress(address);
        this.#noteFlap(peer, session);
        return {
          peer,
          family: address.family,
          established: isEstablished(session),
          imported: session?.routes?.imported ?? 0,
          exported: session?.routes?.exported ?? 0,
          bfdUp: wanted && isUp(bfd, peer),
        };
      }),
      own: { ipv6: own(6), ipv4: own(4) },
    };
  }

  /** A session that was up is down, or has come up again since. */
  #noteFlap(peer: string, session: BirdSession | undefined): void {
    const before = this.#since.get(peer);
    const since = isEstablished(session) ? session?.since : undefined;
    const flaps = this.#flaps.get(peer) ?? 0;
    this.#flaps.set(peer, before !== undefined && since !== before ? flaps + 1 : flaps);
    if (since === undefined) this.#since.delete(peer);
    else this.#since.set(peer, since);
  }

  /** Peers that are configured no more: nothing grows with what an operator has tried out. */
  #forget(configured: readonly string[]): void {
    for (const peer of this.#flaps.keys()) {
      if (configured.includes(peer)) continue;
      this.#flaps.delete(peer);
      this.#since.delete(peer);
    }
  }
}

function isEstablished(session: BirdSession | undefined): boolean {
  return session?.state === "Established";
}

function isUp(sessions: readonly BfdSession[], address: string): boolean {
  return sessions.some(({ peer, state }) => peer === address && state === "Up");
}
