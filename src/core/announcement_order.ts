/**
 * Which changes of routes have to wait until BIRD runs a configuration that goes with them: a pod's address
 * is announced by itself, or by a prefix of the node, at every moment while prefixes change.
 *
 * @module
 */
import type { Attachment } from "./attachment.ts";
import { contains, formatAddress, parsePrefix, type Prefix } from "./cidr.ts";
import { PROTO_ANNOUNCED, PROTO_LOCAL } from "./config.ts";
import type { DesiredState } from "./desired_state.ts";
import type { OwnState } from "./own_objects.ts";
import type { Change } from "./state_diff.ts";

/** Addresses of single pods that are announced by themselves. */
export function announcedAddresses({ routes }: DesiredState): readonly Prefix[] {
  return routes.filter(({ protocol, legs }) => protocol === PROTO_ANNOUNCED && legs === undefined)
    .map(({ dst }) => parsePrefix(dst));
}

/** A route of an address that a prefix is going to announce: it changes when BIRD has the prefix. */
export function isDemotion(
  { kind, key, object: { subject, route } }: Change,
  present: OwnState,
  nodePrefixes: readonly Prefix[],
): boolean {
  return kind === "install" && route?.protocol === String(PROTO_LOCAL) &&
    present.get(key)?.route?.protocol === String(PROTO_ANNOUNCED) &&
    nodePrefixes.some((prefix) => contains(prefix, parsePrefix(subject)));
}

/** A prefix that pods still have addresses from: it goes when BIRD may announce these by themselves. */
export function isRetirement(
  { kind, object: { subject, route } }: Change,
  announced: readonly Prefix[],
): boolean {
  return kind === "remove" && route?.type === "unreachable" &&
    announced.some((address) => contains(parsePrefix(subject), address));
}

/** The destinations of routes that are installed, or removed. */
export function prefixesOf(changes: readonly Change[], wanted: Change["kind"]): Prefix[] {
  return changes.filter(({ kind }) => kind === wanted)
    .map(({ object: { subject } }) => parsePrefix(subject));
}

/**
 * Of the addresses that are announced by themselves, those that pods were given from prefixes the node
 * had then: they are announced also where a guard is set. What an annotation asked for has to be inside
 * what is allowed now.
 */
export function given(addresses: readonly Prefix[], attachments: readonly Attachment[]): Prefix[] {
  const asked = new Set(attachments.flatMap((attachment) => attachment.asked ?? []));
  return addresses.filter((prefix) => !asked.has(formatAddress(prefix)));
}
