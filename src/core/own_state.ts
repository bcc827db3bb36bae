/**
 * What of flock's is, or should be, in the kernel, as objects with a text each: ends of links, next hops,
 * groups of next hops, routes. The same type for both, so that their difference is a comparison of
 * texts (`state_diff.ts`).
 *
 *     desired (`desired_state.ts`) + what is there ──ownState()──▶ wanted ┐
 *     `ip -j` ──observedState()──▶ what is there ─────────────────────────┴─diffState()─▶ changes
 *
 * Pods share an anycast address through a group of type `resilient`, so that one that leaves or returns
 * moves no flow of the others; the route stays as it is. Where the kernel has no such groups the
 * route has several next hops. Ids of next hops and groups are found again by what they are: a next
 * hop by its way, a group by the route that goes to it.
 *
 * @module
 */
import {
  GROUP_BUCKETS,
  GROUP_IDLE_TIMER,
  GROUP_UNBALANCED_TIMER,
  PROTO_ANNOUNCED,
} from "./config.ts";
import type { DesiredRoute, DesiredState } from "./desired_state.ts";
import type { IpLink, IpNeighbor, IpNexthop, IpRoute } from "./ip_state.ts";
import { assignIds } from "./nexthop_ids.ts";
import { nexthopKey, type OwnObject, type OwnState, routeKey, wayOf } from "./own_objects.ts";
import { addressLine, isHostIfname, linkUpLine, macLine, neighborLine } from "./wiring.ts";

/** What was read of the kernel. */
export interface Observed {
  readonly links: readonly IpLink[];
  /** Permanent ones. */
  readonly neighbors: readonly IpNeighbor[];
  /** Of our protocols, any table. */
  readonly routes: readonly IpRoute[];
  /** Of protocol 144. */
  readonly nexthops: readonly IpNexthop[];
}

/** What is there. Routes of other tables are not ours to judge. */
export function observedState(observed: Observed): OwnState {
  const links = new Set(observed.links.map(({ ifname }) => ifname));
  // Links and routes are not read at one moment: a route that has lost its link is gone, too.
  const isGone = ({ dev, nexthopId }: IpRoute): boolean =>
    nexthopId === undefined && dev !== undefined && isHostIfname(dev) && !links.has(dev);
  const objects = [
    ...observed.links.filter(({ ifname }) => isHostIfname(ifname)).flatMap(linkEnds),
    ...observed.neighbors.filter(({ dev, permanent }) => permanent && isHostIfname(dev))
      .map((neighbor) => end(neighbor.dev, neighborLine(neighbor))),
  ].map((object): [string, OwnObject] => [endKey(object.text), object]);
  return new Map([
    ...objects,
    ...observed.nexthops.map((one): [string, OwnObject] => [nexthopKey(one.id), nexthopOf(one)]),
    ...observed.routes.filter((route) => route.table === "main" && !isGone(route)).map((route) =>
      [routeKey(route.family, route.dst, route.metric), routeOf(route)] as const
    ),
  ]);
}

/**
 * What should be there.
 *
 * @param present what is there, for the ids that are in use
 * @param foreignIds ids of next hops that are not ours
 * @param sticky the kernel has resilient groups
 */
export function ownState(
  desired: DesiredState,
  present: OwnState,
  { foreignIds, sticky }: { readonly foreignIds: ReadonlySet<number>; readonly sticky: boolean },
): OwnState {
  const wanted = new Map<string, OwnObject>();
  for (const [link, lines] of desired.ends) {
    for (const line of lines) wanted.set(endKey(line), end(link, line));
  }
  const shared = desired.routes.filter(({ legs }) => legs !== undefined);
  const ids = sticky ? assignIds(shared, present, foreignIds) : undefined;
  for (const [way, { id, leg }] of ids?.nexthops ?? []) {
    wanted.set(nexthopKey(id), {
      kind: "nexthop",
      subject: String(id),
      id,
      text: nexthopText(id, way),
      devs: [leg.dev],
    });
  }
  for (const route of desired.routes) {
    const { family, dst, metric, legs } = route;
    const group = ids?.groups.get(dst);
    if (legs !== undefined && ids !== undefined && group !== undefined) {
      const members = legs.map((leg) => ({
        id: ids.nexthops.get(wayOf(leg))!.id,
        weight: leg.weight,
      }));
      wanted.set(nexthopKey(group), {
        kind: "group",
        subject: String(group),
        id: group,
        text: groupText(group, members),
        devs: legs.map(({ dev }) => dev),
        reusable: true,
      });
    }
    wanted.set(routeKey(family, dst, metric), desiredRoute(route, group));
  }
  return wanted;
}

