/**
 * What the cluster's nodes have for themselves: prefixes, addresses, peers. No pod of another node may
 * ask for any of it by annotation. Read leniently: a NodeConfig that its own node refuses still says
 * what it is about.
 *
 * @module
 */
import {
  type Address,
  contains,
  formatPrefix,
  hostPrefix,
  parseAddress,
  parsePrefix,
  type Prefix,
} from "./cidr.ts";
import { DEFAULT_NODE_CONFIG } from "./config.ts";
import { isFields } from "./node_config_problems.ts";
import type { ClusterNode, NodeConfigObject } from "./objects.ts";

/** One thing that a node has. */
export interface NodeClaim {
  readonly kind: "prefix" | "address" | "peer";
  readonly node: string;
  readonly prefix: Prefix;
}

/** What the nodes have. The NodeConfig named `default` has peers and nothing else. */
export function claimsOf(cluster: {
  readonly nodeConfigs: Iterable<NodeConfigObject>;
  readonly nodes: Iterable<Pick<ClusterNode, "name" | "podCidrs" | "addresses">>;
}): readonly NodeClaim[] {
  const claims: NodeClaim[] = [];
  const claim = (kind: NodeClaim["kind"], node: string, texts: readonly unknown[]): void => {
    const parse = kind === "prefix" ? parsePrefix : parseHost;
    for (const text of texts) {
      const prefix = parsed(text, parse);
      if (prefix !== undefined) claims.push({ kind, node, prefix });
    }
  };
  for (const { name, spec } of cluster.nodeConfigs) {
    if (!isFields(spec)) continue;
    if (name !== DEFAULT_NODE_CONFIG) {
      claim("prefix", name, [...list(spec.cidr6), ...list(spec.cidr4)]);
    }
    const peers = list(isFields(spec.bgp) ? spec.bgp.peers : undefined).filter(isFields);
    claim("address", name, peers.map(({ localAddress }) => localAddress));
    claim("peer", name, peers.map(({ address }) => address));
  }
  for (const { name, podCidrs, addresses } of cluster.nodes) {
    claim("prefix", name, podCidrs);
    claim("address", name, addresses);
  }
  return claims;
}

/**
 * Why an address is somebody else's; undefined when it is nobody's.
 *
 * @param own prefixes of the pod's own node: inside one, only a longer prefix is another node's
 * @returns the end of a sentence that begins with "it is"
 */
export function claimRefusal(
  claims: readonly NodeClaim[],
  address: Address,
  own: readonly Prefix[],
): string | undefined {
  const ownLength = Math.max(-1, ...own.filter((p) => contains(p, address)).map((p) => p.length));
  const claim = claims.find(({ prefix }) => contains(prefix, address) && prefix.length > ownLength);
  if (claim === undefined) return undefined;
  const { kind, node, prefix } = claim;
  switch (kind) {
    case "prefix":
      return `in ${formatPrefix(prefix)}, a prefix of node "${node}"`;
    case "address":
      return `an address of node "${node}"`;
    case "peer":
      return node === DEFAULT_NODE_CONFIG ? "a peer of other nodes" : `a peer of node "${node}"`;
  }
}

function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

function parseHost(text: string): Prefix {
  return hostPrefix(parseAddress(text));
}

/** Undefined for what is no text, or not the text of a prefix or an address. */
function parsed(text: unknown, parse: (text: string) => Prefix): Prefix | undefined {
  if (typeof text !== "string") return undefined;
  try {
    return parse(text);
  } catch {
    return undefined;
  }
}
