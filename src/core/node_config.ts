/**
 * NodeConfig: from the object as it was read to values with every default filled in. Refused as a whole
 * when anything in it is wrong, so that a node never runs on half of what was meant.
 *
 * @module
 */
import { type Address, parseAddress, parsePrefix, type Prefix } from "./cidr.ts";
import { ANNOTATION_PREFIX } from "./config.ts";
import { isFields, problemText, unknownFields } from "./node_config_problems.ts";
import {
  type BgpPeerSpec,
  DEFAULT_HOLD_TIME,
  type NodeConfigSpec,
  nodeConfigSpecSchema,
} from "./node_config_schema.ts";
import type { NodeConfigObject } from "./objects.ts";
import { quote } from "./quote.ts";

/** `spec.bgp.import[]`. */
export interface ImportRule {
  readonly prefix: Prefix;
  readonly ge?: number;
  readonly le?: number;
}

/** `spec.bgp.peers[]`, defaults filled in. Times in seconds, BFD's in milliseconds. */
export interface BgpPeer {
  readonly address: Address;
  readonly asn: number;
  readonly port: number;
  readonly passive: boolean;
  readonly multihop?: number;
  readonly ttlSecurity: boolean;
  readonly holdTime: number;
  readonly keepaliveTime: number;
  readonly gracefulRestart: { readonly enabled: boolean; readonly restartTime: number };
  readonly bfd?: { readonly interval: number; readonly multiplier: number };
  readonly localAddress?: Address;
  readonly localPreference?: number;
  readonly med?: number;
  readonly prepend: number;
  readonly communities: readonly string[];
  readonly importDefaultRoute: boolean;
  readonly importLimit: number;
  readonly passwordSecretRef?: {
    readonly namespace: string;
    readonly name: string;
    readonly key: string;
  };
}

/** A NodeConfig's spec, parsed and with every default filled in. */
export interface NodeConfig {
  readonly name: string;
  /** Annotation `ip-algo` of the object, as written. */
  readonly ipAlgo?: string;
  readonly cidr6: readonly Prefix[];
  readonly cidr4: readonly Prefix[];
  readonly defaults: { readonly ipv6: boolean; readonly ipv4: boolean };
  readonly mtu?: number;
  readonly allowSpoofing: boolean;
  readonly reserved: readonly Prefix[];
  readonly bgp: {
    readonly asn?: number;
    readonly allowLocalAs: boolean;
    readonly routerId?: Address;
    /** Empty: everything but default routes. */
    readonly import: readonly ImportRule[];
    readonly peers: readonly BgpPeer[];
  };
  readonly announce: {
    /** Undefined: no guard but the built-in refusals. */
    readonly allowed?: readonly {
      readonly prefix: Prefix;
      readonly namespaces: readonly string[];
    }[];
  };
}

/** Fields that the object named `default` supplies to those that leave them out. */
export const DEFAULTABLE_FIELDS = [
  "bgp.asn",
  "bgp.peers",
  "defaults",
  "mtu",
  "announce",
  "reserved",
] as const;

const DEFAULT_KEEPALIVE_TIME = 3;
const DEFAULT_RESTART_TIME = 30;
const DEFAULT_IMPORT_LIMIT = 20_000;
const DEFAULT_BFD = { interval: 300, multiplier: 3 };
const BGP_PORT = 179;

const MAX_NAMED_PROBLEMS = 100;
/** No spec is deeper; what lies below is refused by the schema as it is. */
const MAX_DEPTH = 8;

/**
 * A node's object with what it leaves out taken from the object named `default`. Neither is validated:
 * {@linkcode parseNodeConfig} looks at the result.
 */
export function mergeDefault(
  own: NodeConfigObject,
  fallback: NodeConfigObject | undefined,
): NodeConfigObject {
  const ownSpec = withoutNulls(own.spec ?? {});
  const fallbackSpec = withoutNulls(fallback?.spec);
  if (!isFields(ownSpec) || !isFields(fallbackSpec)) return own;
  const spec: Record<string, unknown> = { ...ownSpec };
  for (const field of DEFAULTABLE_FIELDS) {
    const [name, inner] = field.split(".") as [string, string?];
    const value = fallbackSpec[name];
    if (inner === undefined) spec[name] ??= value;
    else {
      const ownValue = spec[name] ?? {};
      if (isFields(value) && isFields(ownValue)) {
        spec[name] = { [inner]: value[inner], ...ownValue };
      }
    }
  }
  return { ...own, spec: withoutNulls(spec) };
}

/**
 * A node's object with the prefixes of each family that it leaves out taken from what Kubernetes gave
 * the node (`spec.podCIDRs`). A list that is empty is not left out: it says that there are none.
 */
