/**
 * How a pod is joined to the node, as values: names, hardware addresses, and the lines for `ip -batch`
 * on both ends. Every object can be recognised after a restart by its name, alias or route protocol.
 *
 *     pod   eth0  2001:db8:f001::a/128, 10.244.1.2/32       default via fe80::1, 169.254.1.1
 *            |    veth; each end has a permanent neighbour entry for the other: no ARP, no NDP, no DAD
 *     node  flock1a2b3c4d  fe80::1, 169.254.1.1 (scope host)      host routes, protocol 143 or 144
 *
 * @module
 */
import {
  type Address,
  contains,
  type Family,
  formatPrefix,
  hostPrefix,
  parseAddress,
  type Prefix,
} from "./cidr.ts";
import {
  GATEWAY4,
  GATEWAY6,
  LINK_PREFIX,
  PROTO_ANNOUNCED,
  PROTO_LOCAL,
  ROUTE_METRIC,
} from "./config.ts";
import { fnv1a32 } from "./iid.ts";

/** Longest alias the kernel takes, in bytes (IFALIASZ less the terminator). */
const MAX_ALIAS = 255;
/** Longest container id in an alias that is too long: those of containerd and CRI-O stay whole. */
const SHORT_ID = 64;

/** Whom a host veth belongs to. */
export interface LinkOwner {
  readonly containerId: string;
  readonly ifname: string;
  readonly namespace: string;
  readonly podName: string;
  readonly podUid: string;
}

/** One attachment, ready to be made or checked. Addresses are canonical text without a length. */
export interface Wiring {
  readonly owner: LinkOwner;
  readonly hostIfname: string;
  readonly netns: string;
  readonly mtu: number;
  /** The pod's own address of each family, source of what it sends. */
  readonly primary: Readonly<Partial<Record<Family, string>>>;
  /** Further addresses on the container interface. */
  readonly extra: readonly string[];
  /** Bound on the pod's `lo`, deprecated: never a source address by accident. */
  readonly anycast: readonly string[];
}

/**
 * Name of the host veth: `flock` and eight hexadecimal digits of FNV-1a-32. A name taken by another
 * attachment is hashed again with a number.
 */
export function hostIfnameOf(
  { containerId, ifname }: { containerId: string; ifname: string },
  isTaken: (name: string) => boolean,
): string {
  const hash = (text: string): string => LINK_PREFIX + fnv1a32(text).toString(16).padStart(8, "0");
  let name = hash(ifname === "eth0" ? containerId : `${containerId}/${ifname}`);
  for (let n = 1; isTaken(name); n++) name = hash(`${containerId}/${ifname}/${n}`);
  return name;
}

/** True for the name of a link that flock made. */
export function isHostIfname(name: string): boolean {
  return /^flock[0-9a-f]{8}$/.test(name);
}

/** Hardware address of the host end, from its name: locally administered, unicast. */
export function hostMacOf(hostIfname: string): string {
  return macOf("02:f0", hostIfname);
}

/** Hardware address of the pod's end. */
export function podMacOf(hostIfname: string): string {
  return macOf("06:f0", hostIfname);
}

/**
 * The alias of a host veth: for people who read `ip link`, and to know the owner after a loss of state.
 * Where not all of it fits, a long container id gives way to its `shortId`, then the pod's name is cut:
 * the pod is found again by its UID.
 */
export function renderAlias(owner: LinkOwner): string {
  const { containerId, ifname, namespace, podName, podUid } = owner;
  const pod = `flock:1:${namespace}/${podName}`;
  const restOf = (id: string): string => `:${podUid}:${id}:${ifname}`;
  // An interface may have a name of several bytes for each character.
  const lengthOf = (text: string): number => new TextEncoder().encode(text).length;
  const whole = pod + restOf(containerId);
  if (lengthOf(whole) <= MAX_ALIAS) return whole;
  const rest = restOf(shortId(containerId));
  return pod.slice(0, MAX_ALIAS - lengthOf(rest)) + rest;
}

/**
 * A container id as an alias has it where the whole does not fit: its beginning, and a hash of all of it.
 * No container id has the character between them.
 */
export function shortId(containerId: string): string {
  if (containerId.length <= SHORT_ID) return containerId;
  const hash = fnv1a32(`alias/${containerId}`).toString(16).padStart(8, "0");
  return `${containerId.slice(0, SHORT_ID - 9)}~${hash}`;
}

/** Reads an alias; undefined when it is not one of ours. */
export function parseAlias(alias: string): LinkOwner | undefined {
  const match = /^flock:1:([^/:]*)\/([^/:]*):([^:]*):([^:]+):([^:]+)$/.exec(alias);
  if (!match) return undefined;
  const [, namespace = "", podName = "", podUid = "", containerId = "", ifname = ""] = match;
  return { containerId, ifname, namespace, podName, podUid };
}

/** Every address that is routed to the host veth, primary ones first. */
export function routedAddresses(wiring: Pick<Wiring, "primary" | "extra">): readonly Address[] {
  const { ipv6, ipv4 } = wiring.primary;
  return [ipv6, ipv4, ...wiring.extra].filter((text) => text !== undefined).map(parseAddress);
}

/** Route protocol of a pod's address: announced by itself unless a prefix of the node covers it. */
export function protocolOf(address: Address, nodePrefixes: readonly Prefix[]): number {
  return nodePrefixes.some((prefix) => contains(prefix, address)) ? PROTO_LOCAL : PROTO_ANNOUNCED;
}

