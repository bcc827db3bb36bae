/**
 * Anycast as a property of a pod: which pods of this node an address is routed to. A pod serves its
 * address while it is attached, Ready, not being deleted, and allowed to; every other one has a reason
 * that can be shown. Pure.
 *
 * @module
 */
import { anycastWeight } from "./annotations.ts";
import { type AnnounceAllowed, announceRefusal } from "./announce_guard.ts";
import { type Attachment, attachmentKey } from "./attachment.ts";
import {
  type Address,
  contains,
  FAMILY_NAMES,
  formatPrefix,
  parseAddress,
  type Prefix,
} from "./cidr.ts";
import type { IpLink } from "./ip_state.ts";
import type { Pod } from "./objects.ts";

/** The way to one pod. */
export interface Leg {
  /** The pod's own address of the family: the kernel resolves it, and the pod answers for it. */
  readonly via: string;
  readonly dev: string;
  readonly weight: number;
}

/** Why a pod in some state of its life is not served, each the end of a sentence. */
export const HELD_BACK = {
  pending: "it is being attached",
  leaving: "it is being detached",
  gone: "its Pod is gone",
  terminating: "it is being deleted",
  unready: "it is not Ready",
  drained: "the node is drained",
} as const;

/** A pod that has an anycast address bound. */
export interface AnycastPod {
  /** `namespace/name` */
  readonly pod: string;
  readonly weight: number;
  /** Why the address is not routed to it, the end of a sentence; undefined when it is. */
  readonly heldBack?: string;
}

/** An address that a pod was given, and that may no longer be announced for it. */
export interface Refusal {
  readonly attachment: Attachment;
  readonly address: string;
  /** The end of a sentence that begins with the address. */
  readonly why: string;
}

/** An anycast address of this node's pods. */
export interface AnycastAddress {
  /** Canonical text. */
  readonly address: string;
  /** Sorted; none: it is not announced. */
  readonly legs: readonly Leg[];
  readonly pods: readonly AnycastPod[];
}

/** What is known of pods and node. */
export interface AnycastSnapshot {
  readonly attachments: readonly Attachment[];
  /** The Pod of an attachment: the one with its UID, not another of the same name. */
  readonly podOf: (attachment: Attachment) => Pod | undefined;
  /** By name. */
  readonly links: ReadonlyMap<string, IpLink>;
  readonly allowed: AnnounceAllowed;
  readonly reserved: readonly Prefix[];
  /** Nothing is to be announced from this node. */
  readonly drained: boolean;
  /** Keys of attachments that are about to be detached. */
  readonly leaving: { has(key: string): boolean };
  /** Most pods that an address can be routed to. */
  readonly maxLegs: number;
}

/** The anycast addresses of a node's pods, sorted. */
export function anycastAddresses(snapshot: AnycastSnapshot): readonly AnycastAddress[] {
  const byAddress = new Map<string, Map<string, Judged>>();
  // A pod with several interfaces is served by the first that can, eth0 before others.
  const ordered = snapshot.attachments.filter(({ anycast }) => anycast !== undefined)
    .sort((a, b) => rankOf(a) < rankOf(b) ? -1 : 1);
  for (const attachment of ordered) {
    for (const { text, address } of boundBy(attachment)) {
      const pods = byAddress.get(text) ?? new Map();
      byAddress.set(text, pods);
      const known = pods.get(attachment.containerId);
      if (known === undefined || known.leg === undefined) {
        pods.set(attachment.containerId, judge(attachment, address, snapshot));
      }
    }
  }
  return [...byAddress].sort(([a], [b]) => a < b ? -1 : 1).map(([address, all]) => {
    const pods = atMost(snapshot.maxLegs, [...all.values()]);
    return {
      address,
      legs: pods.flatMap(({ leg }) => leg ?? []).sort((a, b) => a.dev < b.dev ? -1 : 1),
      pods: pods.map(({ leg: _, since: __, ...pod }) => pod),
    };
  });
}

interface Judged extends AnycastPod {
  readonly leg?: Leg;
  /** When it was attached. */
  readonly since: string;
}

