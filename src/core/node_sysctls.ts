/**
 * The sysctls that should be so on a node: its own, those of links that have their default route from router
 * advertisements, and those of flock's ends of pods' links. Pure.
 *
 * @module
 */
import type { Attachment } from "./attachment.ts";
import type { IpRoute } from "./ip_state.ts";
import { hostSysctls } from "./wiring_check.ts";

/** A sysctl by its path below /proc/sys. */
export interface WantedSysctl {
  readonly path: string;
  readonly value: string;
  /** It is one of flock's own end of a link, which flock has set when it made the link. */
  readonly own: boolean;
}

/** What a node needs to forward for pods and to spread flows by their ports. */
const NODE_SYSCTLS: readonly (readonly [path: string, value: string])[] = [
  ["net/ipv4/ip_forward", "1"],
  ["net/ipv6/conf/all/forwarding", "1"],
  ["net/ipv4/fib_multipath_hash_policy", "1"],
  ["net/ipv6/fib_multipath_hash_policy", "1"],
  ["net/ipv4/nexthop_compat_mode", "1"],
];

/** The links that have a default route from router advertisements (RFC 4861). */
export function advertisedLinks(defaultRoutes: readonly IpRoute[]): readonly string[] {
  return defaultRoutes.filter(({ family, protocol }) => family === "ipv6" && protocol === "ra")
    .flatMap(({ dev, nextHops }) => [dev, ...nextHops.map((hop) => hop.dev)])
    .filter((dev) => dev !== undefined);
}

/** The path of a link's `accept_ra`. */
export function acceptRaPath(link: string): string {
  return `net/ipv6/conf/${link}/accept_ra`;
}

/** The link of a path of `accept_ra`; undefined for another path. */
export function acceptRaLink(path: string): string | undefined {
  return /^net\/ipv6\/conf\/([^/]+)\/accept_ra$/.exec(path)?.[1];
}

/**
 * What should be so, in the order in which it has to be made so: a link is told to go on taking
 * advertisements (`accept_ra` 2) before forwarding makes the kernel ignore them.
 *
 * @param advertised links that have, or had, a default route from router advertisements
 */
export function wantedSysctls(
  advertised: Iterable<string>,
  attachments: readonly Attachment[],
): readonly WantedSysctl[] {
  return [
    ...[...advertised].map((link) => ({ path: acceptRaPath(link), value: "2", own: false })),
    ...NODE_SYSCTLS.map(([path, value]) => ({ path, value, own: false })),
    ...attachments.flatMap(({ hostIfname, ip6 }) =>
      Object.entries(hostSysctls({ hostIfname, primary: { ipv6: ip6 } }))
        .map(([path, value]) => ({ path, value, own: true }))
    ),
  ];
}

/** Those that are otherwise. One that is not there is none: the kernel lacks it, or the link went. */
export function wrongSysctls(
  wanted: readonly WantedSysctl[],
  present: Readonly<Record<string, string>>,
): readonly (WantedSysctl & { readonly was: string })[] {
  return wanted.flatMap((one) => {
    const was = present[one.path];
    return was === undefined || was === one.value ? [] : [{ ...one, was }];
  });
}
