/**
 * `flock doctor` on the ways out of the node: MTU, peers, next hops, and networks that BGP must not
 * teach it.
 *
 * @module
 */
import {
  bitsOf,
  contains,
  formatAddress,
  formatPrefix,
  parseAddress,
  parsePrefix,
  type Prefix,
  prefixOf,
  scopeOf,
} from "../cidr.ts";
import { chooseLocalAddress } from "../local_address.ts";
import { IPVS_LINK } from "../config.ts";
import type { NodeConfig } from "../node_config.ts";
import { isHostIfname } from "../wiring.ts";
import type { Problem } from "./checks.ts";
import type { NetworkFacts, PeerPath } from "./facts.ts";
import { podLinksOf, uplinksOf } from "./kernel.ts";

/** Route protocols of BGP speakers, by name and number (`/etc/iproute2/rt_protos`). */
const BGP_PROTOCOLS: readonly string[] = ["bird", "12", "bgp", "186", "zebra", "11"];

export function judgeMtu(
  network: NetworkFacts,
  config: NodeConfig | undefined,
  peers: readonly PeerPath[] | undefined,
): readonly Problem[] {
  const pods = podLinksOf(network);
  const [largest] = [...pods].sort((a, b) => b.mtu - a.mtu);
  const [narrowest] = [...uplinksOf(network, peers)].sort((a, b) => a.mtu - b.mtu);
  const podMtu = Math.max(largest?.mtu ?? 0, config?.mtu ?? 0);
  const where = largest !== undefined && largest.mtu === podMtu
    ? `link ${largest.ifname} of a pod`
    : "spec.mtu of the NodeConfig";
  const problems: Problem[] = [];
  if (narrowest !== undefined && narrowest.mtu < podMtu) {
    problems.push({
      id: "mtu-pods",
      finding: `${where} has MTU ${podMtu}, and link ${narrowest.ifname} to the world ` +
        `${narrowest.mtu}`,
      fix: mtuFix(narrowest.mtu),
    });
  }
  for (const { peer, route, mtu } of peers ?? []) {
    const link = network.links.find(({ ifname }) => ifname === route?.dev);
    if (mtu === undefined || mtu >= podMtu || link !== undefined && mtu >= link.mtu) continue;
    problems.push({
      id: "mtu-path",
      finding: `${where} has MTU ${podMtu}, and the route to peer ${formatAddress(peer.address)} ` +
        `through ${route?.dev} ${mtu}`,
      fix: mtuFix(mtu),
    });
  }
  return problems;
}

export function judgePeerPaths(
  network: NetworkFacts,
  peers: readonly PeerPath[],
): readonly Problem[] {
  return peers.flatMap(({ peer, route }): Problem[] => {
    const address = formatAddress(peer.address);
    if (route === undefined || route.type !== "unicast") {
      return [{
        id: "peer-route",
        finding: `no route leads to peer ${address}`,
        fix: [`ip route get ${address}`, "ip addr show"],
      }];
    }
    const local = peer.localAddress ?? chooseLocalAddress(route, network.links);
    if (local !== undefined && scopeOf(local) === "unicast") return [];
    const from = route.prefsrc === undefined ? "no address" : `address ${route.prefsrc}`;
    const length = peer.address.family === "ipv6" ? 64 : 24;
    return [{
      id: "next-hop",
      finding: `peer ${address} is reached through ${route.dev} from ${from}, which cannot be a ` +
        "next hop",
      fix: [
        "# an address of the same network as the peer's, for example",
        `ip addr add ADDRESS/${length} dev ${route.dev}`,
      ],
    }];
  });
}

export function judgeOwnSubnets(network: NetworkFacts): readonly Problem[] {
  const connected = connectedOf(network);
  return network.routes.filter(({ protocol }) => BGP_PROTOCOLS.includes(protocol)).flatMap(
    ({ dst, gateway, protocol }) => {
      const learned = parsePrefix(dst);
      const own = connected.find(({ prefix }) => contains(prefix, learned));
      if (own === undefined) return [];
      const network = formatPrefix(own.prefix);
      const what = network === dst ? network : `${dst}, a part of ${network},`;
      return [{
        id: "own-subnet" as const,
        finding: `${what} of link ${own.ifname} was learned by BGP` +
          (gateway === undefined ? "" : ` from ${gateway}`) + ` (protocol ${protocol})`,
        fix: [
          "# at the router: do not announce it to the nodes; FRR:",
          `${learned.family === "ipv6" ? "ipv6" : "ip"} prefix-list NODES-OUT seq 5 deny ` +
          `${network} le ${bitsOf(learned.family)}`,
          "# on this node, until the next update:",
          `ip route del ${dst} proto ${protocol}`,
        ],
      }];
    },
  );
}

/** Networks that the node's own links are on. */
function connectedOf(
  { links }: NetworkFacts,
): readonly { readonly ifname: string; readonly prefix: Prefix }[] {
  return links.filter(({ ifname }) => !isHostIfname(ifname) && ifname !== IPVS_LINK).flatMap((
    { ifname, addresses },
  ) =>
    addresses.flatMap(({ address: text, prefixLength }) => {
      const address = parseAddress(text);
      const isNetwork = scopeOf(address) === "unicast" && prefixLength < bitsOf(address.family);
      return isNetwork ? [{ ifname, prefix: prefixOf(address, prefixLength) }] : [];
    })
  );
}

function mtuFix(mtu: number): readonly string[] {
  return ["# NodeConfig; pods have it once they are made anew", "spec:", `  mtu: ${mtu}`];
}
