/**
 * What an event of the kernel means for what flock wants there. Pure.
 *
 * @module
 */
import { PROTO_ANNOUNCED } from "./config.ts";
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
      if (event.table !== "main") return "none";
      const want = wanted.get(routeKey(event.family, event.dst, event.metric));
      if (want !== undefined) {
        const agrees = !event.deleted && event.protocol === want.route?.protocol &&
          (want.id === undefined || event.nexthopId === want.id) && leadsTo(event, want);
        return agrees ? "none" : "repair";
      }
      return isOurs(event.protocol) && !event.deleted ? "repair" : "none";
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
  }
}

/** Whether a route leads where it should, as far as an event tells. */
function leadsTo({ dev }: RouteEvent, { route }: OwnObject): boolean {
  // What is unreachable has no device, or in IPv6 `lo`.
  if (route?.type === "unreachable") return dev === undefined || dev === "lo";
  return route?.dev === undefined || dev === route.dev;
}
