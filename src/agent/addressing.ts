/**
 * Chooses a new attachment's addresses.
 *
 * @module
 */
import { parsePodAnnotations, type PodOptions } from "../core/annotations.ts";
import type { Attachment } from "../core/attachment.ts";
import {
  type Address,
  FAMILIES,
  type Family,
  formatAddress,
  formatPrefix,
  parseAddress,
} from "../core/cidr.ts";
import { messageOf } from "../core/errors.ts";
import { appName, type IidField, parseIpAlgo } from "../core/iid.ts";
import type { AllocationRequest, Ipam } from "../core/ipam.ts";
import type { NodeConfig } from "../core/node_config.ts";
import type { Pod } from "../core/objects.ts";
import { narrowPools } from "../core/pools.ts";
import type { LastGiven } from "../io/store.ts";
import { log } from "../log.ts";
import { refuseAddresses, type Surroundings } from "./address_guard.ts";
import type { NodeState } from "./node_state.ts";

/** The addresses of one attachment, held. */
export interface ChosenAddresses {
  readonly primary: Readonly<Partial<Record<Family, string>>>;
  readonly extra: readonly string[];
  readonly anycast: readonly string[];
  /** What to remember of the pools they came from. */
  readonly lastGiven: readonly LastGiven[];
}

/**
 * What a pod asks for, by its annotations and the node's defaults. Doubtful annotations are logged.
 *
 * @throws {CniError} 101 annotation invalid, 102 address refused, 103 family disabled
 */
export function podOptions(pod: Pod, config: NodeConfig): PodOptions {
  const { options, warnings } = parsePodAnnotations(pod.annotations, {
    // A node without a prefix of a family gives no address of it unless a pod insists.
    ipv6: config.defaults.ipv6 && config.cidr6.length > 0,
    ipv4: config.defaults.ipv4 && config.cidr4.length > 0,
  });
  for (const warning of warnings) {
    log.warn("Found doubtful annotation of pod", { pod: `${pod.namespace}/${pod.name}`, warning });
  }
  return options;
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
    readonly surroundings: Surroundings;
  },
): ChosenAddresses {
  const { pod, options, containerId } = request;
  const { node, ipam } = context;
  refuseAddresses({ options, namespace: pod.namespace }, context);

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
    log.warn("Found doubtful annotation of NodeConfig", { key: "ip-algo", err: messageOf(error) });
    return undefined;
  }
}
