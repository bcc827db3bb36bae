/**
 * What the kernel tells of changes: one line of `ip -o monitor label` for links, addresses, routes, rules,
 * next hops, and the settings of links that are told (`netconf`).
 *
 * An event says that something changed, not what is so now. What the kernel keeps to itself (Linux 6.18):
 * next-hop objects that go with a link which goes down or is deleted, and IPv4 routes that go with their
 * link or next-hop object. Whoever follows events takes those from the link's and the next hop's.
 *
 * @module
 */
import type { Family } from "./cidr.ts";

/** One change. `deleted` is false for what was added or changed: the kernel does not tell these apart. */
export type IpEvent =
  | LinkEvent
  | AddressEvent
  | RouteEvent
  | NexthopEvent
  | NetconfEvent
  | RuleEvent;

export interface LinkEvent {
  readonly kind: "link";
  readonly deleted: boolean;
  /** Without the other end (`@…`). */
  readonly ifname: string;
  /** Whether it is meant to be up, not whether it has a carrier. */
  readonly up: boolean;
}

export interface AddressEvent {
  readonly kind: "address";
  readonly deleted: boolean;
  /** As `ip` saw it first: it does not learn that a link was renamed. */
  readonly ifname: string;
}

export interface RouteEvent {
  readonly kind: "route";
  readonly deleted: boolean;
  /** In CIDR notation, as `IpRoute` has it: a host route has its length too. */
  readonly dst: string;
  readonly family: Family;
  readonly table: string;
  /** As `ip` prints it: a number, or a name such as `kernel`. Undefined for `boot`, which `ip` leaves out. */
  readonly protocol?: string;
  readonly metric: number;
  /** As `ip` saw it first. Undefined for a route with several next hops. */
  readonly dev?: string;
  readonly nexthopId?: number;
}

export interface NexthopEvent {
  readonly kind: "nexthop";
  readonly deleted: boolean;
  /** Of a next hop, or of a group. */
  readonly id: number;
  readonly protocol?: string;
}

/** A sysctl of a link was set; of `all` and `default`, too. */
export interface NetconfEvent {
  readonly kind: "netconf";
  readonly ifname: string;
  /** As far as the event is about them. */
  readonly forwarding?: boolean;
  readonly rpFilter?: boolean;
}

/** A rule of policy routing came or went. */
export interface RuleEvent {
  readonly kind: "rule";
}

const DELETED = "Deleted ";
const LINK = /^\d+: ([^:@\s]+)(?:@[^:\s]+)?: <([^>]*)>/;
const ADDRESS = /^\d+: (\S+)/;
const NEXTHOP = /^id (\d+) /;
const NETCONF = /^inet6? (\S+) /;
/** The type comes first, and `unicast` is left out. A label (MPLS) has neither dots nor colons. */
const DESTINATION = /^(?:(?!default )[a-z]+ )?(default|[0-9a-f]*[:.][0-9a-f:.]*(?:\/\d+)?) /;

/** Parses a line. Undefined for one that is none of these, such as those of another label. */
export function parseIpEvent(line: string): IpEvent | undefined {
  const end = line.indexOf("]") + 1;
  const deleted = line.startsWith(DELETED, end);
  const text = line.slice(deleted ? end + DELETED.length : end);
  switch (line.slice(0, end)) {
    case "[LINK]":
      return parseLink(text, deleted);
    case "[ADDR]": {
      const ifname = ADDRESS.exec(text)?.[1];
      return ifname === undefined ? undefined : { kind: "address", deleted, ifname };
    }
    case "[ROUTE]":
      return parseRoute(text, deleted);
    case "[NEXTHOP]": {
      const id = NEXTHOP.exec(text)?.[1];
      if (id === undefined) return undefined;
      const { rest } = splitAtDevice(text);
      return { kind: "nexthop", deleted, id: Number(id), protocol: wordAfter(rest, " proto ") };
    }
    case "[NETCONF]": {
      const ifname = NETCONF.exec(text)?.[1];
      if (ifname === undefined || deleted) return undefined;
      const isOn = (key: string): boolean | undefined => {
        const value = wordAfter(text, ` ${key} `);
        return value === undefined ? undefined : value !== "off";
      };
      return {
        kind: "netconf",
        ifname,
        forwarding: isOn("forwarding"),
        rpFilter: isOn("rp_filter"),
      };
    }
    case "[RULE]":
      return { kind: "rule" };
    default:
      return undefined;
  }
}

function parseLink(text: string, deleted: boolean): LinkEvent | undefined {
  const match = LINK.exec(text);
  if (match === null) return undefined;
  const [head, ifname, flags] = match;
  // A bridge tells of its ports in the same words, and says "Deleted" of one that only leaves it. The
  // link itself always has a queueing discipline.
  if (text.startsWith(" mtu ", head.length) && !text.includes(" qdisc ")) return undefined;
  return { kind: "link", deleted, ifname: ifname!, up: flags!.split(",").includes("UP") };
}

function parseRoute(line: string, deleted: boolean): RouteEvent | undefined {
  // Further lines, one for each next hop, are written behind this.
  const hops = line.indexOf("\\\t");
  const text = `${hops === -1 ? line : line.slice(0, hops)} `;
  const dst = DESTINATION.exec(text)?.[1];
  if (dst === undefined) return undefined;
  const { before, dev, rest } = splitAtDevice(text);
  const isIpv6 = dst === "default" ? isDefaultIpv6(rest) : dst.includes(":");
  const nexthopId = wordAfter(before, " nhid ");
  return {
    kind: "route",
    deleted,
    dst: dst === "default"
      ? (isIpv6 ? "::/0" : "0.0.0.0/0")
      : dst.includes("/")
      ? dst
      : `${dst}/${isIpv6 ? 128 : 32}`,
    family: isIpv6 ? "ipv6" : "ipv4",
    table: wordAfter(rest, " table ") ?? "main",
    protocol: wordAfter(rest, " proto "),
    metric: Number(wordAfter(rest, " metric ") ?? 0),
    dev,
    nexthopId: nexthopId === undefined ? undefined : Number(nexthopId),
  };
}

/** `ip` prints "default" for both families; only IPv6 routes have a router preference. */
function isDefaultIpv6(rest: string): boolean {
  return rest.includes(" pref ");
}

/** What is before and behind a device: its name may be any of the words that are looked for. */
function splitAtDevice(
  text: string,
): { readonly before: string; readonly dev?: string; readonly rest: string } {
  const at = text.indexOf(" dev ");
  const dev = wordAfter(text, " dev ");
  if (dev === undefined) return { before: text, rest: text };
  return { before: text.slice(0, at), dev, rest: text.slice(at + " dev ".length + dev.length) };
}

function wordAfter(text: string, key: string): string | undefined {
  const at = text.indexOf(key);
  if (at === -1) return undefined;
  const start = at + key.length;
  const end = text.indexOf(" ", start);
  return text.slice(start, end === -1 ? undefined : end);
}
