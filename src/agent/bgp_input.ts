/**
 * Gathers what BIRD's configuration is rendered from: the NodeConfig, and of the node its router id, the
 * local address towards each peer and the networks it is on.
 *
 * @module
 */
import type { Attachment } from "../core/attachment.ts";
import type { BirdInput } from "../core/bird_config.ts";
import { type BirdPeer, peerView } from "../core/bird_peer.ts";
import {
  type Address,
  formatAddress,
  hostPrefix,
  parseAddress,
  type Prefix,
} from "../core/cidr.ts";
import { messageOf } from "../core/errors.ts";
import type { IpRoute } from "../core/ip_state.ts";
import { chooseLocalAddress } from "../core/local_address.ts";
import type { NodeConfig } from "../core/node_config.ts";
import type { LeftOutPeer } from "../core/node_config_status.ts";
import type { SecretValue } from "../core/objects.ts";
import { chooseRouterId } from "../core/router_id.ts";
import { secretRole } from "../core/secret_role.ts";
import { readTextIfPresent, writeFileDurable } from "../io/fs.ts";
import type { Ip } from "../io/ip.ts";
import { log } from "../log.ts";
import type { Drain } from "./drain.ts";
import { connectedPrefixes, nodeLinks, type NodeState } from "./node_state.ts";
import type { PeerPasswords } from "./peer_passwords.ts";
import type { SessionAddresses } from "./session_addresses.ts";

/** Ways to peers. */
export interface Ways {
  readonly peers: NodeConfig["bgp"]["peers"];
  /** By the peer's address; none for one that cannot be reached. */
  readonly routes: ReadonlyMap<string, IpRoute>;
}

/** Reads the node and keeps its router id in the state directory. */
export class BgpInput {
  readonly #ip: Pick<Ip, "routesToward">;
  readonly #node: NodeState;
  readonly #nodeName: string;
  readonly #file: string;
  readonly #passwords: Pick<PeerPasswords, "get">;
  readonly #addresses: Pick<SessionAddresses, "get">;
  readonly #attachments: () => readonly Attachment[];
  readonly #drain: Pick<Drain, "active">;
  #leftOut: readonly LeftOutPeer[] = [];
  #gracefulShutdown = false;
  #waitingFor: string | undefined;
  #last: BirdInput | undefined;

  constructor(
    options: {
      ip: Pick<Ip, "routesToward">;
      node: NodeState;
      nodeName: string;
      stateDir: string;
      passwords: Pick<PeerPasswords, "get">;
      addresses: Pick<SessionAddresses, "get">;
      attachments: () => readonly Attachment[];
      drain: Pick<Drain, "active">;
    },
  ) {
    this.#ip = options.ip;
    this.#node = options.node;
    this.#nodeName = options.nodeName;
    this.#file = `${options.stateDir}/router_id`;
    this.#passwords = options.passwords;
    this.#addresses = options.addresses;
    this.#attachments = options.attachments;
    this.#drain = options.drain;
  }

  /** The peers that were left out at the last time, and why. */
  get leftOut(): readonly LeftOutPeer[] {
    return this.#leftOut;
  }

  /** The input that was gathered last has GRACEFUL_SHUTDOWN on the anycast addresses. */
  get gracefulShutdown(): boolean {
    return this.#gracefulShutdown;
  }

  /** What BIRD's configuration waits for; undefined when it is the one that is wanted. */
  get waitingFor(): string | undefined {
    return this.#waitingFor;
  }

  /** The input that was gathered last; undefined when there was none yet. */
  get last(): BirdInput | undefined {
    return this.#last;
  }