/** Holds back the pods that came last, so that one that comes moves no flow of the others. */
function atMost(max: number, pods: readonly Judged[]): readonly Judged[] {
  const serving = pods.filter(({ leg }) => leg !== undefined);
  if (serving.length <= max) return pods;
  const byAge = serving.sort((a, b) => a.since < b.since ? -1 : a.since > b.since ? 1 : 0);
  const late = new Set(byAge.slice(max));
  const heldBack = `${max} other pods of the node serve the address, and more cannot`;
  return pods.map((pod) => late.has(pod) ? { ...pod, leg: undefined, heldBack } : pod);
}

interface BoundAddress {
  readonly text: string;
  readonly address: Address;
}

/** Parsed once: every change looks at all of them, and an attachment never changes. */
const bound = new WeakMap<Attachment, readonly BoundAddress[]>();

function boundBy(attachment: Attachment): readonly BoundAddress[] {
  if (attachment.anycast === undefined) return [];
  const known = bound.get(attachment);
  if (known !== undefined) return known;
  const addresses = attachment.anycast.map((text) => ({ text, address: parseAddress(text) }));
  bound.set(attachment, addresses);
  return addresses;
}

function rankOf(attachment: Attachment): string {
  return `${attachment.ifname === "eth0" ? 0 : 1} ${attachmentKey(attachment)}`;
}

function judge(
  attachment: Attachment,
  address: Address,
  snapshot: AnycastSnapshot,
): Judged {
  const { namespace, podName, hostIfname: dev, ip6, ip4, allocatedAt: since } = attachment;
  const pod = snapshot.podOf(attachment);
  const weight = anycastWeight(pod?.annotations ?? {});
  const via = address.family === "ipv6" ? ip6 : ip4;
  const refused = addressReason(address, namespace, snapshot);
  const heldBack = lifeReason(attachment, pod, snapshot) ??
    linkReason(snapshot.links.get(dev)) ??
    (via === undefined ? `it has no ${FAMILY_NAMES[address.family]} address` : undefined) ??
    (refused === undefined ? undefined : `the address ${refused}`);
  const common = { pod: `${namespace}/${podName}`, weight, since };
  return heldBack === undefined && via !== undefined
    ? { ...common, leg: { via, dev, weight } }
    : { ...common, heldBack };
}

function lifeReason(
  attachment: Attachment,
  pod: Pod | undefined,
  { drained, leaving }: AnycastSnapshot,
): string | undefined {
  if (attachment.state === "pending") return HELD_BACK.pending;
  if (leaving.has(attachmentKey(attachment))) return HELD_BACK.leaving;
  if (pod === undefined) return HELD_BACK.gone;
  // A terminating pod stays Ready for a while, and would be reset.
  if (pod.terminating) return HELD_BACK.terminating;
  if (!pod.ready) return HELD_BACK.unready;
  return drained ? HELD_BACK.drained : undefined;
}

/** Why a link takes nothing. One that was set down is set up again; one whose other end is down takes nothing. */
export function linkReason(link: IpLink | undefined): string | undefined {
  if (link === undefined) return "its link is gone";
  return link.up && !link.carrier ? "its interface is down" : undefined;
}

/** The anycast addresses that may no longer be announced: the NodeConfig has become narrower. */
export function anycastRefusals(snapshot: AnycastSnapshot): readonly Refusal[] {
  return snapshot.attachments.filter(({ state }) => state === "committed").flatMap((attachment) =>
    boundBy(attachment).flatMap(({ text, address }) => {
      const why = addressReason(address, attachment.namespace, snapshot);
      return why === undefined ? [] : [{ attachment, address: text, why }];
    })
  );
}

/** Why the NodeConfig does not let an address be announced for a namespace; undefined when it does. */
export function addressReason(
  address: Address,
  namespace: string,
  { allowed, reserved }: Pick<AnycastSnapshot, "allowed" | "reserved">,
): string | undefined {
  const prefix = reserved.find((prefix) => contains(prefix, address));
  if (prefix !== undefined) return `is reserved (${formatPrefix(prefix)})`;
  const why = announceRefusal(allowed, address, namespace);
  return why === undefined ? undefined : `is ${why}`;
}
