/**
 * One policy in one direction as rules of nftables and the sets that they look into. A rule accepts what
 * the policy allows; what goes through all of them is not allowed by it.
 *
 * @module
 */
import { type AddressRange, rangesOfBlocks } from "./address_ranges.ts";
import { bitsOf, FAMILIES, type Family, formatAddress } from "./cidr.ts";
import { fnv1a32 } from "./iid.ts";
import type {
  NetworkPolicy,
  PolicyPeer,
  PolicyPort,
  PolicyRule,
  PortProtocol,
} from "./network_policy.ts";
import type { NftSet } from "./nftables.ts";
import { type Aspect, aspectKeyOf, type PodSelector } from "./peer_sets.ts";
import type { Direction } from "./policy.ts";

/** Both directions, as they are listed. */
export const DIRECTIONS: readonly Direction[] = ["ingress", "egress"];

/** A set whose elements are those of selected pods, of the whole cluster. */
export interface PeerSetUse {
  readonly selectorKey: string;
  readonly selector: PodSelector;
  readonly aspect: Aspect;
}

/** Rules, and by their names the sets that they need. */
export interface PolicyRules {
  readonly rules: readonly string[];
  /** Sets that only the policy's own text decides. */
  readonly fixed: ReadonlyMap<string, NftSet>;
  readonly peers: ReadonlyMap<string, PeerSetUse>;
  /** Sets of this node's links, each with the port that has this name in its pod. */
  readonly ports: ReadonlyMap<string, { readonly protocol: PortProtocol; readonly name: string }>;
}

/** Gives what has the same key the same name, and nothing else: hashes may collide. */
export type NameOf = (prefix: string, key: string) => string;

const ALL_PORTS = 65_535;
/**
 * So many ranges of addresses are a rule each. For any change of a table, `nft` 1.0.6 asks the kernel for
 * the elements of every set of ranges in it, and the kernel looks for each among all sets: with 245 of them among
 * 4,400 it took half of the time of a change.
 */
const MAX_RANGE_RULES = 4;
/** Names of families in rules. */
const IP: Readonly<Record<Family, string>> = { ipv6: "ip6", ipv4: "ip" };
/** Types of addresses in sets. */
export const ADDRESS_TYPE: Readonly<Record<Family, string>> = {
  ipv6: "ipv6_addr",
  ipv4: "ipv4_addr",
};
const EVERY_POD: PodSelector = { pods: [] };

/** Names that end in a hash of their key, another one where two keys have the same. */
export class NameTable {
  readonly #names = new Map<string, string>();
  readonly #taken = new Set<string>();