  /**
   * The input as of now; undefined when there is no NodeConfig, or a password is not known yet: leaving
   * its peer out until the API server has answered would cost a session that is up. A peer that cannot
   * be rendered is left out, the others stay.
   *
   * @param kept addresses that running pods hold outside the node's prefixes
   * @param options.retiring prefixes that the node had, to be announced a little longer
   * @param options.ways the ways to the peers, where somebody has asked for them already
   */
  async gather(
    kept: readonly Prefix[],
    options: { readonly retiring?: readonly Prefix[]; readonly ways?: Promise<Ways> } = {},
  ): Promise<BirdInput | undefined> {
    const { config, kernel, nodePrefixes } = this.#node;
    if (config === undefined) return undefined;
    const links = nodeLinks(kernel);
    const peers: BirdPeer[] = [];
    const leftOut: LeftOutPeer[] = [];
    const asked = await options.ways;
    // The peers may be others by now.
    const { routes } = asked?.peers === config.bgp.peers ? asked : await this.ways();
    let firstRoute: IpRoute | undefined;
    for (const peer of config.bgp.peers) {
      const address = formatAddress(peer.address);
      const route = routes.get(address);
      firstRoute ??= route;
      const former = {
        established: this.#addresses.get(address),
        told: this.#last?.peers.find((one) => formatAddress(one.peer.address) === address)
          ?.localAddress,
      };
      const localAddress = peer.localAddress ?? chooseLocalAddress(route, links, former);
      const leaveOut = (reason: LeftOutPeer["reason"], message: string): void =>
        void leftOut.push({ peer: address, reason, message });
      if (localAddress === undefined) {
        leaveOut("NoRoute", "no route leads to it");
        continue;
      }
      const reference = peer.passwordSecretRef;
      const password = reference && this.#passwords.get(reference);
      if (reference !== undefined && password === undefined) {
        this.#waitingFor = `the password of peer ${address}`;
        return undefined;
      }
      if (reference !== undefined && password?.kind === "forbidden") {
        const { namespace, name } = reference;
        leaveOut(
          "SecretForbidden",
          `flock may not read Secret "${namespace}/${name}"; apply:\n${secretRole(reference)}`,
        );
      } else if (password?.kind === "missing") leaveOut("SecretMissing", password.reason);
      else {
        const given: BirdPeer = { peer, localAddress, password: valueOf(password) };
        const problem = problemOf(given, config.bgp.asn ?? 0);
        if (problem === undefined) {
          peers.push(given);
          sayIfMoved(address, localAddress, former.told ?? former.established);
        } else leaveOut("Unusable", problem);
      }
    }
    this.#waitingFor = undefined;
    this.#warn(leftOut);
    const allowed = config.announce.allowed?.map(({ prefix }) => prefix);
    const routerId = await this.#routerId(firstRoute);
    this.#gracefulShutdown = this.#drain.active;
    return this.#last = {
      routerId,
      asn: config.bgp.asn,
      allowLocalAs: config.bgp.allowLocalAs,
      nodePrefixes: [...nodePrefixes, ...options.retiring ?? []],
      import: config.bgp.import,
      connected: connectedPrefixes(kernel),
      reserved: config.reserved,
      announceAllowed: allowed && [...allowed, ...kept],
      gracefulShutdown: this.#gracefulShutdown ? this.#anycast() : undefined,
      peers,
    };
  }

  /** The routes that the kernel takes to the peers that there are now. */
  async ways(): Promise<Ways> {
    const peers = this.#node.config?.bgp.peers ?? [];
    const addresses = peers.map(({ address }) => formatAddress(address));
    const routes = peers.length === 0
      ? new Map<string, IpRoute>()
      : await this.#ip.routesToward(addresses);
    return { peers, routes };
  }

  /** Whether a pod is ready makes no difference here: that must not cost a reload. */
  #anycast(): Prefix[] {
    const addresses = this.#attachments().flatMap(({ anycast = [] }) => anycast);
    return addresses.map((address) => hostPrefix(parseAddress(address)));
  }

  async #routerId(peerRoute: IpRoute | undefined): Promise<string> {
    const { config, kernel } = this.#node;
    const kept = (await readTextIfPresent(this.#file))?.trim();
    const chosen = chooseRouterId({
      configured: config?.bgp.routerId,
      links: kernel.links,
      routes: kernel.defaultRoutes,
      peerRoute,
      kept,
      nodeName: this.#nodeName,
    });
    if (chosen !== kept) {
      await writeFileDurable(this.#file, `${chosen}\n`);
      log.info("Chose router id", { routerId: chosen, was: kept });
    }
    return chosen;
  }

  #warn(leftOut: readonly LeftOutPeer[]): void {
    const same = JSON.stringify(leftOut) === JSON.stringify(this.#leftOut);
    this.#leftOut = leftOut;
    if (same) return;
    for (const { peer, message } of leftOut) {
      log.warn("Left out BGP peer", { peer, reason: message });
    }
  }
}

/** The router may not know the session by its new address. */
function sayIfMoved(peer: string, localAddress: Address, former: Address | undefined): void {
  if (former === undefined) return;
  const [now, was] = [formatAddress(localAddress), formatAddress(former)];
  if (now !== was) {
    log.warn("Changed local address of BGP session", { peer, localAddress: now, was });
  }
}

function valueOf(password: SecretValue | undefined): string | undefined {
  return password?.kind === "value" ? password.value : undefined;
}

/** Why a peer cannot be rendered; undefined when it can. */
function problemOf(peer: BirdPeer, asn: number): string | undefined {
  try {
    peerView(peer, asn, true);
    return undefined;
  } catch (error) {
    return messageOf(error);
  }
}
