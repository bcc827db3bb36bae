/**
 * CHECK: what should be there for an attachment against what is. Pure; every difference becomes one
 * sentence that names the address, route, link or sysctl.
 *
 * @module
 */
import { type Address, parseAddress } from "./cidr.ts";
import { GATEWAY4, GATEWAY6, ROUTE_METRIC } from "./config.ts";
import type { IpLink, IpNeighbor, IpRoute } from "./ip_state.ts";
import {
  hostCidr,
  hostMacOf,
  podMacOf,
  renderAlias,
  routedAddresses,
  type Wiring,
} from "./wiring.ts";

/** One end of an attachment as the kernel has it. */
export interface ObservedEnd {
  readonly links: readonly IpLink[];
  readonly routes: readonly IpRoute[];
  readonly neighbors: readonly IpNeighbor[];
  /** Path below /proc/sys → value; without an entry when there is no such file. */
  readonly sysctls: Readonly<Record<string, string>>;
}

/** Sysctls of the node's end, path below /proc/sys → value. */
export function hostSysctls(
  { hostIfname, primary }: Pick<Wiring, "hostIfname" | "primary">,
): Record<string, string> {
  return {
    // On some nodes IPv6 is off for new links. First: without it the link takes no address.
    ...(primary.ipv6 ? { [`net/ipv6/conf/${hostIfname}/disable_ipv6`]: "0" } : {}),
    [`net/ipv4/conf/${hostIfname}/forwarding`]: "1",
    [`net/ipv4/conf/${hostIfname}/rp_filter`]: "0",
    // A pod must not be able to tell the node where its routers are.
    [`net/ipv6/conf/${hostIfname}/accept_ra`]: "0",
  };
}

/** Sysctls to write before the pod's end is made: some runtimes switch IPv6 off in a new namespace. */
export function podSysctlWrites(wiring: Wiring): Record<string, string> {
  const links = wiring.primary.ipv6 ? ["all", "default", "lo"] : [];
  return {
    ...Object.fromEntries(links.map((link) => [`net/ipv6/conf/${link}/disable_ipv6`, "0"])),
    ...podSysctls(wiring),
  };
}

/** Sysctls of the pod's end. */
export function podSysctls(wiring: Wiring): Record<string, string> {
  return {
    ...(wiring.primary.ipv6 ? { [`net/ipv6/conf/${wiring.owner.ifname}/disable_ipv6`]: "0" } : {}),
    // ICMP errors hash differently from the flows they belong to: a connection to an anycast address
    // behind a smaller MTU would hang without probing.
    ...(wiring.anycast.length > 0 ? { "net/ipv4/tcp_mtu_probing": "1" } : {}),
  };
}

/**
 * What is wrong with the node's end; empty when nothing is.
 *
 * @param protocolOf the route protocol that an address should have
 */
export function checkHost(
  wiring: Wiring,
  protocolOf: (address: Address) => number,
  observed: ObservedEnd,
): readonly string[] {
  const { hostIfname: dev, owner, primary } = wiring;
  const link = observed.links.find(({ ifname }) => ifname === dev);
  if (link === undefined) return [`link ${dev} is missing on the node`];
  const problems = checkLink(link, hostMacOf(dev), "on the node");
  if (link.alias !== renderAlias(owner)) {
    problems.push(`alias of link ${dev} is ${JSON.stringify(link.alias ?? "")}`);
  }
  if (primary.ipv6) requireAddress(problems, link, `${GATEWAY6}/64`, "on the node");
  if (primary.ipv4) requireAddress(problems, link, `${GATEWAY4}/32`, "on the node");
  for (const address of routedAddresses(wiring)) {
    const cidr = hostCidr(address);
    requireNeighbor(problems, observed, { address: cidr.split("/")[0]!, dev, mac: podMacOf(dev) });
    const protocol = String(protocolOf(address));
    const route = observed.routes.find((r) =>
      r.dst === cidr && r.dev === dev && r.metric === ROUTE_METRIC && r.table === "main"
    );
    if (route === undefined) problems.push(`route ${cidr} dev ${dev} is missing on the node`);
    else if (route.protocol !== protocol) {
      problems.push(`route ${cidr} dev ${dev} has protocol ${route.protocol}, not ${protocol}`);
    }
  }
  requireSysctls(problems, observed, hostSysctls(wiring), "on the node");
  return problems;
}

