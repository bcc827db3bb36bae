/**
 * The table of nftables that has the node's pods keep to the policies that select them, and to the addresses
 * that they were given.
 *
 *     from a pod ─ antispoof ─┬─ egress:  map of links ─▶ pods-egress-… ─▶ egress/NAMESPACE/POLICY …
 *                             │                             └ allowed by none: drop-egress
 *                             └─ ingress: map of links ─▶ pods-ingress-… ─▶ ingress/NAMESPACE/POLICY …
 *
 * The two directions are base chains of their own: what is accepted in the first still goes through the
 * second. Packets of a pod are known by its link, whatever address they have. Pods that the same policies
 * select share a chain, policies with the same selector share its sets. What the node itself sends and receives
 * does not go through.
 *
 * @module
 */
import type { Labels } from "./label_selector.ts";
import { selects } from "./label_selector.ts";
import type { NetworkPolicy } from "./network_policy.ts";
import type { NftChain, NftSet, NftTable } from "./nftables.ts";
import type { PeerSets } from "./peer_sets.ts";
import type { Direction, NamedPort, PolicyName } from "./policy.ts";
import {
  ADDRESS_TYPE,
  DIRECTIONS,
  NameTable,
  type PolicyRules,
  policyRules,
} from "./policy_rules.ts";

/** What policies look at in the pod of a link. */
export interface GuardedPod {
  readonly labels: Labels;
  readonly ports: readonly NamedPort[];
}

/** One link of this node's to a pod, and what policies look at in that pod. */
export interface GuardedLink {
  readonly hostIfname: string;
  /** Empty: of a container that belongs to no pod, which no policy selects. */
  readonly namespace: string;
  readonly podName: string;
  /** Every address of the container, canonical: it may send from them on each of its links. */
  readonly addresses: readonly string[];
  /** Undefined: nobody knows the pod any more. It is denied whatever a policy of its namespace could deny. */
  readonly pod?: GuardedPod;
  readonly mode: PolicyMode;
}

/** What becomes of what no policy allows: it is dropped, or counted and logged. */
export type PolicyMode = "enforce" | "audit";

/** Which policies a link's pod is selected by. */
export interface PolicySelection {
  readonly hostIfname: string;
  readonly namespace: string;
  readonly podName: string;
  readonly mode: PolicyMode;
  /** In the order of their names. Undefined: everything may pass in this direction. */
  readonly ingress?: readonly PolicyName[];
  readonly egress?: readonly PolicyName[];
}

/** What a table is made of. */
export interface PolicyInput {
  readonly links: readonly GuardedLink[];
  readonly policies: Iterable<NetworkPolicy>;
  readonly peers: PeerSets;
  /** `spec.allowSpoofing`. */
  readonly allowSpoofing: boolean;
}

/** A table, and who is selected in it. */
export interface PolicyRuleset {
  readonly table: NftTable;
  readonly selections: readonly PolicySelection[];
}

/** The link that a direction's packets of a pod go through. */
const LINK: Readonly<Record<Direction, string>> = { ingress: "oifname", egress: "iifname" };
const PRIORITY: Readonly<Record<Direction, string>> = {
  egress: "filter",
  ingress: "filter + 1",
};
/** `tcpdump -i nflog:7`. */
const LOG_GROUP = 7;
/** Longest prefix of a log message, in bytes. */
const MAX_LOG_PREFIX = 64;
/** Longer names of chains end in a hash instead. The kernel takes 255 bytes. */
const MAX_CHAIN_NAME = 100;
const COUNTED = { kind: "set", spec: ["type ifname", "counter"] } as const;
/**
 * What a pod without a link-local address sends on its link besides: RFC 4861, RFC 4862 (from `::`), and
 * reports of the groups it listens to (RFC 2710, RFC 3810).
 */
const NEIGHBOUR_DISCOVERY = "ip6 saddr { ::, fe80::/10 } icmpv6 type { mld-listener-report, " +
  "mld-listener-done, nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert, " +
  "mld2-listener-report } accept";