  readonly nameOf: NameOf = (prefix, key) => {
    const whole = `${prefix} ${key}`;
    const known = this.#names.get(whole);
    if (known !== undefined) return known;
    const stem = `${prefix}-${fnv1a32(key).toString(16).padStart(8, "0")}`;
    let name = stem;
    for (let n = 2; this.#taken.has(name); n++) name = `${stem}-${n}`;
    this.#names.set(whole, name);
    this.#taken.add(name);
    return name;
  };

  /** Forgets the names that are not among these. */
  keep(names: { has(name: string): boolean }): void {
    for (const [whole, name] of this.#names) {
      if (names.has(name)) continue;
      this.#names.delete(whole);
      this.#taken.delete(name);
    }
  }
}

/** The rules of one direction of a policy. */
export function policyRules(
  policy: NetworkPolicy,
  direction: Direction,
  nameOf: NameOf,
): PolicyRules {
  const rules: string[] = [];
  const fixed = new Map<string, NftSet>();
  const peers = new Map<string, PeerSetUse>();
  const ports = new Map<string, { protocol: PortProtocol; name: string }>();
  const field = direction === "ingress" ? "saddr" : "daddr";

  function peerSet(prefix: string, selector: PodSelector, aspect: Aspect): string {
    const selectorKey = JSON.stringify(selector);
    const name = nameOf(
      `${prefix}${aspect.family.slice(-1)}`,
      `${selectorKey} ${aspectKeyOf(aspect)}`,
    );
    peers.set(name, { selectorKey, selector, aspect });
    return name;
  }

  /** Matches of a rule's numbered ports: any of them; undefined: there is nothing to match. */
  function rangeMatches(list: readonly PolicyPort[] | undefined): readonly string[] {
    if (list === undefined) return [""];
    return (["TCP", "UDP", "SCTP"] as const).flatMap((protocol) => {
      const ranges = joinPorts(list, protocol);
      const l4 = protocol.toLowerCase();
      if (ranges.length === 0) return [];
      if (ranges[0] === `0-${ALL_PORTS}`) return [`meta l4proto ${l4}`];
      if (ranges.length === 1) return [`${l4} dport ${ranges[0]}`];
      const name = nameOf("ports", ranges.join(","));
      const isInterval = ranges.some((range) => range.includes("-"));
      fixed.set(name, {
        kind: "set",
        spec: ["type inet_service", ...(isInterval ? ["flags interval"] : [])],
        elements: new Map(ranges.map((range) => [range, ""])),
      });
      return [`${l4} dport @${name}`];
    });
  }

  /** Matches of one family's blocks, any of them: the whole family, a few ranges, or a set of ranges. */
  function blockMatches(blocks: readonly Block[], family: Family): readonly string[] {
    const ranges = rangesOfBlocks(blocks, family).map((range) => rangeText(range, family));
    if (ranges[0]?.endsWith("/0")) return [`meta nfproto ${family}`];
    if (ranges.length <= MAX_RANGE_RULES) {
      return ranges.map((range) => `${IP[family]} ${field} ${range}`);
    }
    const name = nameOf(`blocks${family.slice(-1)}`, ranges.join(","));
    fixed.set(name, {
      kind: "set",
      spec: [`type ${ADDRESS_TYPE[family]}`, "flags interval"],
      elements: new Map(ranges.map((range) => [range, ""])),
    });
    return [`${IP[family]} ${field} @${name}`];
  }

  /** Matches of a rule's peers of one family: any of them. */
  function peerMatches(list: readonly PolicyPeer[], family: Family): readonly string[] {
    const blocks = list.filter((peer) => peer.kind === "block");
    return [
      ...list.filter((peer) => peer.kind === "pods").map((peer) =>
        `${IP[family]} ${field} @${peerSet("pods", selectorOf(peer, policy), { family })}`
      ),
      ...blockMatches(blocks, family),
    ];
  }

  /** Matches of a port's name in packets to other pods: it is another number in each of them. */
  function namedMatch(port: NamedPolicyPort, family: Family): string {
    const l4 = port.protocol.toLowerCase();
    return `${IP[family]} daddr . ${l4} dport @${peerSet("named", EVERY_POD, { family, port })}`;
  }

  function portSet(port: NamedPolicyPort): string {
    const name = nameOf("port", `${port.protocol} ${port.name}`);
    ports.set(name, { protocol: port.protocol, name: port.name });
    return `oifname . ${port.protocol.toLowerCase()} dport @${name}`;
  }

  function accept(...matches: readonly string[]): void {
    rules.push([...matches.filter((match) => match !== ""), "accept"].join(" "));
  }

  function addRule({ peers, ports: wanted }: PolicyRule): void {
    const named = (wanted ?? []).filter((port) => port.kind === "named");
    const ports = [...rangeMatches(wanted), ...(direction === "ingress" ? named.map(portSet) : [])];
    const others = peers === undefined
      ? [""]
      : FAMILIES.flatMap((family) => ports.length > 0 ? peerMatches(peers, family) : []);
    for (const other of others) for (const port of ports) accept(other, port);
    if (direction === "ingress") return;
    for (const port of named) {
      for (const family of FAMILIES) {
        for (const other of peers === undefined ? [""] : peerMatches(peers, family)) {
          // What follows says the family, too.
          accept(other === `meta nfproto ${family}` ? "" : other, namedMatch(port, family));
        }
      }
    }
  }

  for (const rule of policy[direction] ?? []) addRule(rule);
  return { rules: [...new Set(rules)], fixed, peers, ports };
}

type Block = Extract<PolicyPeer, { kind: "block" }>;
type NamedPolicyPort = Extract<PolicyPort, { kind: "named" }>;

function selectorOf(
  { namespaces, pods }: Extract<PolicyPeer, { kind: "pods" }>,
  { namespace }: NetworkPolicy,
): PodSelector {
  return namespaces === undefined ? { namespace, pods } : { namespaces, pods };
}

/** A protocol's ports: sorted, nothing twice, nothing adjoining. */
function joinPorts(list: readonly PolicyPort[], protocol: PortProtocol): readonly string[] {
  const ranges = list.filter((port) => port.kind === "range" && port.protocol === protocol)
    .map((port) => port as Extract<PolicyPort, { kind: "range" }>)
    .toSorted((a, b) => a.first - b.first);
  const joined: { first: number; last: number }[] = [];
  for (const { first, last } of ranges) {
    const before = joined.at(-1);
    if (before === undefined || before.last + 1 < first) joined.push({ first, last });
    else before.last = Math.max(before.last, last);
  }
  return joined.map(({ first, last }) => first === last ? `${first}` : `${first}-${last}`);
}

/** As `nft` prints it: a prefix where it is one. */
function rangeText({ first, last }: AddressRange, family: Family): string {
  const text = formatAddress({ family, value: first });
  const size = last - first + 1n;
  // A power of two that the first address is a multiple of.
  const isPrefix = (size & (size - 1n)) === 0n && first % size === 0n;
  if (!isPrefix) return `${text}-${formatAddress({ family, value: last })}`;
  const length = bitsOf(family) - (size.toString(2).length - 1);
  return length === bitsOf(family) ? text : `${text}/${length}`;
}
