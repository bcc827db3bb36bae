/**
 * Who is who in a lab: addresses, AS numbers and prefixes of its hosts, for the three designs. Only
 * documentation and private ranges. 192.0.2.0/24 is left to the machine's own use.
 *
 *     client ------- router ------- switch ---+--- n1   2001:db8:f001::/64, 10.244.1.0/24
 *        2001:db8:c::/64    2001:db8:25::/64  `--- n2   2001:db8:f002::/64, 10.244.2.0/24
 *        203.0.113.0/26     198.51.100.0/24
 *
 * @module
 */
import { FAMILIES, type Family } from "../core/cidr.ts";

/**
 * How nodes and router speak BGP: `a` one AS number for all nodes, which reach each other through the
 * router by their default route; `b` one for each node, and next hops directly on the shared link;
 * `c` the router's own, with the router as route reflector (RFC 4456).
 */
export type Design = "a" | "b" | "c";

/** One text for each family that the lab has. */
export type PerFamily = Readonly<Partial<Record<Family, string>>>;

export interface NodePlan {
  /** `n1`, `n2`, … */
  readonly name: string;
  readonly asn: number;
  /** Addresses on the link to the router. */
  readonly addresses: PerFamily;
  /** The prefix of each family that its pods get addresses from. */
  readonly prefixes: PerFamily;
}

export interface LabPlan {
  readonly design: Design;
  readonly families: readonly Family[];
  readonly router: { readonly asn: number; readonly addresses: PerFamily };
  readonly client: { readonly addresses: PerFamily; readonly gateways: PerFamily };
  readonly nodes: readonly NodePlan[];
  /** Nodes have default routes to the router. */
  readonly defaultRoutes: boolean;
}

/** Length of the link prefixes: of the nodes' link, and of the client's. */
export const LINK_LENGTH: Readonly<Record<Family, number>> = { ipv6: 64, ipv4: 24 };
export const CLIENT_LENGTH: Readonly<Record<Family, number>> = { ipv6: 64, ipv4: 26 };

/** All prefixes of nodes are inside these. */
export const POD_SPACE: Readonly<Record<Family, string>> = {
  ipv6: "2001:db8:f000::/36",
  ipv4: "10.244.0.0/16",
};
/** Anycast addresses that nodes may announce. */
export const ANYCAST_SPACE: Readonly<Record<Family, string>> = {
  ipv6: "2001:db8:ffff::/48",
  ipv4: "203.0.113.192/26",
};

/** Most nodes that a lab can have: their addresses end in 11 to 99, read as digits in both families. */
export const MAX_NODES = 89;

export interface PlanOptions {
  /** `b` unless told. */
  readonly design?: Design;
  /** Number of nodes; 2 unless told. */
  readonly nodes?: number;
  /** Both unless told. */
  readonly families?: readonly Family[];
  /** Whether nodes get default routes to the router; unless told only in design `a`, which needs them. */
  readonly defaultRoutes?: boolean;
}

/**
 * Plans a lab.
 *
 * @throws {RangeError} for a number of nodes that has no addresses
 */
export function planLab(options: PlanOptions = {}): LabPlan {
  const { design = "b", nodes = 2, families = FAMILIES } = options;
  if (!Number.isInteger(nodes) || nodes < 1 || nodes > MAX_NODES) {
    throw new RangeError(`Cannot plan lab with "${nodes}" nodes: it has 1 to ${MAX_NODES}`);
  }
  const only = (texts: Record<Family, string>): PerFamily =>
    Object.fromEntries(families.map((family) => [family, texts[family]]));
  return {
    design,
    families,
    defaultRoutes: options.defaultRoutes ?? design === "a",
    router: { asn: 65000, addresses: only({ ipv6: "2001:db8:25::1", ipv4: "198.51.100.1" }) },
    client: {
      addresses: only({ ipv6: "2001:db8:c::10", ipv4: "203.0.113.10" }),
      gateways: only({ ipv6: "2001:db8:c::1", ipv4: "203.0.113.1" }),
    },
    nodes: Array.from({ length: nodes }, (_, i) => i + 1).map((n) => ({
      name: `n${n}`,
      asn: { a: 65001, b: 65000 + n, c: 65000 }[design],
      addresses: only({ ipv6: `2001:db8:25::${10 + n}`, ipv4: `198.51.100.${10 + n}` }),
      prefixes: only({
        ipv6: `2001:db8:f${n.toString(16).padStart(3, "0")}::/64`,
        ipv4: `10.244.${n}.0/24`,
      }),
    })),
  };
}
