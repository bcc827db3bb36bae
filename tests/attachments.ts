/**
 * Attachments, links and snapshots for tests of what is computed from them.
 *
 * @module
 */
import type { Attachment } from "../src/core/attachment.ts";
import { parsePrefix } from "../src/core/cidr.ts";
import { MAX_GROUP_MEMBERS } from "../src/core/config.ts";
import type { Snapshot } from "../src/core/desired_state.ts";
import type { IpLink } from "../src/core/ip_state.ts";
import type { Pod } from "../src/core/objects.ts";
import { fakePod } from "./fakes/fake_source.ts";

/** Name of the n-th attachment's link. */
export function linkName(n: number): string {
  return `flock0000000${n}`;
}

/** A link that is up. */
export function link(n: number, change: Partial<IpLink> = {}): IpLink {
  return {
    ifname: linkName(n),
    up: true,
    carrier: true,
    mtu: 1500,
    mac: "",
    addresses: [],
    ...change,
  };
}

/** A committed attachment of pod `default/p<n>`. */
export function attachment(n: number, change: Partial<Attachment> = {}): Attachment {
  return {
    containerId: `c${n}`,
    ifname: "eth0",
    namespace: "default",
    podName: `p${n}`,
    podUid: `u${n}`,
    hostIfname: linkName(n),
    netns: `/run/netns/p${n}`,
    state: "committed",
    allocatedAt: "2026-01-01T00:00:00.000Z",
    ...change,
  };
}

/** The Pod of an attachment, Ready. */
export function readyPod({ namespace, podName, podUid }: Attachment): Pod {
  return fakePod({ namespace, name: podName, uid: podUid });
}

/** A node with two prefixes, all its pods Ready, and a link for each attachment. */
export function snapshot(
  attachments: readonly Attachment[],
  change: Partial<Snapshot> = {},
): Snapshot {
  return {
    attachments,
    podOf: readyPod,
    links: new Map(
      attachments.map(({ hostIfname }) => [hostIfname, { ...link(0), ifname: hostIfname }]),
    ),
    nodePrefixes: ["2001:db8:f001::/64", "10.244.1.0/24"].map(parsePrefix),
    allowed: undefined,
    reserved: [],
    drained: false,
    leaving: new Set(),
    maxLegs: MAX_GROUP_MEMBERS,
    ...change,
  };
}