export function mergePodCidrs(
  own: NodeConfigObject,
  podCidrs: readonly string[],
): NodeConfigObject {
  if (podCidrs.length === 0 || !isFields(own.spec ?? {})) return own;
  const spec: Record<string, unknown> = { ...own.spec as Record<string, unknown> };
  const isIpv6 = (cidr: string): boolean => cidr.includes(":");
  spec.cidr6 ??= podCidrs.filter(isIpv6);
  spec.cidr4 ??= podCidrs.filter((cidr) => !isIpv6(cidr));
  return { ...own, spec };
}

/**
 * Validates a NodeConfig and fills in the defaults. Fields that are null count as left out, as the API
 * server has it.
 *
 * @returns the configuration, and a sentence for each field that is not known
 * @throws {SyntaxError} naming every bad field with its path and value
 */
export function parseNodeConfig(
  object: NodeConfigObject,
): { readonly config: NodeConfig; readonly warnings: readonly string[] } {
  const spec = withoutNulls(object.spec ?? {});
  const parsed = nodeConfigSpecSchema.safeParse(spec);
  if (!parsed.success) {
    const { issues } = parsed.error;
    const named = issues.slice(0, MAX_NAMED_PROBLEMS).map((issue) => problemText(issue, spec));
    const more = issues.length - named.length;
    throw new SyntaxError(
      `Cannot use NodeConfig ${quote(object.name)}: ${named.join("; ")}` +
        (more > 0 ? `; and ${more} more` : ""),
    );
  }
  return {
    config: configOf(object, parsed.data),
    warnings: unknownFields(spec, parsed.data)
      .map((path) => `Ignored field ${quote(path)}: it is not known`),
  };
}

function configOf(object: NodeConfigObject, spec: NodeConfigSpec): NodeConfig {
  const bgp = spec.bgp ?? {};
  return {
    name: object.name,
    ipAlgo: object.annotations[`${ANNOTATION_PREFIX}ip-algo`],
    cidr6: (spec.cidr6 ?? []).map(parsePrefix),
    cidr4: (spec.cidr4 ?? []).map(parsePrefix),
    defaults: { ipv6: spec.defaults?.ipv6 ?? true, ipv4: spec.defaults?.ipv4 ?? true },
    mtu: spec.mtu,
    allowSpoofing: spec.allowSpoofing ?? false,
    reserved: (spec.reserved ?? []).map(parsePrefix),
    bgp: {
      asn: bgp.asn,
      allowLocalAs: bgp.allowLocalAS ?? false,
      routerId: bgp.routerID === undefined ? undefined : parseAddress(bgp.routerID),
      import: (bgp.import ?? []).map(({ cidr, ge, le }) => ({ prefix: parsePrefix(cidr), ge, le })),
      peers: (bgp.peers ?? []).map(peerOf),
    },
    announce: {
      allowed: spec.announce?.allowed?.map(({ cidr, namespaces }) => ({
        prefix: parsePrefix(cidr),
        namespaces: namespaces ?? ["*"],
      })),
    },
  };
}

function peerOf(spec: BgpPeerSpec): BgpPeer {
  const { holdTime = DEFAULT_HOLD_TIME, bfd, gracefulRestart, localAddress } = spec;
  return {
    ...spec,
    address: parseAddress(spec.address),
    port: spec.port ?? BGP_PORT,
    passive: spec.passive ?? false,
    ttlSecurity: spec.ttlSecurity ?? false,
    holdTime,
    keepaliveTime: spec.keepaliveTime ??
      Math.min(DEFAULT_KEEPALIVE_TIME, Math.floor(holdTime / 3)),
    gracefulRestart: {
      enabled: gracefulRestart?.enabled ?? true,
      restartTime: gracefulRestart?.restartTime ?? DEFAULT_RESTART_TIME,
    },
    bfd: bfd === undefined || bfd.enabled === false ? undefined : {
      interval: bfd.interval ?? DEFAULT_BFD.interval,
      multiplier: bfd.multiplier ?? DEFAULT_BFD.multiplier,
    },
    localAddress: localAddress === undefined ? undefined : parseAddress(localAddress),
    prepend: spec.prepend ?? 0,
    communities: spec.communities ?? [],
    importDefaultRoute: spec.importDefaultRoute ?? false,
    importLimit: spec.importLimit ?? DEFAULT_IMPORT_LIMIT,
  };
}

/** A copy in which fields that are null are left out. */
function withoutNulls(value: unknown, depth = 0): unknown {
  if (depth > MAX_DEPTH) return value;
  if (Array.isArray(value)) return value.map((item) => withoutNulls(item, depth + 1));
  if (!isFields(value)) return value;
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, field]) => field !== null && field !== undefined)
      .map(([name, field]) => [name, withoutNulls(field, depth + 1)]),
  );
}
