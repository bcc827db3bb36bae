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
import { keys, type NftSet } from "./nftables.ts";
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

/** A port's name. */
interface PortName {
  readonly protocol: PortProtocol;
  readonly name: string;
}

/** Rules, and by their names the chains and sets that they need. */
export interface PolicyRules {
  readonly rules: readonly string[];
  readonly chains: ReadonlyMap<string, readonly string[]>;
  /** Sets that only the policy's own text decides. */
  readonly fixed: ReadonlyMap<string, NftSet>;
  readonly peers: ReadonlyMap<string, PeerSetUse>;
  /** Sets of this node's links, each with the port that has this name in its pod. */
  readonly ports: ReadonlyMap<string, PortName>;
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
/** With more combinations of peers and ports than this, the ports have a chain of their own. */
const MAX_COMBINATIONS = 16;
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
  const writer = new RuleWriter(policy, direction, nameOf);
  for (const rule of policy[direction] ?? []) writer.add(rule);
  const { rules, chains, fixed, peers, ports } = writer;
  return { rules: [...rules], chains, fixed, peers, ports };
}

class RuleWriter {
  readonly rules = new Set<string>();
  readonly chains = new Map<string, readonly string[]>();
  readonly fixed = new Map<string, NftSet>();
  readonly peers = new Map<string, PeerSetUse>();
  readonly ports = new Map<string, PortName>();
  readonly #namespace: string;
  readonly #direction: Direction;
  readonly #nameOf: NameOf;
  /** The field that has the peer's address. */
  readonly #field: "saddr" | "daddr";

  constructor({ namespace }: NetworkPolicy, direction: Direction, nameOf: NameOf) {
    this.#namespace = namespace;
    this.#direction = direction;
    this.#nameOf = nameOf;
    this.#field = direction === "ingress" ? "saddr" : "daddr";
  }

  add({ peers, ports }: PolicyRule): void {
    // All of them were refused.
    if (ports?.length === 0) return;
    if (peers === undefined) {
      for (const port of this.#portMatches(ports, FAMILIES)) this.#accept("", port);
      return;
    }
    for (const family of FAMILIES) {
      const others = this.#peerMatches(peers, family);
      if (others.length === 0) continue;
      const matches = this.#portMatches(ports, [family]);
      if (others.length * matches.length > MAX_COMBINATIONS) {
        const rules = matches.map((match) => acceptOf(match));
        const chain = this.#nameOf("services", rules.join("; "));
        this.chains.set(chain, rules);
        for (const other of others) this.rules.add(`${other} jump ${chain}`);
        continue;
      }
      for (const other of others) {
        for (const match of matches) {
          // A match of addresses says the family, too.
          const isDouble = other.startsWith("meta") && match.startsWith(IP[family]);
          this.#accept(isDouble ? "" : other, match);
        }
      }
    }
  }

  #accept(...matches: readonly string[]): void {
    this.rules.add(acceptOf(...matches));
  }

  /** Matches of a rule's ports, any of them. */
  #portMatches(
    list: readonly PolicyPort[] | undefined,
    families: readonly Family[],
  ): readonly string[] {
    if (list === undefined) return [""];
    const named = list.filter((port) => port.kind === "named");
    const matches = this.#direction === "ingress"
      ? named.map((port) => this.#ownPortMatch(port))
      : named.flatMap((port) => families.map((family) => this.#otherPortMatch(port, family)));
    return [...this.#rangeMatches(list), ...matches];
  }

  /** Matches of a rule's numbered ports: any of them. */
  #rangeMatches(list: readonly PolicyPort[]): readonly string[] {
    return (["TCP", "UDP", "SCTP"] as const).flatMap((protocol) => {
      const ranges = joinPorts(list, protocol);
      const l4 = protocol.toLowerCase();
      if (ranges.length === 0) return [];
      if (ranges[0] === `0-${ALL_PORTS}`) return [`meta l4proto ${l4}`];
      if (ranges.length === 1) return [`${l4} dport ${ranges[0]}`];
      const isInterval = ranges.some((range) => range.includes("-"));
      const flags = isInterval ? ["flags interval"] : [];
      return [`${l4} dport @${this.#fixedSet("ports", ["type inet_service", ...flags], ranges)}`];
    });
  }

  /** A port's name is another number in each pod that packets go to: here, of this node's links. */
  #ownPortMatch({ protocol, name }: NamedPolicyPort): string {
    const set = this.#nameOf("port", `${protocol} ${name}`);
    this.ports.set(set, { protocol, name });
    return `oifname . ${protocol.toLowerCase()} dport @${set}`;
  }

  /** The same, of all pods' addresses. */
  #otherPortMatch(port: NamedPolicyPort, family: Family): string {
    const set = this.#peerSet("named", EVERY_POD, { family, port });
    return `${IP[family]} daddr . ${port.protocol.toLowerCase()} dport @${set}`;
  }

  /** Matches of a rule's peers of one family: any of them. */
  #peerMatches(list: readonly PolicyPeer[], family: Family): readonly string[] {
    return [
      ...list.filter((peer) => peer.kind === "pods").map(({ namespaces, pods }) => {
        const selector = namespaces === undefined
          ? { namespace: this.#namespace, pods }
          : { namespaces, pods };
        return `${IP[family]} ${this.#field} @${this.#peerSet("pods", selector, { family })}`;
      }),
      ...this.#blockMatches(list.filter((peer) => peer.kind === "block"), family),
    ];
  }

  /** Matches of one family's blocks, any of them: the whole family, a few ranges, or a set of ranges. */
  #blockMatches(blocks: readonly Block[], family: Family): readonly string[] {
    const ranges = rangesOfBlocks(blocks, family).map((range) => rangeText(range, family));
    if (ranges[0]?.endsWith("/0")) return [`meta nfproto ${family}`];
    const match = `${IP[family]} ${this.#field}`;
    if (ranges.length <= MAX_RANGE_RULES) return ranges.map((range) => `${match} ${range}`);
    const spec = [`type ${ADDRESS_TYPE[family]}`, "flags interval"];
    return [`${match} @${this.#fixedSet(`blocks${family.slice(-1)}`, spec, ranges)}`];
  }

  #peerSet(prefix: string, selector: PodSelector, aspect: Aspect): string {
    const selectorKey = JSON.stringify(selector);
    const key = `${selectorKey} ${aspectKeyOf(aspect)}`;
    const name = this.#nameOf(`${prefix}${aspect.family.slice(-1)}`, key);
    this.peers.set(name, { selectorKey, selector, aspect });
    return name;
  }

  #fixedSet(prefix: string, spec: readonly string[], elements: readonly string[]): string {
    const name = this.#nameOf(prefix, elements.join(","));
    this.fixed.set(name, { kind: "set", spec, elements: keys(elements) });
    return name;
  }
}

function acceptOf(...matches: readonly string[]): string {
  return [...matches.filter((match) => match !== ""), "accept"].join(" ");
}

type Block = Extract<PolicyPeer, { kind: "block" }>;
type NamedPolicyPort = Extract<PolicyPort, { kind: "named" }>;

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
