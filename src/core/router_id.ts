/**
 * The BGP identifier of a node (RFC 6286): told, kept, the primary IPv4 address towards the world, or
 * derived from the node's name where there is no IPv4.
 *
 * @module
 */
import { type Address, formatAddress, parseAddress, parsePrefix, scopeOf } from "./cidr.ts";
import { fnv1a32 } from "./iid.ts";
import type { IpAddress, IpLink, IpRoute } from "./ip_state.ts";
import { isHostIfname } from "./wiring.ts";

/** What a router id is chosen from. */
export interface RouterIdInput {
  /** `spec.bgp.routerID`. */
  readonly configured?: Address;
  readonly links: readonly Pick<IpLink, "ifname" | "addresses">[];
  /** The main table, both families; only default routes count. */
  readonly routes: readonly Pick<
    IpRoute,
    "family" | "dst" | "type" | "metric" | "dev" | "nextHops"
  >[];
  /** The way to the first peer (`ip route get`). */
  readonly peerRoute?: Pick<IpRoute, "dev">;
  /** What was chosen before. */
  readonly kept?: string;
  readonly nodeName: string;
}

/** First and number of the identifiers made from names: 1.0.0.0 to 126.255.255.255. */
const FIRST = 0x01000000;
const COUNT = 126 * 0x01000000;

/**
 * Chooses a node's router id. What was chosen before stays while the node has that address, and one made from its
 * name when it gets an address: another router id restarts every session. The first IPv4 of any link will not do: on many nodes it is a
 * container bridge's, the same everywhere.
 */
export function chooseRouterId(input: RouterIdInput): string {
  if (input.configured !== undefined) return formatAddress(input.configured);
  const links = input.links.filter(({ ifname }) => !isHostIfname(ifname));
  const { kept } = input;
  const made = routerIdOf(input.nodeName);
  if (kept !== undefined) {
    if (kept === made || links.some((link) => routerAddresses(link).includes(kept))) return kept;
  }
  const devs = [...defaultRouteDevs(input.routes), input.peerRoute?.dev];
  for (const dev of devs) {
    const link = links.find(({ ifname }) => ifname === dev);
    const [primary] = link === undefined ? [] : routerAddresses(link);
    if (primary !== undefined) return primary;
  }
  return made;
}

/** The router id made from a node's name: FNV-1a-32, folded into 1.0.0.0–126.255.255.255. */
export function routerIdOf(name: string): string {
  return formatAddress({ family: "ipv4", value: BigInt(FIRST + fnv1a32(name) % COUNT) });
}

/** Links of the default routes, IPv4's first, the best metric first. */
function defaultRouteDevs(routes: RouterIdInput["routes"]): (string | undefined)[] {
  return routes
    .filter(({ dst, type }) => type === "unicast" && parsePrefix(dst).length === 0)
    .sort((a, b) => a.family === b.family ? a.metric - b.metric : a.family === "ipv4" ? -1 : 1)
    .flatMap(({ dev, nextHops }) => dev === undefined ? nextHops.map((hop) => hop.dev) : [dev]);
}

/** IPv4 addresses of a link that tell the node from others, the primary one first, as `ip` lists them. */
function routerAddresses(link: { readonly addresses: readonly IpAddress[] }): string[] {
  return link.addresses
    .filter(({ family, address, scope }) =>
      family === "ipv4" && scope === "global" && scopeOf(parseAddress(address)) === "unicast"
    )
    .map(({ address }) => address);
}
