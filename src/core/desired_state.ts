/**
 * What of flock's should be in the kernel, computed whole from a snapshot: the ends of pods' links,
 * routes, and which pods share an address. Pure: nothing relies on memory of what was done. What it
 * becomes, with numbers for next hops, is `own_state.ts`.
 *
 * @module
 */
import {
  addressReason,
  type AnycastAddress,
  anycastAddresses,
  anycastRefusals,
  type AnycastSnapshot,
  type Leg,
  type Refusal,
} from "./anycast.ts";
import type { Attachment } from "./attachment.ts";
import {
  type Address,
  type Family,
  familyOf,
  formatAddress,
  formatPrefix,
  type Prefix,
} from "./cidr.ts";
import { PROTO_ANNOUNCED, PROTO_LOCAL, ROUTE_METRIC, UNREACHABLE_METRIC } from "./config.ts";
import {
  hostCidr,
  hostEndBatch,
  hostMacOf,
  macLine,
  protocolOf,
  routedAddresses,
} from "./wiring.ts";

/** A route that should be there, in the main table. */
export interface DesiredRoute {
  readonly family: Family;
  /** CIDR notation. */
  readonly dst: string;
  readonly type: "unicast" | "unreachable";
  readonly dev?: string;
  /** Of an anycast address: the pods it leads to, at least one. */
  readonly legs?: readonly Leg[];
  readonly protocol: number;
  readonly metric: number;
}

/** What the desired state is computed from. */
export interface Snapshot extends AnycastSnapshot {
  readonly nodePrefixes: readonly Prefix[];
}

/** What should be there. */
export interface DesiredState {
  /** Sorted. */
  readonly routes: readonly DesiredRoute[];
  /** Lines that make the node's ends of links that exist whole again, by link. */
  readonly ends: ReadonlyMap<string, readonly string[]>;
  readonly anycast: readonly AnycastAddress[];
  /** Addresses that pods have and that may no longer be announced for them. */
  readonly refused: readonly Refusal[];
}

/**
 * The desired state. When a link goes, its routes leave it; links of attachments that are being made or
 * undone are whoever's that makes or undoes them.
 */
export function desiredState(snapshot: Snapshot): DesiredState {
  const attached = snapshot.attachments.filter(({ state, hostIfname }) =>
    state === "committed" && snapshot.links.has(hostIfname)
  );
  const anycast = anycastAddresses(snapshot);
  const routes: DesiredRoute[] = [
    // Unused addresses answer "unreachable" at once and never loop to the default route.
    ...snapshot.nodePrefixes.map((prefix): DesiredRoute => ({
      family: prefix.family,
      dst: formatPrefix(prefix),
      type: "unreachable",
      protocol: PROTO_LOCAL,
      metric: UNREACHABLE_METRIC[prefix.family],
    })),
    ...attached.flatMap((attachment) =>
      addressesOf(attachment).map(({ address, family, dst }): DesiredRoute => ({
        family,
        dst,
        type: "unicast",
        dev: attachment.hostIfname,
        protocol: routeProtocol(address, attachment, snapshot),
        metric: ROUTE_METRIC,
      }))
    ),
    ...anycast.filter(({ legs }) => legs.length > 0).map(({ address, legs }): DesiredRoute => {
      const family = familyOf(address);
      return {
        family,
        dst: `${address}/${family === "ipv6" ? 128 : 32}`,
        type: "unicast",
        legs,
        protocol: PROTO_ANNOUNCED,
        metric: ROUTE_METRIC,
      };
    }),
  ];
  return {
    routes: routes.sort((a, b) => a.dst < b.dst ? -1 : a.dst > b.dst ? 1 : a.metric - b.metric),
    ends: new Map(attached.map((attachment) => [attachment.hostIfname, endOf(attachment)])),
    anycast,
    refused: [
      ...anycastRefusals(snapshot),
      ...attached.flatMap((attachment) =>
        addressesOf(attachment).flatMap(({ address }) => {
          const why = refusalOf(address, attachment, snapshot);
          return why === undefined ? [] : [{ attachment, address: formatAddress(address), why }];
        })
      ),
    ],
  };
}

/**
 * Route protocol of a pod's address: announced by itself unless a prefix of the node covers it, or it was
 * asked for and is no longer allowed.
 */
export function routeProtocol(
  address: Address,
  attachment: Attachment,
  node: Pick<Snapshot, "nodePrefixes" | "allowed" | "reserved">,
): number {
  return refusalOf(address, attachment, node) === undefined
    ? protocolOf(address, node.nodePrefixes)
    : PROTO_LOCAL;
}

/** Why an address outside the node's prefixes that was asked for may not be announced any more. */
function refusalOf(
  address: Address,
  { asked, namespace }: Attachment,
  node: Pick<Snapshot, "nodePrefixes" | "allowed" | "reserved">,
): string | undefined {
  if (asked === undefined || protocolOf(address, node.nodePrefixes) === PROTO_LOCAL) {
    return undefined;
  }
  return asked.includes(formatAddress(address))
    ? addressReason(address, namespace, node)
    : undefined;
}

interface RoutedAddress {
  readonly address: Address;
  readonly family: Family;
  readonly dst: string;
}

/** Parsed once: a pass looks at all of them, and an attachment never changes. */
const parsed = new WeakMap<Attachment, readonly RoutedAddress[]>();
const ends = new WeakMap<Attachment, readonly string[]>();

function addressesOf(attachment: Attachment): readonly RoutedAddress[] {
  const known = parsed.get(attachment);
  if (known !== undefined) return known;
  const { ip6, ip4, addresses = [] } = attachment;
  const routed = routedAddresses({ primary: { ipv6: ip6, ipv4: ip4 }, extra: addresses })
    .map((address) => ({ address, family: address.family, dst: hostCidr(address) }));
  parsed.set(attachment, routed);
  return routed;
}

function endOf(attachment: Attachment): readonly string[] {
  const known = ends.get(attachment);
  if (known !== undefined) return known;
  const { hostIfname, ip6, ip4, addresses = [] } = attachment;
  const primary = { ipv6: ip6, ipv4: ip4 };
  const lines = [
    // First: with a link's hardware address its neighbour entries go.
    macLine(hostIfname, hostMacOf(hostIfname)),
    ...hostEndBatch({ hostIfname, primary, extra: addresses }),
  ];
  ends.set(attachment, lines);
  return lines;
}
