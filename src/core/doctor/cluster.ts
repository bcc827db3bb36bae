/**
 * `flock doctor` on NodeConfigs: each for itself, and all against each other.
 *
 * @module
 */
import {
  FAMILIES,
  type Family,
  FAMILY_NAMES,
  formatAddress,
  formatPrefix,
  overlaps,
  type Prefix,
} from "../cidr.ts";
import type { NodeConfig } from "../node_config.ts";
import type { Problem } from "./checks.ts";
import type { ClusterFacts, NetworkFacts } from "./facts.ts";
import { isDefault } from "./kernel.ts";

/** How nodes and routers speak BGP (docs/design.md). */
type Design = "a" | "b" | "c";

const DESIGNS: Readonly<Record<Design, string>> = {
  a: "nodes share an AS number and reach each other through the router",
  b: "each node has an AS number of its own",
  c: "nodes have the router's AS number, and the router reflects their routes",
};

export function judgeNodeConfigs(
  cluster: ClusterFacts,
  nodeName: string | undefined,
): readonly Problem[] {
  const problems: Problem[] = cluster.refused.map((finding) => ({
    id: "node-config",
    finding,
    fix: ["kubectl edit nodeconfig NAME", "kubectl explain nodeconfig.spec"],
  }));
  const known = cluster.configs.some(({ name }) => name === nodeName);
  if (nodeName !== undefined && !known && problems.length === 0) {
    problems.push({
      id: "node-config",
      finding: `node ${nodeName} has no NodeConfig in ${cluster.dir}`,
      fix: ["kubectl get nodeconfigs", "# or tell the node's name: --node NAME"],
    });
  }
  return problems;
}

export function judgePrefixes({ configs }: ClusterFacts): readonly Problem[] {
  return pairsOf(configs).flatMap(([a, b]) =>
    prefixesOf(a).flatMap((one) =>
      prefixesOf(b).filter((other) => overlaps(one, other)).map((other) => ({
        id: "prefix-overlap" as const,
        finding: `nodes ${a.name} and ${b.name} overlap: ${formatPrefix(one)}, ` +
          formatPrefix(other),
        fix: [
          `# NodeConfig ${b.name}: another prefix`,
          "spec:",
          one.family === "ipv6" ? "  cidr6: [ANOTHER]" : "  cidr4: [ANOTHER]",
        ],
      }))
    )
  );
}

export function judgeRouterIds({ configs }: ClusterFacts): readonly Problem[] {
  return pairsOf(configs).flatMap(([a, b]) => {
    const [one, other] = [a.bgp.routerId, b.bgp.routerId];
    if (one === undefined || one.value !== other?.value) return [];
    return [{
      id: "router-id" as const,
      finding: `nodes ${a.name} and ${b.name} have router id ${formatAddress(one)}`,
      fix: [
        `# NodeConfig ${b.name}: another one, or none`,
        "spec:",
        "  bgp:",
        "    routerID: ANOTHER",
      ],
    }];
  });
}

/** The design that the AS numbers of a node make, with its peers and with the other nodes. */
export function judgeDesign(
  config: NodeConfig,
  cluster: ClusterFacts | undefined,
): readonly Problem[] | string {
  const { asn, peers } = config.bgp;
  if (asn === undefined || peers.length === 0) return "the NodeConfig has no peers";
  const [design, others] = designOf(config, cluster);
  const finding = design === undefined
    ? `design a or b: the node has AS ${asn}; whether others have it too is not known`
    : `design ${design}: ${DESIGNS[design]} (AS ${asn}${
      others.length > 0 ? `, also of ${others.join(", ")}` : ""
    })`;
  return [{ id: "design", finding, fix: [] }];
}

export function judgeDesignPath(
  config: NodeConfig,
  cluster: ClusterFacts,
  network: NetworkFacts,
): readonly Problem[] {
  const [design] = designOf(config, cluster);
  if (design !== "a" || config.bgp.allowLocalAs) return [];
  const reachable = (family: Family): boolean =>
    network.routes.some((route) =>
      route.family === family && isDefault(route.dst) && route.type === "unicast"
    );
  return FAMILIES.filter((family) =>
    prefixesOf(config).some((prefix) => prefix.family === family) && !reachable(family)
  ).map((family) => ({
    id: "design-path",
    finding: `nodes share AS ${config.bgp.asn}, and there is no ${FAMILY_NAMES[family]} default ` +
      "route",
    fix: [
      `ip ${family === "ipv6" ? "-6 " : ""}route add default via ROUTER`,
      "# or NodeConfig",
      "spec:",
      "  bgp:",
      "    allowLocalAS: true",
    ],
  }));
}

/** The design where it can be told, and the other nodes with the same AS number. */
function designOf(
  config: NodeConfig,
  cluster: ClusterFacts | undefined,
): [Design | undefined, readonly string[]] {
  const others = (cluster?.configs ?? []).filter(({ name }) => name !== config.name);
  const same = others.filter(({ bgp }) => bgp.asn === config.bgp.asn).map(({ name }) => name);
  if (config.bgp.peers.some(({ asn }) => asn === config.bgp.asn)) return ["c", same];
  if (others.length === 0) return [undefined, []];
  return [same.length > 0 ? "a" : "b", same];
}

function prefixesOf({ cidr6, cidr4 }: NodeConfig): readonly Prefix[] {
  return [...cidr6, ...cidr4];
}

function pairsOf<T>(items: readonly T[]): readonly (readonly [T, T])[] {
  return items.flatMap((a, i) => items.slice(i + 1).map((b) => [a, b] as const));
}
