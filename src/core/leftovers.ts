/**
 * What flock has in the kernel, known by its marks alone: names of links, protocols of routes and next
 * hops. For taking flock off a node; the agent's own view is a comparison with what should be.
 *
 * @module
 */
import type { IpLink, IpRoute } from "./ip_state.ts";
import { isOurs } from "./own_objects.ts";
import { isHostIfname } from "./wiring.ts";

/** Names of the node's ends of pods' links, sorted. */
export function hostIfnamesOf(links: readonly Pick<IpLink, "ifname">[]): readonly string[] {
  return links.map(({ ifname }) => ifname).filter(isHostIfname).sort();
}

/** Lines for `ip -batch` that delete routes of ours, any table. */
export function routeDeletions(routes: readonly IpRoute[]): readonly string[] {
  return routes.filter(({ protocol }) => isOurs(protocol))
    .map(({ type, dst, table, protocol, metric }) =>
      `route del ${
        type === "unicast" ? "" : `${type} `
      }${dst} table ${table} proto ${protocol} metric ${metric}`
    );
}

/** Lines for `ip -batch` that delete next-hop objects: groups first, for they hold the others. */
export function nexthopDeletions(
  nexthops: readonly { readonly id: number; readonly group: boolean }[],
): readonly string[] {
  return [...nexthops].sort((a, b) => Number(b.group) - Number(a.group) || a.id - b.id)
    .map(({ id }) => `nexthop del id ${id}`);
}
