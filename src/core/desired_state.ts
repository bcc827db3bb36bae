/**
 * What the kernel's routes should be, computed whole from a snapshot; and the difference to what is
 * there, as lines for `ip -batch`. Pure: nothing relies on memory of what was done.
 *
 * @module
 */
import type { Attachment } from "./attachment.ts";
import { type Family, formatPrefix, type Prefix } from "./cidr.ts";
import { PROTO_LOCAL, ROUTE_METRIC, UNREACHABLE_METRIC } from "./config.ts";
import type { IpLink, IpRoute } from "./ip_state.ts";
import { hostCidr, protocolOf, routedAddresses } from "./wiring.ts";

/** A route that should be there. */
export interface DesiredRoute {
  readonly family: Family;
  /** CIDR notation. */
  readonly dst: string;
  readonly type: "unicast" | "unreachable";
  readonly dev?: string;
  readonly protocol: number;
  readonly metric: number;
}

/** What the desired state is computed from. */
export interface Snapshot {
  readonly attachments: readonly Attachment[];
  readonly nodePrefixes: readonly Prefix[];
  /** Links that exist: when a link goes, its routes leave the desired state. */
  readonly links: readonly IpLink[];
}

/** The routes of the main table that should be ours, sorted. */
export function desiredRoutes(snapshot: Snapshot): readonly DesiredRoute[] {
  const links = new Set(snapshot.links.map(({ ifname }) => ifname));
  const routes: DesiredRoute[] = [
    // Unused addresses answer "unreachable" at once and never loop to the default route.
    ...snapshot.nodePrefixes.map((prefix): DesiredRoute => ({
      family: prefix.family,
      dst: formatPrefix(prefix),
      type: "unreachable",
      protocol: PROTO_LOCAL,
      metric: UNREACHABLE_METRIC[prefix.family],
    })),
    ...snapshot.attachments.filter(({ hostIfname }) => links.has(hostIfname)).flatMap((a) =>
      routedAddresses({ primary: { ipv6: a.ip6, ipv4: a.ip4 }, extra: a.addresses ?? [] })
        .map((address): DesiredRoute => ({
          family: address.family,
          dst: hostCidr(address),
          type: "unicast",
          dev: a.hostIfname,
          protocol: protocolOf(address, snapshot.nodePrefixes),
          metric: ROUTE_METRIC,
        }))
    ),
  ];
  return routes.sort((a, b) => a.dst < b.dst ? -1 : a.dst > b.dst ? 1 : a.metric - b.metric);
}

/** One change to the kernel's routes. */
export interface RouteChange {
  readonly kind: "install" | "remove";
  readonly dst: string;
  /** Line for `ip -batch`. */
  readonly line: string;
}

/**
 * The changes that turn what is there into what should be.
 *
 * @param observed routes of our protocols, any table; other tables' are not ours to judge
 * @param isPending true for the link of an attachment that is being wired or torn down
 */
export function diffRoutes(
  desired: readonly DesiredRoute[],
  observed: readonly IpRoute[],
  isPending: (dev: string) => boolean,
): readonly RouteChange[] {
  const wanted = new Map(desired.map((route) => [keyOf(route), route]));
  const present = new Set<string>();
  const changes: RouteChange[] = [];
  for (const route of observed) {
    if (route.table !== "main") continue;
    const want = wanted.get(keyOf(route));
    if (want && isSame(want, route)) present.add(keyOf(route));
    else if (want === undefined && !isPending(route.dev ?? "")) {
      changes.push({ kind: "remove", dst: route.dst, line: `route del ${selectorOf(route)}` });
    }
  }
  for (const [key, route] of wanted) {
    if (present.has(key) || isPending(route.dev ?? "")) continue;
    changes.push({ kind: "install", dst: route.dst, line: `route replace ${textOf(route)}` });
  }
  return changes;
}

/** The kernel holds one route per destination and metric (of one table). */
function keyOf({ family, dst, metric }: DesiredRoute | IpRoute): string {
  return `${family} ${dst} ${metric}`;
}

function isSame(want: DesiredRoute, have: IpRoute): boolean {
  return have.type === want.type && have.protocol === String(want.protocol) &&
    (want.dev === undefined || have.dev === want.dev) &&
    have.gateway === undefined && have.prefsrc === undefined && have.nextHops.length === 0 &&
    have.nexthopId === undefined;
}

function textOf({ type, dst, dev, protocol, metric }: DesiredRoute): string {
  const head = type === "unicast" ? dst : `${type} ${dst}`;
  return `${head}${dev ? ` dev ${dev}` : ""} proto ${protocol} metric ${metric}`;
}

function selectorOf({ type, dst, dev, protocol, metric, family }: IpRoute): string {
  const head = type === "unicast" ? dst : `${type} ${dst}`;
  const on = dev && !(family === "ipv4" && type !== "unicast") ? ` dev ${dev}` : "";
  return `${head}${on} proto ${protocol} metric ${metric}`;
}
