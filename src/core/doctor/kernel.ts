/**
 * `flock doctor` on the kernel: forwarding, router advertisements, reverse path filter, next hops,
 * neighbour tables, hardware addresses of pods' links. Meanings of the sysctls: Linux,
 * Documentation/networking/ip-sysctl.rst.
 *
 * @module
 */
import { FAMILIES, type Family, FAMILY_NAMES } from "../cidr.ts";
import type { IpLink } from "../ip_state.ts";
import { hostMacOf, isHostIfname } from "../wiring.ts";
import type { Problem } from "./checks.ts";
import type { HostFacts, NetworkFacts, PeerPath } from "./facts.ts";
import { CONNTRACK_COUNT, CONNTRACK_MAX } from "./policies.ts";

type Sysctls = Readonly<Record<string, string>>;

const IP_FORWARD: Readonly<Record<Family, string>> = {
  ipv4: "net/ipv4/ip_forward",
  ipv6: "net/ipv6/conf/all/forwarding",
};
const HASH_POLICY = (family: Family): string => `net/${family}/fib_multipath_hash_policy`;
const COMPAT_MODE = "net/ipv4/nexthop_compat_mode";
const THRESHOLD = (family: Family, n: number): string =>
  `net/${family}/neigh/default/gc_thresh${n}`;
/** The kernel's release. */
export const OS_RELEASE = "kernel/osrelease";

/** Programs that handle router advertisements themselves, and switch the kernel's handling off. */
const RA_CLIENTS: readonly string[] = ["systemd-network", "NetworkManager", "dhcpcd"];

/** Of the neighbour table, how full is nearly full. */
const NEARLY_FULL = 0.75;

/** The sysctls that are judged, by their paths below /proc/sys. */
export function sysctlPaths(links: readonly Pick<IpLink, "ifname">[]): readonly string[] {
  const names = links.map(({ ifname }) => ifname).filter((name) => !isHostIfname(name));
  return [
    ...Object.values(IP_FORWARD),
    ...FAMILIES.map(HASH_POLICY),
    COMPAT_MODE,
    ...FAMILIES.flatMap((family) => [1, 2, 3].map((n) => THRESHOLD(family, n))),
    ...[OS_RELEASE, CONNTRACK_COUNT, CONNTRACK_MAX],
    ...["all", ...names].map((name) => `net/ipv4/conf/${name}/rp_filter`),
    ...names.flatMap((name) =>
      ["accept_ra", "forwarding"].map((key) => `net/ipv6/conf/${name}/${key}`)
    ),
  ];
}

/** Lines that set a sysctl now and for the next boot. Slashes: a link's name may hold a dot. */
function setSysctl(path: string, value: string | number): readonly string[] {
  return [
    `sysctl -w ${path}=${value}`,
    `echo '${path} = ${value}' >>/etc/sysctl.d/90-flock.conf`,
  ];
}

const BY_AGENT = "# the agent does it, unless told --no-sysctls";

/** Links of the default routes and towards the peers. */
export function uplinksOf(
  network: Pick<NetworkFacts, "links" | "routes">,
  peers: readonly PeerPath[] = [],
): readonly IpLink[] {
  const defaults = network.routes.filter(({ type, dst }) => type === "unicast" && isDefault(dst));
  const names = new Set([
    ...defaults.flatMap(({ dev, nextHops }) => [dev, ...nextHops.map((hop) => hop.dev)]),
    ...peers.map(({ route }) => route?.dev),
  ]);
  return network.links.filter(({ ifname }) =>
    ifname !== "lo" && !isHostIfname(ifname) && names.has(ifname)
  );
}

export function isDefault(dst: string): boolean {
  return dst === "::/0" || dst === "0.0.0.0/0";
}

/** Links of pods, on the node. */
export function podLinksOf({ links }: Pick<NetworkFacts, "links">): readonly IpLink[] {
  return links.filter(({ ifname }) => isHostIfname(ifname));
}

export function judgeForwarding(network: NetworkFacts, sysctls: Sysctls): readonly Problem[] {
  const pods = podLinksOf(network).length;
  if (pods === 0) return []; // the agent switches it on
  return FAMILIES.filter((family) => sysctls[IP_FORWARD[family]] === "0").map((family) => ({
    id: "forwarding",
    finding: `${FAMILY_NAMES[family]} is not forwarded, and ${pods} pod links are there`,
    fix: setSysctl(IP_FORWARD[family], 1),
  }));
}

