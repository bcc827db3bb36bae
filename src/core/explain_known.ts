/**
 * What the agent's own knowledge says of an address: whose it is, which pods have it and what holds them
 * back, what is announced for it, and what of its route is in the kernel. Pure.
 *
 * @module
 */
import { announceRefusal } from "./announce_guard.ts";
import { anycastAddresses, type Leg, linkReason } from "./anycast.ts";
import { type Attachment, attachmentKey } from "./attachment.ts";
import {
  type Address,
  contains,
  formatAddress,
  formatPrefix,
  hostPrefix,
  type Prefix,
} from "./cidr.ts";
import { desiredState, type Snapshot } from "./desired_state.ts";
import type { HolderFacts, KernelFacts, OtherRoute } from "./explain_facts.ts";
import type { AddressRole } from "./inspection.ts";
import type { IpLink, IpRoute } from "./ip_state.ts";
import { claimRefusal, type NodeClaim } from "./node_claims.ts";
import type { NodeConfig } from "./node_config.ts";
import { isOurs, nexthopKey, type OwnObject, type OwnState } from "./own_objects.ts";

/** Metric that the kernel gives an IPv6 route without one. */
const METRIC6_UNLESS_TOLD = 1024;

/** Whose an address is. */
export interface AddressOwner {
  readonly role: AddressRole;
  /** Where no pod has it: the end of a sentence that begins with "it is". */
  readonly owner?: string;
  /** Attachments of the pods that have it. */
  readonly having: readonly Attachment[];
  /** The prefix of the node that it is in. */
  readonly nodePrefix?: string;
  /** What is announced for it: a prefix of the node announces the addresses in it. */
  readonly announced: string;
  /** Where the kernel's route to it leads: its host prefix, or the node's prefix for an unused one. */
  readonly dst: string;
}

/** What whose it is depends on. */
export interface Neighborhood {
  readonly nodeName: string;
  readonly attachments: readonly Attachment[];
  readonly nodePrefixes: readonly Prefix[];
  /** The node's own, without those of pods. */
  readonly links: readonly IpLink[];
  readonly peers: readonly Address[];
  readonly claims: readonly NodeClaim[];
}

/** Whose an address is. */
export function ownerOf(address: Address, node: Neighborhood): AddressOwner {
  const text = formatAddress(address);
  const host = formatPrefix(hostPrefix(address));
  const covering = node.nodePrefixes.find((prefix) => contains(prefix, address));
  const nodePrefix = covering && formatPrefix(covering);
  const common = { nodePrefix, announced: nodePrefix ?? host, dst: host };
  const sharing = node.attachments.filter(({ anycast }) => anycast?.includes(text));
  if (sharing.length > 0) return { ...common, role: "anycast", having: sharing, announced: host };
  const having = node.attachments.filter((attachment) => unicastOf(attachment).includes(text));
  if (having.length > 0) return { ...common, role: "pod", having };

  const link = node.links.find((one) => one.addresses.some(({ address }) => address === text));
  if (link !== undefined) {
    return { ...common, role: "node", having, owner: `this node's own, on link ${link.ifname}` };
  }
  if (node.peers.some((peer) => formatAddress(peer) === text)) {
    return { ...common, role: "node", having, owner: "a BGP peer of this node" };
  }
  const others = node.claims.filter((claim) => claim.node !== node.nodeName);
  const owner = claimRefusal(others, address, node.nodePrefixes);
  if (owner !== undefined) return { ...common, role: "otherNode", having, owner };
  return nodePrefix === undefined
    ? { ...common, role: "unknown", having }
    : { ...common, role: "unused", having, dst: nodePrefix };
}

/** The addresses of a pod's own, without those it shares. */
export function unicastOf({ ip6, ip4, addresses = [] }: Attachment): readonly string[] {
  return [...new Set([ip6, ip4, ...addresses].filter((text) => text !== undefined))];
}

/**
 * A pod that has an address, and what holds it back.
 *
 * @param lacking lines of its link's end that the kernel does not have
 */
