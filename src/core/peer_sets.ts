/**
 * Which addresses the pods have that selectors select, kept up to date: a pod that changes is asked for by
 * each selector once, and nothing is computed of those that stay.
 *
 * @module
 */
import { type Family, familyOf } from "./cidr.ts";
import { type Labels, type LabelSelector, selects } from "./label_selector.ts";
import type { PortProtocol } from "./network_policy.ts";
import type { PolicyPod } from "./policy.ts";

/** Some of the cluster's pods. */
export interface PodSelector {
  /** One namespace; or those with labels; or, when both are undefined, all, known or not. */
  readonly namespace?: string;
  readonly namespaces?: LabelSelector;
  readonly pods: LabelSelector;
}

/** What is wanted of a pod: its addresses of a family, alone or each with a port of a name. */
export interface Aspect {
  readonly family: Family;
  readonly port?: { readonly protocol: PortProtocol; readonly name: string };
}

/** Elements of a set of nftables: `ADDRESS`, or `ADDRESS . PORT`. The values are empty. */
type Elements = ReadonlyMap<string, string>;

interface LiveSet {
  readonly aspect: Aspect;
  /** How many of the pods have an element: addresses may be several pods'. */
  readonly counts: Map<string, number>;
  /** The elements as they were asked for last. */
  elements?: Elements;
  /** What was counted since then: mostly as often up as down, when a pod changed. */
  readonly touched: Set<string>;
}

interface LiveSelector {
  readonly selector: PodSelector;
  readonly sets: Map<string, LiveSet>;
}

/** The cluster's pods, as sets of addresses. */
export class PeerSets {
  /** Each with the number of the update that had it last: no update makes a collection of thousands anew. */
  readonly #pods = new Map<PolicyPod, number>();
  #updates = 0;
  #namespaces: ReadonlyMap<string, Labels> = new Map();
  readonly #byNamespace = new Map<string, Set<PolicyPod>>();
  readonly #selectors = new Map<string, LiveSelector>();

  /**
   * Takes over the cluster as it is now. A pod that has not changed is the same object as before, and so are
   * a namespace's labels. Pods with their node's network are nobody's peers.
   */
  update(pods: Iterable<PolicyPod>, namespaces: ReadonlyMap<string, Labels>): void {
    const update = ++this.#updates;
    const before = this.#namespaces;
    const moved = new Set(
      [...before.keys(), ...namespaces.keys()]
        .filter((name) => before.get(name) !== namespaces.get(name)),
    );
    const come: PolicyPod[] = [];
    for (const pod of pods) {
      if (pod.hostNetwork || pod.addresses.length === 0) continue;
      if (moved.has(pod.namespace) || !this.#pods.has(pod)) come.push(pod);
      else this.#pods.set(pod, update);
    }
    for (const [pod, last] of this.#pods) {
      if (last === update) continue;
      this.#count(pod, -1);
      this.#pods.delete(pod);
    }
    this.#namespaces = namespaces;
    for (const pod of come) {
      this.#count(pod, 1);
      this.#pods.set(pod, update);
    }
  }

  /** The elements that the selected pods have. The same object as long as nothing of it changed. */
  elements(key: string, selector: PodSelector, aspect: Aspect): Elements {
    let live = this.#selectors.get(key);
    if (live === undefined) this.#selectors.set(key, live = { selector, sets: new Map() });
    const aspectKey = aspectKeyOf(aspect);
    let set = live.sets.get(aspectKey);
    if (set === undefined) {
      live.sets.set(aspectKey, set = { aspect, counts: new Map(), touched: new Set() });
      for (const pod of this.#selected(selector)) count(set, pod, 1);
    }
    return elementsOf(set);
  }

  /** How many elements there are, or would be. Of a set that nobody uses yet nothing is kept. */
  sizeOf(key: string, selector: PodSelector, aspect: Aspect): number {
    const set = this.#selectors.get(key)?.sets.get(aspectKeyOf(aspect));
    if (set !== undefined) return set.counts.size;
    let size = 0;
    for (const pod of this.#selected(selector)) size += elementsOfPod(pod, aspect).length;
    return size;
  }

  /** Forgets the selectors that are not among these keys. */
  keep(keys: ReadonlySet<string>): void {
    for (const key of this.#selectors.keys()) if (!keys.has(key)) this.#selectors.delete(key);
  }

  #count(pod: PolicyPod, by: 1 | -1): void {
    const neighbours = this.#byNamespace.get(pod.namespace) ?? new Set();
    if (by === 1) this.#byNamespace.set(pod.namespace, neighbours.add(pod));
    else neighbours.delete(pod);
    for (const { selector, sets } of this.#selectors.values()) {
      if (!this.#isSelected(selector, pod)) continue;
      for (const set of sets.values()) count(set, pod, by);
    }
  }

  *#selected(selector: PodSelector): Iterable<PolicyPod> {
    for (const [namespace, pods] of this.#byNamespace) {
      if (!this.#hasNamespace(selector, namespace)) continue;
      for (const pod of pods) if (selects(selector.pods, pod.labels)) yield pod;
    }
  }

  #isSelected(selector: PodSelector, { namespace, labels }: PolicyPod): boolean {
    return this.#hasNamespace(selector, namespace) && selects(selector.pods, labels);
  }

  #hasNamespace(selector: PodSelector, name: string): boolean {
    if (selector.namespace !== undefined) return selector.namespace === name;
    if (selector.namespaces === undefined) return true;
    const labels = this.#namespaces.get(name);
    return labels !== undefined && selects(selector.namespaces, labels);
  }
}

/** Names an aspect: equal for equal ones. */
export function aspectKeyOf({ family, port }: Aspect): string {
  return port === undefined ? family : `${family} ${port.protocol} ${port.name}`;
}

function count(set: LiveSet, pod: PolicyPod, by: 1 | -1): void {
  for (const element of elementsOfPod(pod, set.aspect)) {
    const next = (set.counts.get(element) ?? 0) + by;
    if (next === 0) set.counts.delete(element);
    else set.counts.set(element, next);
    set.touched.add(element);
  }
}

function elementsOf(set: LiveSet): Elements {
  const { counts, elements: before, touched } = set;
  if (before !== undefined && touched.size === 0) return before;
  const isSame = before !== undefined &&
    touched.values().every((element) => counts.has(element) === before.has(element));
  touched.clear();
  if (isSame) return before;
  const elements = new Map<string, string>();
  for (const element of counts.keys()) elements.set(element, "");
  return set.elements = elements;
}

function elementsOfPod(
  { addresses, ports }: PolicyPod,
  { family, port }: Aspect,
): readonly string[] {
  const own = addresses.filter((address) => familyOf(address) === family);
  if (port === undefined) return own;
  return ports.filter(({ name, protocol }) => name === port.name && protocol === port.protocol)
    .flatMap((one) => own.map((address) => `${address} . ${one.port}`));
}
