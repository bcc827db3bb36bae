/**
 * What an event of the kernel means for what flock wants there. Pure.
 *
 * @module
 */
import { PROTO_ANNOUNCED, ROUTE_METRIC } from "./config.ts";
import type { IpEvent, RouteEvent } from "./ip_events.ts";
import { isOurs, nexthopKey, type OwnObject, type OwnState, routeKey } from "./own_objects.ts";
import { isHostIfname, linkUpLine } from "./wiring.ts";

/**
 * `repair`: something of ours may be missing or different, or what stood in its way has gone.
 * `look`: the node may have changed, in no hurry.
 */
export type Concern = "repair" | "look" | "none";

/** What to do about an event. What flock does itself comes back as events, too: those agree. */
export function concernOf(event: IpEvent, wanted: OwnState): Concern {
  switch (event.kind) {
    case "route": {
      // Beside one of ours somebody else's may be better, in another table, too.
      const isBeside = wanted.has(routeKey(event.family, event.dst, ROUTE_METRIC));
      if (event.table !== "main") return isBeside ? "look" : "none";
      const want = wanted.get(routeKey(event.family, event.dst, event.metric));
      if (want !== undefined) {
        const agrees = !event.deleted && event.protocol === want.route?.protocol &&
          (want.id === undefined || event.nexthopId === want.id) && leadsTo(event, want);
        return agrees ? "none" : "repair";
      }
      if (isOurs(event.protocol)) return event.deleted ? "none" : "repair";
      // With a default route from router advertisements its link has to go on taking them.
      const isAdvertised = event.dst === "::/0" && event.protocol === "ra" && !event.deleted;
      return isBeside || isAdvertised ? "look" : "none";
    }
    case "nexthop": {
      const isWanted = wanted.has(nexthopKey(event.id));
      if (event.deleted) return isWanted ? "repair" : "none";
      // Whether it is as it should be is not told.
      return isWanted || event.protocol === String(PROTO_ANNOUNCED) ? "look" : "none";
    }
    case "link":
      // An IPv4 route that dies with its link is not reported, so everything of that link is read.
      if (isHostIfname(event.ifname)) {
        return wanted.has(linkUpLine(event.ifname)) ? "repair" : "none";
      }
      return "look";
    case "address":
      if (isHostIfname(event.ifname)) {
        return event.deleted && wanted.has(linkUpLine(event.ifname)) ? "repair" : "none";
      }
      return "look";
    case "netconf":
      // One event for each link: that of all links is enough.
      if (event.ifname === "all") return event.forwarding === false ? "repair" : "none";
      return (event.forwarding === false || event.rpFilter === true) &&
          wanted.has(linkUpLine(event.ifname))
        ? "repair"
        : "none";
    case "rule":
      return "look";
  }
}

/** Whether a route leads where it should, as far as an event tells. */
function leadsTo({ dev }: RouteEvent, { route }: OwnObject): boolean {
  // What is unreachable has no device, or in IPv6 `lo`.
  if (route?.type === "unreachable") return dev === undefined || dev === "lo";
  return route?.dev === undefined || dev === route.dev;
}
