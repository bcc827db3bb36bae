/**
 * The configuration in force, value by value, each with where it comes from: the node's own NodeConfig, the
 * one named `default`, the Node's `podCIDRs`, a default of flock's own, or the node itself.
 *
 * @module
 */
import { formatAddress, formatPrefix, type Prefix } from "./cidr.ts";
import { ANNOTATION_PREFIX } from "./config.ts";
import type { ConfigItem } from "./inspection.ts";
import { type BgpPeer, DEFAULTABLE_FIELDS, type NodeConfig } from "./node_config.ts";
import { isFields } from "./node_config_problems.ts";
import type { NodeConfigObject } from "./objects.ts";

/** What a configuration was made of. */
export interface ConfigSources {
  readonly own: NodeConfigObject;
  /** The NodeConfig named `default`. */
  readonly fallback?: NodeConfigObject;
  /** The Node's. */
  readonly podCidrs: readonly string[];
}

/** What the node supplies where nobody says it. */
export interface NodeValues {
  /** Bytes. */
  readonly mtu: number;
  readonly routerId?: string;
}

const BUILT_IN = "built-in default";

/**
 * Every value of a NodeConfig, in the order of its fields.
 *
 * @param sources undefined for a configuration of an earlier run of the agent
 */
export function configItems(
  config: NodeConfig,
  sources: ConfigSources | undefined,
  node: NodeValues,
): readonly ConfigItem[] {
  const item = (
    path: string,
    value: ConfigItem["value"] | undefined,
    otherwise = BUILT_IN,
    at = path,
  ): ConfigItem => ({
    name: `spec.${path}`,
    value: value ?? null,
    from: sources === undefined
      ? "last good NodeConfig (state directory)"
      : originOf(at, sources) ?? otherwise,
  });
  const { bgp, announce } = config;
  const podCidrs = (prefixes: readonly Prefix[]): string =>
    prefixes.length > 0 ? "Node podCIDRs" : BUILT_IN;
  return [
    item("cidr6", config.cidr6.map(formatPrefix), podCidrs(config.cidr6)),
    item("cidr4", config.cidr4.map(formatPrefix), podCidrs(config.cidr4)),
    item("defaults.ipv6", config.defaults.ipv6),
    item("defaults.ipv4", config.defaults.ipv4),
    item("mtu", config.mtu ?? node.mtu, "MTU of the node's way out"),
    item("allowSpoofing", config.allowSpoofing),
    item("reserved", config.reserved.map(formatPrefix)),
    item("bgp.asn", bgp.asn),
    item("bgp.allowLocalAS", bgp.allowLocalAs),
    item(
      "bgp.routerID",
      bgp.routerId === undefined ? node.routerId : formatAddress(bgp.routerId),
      "chosen by the agent",
    ),
    item("bgp.import", bgp.import.map(importText)),
    ...bgp.peers.flatMap((peer, n) =>
      peerValues(peer).map(([field, value]) =>
        item(
          `bgp.peers[${formatAddress(peer.address)}].${field}`,
          value,
          BUILT_IN,
          `bgp.peers.${n}.${field}`,
        )
      )
    ),
    item("announce.allowed", announce.allowed?.map(allowedText)),
    {
      name: `annotation ${ANNOTATION_PREFIX}ip-algo`,
      value: config.ipAlgo ?? null,
      from: config.ipAlgo === undefined ? BUILT_IN : `NodeConfig ${config.name}`,
    },
  ];
}

/** Which object has a field; undefined when none has. A covering field is taken from one object whole. */
function originOf(path: string, { own, fallback }: ConfigSources): string | undefined {
  const whole = DEFAULTABLE_FIELDS.find((field) => path === field || path.startsWith(`${field}.`));
  const isOwn = whole === undefined || fieldOf(own.spec, whole) !== undefined;
  const object = isOwn ? own : fallback;
  return object !== undefined && fieldOf(object.spec, path) !== undefined
    ? `NodeConfig ${object.name}`
    : undefined;
}

/** A field by its path; undefined when it is absent or null. */
function fieldOf(spec: unknown, path: string): unknown {
  return path.split(".").reduce<unknown>((at, name) => {
    if (Array.isArray(at)) return at[Number(name)] ?? undefined;
    return isFields(at) ? at[name] ?? undefined : undefined;
  }, spec);
}

function peerValues(
  peer: BgpPeer,
): readonly (readonly [string, ConfigItem["value"] | undefined])[] {
  const { passwordSecretRef: secret, localAddress, bfd } = peer;
  return [
    ["asn", peer.asn],
    ["port", peer.port],
    ["passive", peer.passive],
    ["multihop", peer.multihop],
    ["ttlSecurity", peer.ttlSecurity],
    ["holdTime", peer.holdTime],
    ["keepaliveTime", peer.keepaliveTime],
    ["gracefulRestart.enabled", peer.gracefulRestart.enabled],
    ["gracefulRestart.restartTime", peer.gracefulRestart.restartTime],
    ["bfd.enabled", bfd !== undefined],
    ["bfd.interval", bfd?.interval],
    ["bfd.multiplier", bfd?.multiplier],
    ["localAddress", localAddress && formatAddress(localAddress)],
    ["localPreference", peer.localPreference],
    ["med", peer.med],
    ["prepend", peer.prepend],
    ["communities", peer.communities],
    ["importDefaultRoute", peer.importDefaultRoute],
    ["importLimit", peer.importLimit],
    ["passwordSecretRef", secret && `${secret.namespace}/${secret.name}, key ${secret.key}`],
  ];
}

function importText({ prefix, ge, le }: NodeConfig["bgp"]["import"][number]): string {
  return formatPrefix(prefix) + (ge === undefined ? "" : ` ge ${ge}`) +
    (le === undefined ? "" : ` le ${le}`);
}

function allowedText(
  { prefix, namespaces }: NonNullable<NodeConfig["announce"]["allowed"]>[number],
): string {
  return `${formatPrefix(prefix)} for ${namespaces.join(", ")}`;
}