interface Compiled {
  readonly name: string;
  readonly chain: NftChain;
  readonly rules: PolicyRules;
}

/** What was made of policies, by direction. */
type CompiledPolicies = Map<NetworkPolicy, Partial<Record<Direction, Compiled>>>;

/** Policies by namespace. */
type PolicyGroups = ReadonlyMap<string, readonly NetworkPolicy[]>;

/** Which of a namespace's policies select a pod. */
interface Selecting {
  readonly group: readonly NetworkPolicy[];
  readonly ingress?: readonly NetworkPolicy[];
  readonly egress?: readonly NetworkPolicy[];
}

type Selected = Omit<PolicySelection, Direction> & Selecting;

/** Pods that the same policies select, in one mode. */
interface PodsChain {
  readonly mode: PolicyMode;
  readonly name: string;
  readonly chain: NftChain;
  readonly policies: readonly Compiled[];
}

/** By which policies' list; the list is one direction's. */
type PodsChains = Map<readonly NetworkPolicy[], PodsChain>;

/**
 * Makes tables. What it made of a policy is kept as long as that is the same object, and what is equal in two
 * tables is mostly the same object in both.
 */
export class PolicyCompiler {
  readonly #names = new NameTable();
  /** What the last table is made of: its names are taken. */
  #compiled: CompiledPolicies = new Map();
  #podsChains: PodsChains = new Map();
  #sets: ReadonlyMap<string, NftSet> = new Map();
  #groups: PolicyGroups = new Map();
  /** Who selects a pod, as long as the policies of its namespace are the same ones. */
  readonly #selecting = new WeakMap<GuardedPod, Selecting>();

