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
import type { NetworkPolicy } from "./network_policy.ts";
import { keys, type NftChain, type NftSet, type NftTable, sizeOf } from "./nftables.ts";
import type { PeerSets } from "./peer_sets.ts";
import type { Direction } from "./policy.ts";
import { addAntispoof, addDirection, addItself, endOf } from "./policy_chains.ts";
import { type Need, needOfAll, TABLE_ROOM, withoutRoom } from "./policy_room.ts";
import {
  ADDRESS_TYPE,
  DIRECTIONS,
  NameTable,
  type PeerSetUse,
  type PolicyRules,
  policyRules,
} from "./policy_rules.ts";
import {
  groupPolicies,
  type GuardedLink,
  type GuardedPod,
  type PolicyGroups,
  type PolicyMode,
  type PolicySelection,
  type RefusedPolicy,
  type Selecting,
  selectingOf,
} from "./policy_selection.ts";

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
  /** What the table has no room for: of these policies no rule is in it, so they allow nothing. */
  readonly refused: readonly RefusedPolicy[];
}

/** Longer names of chains end in a hash instead. The kernel takes 255 bytes. */
const MAX_CHAIN_NAME = 100;
const NO_RULES: NftChain = { rules: [] };

interface Compiled {
  readonly policy: NetworkPolicy;
  readonly direction: Direction;
  /** Of its own chain. */
  readonly name: string;
  readonly chain: NftChain;
  readonly rules: PolicyRules;
  /** That chain and those that it jumps to. */
  readonly chains: ReadonlyMap<string, NftChain>;
  /** Rules, and elements of sets, that no pod decides. */
  readonly own: number;
}

/** What was made of policies, by direction. */
type CompiledPolicies = Map<NetworkPolicy, Partial<Record<Direction, Compiled>>>;

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
  /** What room was asked for last, and of what does not fit, how much it needs. */
  #sized: ReadonlySet<Compiled> = new Set();
  #refused: ReadonlyMap<Compiled, number> = new Map();
  /** Rules and elements of the last table. */
  #size = 0;
  #groups: PolicyGroups = new Map();
  /** Who selects a pod, as long as the policies of its namespace are the same ones. */
  readonly #selecting = new WeakMap<GuardedPod, Selecting>();

  /** The table for what is there now. */
  compile({ links, policies, peers, allowSpoofing }: PolicyInput): PolicyRuleset {
    this.#groups = groupPolicies(policies, this.#groups);
    const selections = links.map((link) => this.#selectionOf(link));
    const sets = new Map<string, NftSet>();
    const chains = new Map<string, NftChain>();
    if (!allowSpoofing) addAntispoof(links, { sets, chains });
    addItself(links, sets);
    const needed = new Set<Compiled>();
    const used: CompiledPolicies = new Map();
    const usedChains: PodsChains = new Map();
    for (const direction of DIRECTIONS) {
      const selected = selections.filter((one) => one[direction] !== undefined);
      const verdicts = new Map<string, string>();
      for (const selection of selected) {
        const pods = this.#podsChain(selection, direction, used);
        usedChains.set(selection[direction] ?? [], pods);
        verdicts.set(`"${selection.hostIfname}"`, `goto ${pods.name}`);
        chains.set(pods.name, pods.chain);
        for (const one of pods.policies) needed.add(one);
      }
      addDirection(direction, { links, verdicts }, { sets, chains });
    }
    const refused = this.#withoutRoom(needed, peers);
    for (const one of needed) {
      if (refused.has(one)) chains.set(one.name, NO_RULES);
      else {
        for (const [name, chain] of one.chains) chains.set(name, chain);
        addSets(one.rules, { sets, before: this.#sets, links, peers });
      }
    }
    const isSmaller = this.#compiled.keys().some((policy) => !used.has(policy)) ||
      this.#podsChains.values().some(({ name }) => !chains.has(name));
    [this.#compiled, this.#podsChains, this.#sets] = [used, usedChains, sets];
    const { rules, elements } = sizeOf({ sets, chains });
    this.#size = rules + elements;
    if (isSmaller) this.#forget({ sets, chains }, peers);
    return {
      table: { sets, chains },
      selections,
      refused: Array.from(
        refused,
        ([{ policy, direction }, size]) => ({ policy, direction, size }),
      ),
    };
  }

  /** What there is no room for. Asked only when there is something else than before. */
  #withoutRoom(needed: ReadonlySet<Compiled>, peers: PeerSets): ReadonlyMap<Compiled, number> {
    const fresh = needed.difference(this.#sized);
    if (fresh.size === 0 && needed.size === this.#sized.size) return this.#refused;
    const sizes = new Map<string, number>();
    const sharedOf = ([name, use]: [string, PeerSetUse]): [string, number] => {
      const size = sizes.get(name) ?? peers.sizeOf(use.selectorKey, use.selector, use.aspect);
      sizes.set(name, size);
      return [name, size];
    };
    const needOf = (one: Compiled): Need => ({
      own: one.own,
      shared: new Map(one.rules.peers.entries().map(sharedOf)),
    });
    this.#sized = needed;
    // Mostly there is room for all that is there, and for all that comes besides.
    const more = this.#refused.size > 0 ? Infinity : needOfAll(fresh.values().map(needOf));
    if (this.#size + more <= TABLE_ROOM) return this.#refused;
    this.#refused = withoutRoom(new Map(Array.from(needed, (one) => [one, needOf(one)])));
    return this.#refused;
  }

  /** Forgets what is in no use any more. */
  #forget({ sets, chains }: NftTable, peers: PeerSets): void {
    const names = new Set([...sets.keys(), ...chains.keys()]);
    const selectors = new Set<string>();
    for (const both of this.#compiled.values()) {
      for (const { rules, chains } of Object.values(both)) {
        // Also of those that are refused: they may be taken later.
        for (const one of [chains, rules.fixed, rules.peers, rules.ports]) {
          for (const name of one.keys()) names.add(name);
        }
        for (const { selectorKey } of rules.peers.values()) selectors.add(selectorKey);
      }
    }
    this.#names.keep(names);
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
    const name = this.#chainOf(policy, direction);
    const chain = { rules: rules.rules };
    const more = Array.from(rules.chains, ([key, list]) => [key, { rules: list }] as const);
    const chains = new Map([[name, chain], ...more]);
    const size = sizeOf({ sets: rules.fixed, chains });
    const own = size.rules + size.elements;
    return { policy, direction, name, chain, rules, chains, own };
  }

  #chainOf({ namespace, name }: NetworkPolicy, direction: Direction): string {
    const text = `${direction}/${namespace}/${name}`;
    const isLong = text.length > MAX_CHAIN_NAME;
    return isLong ? this.#names.nameOf(text.slice(0, MAX_CHAIN_NAME), text) : text;
  }
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