function end(link: string, text: string): OwnObject {
  return { kind: "end", subject: link, text, devs: [link] };
}

/** A link has one hardware address, and any number of the others. */
function endKey(text: string): string {
  return /^link set \S+ address /.exec(text)?.[0] ?? text;
}

function linkEnds({ ifname, up, mac, addresses }: IpLink): readonly OwnObject[] {
  return [
    macLine(ifname, mac),
    ...(up ? [linkUpLine(ifname)] : []),
    ...addresses.map(({ address, prefixLength }) =>
      addressLine(ifname, `${address}/${prefixLength}`)
    ),
  ].map((line) => end(ifname, line));
}

function nexthopOf(one: IpNexthop): OwnObject {
  const { id, gateway = "", dev = "", members, resilient } = one;
  const common = { subject: String(id), id };
  if (members === undefined) {
    const text = nexthopText(id, `via ${gateway} dev ${dev}${one.onlink ? " onlink" : ""}`);
    return { ...common, kind: "nexthop", text, devs: [dev] };
  }
  return {
    ...common,
    kind: "group",
    text: groupText(id, members, resilient),
    devs: [],
    reusable: resilient?.buckets === GROUP_BUCKETS,
  };
}

function routeOf(route: IpRoute): OwnObject {
  const { family, dst, dev, gateway, prefsrc, nextHops, nexthopId, protocol, metric, type } = route;
  const to = nexthopId !== undefined
    ? ` nhid ${nexthopId}`
    : `${gateway ? ` via ${gateway}` : ""}${dev ? ` dev ${dev}` : ""}` +
      (gateway && route.flags.includes("onlink") ? " onlink" : "") +
      (prefsrc ? ` src ${prefsrc}` : "");
  // IPv4 prints no device for what leads nowhere; IPv6 prints lo.
  const where = type === "unicast" ? to : "";
  const hops = nexthopId !== undefined ? [] : nextHops;
  return {
    kind: "route",
    subject: dst,
    text: routeText({ type, dst, protocol, metric }, where, hops),
    devs: dev === undefined ? [] : [dev],
    id: nexthopId,
    route: {
      type,
      family,
      protocol,
      metric,
      dev: nexthopId === undefined ? dev : undefined,
      shared: nexthopId !== undefined || gateway !== undefined || nextHops.length > 0,
    },
  };
}

function desiredRoute(route: DesiredRoute, group: number | undefined): OwnObject {
  const { family, dst, type, dev, legs, protocol, metric } = route;
  const [first] = legs ?? [];
  const to = group !== undefined
    ? ` nhid ${group}`
    : legs?.length === 1
    ? ` ${wayOf(first!)}`
    : dev !== undefined
    ? ` dev ${dev}`
    : "";
  const hops = group === undefined && legs !== undefined && legs.length > 1 ? legs : [];
  return {
    kind: "route",
    subject: dst,
    text: routeText(
      { type, dst, protocol, metric },
      to,
      hops.map(({ via, dev, weight }) => ({ gateway: via, dev, weight })),
    ),
    devs: legs?.map(({ dev }) => dev) ?? (dev === undefined ? [] : [dev]),
    id: group,
    route: {
      type,
      family,
      protocol: String(protocol),
      metric,
      dev,
      shared: legs !== undefined,
    },
  };
}

function routeText(
  { type, dst, protocol, metric }: Pick<IpRoute, "type" | "dst" | "metric"> & {
    readonly protocol: string | number;
  },
  to: string,
  hops: IpRoute["nextHops"],
): string {
  const head = type === "unicast" ? dst : `${type} ${dst}`;
  const ways = hops.map(({ gateway, dev, weight }) =>
    ` nexthop via ${gateway} dev ${dev} onlink weight ${weight}`
  ).sort().join("");
  return `${head}${to} proto ${protocol} metric ${metric}${ways}`;
}

function nexthopText(id: number, way: string): string {
  return `id ${id} ${way} proto ${PROTO_ANNOUNCED}`;
}

function groupText(
  id: number,
  members: readonly { readonly id: number; readonly weight: number }[],
  resilient: IpNexthop["resilient"] = {
    buckets: GROUP_BUCKETS,
    idleTimer: GROUP_IDLE_TIMER,
    unbalancedTimer: GROUP_UNBALANCED_TIMER,
  },
): string {
  const list = [...members].sort((a, b) => a.id - b.id)
    .map(({ id, weight }) => `${id},${weight}`).join("/");
  const { buckets, idleTimer, unbalancedTimer } = resilient;
  return `id ${id} group ${list} type resilient buckets ${buckets} ` +
    `idle_timer ${idleTimer} unbalanced_timer ${unbalancedTimer} proto ${PROTO_ANNOUNCED}`;
}
