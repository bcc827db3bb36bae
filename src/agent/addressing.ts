/**
 * Chooses a new attachment's addresses.
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
  FAMILIES,
  type Family,
  formatAddress,
  formatPrefix,
  hostPrefix,
  parseAddress,
  type Prefix,
  sizeOf,
} from "../core/cidr.ts";
import { CniCode, CniError, messageOf } from "../core/errors.ts";
import { appName, type IidField, parseIpAlgo } from "../core/iid.ts";
import type { AllocationRequest, Ipam } from "../core/ipam.ts";
import type { Pod } from "../core/objects.ts";
import { narrowPools } from "../core/pools.ts";
import type { LastGiven } from "../io/store.ts";
import { log } from "../log.ts";
import { connectedPrefixes, type NodeState } from "./node_state.ts";

/** The addresses of one attachment, held. */
export interface ChosenAddresses {
  readonly primary: Readonly<Partial<Record<Family, string>>>;
  readonly extra: readonly string[];
  readonly anycast: readonly string[];
  /** What to remember of the pools they came from. */
  readonly lastGiven: readonly LastGiven[];
}

/** Every address that an attachment holds. */
export function addressesOf(
  attachment: Pick<Attachment, "ip6" | "ip4" | "addresses" | "anycast">,
): readonly Address[] {
  const { ip6, ip4, addresses = [], anycast = [] } = attachment;
  return [ip6, ip4, ...addresses, ...anycast].filter((text) => text !== undefined)
    .map(parseAddress);
}

/**
 * Chooses and holds the addresses of a pod. Nothing is held when it throws.
 *
 * @throws {CniError} 100 pool exhausted, 101 annotation invalid, 102 address refused
 */
export function chooseAddresses(
  request: { readonly pod: Pod; readonly options: PodOptions; readonly containerId: string },
  context: {
    readonly node: NodeState;
    readonly ipam: Ipam;
    readonly attachments: readonly Attachment[];
  },
): ChosenAddresses {
  const { pod, options, containerId } = request;
  const { node, ipam, attachments } = context;
  refuseTaken(options, node, attachments);
  refuseUnallowed(pod, options, node);

  const held: Address[] = [];
  const primary: Partial<Record<Family, string>> = {};
  const lastGiven: LastGiven[] = [];
  const asked = [...options.addresses];
  try {
    for (const address of [...options.addresses, ...options.anycast]) {
      ipam.markUsed(address);
      held.push(address);
    }
    for (const family of FAMILIES) {
      if (!options[family]) continue;
      const first = asked.findIndex((address) => address.family === family);
      if (first >= 0) {
        primary[family] = formatAddress(asked.splice(first, 1)[0]!);
        continue;
      }
      const config = node.config!;
      const { address, pool, warning } = ipam.allocate({
        family,
        pools: family === "ipv6"
          ? narrowPools(config.cidr6, options.cidr6, family)
          : narrowPools(config.cidr4, options.cidr4, family),
        reserved: node.reserved,
        iid: iidOf(pod, options, containerId, config.ipAlgo),
      });
      held.push(address);
      primary[family] = formatAddress(address);
      // IPv6 addresses are random: there is nothing to go on from.
      if (family === "ipv4") {
        lastGiven.push({ pool: formatPrefix(pool), address: formatAddress(address) });
      }
      if (warning) {
        log.warn("Gave a random address", { pod: `${pod.namespace}/${pod.name}`, warning });
      }
    }
  } catch (error) {
    for (const address of held) ipam.release(address);
    throw error;
  }
  return {
    primary,
    extra: asked.map(formatAddress),
    anycast: options.anycast.map(formatAddress),
    lastGiven,
  };
}

/** Refuses addresses that belong to somebody else. Several pods may share an anycast address. */
function refuseTaken(
  options: PodOptions,
  node: NodeState,
  attachments: readonly Attachment[],
): void {
  const refuse = (address: Address, why: string): never => {
    throw new CniError(
      CniCode.addressRefused,
      `Cannot bind address "${formatAddress(address)}": ${why}`,
    );
  };
  const unicast = new Map<string, Attachment>();
  const anycast = new Map<string, Attachment>();
  for (const attachment of attachments) {
    for (const address of addressesOf({ ...attachment, anycast: [] })) {
      unicast.set(formatAddress(address), attachment);
    }
    for (const address of attachment.anycast ?? []) anycast.set(address, attachment);
  }
  for (
    const [kind, addresses] of [["own", options.addresses], ["anycast", options.anycast]] as const
  ) {
    for (const address of addresses) {
      const text = formatAddress(address);
      const prefix = node.reserved.find((reserved) => contains(reserved, address));
      if (prefix) {
        refuse(address, `it is reserved or the node's or a router's (${formatPrefix(prefix)})`);
      }
      const range = neverGiven(node).find((prefix) => contains(prefix, address));
      if (range) {
        refuse(address, `it is in ${formatPrefix(range)}, which is never given to a pod`);
      }
      const holder = unicast.get(text) ?? (kind === "own" ? anycast.get(text) : undefined);
      if (holder) refuse(address, `pod "${holder.namespace}/${holder.podName}" holds it`);
    }
  }
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
 * a guard everything is.
 */
function refuseUnallowed(pod: Pod, options: PodOptions, node: NodeState): void {
  const announced = [
    ...options.anycast,
    ...options.addresses.filter((a) => !node.nodePrefixes.some((prefix) => contains(prefix, a))),
  ];
  for (const address of announced) {
    const why = announceRefusal(node.config?.announce.allowed, address, pod.namespace);
    if (why === undefined) continue;
    throw new CniError(
      CniCode.addressRefused,
      `Cannot bind address "${formatAddress(address)}": it is ${why}`,
    );
  }
}

/** What a readable identifier is made of: by the pod's annotation, else by the NodeConfig's. */
function iidOf(
  pod: Pod,
  options: PodOptions,
  containerId: string,
  fallback: string | undefined,
): AllocationRequest["iid"] {
  const fields = options.ipAlgo ?? parseFallback(fallback);
  if (fields === undefined) return undefined;
  return {
    fields,
    values: { namespace: pod.namespace, app: appName(pod), image: pod.image, containerId },
  };
}

function parseFallback(text: string | undefined): readonly IidField[] | undefined {
  if (text === undefined) return undefined;
  try {
    return parseIpAlgo(text);
  } catch (error) {
    log.warn("NodeConfig has a doubtful annotation", { key: "ip-algo", err: messageOf(error) });
    return undefined;
  }
}