export function holderOf(
  attachment: Attachment,
  text: string,
  { role, snapshot, lacking }: {
    readonly role: AddressRole;
    readonly snapshot: Snapshot;
    readonly lacking: readonly string[];
  },
): HolderFacts {
  const { namespace, podName, podUid: uid, containerId, ifname, state, hostIfname } = attachment;
  const link = snapshot.links.get(hostIfname);
  const pod = namespace === "" ? undefined : snapshot.podOf(attachment);
  const alone = { ...snapshot, attachments: [attachment] };
  const refused = (): string | undefined => {
    const why = desiredState(alone).refused.find(({ address }) => address === text)?.why;
    return why && `the address ${why}`;
  };
  const heldBack = role === "anycast"
    ? anycastAddresses(alone).find(({ address }) => address === text)?.pods[0]?.heldBack
    : refused();
  const asked = attachment.asked?.includes(text) ?? false;
  return {
    pod: namespace === "" ? "" : `${namespace}/${podName}`,
    uid,
    containerId,
    ifname,
    state,
    leaving: snapshot.leaving.has(attachmentKey(attachment)),
    since: attachment.allocatedAt,
    annotation: role === "anycast" ? "anycast" : asked ? "addresses" : undefined,
    known: pod && { ready: pod.ready, terminating: pod.terminating },
    hostIfname,
    linkProblem: linkReason(link) ??
      (lacking.length === 0 ? undefined : `its node's end lacks: ${lacking.join(", ")}`),
    heldBack,
  };
}

/** Lines of a link's end that are wanted and that the kernel does not have. */
export function lackingOf(dev: string, wanted: OwnState, present: OwnState): readonly string[] {
  return [...wanted].filter(([key, { kind, subject }]) =>
    kind === "end" && subject === dev && !present.has(key)
  ).map(([, { text }]) => text);
}

/** The route to a destination, as it is wanted and as it is. */
export function kernelFacts(
  dst: string,
  legs: readonly Leg[],
  { wanted, present, others }: {
    readonly wanted: OwnState;
    readonly present: OwnState;
    /** All routes of the main table to exactly this destination. */
    readonly others: readonly IpRoute[];
  },
): KernelFacts {
  const find = (state: OwnState): readonly [string, OwnObject] | undefined =>
    [...state].find(([, { kind, subject }]) => kind === "route" && subject === dst);
  const entry = find(wanted);
  const [key, route] = entry ?? [];
  const devs = new Set(legs.map(({ dev }) => dev));
  const needed = route?.id === undefined
    ? []
    : [...wanted].filter(([key, { kind, devs: to }]) =>
      key === nexthopKey(route.id!) || kind === "nexthop" && to.some((dev) => devs.has(dev))
    );
  const ours = key === undefined ? find(present)?.[1] : present.get(key);
  return {
    wanted: route?.text,
    present: ours?.text,
    missing: needed.filter(([key, { text }]) => present.get(key)?.text !== text)
      .map(([, { text }]) => text),
    nexthopId: route?.id,
    others: others.filter(({ protocol }) => !isOurs(protocol))
      .map((other): OtherRoute => ({
        text: describeRoute(other),
        wins: route?.route !== undefined && metricOf(other) <= route.route.metric,
      })),
  };
}

/** A route in a few words. */
export function describeRoute({ protocol, dev, gateway, metric }: IpRoute): string {
  const via = gateway === undefined ? "" : ` via ${gateway}`;
  // Of the way to an address the kernel does not say whose route it is.
  const of = protocol === "" ? "" : `proto ${protocol}`;
  return `${of}${via} dev ${dev ?? "none"} metric ${metric}`.trim();
}

/**
 * Why flock would not let the address of a pod pass BIRD's export filter as a host route: the end of a
 * sentence that begins with "it".
 */
export function filterRefusal(
  address: Address,
  having: readonly Attachment[],
  { reserved, announce: { allowed } }: Pick<NodeConfig, "reserved" | "announce">,
): string | undefined {
  const prefix = reserved.find((prefix) => contains(prefix, address));
  if (prefix !== undefined) return `is reserved (${formatPrefix(prefix)})`;
  const text = formatAddress(address);
  // What a pod was given from a prefix that the node had then may be announced where a guard is set, too.
  const given = having.some((one) => unicastOf(one).includes(text) && !one.asked?.includes(text));
  if (given) return undefined;
  const reasons = having.map(({ namespace }) => announceRefusal(allowed, address, namespace));
  return reasons.includes(undefined) || reasons.length === 0 ? undefined : `is ${reasons[0]}`;
}

function metricOf({ family, metric }: IpRoute): number {
  return family === "ipv6" && metric === 0 ? METRIC6_UNLESS_TOLD : metric;
}
