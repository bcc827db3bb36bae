/**
 * `flock policies`: every policy in words, and what they make of a node's pods.
 *
 * @module
 */
import { type Taken, takeWithin } from "./answer_size.ts";
import type { NetworkPolicy } from "./network_policy.ts";
import type { Direction, PolicyName } from "./policy.ts";
import { type Count, countsByLink, type LinkCounter, type LinkCounts } from "./policy_counters.ts";
import type {
  PolicyItem,
  PolicyList,
  PolicyPodDirection,
  PolicyPodItem,
} from "./policy_inspection.ts";
import type { PolicySelection } from "./policy_selection.ts";
import { type PolicyState, qualified } from "./policy_view.ts";
import { ruleText, selectorText } from "./policy_words.ts";

/** Characters that parts of an answer may have as JSON: a line on the socket holds 1 MiB. */
const MAX_ITEMS = 500_000;
const MAX_PODS = 400_000;
const MAX_RULES = 60_000;
const MAX_NAMES = 10_000;

/** What the list is made of. */
export interface PolicyListInput {
  readonly node: string;
  readonly state: PolicyState;
  /** Or why they cannot be read. */
  readonly counters: readonly LinkCounter[] | string;
}

/** Makes the list, in the order of names. */
export function policyList({ node, state, counters }: PolicyListInput): PolicyList {
  const { world, selections, inForce, error } = state;
  const selected = podsByPolicy(selections);
  const items = takeWithin(
    MAX_ITEMS,
    (world?.policies ?? []).toSorted(byName),
    (policy) => policyItem(policy, selected.get(qualified(policy))),
  );
  const counts = typeof counters === "string" ? undefined : countsByLink(counters);
  const pods = takeWithin(
    MAX_PODS,
    selections.toSorted((a, b) => byText(podOf(a), podOf(b)) || byText(a.hostIfname, b.hostIfname)),
    (link) => podItem(link, counts?.(link.hostIfname)),
  );
  return {
    kind: "PolicyList",
    node,
    inForce,
    error,
    items: items.taken,
    omitted: items.omitted,
    pods: pods.taken,
    podsOmitted: pods.omitted,
    countersError: typeof counters === "string" ? counters : undefined,
  };
}

function policyItem(policy: NetworkPolicy, pods: ReadonlySet<string> | undefined): PolicyItem {
  const { namespace, name, uid, podSelector, problems } = policy;
  const selected = takeWithin(MAX_NAMES, [...pods ?? []].sort());
  const ingress = rulesOf("ingress", policy);
  const egress = rulesOf("egress", policy);
  return {
    namespace,
    name,
    uid,
    types: [
      ...(policy.ingress === undefined ? [] : ["Ingress" as const]),
      ...(policy.egress === undefined ? [] : ["Egress" as const]),
    ],
    podSelector: selectorText(podSelector),
    selects: selected.taken,
    selectsOmitted: selected.omitted,
    ingress: ingress?.taken,
    egress: egress?.taken,
    rulesOmitted: (ingress?.omitted ?? 0) + (egress?.omitted ?? 0) || undefined,
    problems: takeWithin(MAX_NAMES, problems).taken,
  };
}

function rulesOf(direction: Direction, policy: NetworkPolicy): Taken<string> | undefined {
  const rules = policy[direction];
  return rules && takeWithin(MAX_RULES, rules, (rule) => ruleText(direction, rule));
}

function podItem(
  link: PolicySelection,
  counts: LinkCounts | undefined,
): PolicyPodItem {
  const { hostIfname, mode, ingress, egress } = link;
  return {
    pod: podOf(link),
    hostIfname,
    mode,
    ingress: podDirection(ingress, counts?.["dropped-ingress"], counts?.["audited-ingress"]),
    egress: podDirection(egress, counts?.["dropped-egress"], counts?.["audited-egress"]),
    spoofed: counts?.spoofed,
  };
}

function podDirection(
  policies: readonly PolicyName[] | undefined,
  dropped: Count | undefined,
  audited: Count | undefined,
): PolicyPodDirection {
  const names = policies && takeWithin(MAX_NAMES, policies, ({ name }) => name);
  return { policies: names?.taken, policiesOmitted: names?.omitted, dropped, audited };
}

/** Names of the pods that each policy selects, by the policy's qualified name. */
function podsByPolicy(selections: readonly PolicySelection[]): ReadonlyMap<string, Set<string>> {
  const byPolicy = new Map<string, Set<string>>();
  for (const { ingress = [], egress = [], podName } of selections) {
    for (const policy of [...ingress, ...egress]) {
      const pods = byPolicy.get(qualified(policy));
      if (pods === undefined) byPolicy.set(qualified(policy), new Set([podName]));
      else pods.add(podName);
    }
  }
  return byPolicy;
}

function podOf({ namespace, podName }: PolicySelection): string {
  return qualified({ namespace, name: podName });
}

function byName(a: PolicyName, b: PolicyName): number {
  return byText(a.namespace, b.namespace) || byText(a.name, b.name);
}

function byText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
