/**
 * What the kernel has, parsed from `ip -j`: links with their addresses, routes, neighbour entries. Only
 * the fields flock uses.
 *
 * @module
 */
import type { Family } from "./cidr.ts";

/** An address on a link (`addr_info[]` of `ip -j addr show`). */
export interface IpAddress {
  readonly family: Family;
  readonly address: string;
  readonly prefixLength: number;
  /** `global`, `link`, `host`, … */
  readonly scope: string;
  readonly temporary: boolean;
  readonly deprecated: boolean;
  readonly tentative: boolean;
}

/** A link with its addresses (`ip -j addr show`). */
export interface IpLink {
  readonly ifname: string;
  readonly up: boolean;
  /** The other end is up too. */
  readonly carrier: boolean;
  readonly mtu: number;
  /** Hardware address, empty when the link has none. */
  readonly mac: string;
  /** Undefined when it has none, or none was asked for. */
  readonly alias?: string;
  readonly addresses: readonly IpAddress[];
}

/** A route of any table (`ip -j route show`). */
export interface IpRoute {
  readonly family: Family;
  /** Prefix in CIDR notation; a host route has its length too, the default route is `::/0` or `0.0.0.0/0`. */
  readonly dst: string;
  /** `unicast`, `unreachable`, `local`, … */
  readonly type: string;
  readonly table: string;
  /** As `ip` prints it: a number, or a name such as `kernel`; empty when `ip` was asked for one protocol. */
  readonly protocol: string;
  readonly metric: number;
  readonly dev?: string;
  readonly gateway?: string;
  readonly prefsrc?: string;
  readonly nextHops: readonly {
    readonly gateway?: string;
    readonly dev?: string;
    readonly weight: number;
  }[];
  /** The next-hop object or group it goes to; then what is above is that object's. */
  readonly nexthopId?: number;
  readonly flags: readonly string[];
}

/** A next-hop object or a group of them (`ip -j nexthop show`). */
export interface IpNexthop {
  readonly id: number;
  readonly gateway?: string;
  readonly dev?: string;
  readonly onlink: boolean;
  /** Undefined: it is no group. */
  readonly members?: readonly { readonly id: number; readonly weight: number }[];
  /** Undefined: it is no group of type `resilient`. Timers in seconds. */
  readonly resilient?: {
    readonly buckets: number;
    readonly idleTimer: number;
    readonly unbalancedTimer: number;
  };
}

/** A neighbour entry (`ip -j neigh show`). */
export interface IpNeighbor {
  readonly address: string;
  readonly dev: string;
  readonly mac: string;
  readonly permanent: boolean;
}

/**
 * Parses the output of several `ip -j` commands of one batch: one JSON array each.
 *
 * @throws {SyntaxError} when there are not `count` arrays
 */
export function parseIpBatch(text: string, count: number): readonly Json[][] {
  const parts = text.split("\n").filter((line) => line.trim() !== "")
    .map((line) => JSON.parse(line) as unknown);
  if (parts.length !== count || !parts.every(Array.isArray)) {
    throw new SyntaxError(`Cannot parse output of ip: ${parts.length} lists instead of ${count}`);
  }
  return parts as Json[][];
}

/**
 * Parses the items of `ip -j addr show`. It does not print aliases: they come from the items of
 * `ip -j link show`.
 */
export function parseLinks(items: readonly Json[], named: readonly Json[] = []): readonly IpLink[] {
  const aliases = new Map(named.map(({ ifname, ifalias }) => [ifname, optionalText(ifalias)]));
  return items.filter((item) => typeof item.ifname === "string").map((item) => ({
    ifname: text(item.ifname),
    up: list(item.flags).includes("UP"),
    carrier: list(item.flags).includes("LOWER_UP"),
    mtu: Number(item.mtu),
    mac: text(item.address),
    alias: aliases.get(item.ifname),
    addresses: list(item.addr_info).map((entry) => entry as Json)
      .filter((entry) => typeof entry.local === "string")
      .map((entry) => ({
        family: entry.family === "inet6" ? "ipv6" : "ipv4",
        address: text(entry.local),
        prefixLength: Number(entry.prefixlen),
        scope: text(entry.scope),
        temporary: entry.temporary === true,
        deprecated: entry.deprecated === true || entry.preferred_life_time === 0,
        tentative: entry.tentative === true,
      })),
  }));
}

