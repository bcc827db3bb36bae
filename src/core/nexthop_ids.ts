/**
 * Ids of next hops and groups: those they have, found again by what they are, a next hop by its way and a
 * group by the route that goes to it; else one that follows from the name, so that it is the same
 * again after somebody else has removed the route; else the next that is free.
 *
 * @module
 */
import type { Leg } from "./anycast.ts";
import { GROUP_IDS, NEXTHOP_IDS, PROTO_ANNOUNCED } from "./config.ts";
import type { DesiredRoute } from "./desired_state.ts";
import { fnv1a32 } from "./iid.ts";
import { nexthopKey, type OwnState, routeKey, wayOf } from "./own_objects.ts";

/** Who has which. */
export interface Ids {
  /** By the way, `via … dev … onlink`. */
  readonly nexthops: ReadonlyMap<string, { readonly id: number; readonly leg: Leg }>;
  /** By the destination of the route. */
  readonly groups: ReadonlyMap<string, number>;
}

/**
 * Ids for the next hops and groups of shared addresses.
 *
 * @param foreignIds ids of next hops that are not ours
 */
export function assignIds(
  shared: readonly DesiredRoute[],
  present: OwnState,
  foreignIds: ReadonlySet<number>,
): Ids {
  const claimed = new Set<number>();
  const ours = [...present.values()];
  const idsByText = new Map(
    ours.filter(({ kind }) => kind === "nexthop").toSorted((a, b) => b.id! - a.id!)
      .map(({ text, id }) => [text.slice(text.indexOf("via")), id!]),
  );
  const legs = new Map(shared.flatMap((route) => route.legs!.map((leg) => [wayOf(leg), leg])));
  const nexthops = new Map<string, { id: number; leg: Leg }>();
  for (const [way, leg] of legs) {
    const id = idsByText.get(`${way} proto ${PROTO_ANNOUNCED}`);
    if (id === undefined) continue;
    claimed.add(id);
    nexthops.set(way, { id, leg });
  }
  const groups = new Map<string, number>();
  for (const { family, dst, metric } of shared) {
    const id = present.get(routeKey(family, dst, metric))?.id;
    if (id === undefined || claimed.has(id) || !isReusable(present, id)) continue;
    claimed.add(id);
    groups.set(dst, id);
  }
  const isFree = (id: number, kind: "nexthop" | "group"): boolean => {
    if (claimed.has(id) || foreignIds.has(id)) return false;
    const there = present.get(nexthopKey(id));
    return there === undefined ||
      (there.kind === kind && (kind === "nexthop" || isReusable(present, id)));
  };
  const choose = (base: number, name: string, kind: "nexthop" | "group"): number => {
    for (let n = fnv1a32(name) & 0xffff;; n = (n + 1) & 0xffff) {
      if (!isFree(base + n, kind)) continue;
      claimed.add(base + n);
      return base + n;
    }
  };
  for (const [way, leg] of [...legs].sort(([a], [b]) => a < b ? -1 : 1)) {
    if (!nexthops.has(way)) nexthops.set(way, { id: choose(NEXTHOP_IDS, way, "nexthop"), leg });
  }
  for (const { dst } of shared) {
    if (!groups.has(dst)) groups.set(dst, choose(GROUP_IDS, dst, "group"));
  }
  return { nexthops, groups };
}

function isReusable(present: OwnState, id: number): boolean {
  return present.get(nexthopKey(id))?.reusable === true;
}
