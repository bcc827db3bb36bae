/**
 * Routes of BIRD's tables: `show route`, parsed. What tells a route from the rest of the list are BIRD's words
 * (nest/rt-show.c), so a line that is not understood is left out and never fails the others.
 *
 * @module
 */
import { BirdCode, type BirdReply } from "./bird_reply.ts";
import { formatPrefix, parsePrefix } from "./cidr.ts";

/** A route of a table of BIRD's. */
export interface BirdRoute {
  /** Canonical text. */
  readonly dst: string;
  /** `unicast`, `unreachable`, … */
  readonly type: string;
  readonly protocol: string;
  readonly preference: number;
  readonly best: boolean;
}

/** The routes of a reply to `show route`; what is no route is left out. */
export function parseBirdRoutes(reply: BirdReply): readonly BirdRoute[] {
  let dst = "";
  return reply.lines.filter(({ code }) => code === BirdCode.routeList).flatMap(({ text }) => {
    const match = ROUTE.exec(text.trim());
    if (!match) return [];
    const [, net, type = "", protocol = "", best, preference] = match;
    // Further routes to the same network are printed without it.
    dst = net === undefined ? dst : formatPrefix(parsePrefix(net));
    return [{ dst, type, protocol, preference: Number(preference), best: best !== undefined }];
  });
}

/** `2001:db8::/64 unicast [flock_kernel6 16:51:30.351] * (210) …`; the network may be left out. */
const ROUTE =
  /^(?:([0-9a-fA-F.:]+\/\d+)\s+)?([a-z]+)\s+\[(\S+) [^\]]*\](?:\s+(\*))?(?:\s+E)?\s+\((\d+)(?:\/[^)]*)?\)/;
