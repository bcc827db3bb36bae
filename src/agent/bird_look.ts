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

  constructor(options: BirdLooksOptions) {
    this.#o = options;
    this.#shared = new SharedLook(() => this.#look(), options);
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
    return {
      peers: configured.map(({ address, bfd: wanted }): PeerLook => {
        const session = sessions.find(({ name }) => name === birdPeerName(address));
        const peer = formatAddress(address);
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
}

function isEstablished(session: BirdSession | undefined): boolean {
  return session?.state === "Established";
}

function isUp(sessions: readonly BfdSession[], address: string): boolean {
  return sessions.some(({ peer, state }) => peer === address && state === "Up");
}
