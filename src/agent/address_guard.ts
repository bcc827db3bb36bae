/**
 * Which addresses a pod may ask for by annotation. Annotations are written by whoever may create a pod,
 * and these addresses are routed to it and announced: what belongs to somebody else is refused, and what
 * the NodeConfig does not allow the pod's namespace.
 *
 * What the node has at hand is compared in one turn with holding the addresses; what has to be asked
 * for, of the cluster and of the kernel, is read before, and only for a pod that asks for an address.
 *
 * @module
 */
import type { PodOptions } from "../core/annotations.ts";
import { announceRefusal } from "../core/announce_guard.ts";
import type { Attachment } from "../core/attachment.ts";
import {
  type Address,
  bitsOf,
  contains,
  formatAddress,
  formatPrefix,
  hostPrefix,
  type Prefix,
  sizeOf,
} from "../core/cidr.ts";
import { CniCode, CniError } from "../core/errors.ts";
import { claimRefusal, type NodeClaim } from "../core/node_claims.ts";
import type { ClusterSource } from "../core/objects.ts";
import { hostCidr } from "../core/wiring.ts";
import type { Ip, ObservedAddresses } from "../io/ip.ts";
import { connectedPrefixes, type NodeState } from "./node_state.ts";

/** The name of BIRD's route protocol (RTPROT_BIRD, 12), with and without iproute2's table of names. */
const BIRD_PROTOCOLS = ["bird", "12"];

/** What is known of the addresses that a pod asks for, beyond the node. */
export interface Surroundings extends ObservedAddresses {
  readonly claims: readonly NodeClaim[];
}

/** What is known of a pod's addresses that asks for none. */
export const NO_SURROUNDINGS: Surroundings = { claims: [], routes: [], routers: [] };

/** Reads what is known of the addresses that a pod asks for. Costs nothing when it asks for none. */
export async function readSurroundings(
  options: PodOptions,
  context: {
    readonly source: Pick<ClusterSource, "claims">;
    readonly ip: Pick<Ip, "inspectAddresses">;
    readonly nodeName: string;
    readonly signal: AbortSignal;
  },
): Promise<Surroundings> {
  const { source, ip, nodeName, signal } = context;
  const asked = [...options.addresses, ...options.anycast];
  if (asked.length === 0) return NO_SURROUNDINGS;
  const [claims, observed] = await Promise.all([
    source.claims(signal),
    ip.inspectAddresses(asked.map(formatAddress)),
  ]);
  signal.throwIfAborted();
  return { ...observed, claims: claims.filter(({ node }) => node !== nodeName) };
}

/**
 * Refuses addresses that a pod may not have. Several pods may share an anycast address.
 *
 * @throws {CniError} 102 naming the address and whose it is
 */
export function refuseAddresses(
  { options, namespace }: { readonly options: PodOptions; readonly namespace: string },
  context: {
    readonly node: NodeState;
    readonly attachments: readonly Attachment[];
    readonly surroundings: Surroundings;
  },
): void {
  for (
    const [key, addresses] of [["addresses", options.addresses], [
      "anycast",
      options.anycast,
    ]] as const
  ) {
    for (const address of addresses) {
      const why = takenBy(key, address, context) ??
        unallowed(key, address, namespace, context.node);
      if (why === undefined) continue;
      throw new CniError(
        CniCode.addressRefused,
        `Cannot bind address "${formatAddress(address)}": ${why}`,
      );
    }
  }
}

type Key = "addresses" | "anycast";

/** Who has an address already. */
function takenBy(
  key: Key,
  address: Address,
  { node, attachments, surroundings }: Parameters<typeof refuseAddresses>[1],
): string | undefined {
  const text = formatAddress(address);
  const reserved = node.reserved.find((prefix) => contains(prefix, address));
  if (reserved) return `it is reserved or the node's or a router's (${formatPrefix(reserved)})`;
  const range = neverGiven(node).find((prefix) => contains(prefix, address));
  if (range) return `it is in ${formatPrefix(range)}, which is never given to a pod`;
  const claimed = claimRefusal(surroundings.claims, address, node.nodePrefixes);
  if (claimed !== undefined) return `it is ${claimed}`;
  const holder = attachments.find(({ ip6, ip4, addresses = [], anycast = [] }) =>
    [ip6, ip4, ...addresses, ...(key === "anycast" ? [] : anycast)].includes(text)
  );
  if (holder) return `pod "${holder.namespace}/${holder.podName}" holds it`;
  if (surroundings.routers.includes(text)) return "it is a router's on the node's links";
  const learned = key === "anycast"
    ? undefined
    : surroundings.routes.find((route) =>
      route.dst === hostCidr(address) && BIRD_PROTOCOLS.includes(route.protocol)
    );
  if (learned === undefined) return undefined;
  const hops = [learned.gateway, ...learned.nextHops.map(({ gateway }) => gateway)];
  const via = hops.filter((hop) => hop !== undefined).join(" and ") || learned.dev;
  return `it is announced by somebody else (route learned from ${via})`;
}

/**
 * What no pod can ask for: the first and last addresses of the node's IPv4 prefixes and, unless a guard
 * says what may be announced, the networks that the node's own links are on.
 */
function neverGiven(node: NodeState): readonly Prefix[] {
  const ends = node.nodePrefixes.filter(({ family }) => family === "ipv4").flatMap((pool) => {
    const last = pool.value + sizeOf(pool) - 1n;
    return [pool.value, pool.value + 1n, last].map((value) =>
      hostPrefix({ family: "ipv4", value })
    );
  });
  const connected = node.config?.announce.allowed === undefined
    ? connectedPrefixes(node.kernel).filter((p) => p.length < bitsOf(p.family))
    : [];
  return [...ends, ...connected];
}

/**
 * The guard: what a pod asks to be announced is inside what the NodeConfig allows its namespace. Without
 * a guard everything is, and so is what is announced with the node's prefixes anyway.
 */
function unallowed(
  key: Key,
  address: Address,
  namespace: string,
  node: NodeState,
): string | undefined {
  const covered = key === "addresses" &&
    node.nodePrefixes.some((prefix) => contains(prefix, address));
  if (covered) return undefined;
  const why = announceRefusal(node.config?.announce.allowed, address, namespace);
  return why === undefined ? undefined : `it is ${why}`;
}