/** The lines that make the node's end (and, born inside the pod's namespace, the pod's). */
export function hostBatch(wiring: Wiring, nodePrefixes: readonly Prefix[]): readonly string[] {
  const { hostIfname: dev, mtu, owner, netns } = wiring;
  const podMac = podMacOf(dev);
  return [
    `link add ${dev} address ${hostMacOf(dev)} mtu ${mtu} type veth ` +
    `peer name ${owner.ifname} netns ${netns} address ${podMac} mtu ${mtu}`,
    // Lines of their own: inside "link add" the first is refused and the second silently ignored.
    `link set ${dev} addrgenmode none`,
    `link set ${dev} alias ${renderAlias(owner)}`,
    ...hostEndBatch(wiring),
    // "add": what somebody else routes there stays as it is, and the ADD fails.
    ...routedAddresses(wiring).map((address) =>
      `route add ${hostCidr(address)} dev ${dev} ` +
      `proto ${protocolOf(address, nodePrefixes)} metric ${ROUTE_METRIC}`
    ),
  ];
}

/**
 * The lines that make the node's end of a link whole: up, the pods' gateways, a neighbour entry for each
 * of the pod's addresses. A link that is taken down and up has lost all of them. Each line says all of
 * one thing, so that they can be compared with what is there.
 */
export function hostEndBatch(
  { hostIfname: dev, primary, extra }: Pick<Wiring, "hostIfname" | "primary" | "extra">,
): readonly string[] {
  const mac = podMacOf(dev);
  return [
    linkUpLine(dev),
    ...(primary.ipv6 ? [addressLine(dev, `${GATEWAY6}/64`)] : []),
    ...(primary.ipv4 ? [addressLine(dev, `${GATEWAY4}/32`)] : []),
    ...routedAddresses({ primary, extra }).map((address) =>
      neighborLine({ dev, address: hostCidr(address).split("/")[0]!, mac })
    ),
  ];
}

/** Gives a link its hardware address. */
export function macLine(dev: string, mac: string): string {
  return `link set ${dev} address ${mac}`;
}

/** Sets a link up. */
export function linkUpLine(dev: string): string {
  return `link set ${dev} up`;
}

/** Puts a gateway's address, in CIDR notation, on the node's end. */
export function addressLine(dev: string, cidr: string): string {
  // Scope host: the node answers for the pods' gateway and never uses it as a source.
  return `addr replace ${cidr} dev ${dev} ${cidr.includes(":") ? "nodad" : "scope host"}`;
}

/** Says which hardware address an address has. */
export function neighborLine(
  { dev, address, mac }: { readonly dev: string; readonly address: string; readonly mac: string },
): string {
  return `neigh replace ${address} dev ${dev} lladdr ${mac} nud permanent`;
}

/**
 * Metric of a pod's routes: the kernel's own for `eth0`. Routes of a further interface would replace
 * them, or one another's, so each has a metric of its own, behind IPv6's 1024.
 */
export function podRouteMetric(ifname: string): number | undefined {
  return ifname === "eth0" ? undefined : 2_000 + fnv1a32(ifname) % 1_000_000;
}

/** The lines that make the pod's end, for `ip -batch` inside its namespace. */
export function podBatch(wiring: Wiring): readonly string[] {
  const { hostIfname, owner: { ifname: dev }, primary: { ipv6, ipv4 } } = wiring;
  const mac = hostMacOf(hostIfname);
  const priority = podRouteMetric(dev);
  const metric = priority === undefined ? "" : ` metric ${priority}`;
  return [
    "link set lo up",
    // No link-local address, so no router solicitation and no duplicate address detection.
    // "dev": an interface may be called like one of ip's words.
    `link set dev ${dev} addrgenmode none`,
    `link set dev ${dev} up`,
    ...routedAddresses(wiring).map((a) =>
      `addr add ${hostCidr(a)} dev ${dev}${a.family === "ipv6" ? " nodad" : ""}`
    ),
    // "src": with a second address the kernel would otherwise pick one by longest prefix.
    ...(ipv6
      ? [
        `neigh replace ${GATEWAY6} dev ${dev} lladdr ${mac} nud permanent`,
        `route replace default via ${GATEWAY6} dev ${dev} src ${ipv6}${metric}`,
      ]
      : []),
    ...(ipv4
      ? [
        `neigh replace ${GATEWAY4} dev ${dev} lladdr ${mac} nud permanent`,
        `route replace ${GATEWAY4} dev ${dev} scope link src ${ipv4}${metric}`,
        `route replace default via ${GATEWAY4} dev ${dev} src ${ipv4}${metric}`,
      ]
      : []),
    // "replace": the pod's lo outlives an attachment.
    ...wiring.anycast.map(parseAddress).map((a) =>
      `addr replace ${hostCidr(a)} dev lo${a.family === "ipv6" ? " nodad" : ""} preferred_lft 0`
    ),
  ];
}

/** The lines that take from the pod what does not go with its link; what is not there is no failure. */
export function podRemovalBatch(anycast: readonly string[]): readonly string[] {
  return anycast.map((text) => `addr flush dev lo to ${hostCidr(parseAddress(text))}`);
}

/** CIDR notation of one address, canonical. */
export function hostCidr(address: Address): string {
  return formatPrefix(hostPrefix(address));
}

function macOf(head: string, hostIfname: string): string {
  const digits = hostIfname.slice(LINK_PREFIX.length);
  return [head, ...(digits.match(/../g) ?? [])].join(":");
}
