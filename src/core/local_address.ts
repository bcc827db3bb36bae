/**
 * The node's own address of a BGP session. The router knows a session by it, so it stays while the node has it: what
 * the kernel would use towards the peer is another one as soon as the node has a second address, a virtual one of
 * keepalived's, say. It is asked only where there is nothing to stay with.
 *
 * @module
 */
import { type Address, contains, formatAddress, parseAddress, prefixOf, scopeOf } from "./cidr.ts";
import type { IpAddress, IpLink, IpRoute } from "./ip_state.ts";
import { isHostIfname } from "./wiring.ts";

/** Unique local addresses (RFC 4193). */
const ULA = prefixOf(parseAddress("fc00::"), 7);

/** Addresses that a session had. */
export interface FormerAddresses {
  /** That it was last established with. */
  readonly established?: Address;
  /** That BIRD was last told, whether the session came up or not. */
  readonly told?: Address;
}

type Links = readonly Pick<IpLink, "ifname" | "addresses">[];
type Way = Pick<IpRoute, "type" | "dev" | "prefsrc">;

/**
 * Chooses the local address of a session: the one that it was last established with; the one that it was last tried
 * with, while the way to the peer is by that address's link, or there is none at the moment; the kernel's choice. Where
 * that has none either, the last one again.
 *
 * @param routeGet what `ip route get PEER` says
 * @param links what `ip addr show` says
 * @returns undefined when there is no way to the peer, or none from an address that a session can use
 */
export function chooseLocalAddress(
  routeGet: Way | undefined,
  links: Links,
  { established, told }: FormerAddresses = {},
): Address | undefined {
  // A peer behind a pod's link is a pod.
  if (routeGet?.dev !== undefined && isHostIfname(routeGet.dev)) return undefined;
  if (established !== undefined && holderOf(established, links) !== undefined) return established;
  const held = told && holderOf(told, links);
  if (
    held !== undefined && isPermanent(held.entry) &&
    (routeGet === undefined || ["lo", routeGet.dev].includes(held.ifname))
  ) return told;
  // A link that is down for a moment takes its addresses along: that is no reason to give up the session.
  return kernelChoice(routeGet, links) ??
    (routeGet === undefined ? told ?? established : undefined);
}

/**
 * What the kernel would use. A temporary (RFC 8981) or deprecated address is replaced by a permanent one of its link
 * and scope, of the same subnet if there is one.
 */
function kernelChoice(routeGet: Way | undefined, links: Links): Address | undefined {
  if (routeGet?.prefsrc === undefined || routeGet.type !== "unicast") return undefined;
  if (routeGet.dev === undefined) return undefined;
  const source = parseAddress(routeGet.prefsrc);
  const holder = holderOf(source, links);
  if (holder === undefined || scopeOf(source) !== "unicast") return undefined;
  const { entry, addresses } = holder;
  if (isPermanent(entry)) return source;
  const subnet = prefixOf(source, entry.prefixLength);
  const others = addresses
    .filter((other) => isPermanent(other) && !other.tentative && other.scope === entry.scope)
    .map(({ address }) => parseAddress(address))
    .filter((other) =>
      other.family === source.family && scopeOf(other) === "unicast" &&
      contains(ULA, other) === contains(ULA, source)
    );
  return others.find((other) => contains(subnet, other)) ?? others[0] ?? source;
}

/** The link that has an address, and how; undefined when none but a pod's has it. */
function holderOf(
  address: Address,
  links: Links,
): { ifname: string; addresses: readonly IpAddress[]; entry: IpAddress } | undefined {
  const text = formatAddress(address);
  for (const { ifname, addresses } of links) {
    if (isHostIfname(ifname)) continue;
    const entry = addresses.find((one) => one.address === text);
    if (entry !== undefined) return { ifname, addresses, entry };
  }
  return undefined;
}

function isPermanent({ temporary, deprecated }: IpAddress): boolean {
  return !temporary && !deprecated;
}