  /** The table for what is there now. */
  compile({ links, policies, peers, allowSpoofing }: PolicyInput): PolicyRuleset {
    this.#groups = groupPolicies(policies, this.#groups);
    const selections = links.map((link) => this.#selectionOf(link));
    const sets = new Map<string, NftSet>();
    const chains = new Map<string, NftChain>();
    if (!allowSpoofing) addAntispoof(links, sets, chains);
    const itself = selections.filter(({ ingress, egress }) => ingress ?? egress)
      .map(({ hostIfname }) => `"${hostIfname}" . "${hostIfname}"`);
    sets.set("itself", { kind: "set", spec: ["type ifname . ifname"], elements: keys(itself) });
    const used: CompiledPolicies = new Map();
    const usedChains: PodsChains = new Map();
    for (const direction of DIRECTIONS) {
      const selected = selections.filter((one) => one[direction] !== undefined);
      const verdicts = new Map<string, string>();
      for (const selection of selected) {
        const pods = this.#podsChain(selection, direction, used);
        usedChains.set(selection[direction] ?? [], pods);
        verdicts.set(`"${selection.hostIfname}"`, `goto ${pods.name}`);
        if (chains.has(pods.name)) continue;
        for (const { name, chain, rules } of pods.policies) {
          if (chains.has(name)) continue;
          chains.set(name, chain);
          addSets(rules, { sets, before: this.#sets, links, peers });
        }
        chains.set(pods.name, pods.chain);
      }
      addDirection(direction, { selected, verdicts, sets, chains });
    }
    const isSmaller = this.#compiled.keys().some((policy) => !used.has(policy)) ||
      this.#podsChains.values().some(({ name }) => !chains.has(name));
    [this.#compiled, this.#podsChains, this.#sets] = [used, usedChains, sets];
    if (isSmaller) this.#forget({ sets, chains }, peers);
    return { table: { sets, chains }, selections };
  }

  /** Forgets what is in no use any more. */
  #forget({ sets, chains }: NftTable, peers: PeerSets): void {
    this.#names.keep({ has: (name) => sets.has(name) || chains.has(name) });
    const selectors = new Set<string>();
    for (const both of this.#compiled.values()) {
      for (const { rules } of Object.values(both)) {
        for (const { selectorKey } of rules.peers.values()) selectors.add(selectorKey);
      }
    }
    peers.keep(selectors);
  }

  #podsChain(
    selection: Selected,
    direction: Direction,
    used: CompiledPolicies,
  ): PodsChain {
    const { mode, [direction]: list = [] } = selection;
    const policies = list.map((policy) => this.#compile(policy, direction, used));
    const known = this.#podsChains.get(list);
    if (known?.mode === mode) return known;
    const names = policies.map(({ name }) => name);
    const name = this.#names.nameOf(`pods-${direction}`, [mode, ...names].join(" "));
    const rules = [...names.map((name) => `jump ${name}`), ...endOf(selection, direction)];
    return { mode, name, chain: { rules }, policies };
  }

  #selectionOf(
    { hostIfname, namespace, podName, pod, mode }: GuardedLink,
  ): Selected {
    const group = namespace === "" ? [] : this.#groups.get(namespace) ?? [];
    let selecting = pod && this.#selecting.get(pod);
    if (selecting?.group !== group) selecting = selectingOf(pod, group);
    if (pod !== undefined) this.#selecting.set(pod, selecting);
    return { hostIfname, namespace, podName, mode, ...selecting };
  }

  #compile(policy: NetworkPolicy, direction: Direction, used: CompiledPolicies): Compiled {
    const both = used.get(policy) ?? this.#compiled.get(policy) ?? {};
    used.set(policy, both);
    return both[direction] ??= this.#compiledOf(policy, direction);
  }

  #compiledOf(policy: NetworkPolicy, direction: Direction): Compiled {
    const rules = policyRules(policy, direction, this.#names.nameOf);
    return { name: this.#chainOf(policy, direction), chain: { rules: rules.rules }, rules };
  }

  #chainOf({ namespace, name }: NetworkPolicy, direction: Direction): string {
    const text = `${direction}/${namespace}/${name}`;
    const isLong = text.length > MAX_CHAIN_NAME;
    return isLong ? this.#names.nameOf(text.slice(0, MAX_CHAIN_NAME), text) : text;
  }
}

/** Policies by namespace, sorted by name. A group with the same members is the same object as before. */
function groupPolicies(policies: Iterable<NetworkPolicy>, before: PolicyGroups): PolicyGroups {
  const groups = Map.groupBy(policies, ({ namespace }) => namespace);
  return new Map(Array.from(groups, ([namespace, group]) => {
    group.sort((a, b) => a.name < b.name ? -1 : 1);
    const known = before.get(namespace);
    const isSame = known?.length === group.length && known.every((one, n) => one === group[n]);
    return [namespace, isSame ? known : group];
  }));
}

function selectingOf(pod: GuardedPod | undefined, group: readonly NetworkPolicy[]): Selecting {
  const selecting = (direction: Direction): readonly NetworkPolicy[] | undefined => {
    const candidates = group.filter((policy) => policy[direction] !== undefined);
    if (candidates.length > 0 && pod === undefined) return [];
    const own = candidates.filter(({ podSelector }) => selects(podSelector, pod?.labels ?? {}));
    return own.length === 0 ? undefined : own;
  };
  return { group, ingress: selecting("ingress"), egress: selecting("egress") };
}

function addAntispoof(
  links: readonly GuardedLink[],
  sets: Map<string, NftSet>,
  chains: Map<string, NftChain>,
): void {
  for (const family of ["ipv6", "ipv4"] as const) {
    const own = links.flatMap(({ hostIfname, addresses }) =>
      addresses.filter((address) => address.includes(":") === (family === "ipv6"))
        .map((address) => `"${hostIfname}" . ${address}`)
    );
    sets.set(`sources${family.slice(-1)}`, {
      kind: "set",
      spec: [`type ifname . ${ADDRESS_TYPE[family]}`],
      elements: keys(own),
    });
  }
  sets.set("spoofed", { ...COUNTED, elements: keys(links.map((link) => `"${link.hostIfname}"`)) });
  chains.set("antispoof", {
    // Before connection tracking: what is dropped leaves no trace there.
    base: "type filter hook prerouting priority raw; policy accept;",
    rules: [
      "iifname != @spoofed accept",
      "iifname . ip6 saddr @sources6 accept",
      "iifname . ip saddr @sources4 accept",
      NEIGHBOUR_DISCOVERY,
      "iifname @spoofed drop",
    ],
  });
}

/** A direction's base chain, and what becomes of what its policies do not allow. */
function addDirection(
  direction: Direction,
  { selected, verdicts, sets, chains }: {
    readonly selected: readonly PolicySelection[];
    readonly verdicts: ReadonlyMap<string, string>;
    readonly sets: Map<string, NftSet>;
    readonly chains: Map<string, NftChain>;
  },
): void {
  const link = LINK[direction];
  sets.set(direction, { kind: "map", spec: ["type ifname : verdict"], elements: verdicts });
  for (const [set, mode] of [["dropped", "enforce"], ["audited", "audit"]] as const) {
    const own = selected.filter((selection) => selection.mode === mode)
      .map(({ hostIfname }) => `"${hostIfname}"`);
    sets.set(`${set}-${direction}`, { ...COUNTED, elements: keys(own) });
  }
  chains.set(`drop-${direction}`, { rules: [`${link} @dropped-${direction} drop`, "drop"] });
  chains.set(direction, {
    base: `type filter hook forward priority ${PRIORITY[direction]}; policy accept;`,
    rules: [
      "ct state established,related accept",
      // Path MTU discovery, also of what connection tracking does not know.
      "icmpv6 type packet-too-big accept",
      "icmp type destination-unreachable icmp code frag-needed accept",
      // By way of a Service.
      "iifname . oifname @itself accept",
      `${link} vmap @${direction}`,
    ],
  });
}

/** The end of a chain of pods: none of the policies allows the packet. */
function endOf(
  { namespace, podName, mode, ...selection }: PolicySelection,
  direction: Direction,
): readonly string[] {
  if (mode === "enforce") return [`goto drop-${direction}`];
  const names = (selection[direction] ?? []).map(({ name }) => `${namespace}/${name}`).join(",");
  const prefix = `flock ${direction} ${names || `${namespace}/${podName}`}`;
  const cut = prefix.length > MAX_LOG_PREFIX - 2
    ? `${prefix.slice(0, MAX_LOG_PREFIX - 5)}...`
    : prefix;
  return [
    `${LINK[direction]} @audited-${direction} log prefix "${cut}: " group ${LOG_GROUP} accept`,
    "accept",
  ];
}

function addSets(
  { fixed, peers: uses, ports }: PolicyRules,
  { sets, before, links, peers }: {
    readonly sets: Map<string, NftSet>;
    /** Those of the last table: a name stands for the same kind of set. */
    readonly before: ReadonlyMap<string, NftSet>;
    readonly links: readonly GuardedLink[];
    readonly peers: PeerSets;
  },
): void {
  for (const [name, set] of fixed) sets.set(name, set);
  for (const [name, { selectorKey, selector, aspect }] of uses) {
    if (sets.has(name)) continue;
    const elements = peers.elements(selectorKey, selector, aspect);
    const known = before.get(name);
    const type = `type ${ADDRESS_TYPE[aspect.family]}`;
    sets.set(
      name,
      known?.elements === elements ? known : {
        kind: "set",
        spec: [aspect.port === undefined ? type : `${type} . inet_service`],
        elements,
      },
    );
  }
  for (const [name, { protocol, name: portName }] of ports) {
    if (sets.has(name)) continue;
    const own = links.flatMap(({ hostIfname, pod }) =>
      (pod?.ports ?? []).filter((port) => port.name === portName && port.protocol === protocol)
        .map(({ port }) => `"${hostIfname}" . ${port}`)
    );
    sets.set(name, {
      kind: "set",
      spec: ["type ifname . inet_service"],
      elements: keys(own),
    });
  }
}

function keys(elements: readonly string[]): ReadonlyMap<string, string> {
  return new Map(elements.map((element) => [element, ""]));
}