/** What is wrong with the pod's end; empty when nothing is. What later plugins added is left alone. */
export function checkPod(wiring: Wiring, observed: ObservedEnd): readonly string[] {
  const { hostIfname, owner: { ifname: dev }, primary: { ipv6, ipv4 } } = wiring;
  const where = "in the pod";
  const mac = hostMacOf(hostIfname);
  const link = observed.links.find(({ ifname }) => ifname === dev);
  if (link === undefined) return [`link ${dev} is missing ${where}`];
  const problems = checkLink(link, podMacOf(hostIfname), where);
  const lo = observed.links.find(({ ifname }) => ifname === "lo");
  if (!lo?.up) problems.push(`link lo is down ${where}`);
  for (const address of routedAddresses(wiring)) {
    requireAddress(problems, link, hostCidr(address), where);
  }
  if (lo) {
    for (const address of wiring.anycast.map(parseAddress)) {
      requireAddress(problems, lo, hostCidr(address), where);
    }
  }
  if (ipv6) {
    requireNeighbor(problems, observed, { address: GATEWAY6, dev, mac });
    requireRoute(problems, observed, { dst: "::/0", gateway: GATEWAY6, dev, prefsrc: ipv6 });
  }
  if (ipv4) {
    requireNeighbor(problems, observed, { address: GATEWAY4, dev, mac });
    requireRoute(problems, observed, { dst: `${GATEWAY4}/32`, dev, prefsrc: ipv4 });
    requireRoute(problems, observed, { dst: "0.0.0.0/0", gateway: GATEWAY4, dev, prefsrc: ipv4 });
  }
  requireSysctls(problems, observed, podSysctls(wiring), where);
  return problems;
}

function checkLink(link: IpLink, mac: string, where: string): string[] {
  return [
    ...(link.up ? [] : [`link ${link.ifname} is down ${where}`]),
    ...(link.mac === mac
      ? []
      : [`link ${link.ifname} ${where} has hardware address ${link.mac}, not ${mac}`]),
  ];
}

function requireAddress(problems: string[], link: IpLink, cidr: string, where: string): void {
  const found = link.addresses.some(({ address, prefixLength }) =>
    `${address}/${prefixLength}` === cidr
  );
  if (!found) problems.push(`address ${cidr} on ${link.ifname} is missing ${where}`);
}

function requireNeighbor(
  problems: string[],
  observed: ObservedEnd,
  want: { address: string; dev: string; mac: string },
): void {
  const found = observed.neighbors.some((n) =>
    n.permanent && n.address === want.address && n.dev === want.dev && n.mac === want.mac
  );
  if (!found) problems.push(`neighbor entry ${want.address} dev ${want.dev} is missing`);
}

function requireRoute(
  problems: string[],
  observed: ObservedEnd,
  want: { dst: string; gateway?: string; dev: string; prefsrc: string },
): void {
  const found = observed.routes.some((r) =>
    r.table === "main" && r.dst === want.dst && r.gateway === want.gateway && r.dev === want.dev &&
    r.prefsrc === want.prefsrc
  );
  if (!found) {
    const via = want.gateway ? ` via ${want.gateway}` : "";
    problems.push(`route ${want.dst}${via} dev ${want.dev} src ${want.prefsrc} is missing`);
  }
}

function requireSysctls(
  problems: string[],
  observed: ObservedEnd,
  wanted: Readonly<Record<string, string>>,
  where: string,
): void {
  for (const [path, value] of Object.entries(wanted)) {
    const found = observed.sysctls[path];
    // A kernel without IPv6 has no such file.
    if (found === undefined || found === value) continue;
    problems.push(`sysctl ${path.replaceAll("/", ".")} is ${found} ${where}, not ${value}`);
  }
}
