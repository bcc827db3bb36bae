/**
 * The node's own address of a BGP session: what the kernel would use towards the peer, unless that
 * address is about to go.
 *
 * @module
 */
import { type Address, contains, parseAddress, prefixOf, scopeOf } from "./cidr.ts";
import type { IpAddress, IpLink, IpRoute } from "./ip_state.ts";
import { isHostIfname } from "./wiring.ts";

/** Unique local addresses (RFC 4193). */
const ULA = prefixOf(parseAddress("fc00::"), 7);

/**
 * Chooses the local address of a session. A temporary (RFC 8981) or deprecated address is replaced by a
 * permanent one of its link and scope, of the same subnet if there is one.
 *
 * @param routeGet what `ip route get PEER` says
 * @param links what `ip addr show` says
 * @returns undefined when there is no way to the peer, or none from an address that a session can use
 */
export function chooseLocalAddress(
  routeGet: Pick<IpRoute, "type" | "dev" | "prefsrc"> | undefined,
  links: readonly Pick<IpLink, "ifname" | "addresses">[],
): Address | undefined {
  if (routeGet?.prefsrc === undefined || routeGet.type !== "unicast") return undefined;
  // A peer behind a pod's link is a pod.
  if (routeGet.dev === undefined || isHostIfname(routeGet.dev)) return undefined;
  const { prefsrc } = routeGet;
  const source = parseAddress(prefsrc);
  const link = links.find(({ ifname, addresses }) =>
    !isHostIfname(ifname) && addresses.some(({ address }) => address === prefsrc)
  );
  const entry = link?.addresses.find(({ address }) => address === prefsrc);
  if (link === undefined || entry === undefined || scopeOf(source) !== "unicast") return undefined;
  if (isPermanent(entry)) return source;
  const subnet = prefixOf(source, entry.prefixLength);
  const others = link.addresses
    .filter((other) => isPermanent(other) && !other.tentative && other.scope === entry.scope)
    .map(({ address }) => parseAddress(address))
    .filter((other) =>
      other.family === source.family && scopeOf(other) === "unicast" &&
      contains(ULA, other) === contains(ULA, source)
    );
  return others.find((other) => contains(subnet, other)) ?? others[0] ?? source;
}

function isPermanent({ temporary, deprecated }: IpAddress): boolean {
  return !temporary && !deprecated;
}