export function judgeAcceptRa(
  network: NetworkFacts,
  sysctls: Sysctls,
  host: HostFacts | undefined,
): readonly Problem[] {
  const learned = network.routes.filter(({ dst, protocol }) => dst === "::/0" && protocol === "ra");
  const names = new Set(
    learned.flatMap(({ dev, nextHops }) => [dev, ...nextHops.map((hop) => hop.dev)])
      .filter((name) => name !== undefined),
  );
  return [...names].flatMap((name) => {
    const path = `net/ipv6/conf/${name}/accept_ra`;
    const accepts = sysctls[path];
    if (sysctls[`net/ipv6/conf/${name}/forwarding`] !== "1" || accepts === "2") return [];
    if (accepts === undefined) return [];
    // Such a client sets 0 and keeps the route up itself.
    const client = host?.processes.some((process) => RA_CLIENTS.includes(process.name)) ?? true;
    if (accepts === "0" && client) return [];
    return [{
      id: "accept-ra",
      finding: `link ${name} forwards, has its IPv6 default route from router advertisements, ` +
        `and accept_ra is ${accepts}`,
      fix: setSysctl(path, 2),
    }];
  });
}

export function judgeRpFilter(
  network: NetworkFacts,
  sysctls: Sysctls,
  peers: readonly PeerPath[] | undefined,
): readonly Problem[] {
  const all = Number(sysctls["net/ipv4/conf/all/rp_filter"] ?? 0);
  return uplinksOf(network, peers).flatMap(({ ifname }) => {
    const path = `net/ipv4/conf/${ifname}/rp_filter`;
    const own = Number(sysctls[path] ?? 0);
    // The kernel uses the larger of the two.
    if (Math.max(all, own) !== 1) return [];
    const finding = `link ${ifname} filters strictly (rp_filter: all ${all}, ${ifname} ${own})`;
    return [{ id: "rp-filter", finding, fix: setSysctl(path, 2) }];
  });
}

export function judgeNexthops(sysctls: Sysctls): readonly Problem[] {
  const problems: Problem[] = FAMILIES.filter((family) => sysctls[HASH_POLICY(family)] === "0")
    .map((family) => ({
      id: "multipath-hash",
      finding: `${FAMILY_NAMES[family]} spreads by addresses, not by ports ` +
        "(fib_multipath_hash_policy 0)",
      fix: [BY_AGENT, ...setSysctl(HASH_POLICY(family), 1)],
    }));
  if (sysctls[COMPAT_MODE] === "0") {
    problems.push({
      id: "nexthop-compat",
      finding: "nexthop_compat_mode is 0",
      fix: [BY_AGENT, ...setSysctl(COMPAT_MODE, 1)],
    });
  }
  return problems;
}

/** A string: the thresholds are the machine's, and seen in its first network namespace only. */
export function judgeNeighborTable(
  network: NetworkFacts,
  sysctls: Sysctls,
): readonly Problem[] | string {
  const pods = podLinksOf(network).length;
  const problems: Problem[] = [];
  for (const family of FAMILIES) {
    const values = [1, 2, 3].map((n) => Number(sysctls[THRESHOLD(family, n)] ?? NaN));
    const [first, second, most] = values as [number, number, number];
    if (values.some(Number.isNaN)) {
      return "the thresholds are not visible in this network namespace; run it in the host's";
    }
    const used = network.neighbors[family];
    // Entries that flock makes for its pods are permanent and do not count (Linux 5.0 and later): a
    // pod counts once, for what else it may bring along.
    const needed = 2 * (used + pods);
    const why = first > second || second > most
      ? `its thresholds are not in order (${values.join(", ")})`
      : used >= NEARLY_FULL * most
      ? `it holds ${used} of at most ${most} entries`
      : needed > most
      ? `it takes at most ${most} entries; ${used} now and ${pods} pods ask for ${needed}`
      : undefined;
    if (why === undefined) continue;
    const size = 2 ** Math.ceil(Math.log2(Math.max(1024, 2 * needed)));
    problems.push({
      id: "neighbor-table",
      finding: `${FAMILY_NAMES[family]} neighbour table: ${why}`,
      fix: [size, size / 2, size / 8].flatMap((value, i) =>
        setSysctl(THRESHOLD(family, 3 - i), value)
      ),
    });
  }
  return problems;
}

export function judgeLinkAddresses(network: NetworkFacts): readonly Problem[] {
  return podLinksOf(network).filter(({ ifname, mac }) => mac !== hostMacOf(ifname))
    .map(({ ifname, mac }) => ({
      id: "link-address",
      finding: `link ${ifname} has hardware address ${mac} instead of ${hostMacOf(ifname)}`,
      fix: [`ip link set dev ${ifname} address ${hostMacOf(ifname)}`],
    }));
}
