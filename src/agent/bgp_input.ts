/**
 * Gathers what BIRD's configuration is rendered from: the NodeConfig, and of the node its router id, the
 * local address towards each peer and the networks it is on.
 *
 * @module
 */
import type { BirdInput } from "../core/bird_config.ts";
import { type BirdPeer, peerView } from "../core/bird_peer.ts";
import { formatAddress, type Prefix } from "../core/cidr.ts";
import { messageOf } from "../core/errors.ts";
import type { IpRoute } from "../core/ip_state.ts";
import { chooseLocalAddress } from "../core/local_address.ts";
import { chooseRouterId } from "../core/router_id.ts";
import { readTextIfPresent, writeFileDurable } from "../io/fs.ts";
import type { Ip } from "../io/ip.ts";
import { log } from "../log.ts";
import { connectedPrefixes, nodeLinks, type NodeState } from "./node_state.ts";

/** Reads the node and keeps its router id in the state directory. */
export class BgpInput {
  readonly #ip: Ip;
  readonly #node: NodeState;
  readonly #nodeName: string;
  readonly #file: string;
  /** The peers left out, as last warned about. */
  #leftOut = "[]";

  constructor(options: { ip: Ip; node: NodeState; nodeName: string; stateDir: string }) {
    this.#ip = options.ip;
    this.#node = options.node;
    this.#nodeName = options.nodeName;
    this.#file = `${options.stateDir}/router_id`;
  }

  /**
   * The input as of now; undefined when there is no NodeConfig. A peer that cannot be rendered is left
   * out, the others stay.
   *
   * @param kept addresses that running pods hold outside the node's prefixes
   */
  async gather(kept: readonly Prefix[]): Promise<BirdInput | undefined> {
    const { config, kernel, nodePrefixes } = this.#node;
    if (config === undefined) return undefined;
    const links = nodeLinks(kernel);
    const peers: BirdPeer[] = [];
    const leftOut: { peer: string; reason: string }[] = [];
    let firstRoute: IpRoute | undefined;
    for (const peer of config.bgp.peers) {
      const address = formatAddress(peer.address);
      const route = await this.#ip.routeTo(address);
      firstRoute ??= route;
      const localAddress = peer.localAddress ?? chooseLocalAddress(route, links);
      if (localAddress === undefined) {
        leftOut.push({ peer: address, reason: "no route leads to it" });
      } else if (peer.passwordSecretRef) {
        leftOut.push({ peer: address, reason: "its password's Secret is missing" });
      } else {
        const problem = problemOf({ peer, localAddress }, config.bgp.asn ?? 0);
        if (problem === undefined) peers.push({ peer, localAddress });
        else leftOut.push({ peer: address, reason: problem });
      }
    }
    this.#warn(leftOut);
    const allowed = config.announce.allowed?.map(({ prefix }) => prefix);
    return {
      routerId: await this.#routerId(firstRoute),
      asn: config.bgp.asn,
      allowLocalAs: config.bgp.allowLocalAs,
      nodePrefixes,
      import: config.bgp.import,
      connected: connectedPrefixes(kernel),
      reserved: config.reserved,
      announceAllowed: allowed && [...allowed, ...kept],
      peers,
    };
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

  #warn(leftOut: readonly { peer: string; reason: string }[]): void {
    const text = JSON.stringify(leftOut);
    if (text === this.#leftOut) return;
    this.#leftOut = text;
    for (const { peer, reason } of leftOut) log.warn("Left out BGP peer", { peer, reason });
  }
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