/** Parses the items of `ip -j route show` or `ip -j route get`. */
export function parseRoutes(items: readonly Json[], family?: Family): readonly IpRoute[] {
  return items.filter((item) => typeof item.dst === "string").map((item) => {
    const dst = text(item.dst);
    const of = family ?? familyOfRoute(dst, item);
    return {
      family: of,
      dst: dst === "default"
        ? (of === "ipv6" ? "::/0" : "0.0.0.0/0")
        : dst.includes("/")
        ? dst
        : `${dst}/${of === "ipv6" ? 128 : 32}`,
      type: optionalText(item.type) ?? "unicast",
      table: optionalText(item.table) ?? "main",
      protocol: text(item.protocol),
      metric: Number(item.metric ?? 0),
      dev: optionalText(item.dev),
      gateway: optionalText(item.gateway),
      prefsrc: optionalText(item.prefsrc),
      nextHops: list(item.nexthops).map((hop) => hop as Json).map((hop) => ({
        gateway: optionalText(hop.gateway),
        dev: optionalText(hop.dev),
        weight: Number(hop.weight ?? 1),
      })),
      nexthopId: typeof item.nhid === "number" ? item.nhid : undefined,
      flags: list(item.flags).map(text),
    };
  });
}

/** Parses the items of `ip -j nexthop show`. */
export function parseNexthops(items: readonly Json[]): readonly IpNexthop[] {
  return items.filter((item) => typeof item.id === "number").map((item) => {
    const resilient = item.resilient_args as Json | undefined;
    return {
      id: Number(item.id),
      gateway: optionalText(item.gateway),
      dev: optionalText(item.dev),
      onlink: list(item.flags).includes("onlink"),
      members: Array.isArray(item.group)
        ? item.group.map((member) => member as Json).map(({ id, weight }) => ({
          id: Number(id),
          weight: Number(weight ?? 1),
        }))
        : undefined,
      resilient: resilient && {
        buckets: Number(resilient.buckets),
        idleTimer: Number(resilient.idle_timer),
        unbalancedTimer: Number(resilient.unbalanced_timer),
      },
    };
  });
}

/** Parses the items of `ip -j neigh show`. */
export function parseNeighbors(items: readonly Json[]): readonly IpNeighbor[] {
  return items.filter((item) => typeof item.dst === "string").map((item) => ({
    address: text(item.dst),
    dev: text(item.dev),
    mac: text(item.lladdr),
    permanent: list(item.state).includes("PERMANENT"),
  }));
}

/** Links and routes of the node. */
export interface NodeKernel {
  readonly links: readonly IpLink[];
  /** Routes of protocols 143 and 144, any table. */
  readonly routes: readonly IpRoute[];
  /** Default routes of the main table, both families. */
  readonly defaultRoutes: readonly IpRoute[];
}

/** What a pass looks at. */
export interface KernelState extends NodeKernel {
  /** Permanent ones, of all links. */
  readonly neighbors: readonly IpNeighbor[];
  /** Next hops of protocol 144. */
  readonly nexthops: readonly IpNexthop[];
}

/**
 * What the kernel has, from lists of `ip -j`.
 *
 * @param ends addresses; then next hops of protocol 144 and links, where they were asked for
 * @param ways neighbour entries, routes of protocol 143, of 144, default routes
 */
export function parseKernelState(
  ends: readonly (readonly Json[])[],
  ways: readonly (readonly Json[])[],
): KernelState {
  const [addresses = [], ...others] = ends;
  const [neighbors = [], local = [], announced = [], defaults = []] = ways;
  return {
    links: parseLinks(addresses, others.flat()),
    neighbors: parseNeighbors(neighbors),
    routes: [
      ...parseRoutes(local).map((route) => ({ ...route, protocol: "143" })),
      ...parseRoutes(announced).map((route) => ({ ...route, protocol: "144" })),
    ],
    defaultRoutes: parseRoutes(defaults).filter(({ table, dst }) =>
      table === "main" && dst.endsWith("/0")
    ),
    nexthops: parseNexthops(others.flat()),
  };
}

/** An object as `JSON.parse` gives it. */
export type Json = Readonly<Record<string, unknown>>;

/** `ip` prints "default" for both families; only IPv6 routes have a router preference. */
function familyOfRoute(dst: string, item: Json): Family {
  if (dst.includes(":")) return "ipv6";
  if (dst !== "default") return "ipv4";
  return item.pref !== undefined ? "ipv6" : "ipv4";
}

function text(value: unknown): string {
  return value === undefined || value === null ? "" : String(value);
}

function optionalText(value: unknown): string | undefined {
  return value === undefined || value === null ? undefined : String(value);
}

function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}
