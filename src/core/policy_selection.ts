/**
 * Which policies select the pods of this node.
 *
 * @module
 */
import { type Labels, selects } from "./label_selector.ts";
import type { NetworkPolicy } from "./network_policy.ts";
import type { Direction, NamedPort, PolicyName } from "./policy.ts";

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

/** A direction of a policy that a table has no room for. */
export interface RefusedPolicy {
  readonly policy: NetworkPolicy;
  readonly direction: Direction;
  /** Rules and elements of its own and of the sets that it needs. */
  readonly size: number;
}

/** Policies as they are enforced: of those that were refused no rule is left, and a problem says so. */
export function enforcedPolicies(
  policies: readonly NetworkPolicy[],
  refused: readonly RefusedPolicy[],
): readonly NetworkPolicy[] {
  if (refused.length === 0) return policies;
  const byPolicy = Map.groupBy(refused, ({ policy }) => policy);
  return policies.map((policy) =>
    (byPolicy.get(policy) ?? []).reduce((left, { direction, size }): NetworkPolicy => ({
      ...left,
      [direction]: [],
      problems: [...left.problems, problemOf({ direction, size })],
    }), policy)
  );
}

function problemOf({ direction, size }: Pick<RefusedPolicy, "direction" | "size">): string {
  return `spec.${direction} is too large: its rules and the addresses of the pods that they select are ${size}`;
}

/** Policies by namespace. */
export type PolicyGroups = ReadonlyMap<string, readonly NetworkPolicy[]>;

/** Which of a namespace's policies select a pod. */
export interface Selecting {
  readonly group: readonly NetworkPolicy[];
  readonly ingress?: readonly NetworkPolicy[];
  readonly egress?: readonly NetworkPolicy[];
}

/** Policies by namespace, sorted by name. A group with the same members is the same object as before. */
export function groupPolicies(
  policies: Iterable<NetworkPolicy>,
  before: PolicyGroups,
): PolicyGroups {
  const groups = Map.groupBy(policies, ({ namespace }) => namespace);
  return new Map(Array.from(groups, ([namespace, group]) => {
    group.sort((a, b) => a.name < b.name ? -1 : 1);
    const known = before.get(namespace);
    const isSame = known?.length === group.length && known.every((one, n) => one === group[n]);
    return [namespace, isSame ? known : group];
  }));
}

/** The policies of its namespace that select a pod. One that nobody knows is isolated by each of them. */
export function selectingOf(
  pod: GuardedPod | undefined,
  group: readonly NetworkPolicy[],
): Selecting {
  const selecting = (direction: Direction): readonly NetworkPolicy[] | undefined => {
    const candidates = group.filter((policy) => policy[direction] !== undefined);
    if (candidates.length > 0 && pod === undefined) return [];
    const own = candidates.filter(({ podSelector }) => selects(podSelector, pod?.labels ?? {}));
    return own.length === 0 ? undefined : own;
  };
  return { group, ingress: selecting("ingress"), egress: selecting("egress") };
}
