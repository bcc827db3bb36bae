/**
 * What is read of policies when metrics are asked for: what the agent has made of them, and what the kernel
 * has counted. Where the counters cannot be read they are absent rather than 0.
 *
 * The labels `namespace` and `pod` are those of this node's pods: there are as many series as pods that
 * some policy is about, and they end with the pod.
 *
 * @module
 */
import { countsByLink, type LinkCounter, type LinkCounts } from "../../core/policy_counters.ts";
import type { PolicySelection } from "../../core/policy_selection.ts";
import { isSelected, type PolicyState, qualified } from "../../core/policy_view.ts";
import type { SharedLook } from "../shared_look.ts";
import type { Adders, Put } from "./gauge_kit.ts";

/** Where the numbers come from. */
export interface PolicyGaugeSources {
  readonly policies: PolicyState & { readonly rules: number; readonly restored: number };
  readonly policyCounters: Pick<SharedLook<readonly LinkCounter[]>, "look">;
}

/** Adds what is known of policies. */
export function addPolicyGauges(
  { gauge, counter }: Adders,
  { policies, policyCounters }: PolicyGaugeSources,
): void {
  gauge({
    name: "flock_netpol_in_force",
    help: "1 when the packet filter has what the cluster's policies ask for.",
  }, (put) => put(Number(policies.inForce)));
  gauge({
    name: "flock_netpol_policies",
    help: "NetworkPolicies of the cluster.",
  }, (put) => put(policies.world?.policies.length ?? 0));
  gauge({
    name: "flock_netpol_selected_pods",
    help: "Pods of this node that some NetworkPolicy is about.",
  }, (put) => put(new Set(policies.selections.filter(isSelected).map(podOf)).size));
  gauge({
    name: "flock_netpol_rules",
    help: "Rules of the packet filter's table.",
  }, (put) => put(policies.rules));
  counter({
    name: "flock_netpol_restores_total",
    help: "Times that the table was written again because somebody else had changed or deleted it.",
  }, (put) => put(policies.restored));
  const counted = (read: (pod: PodCounts, put: Put) => void) => async (put: Put): Promise<void> => {
    const counters = await policyCounters.look();
    if (counters === undefined) return;
    for (const pod of countsOfPods(policies.selections, counters)) read(pod, put);
  };
  counter(
    {
      name: "flock_netpol_denied_packets_total",
      help: "Packets of a pod that policies deny: dropped in mode enforce, passed in mode audit.",
      labelNames: ["namespace", "pod", "direction", "mode"],
    },
    counted(({ labels, links }, put) => {
      for (const direction of ["ingress", "egress"] as const) {
        for (const [mode, set] of [["enforce", "dropped"], ["audit", "audited"]] as const) {
          // A rate needs a first value; the mode that a pod is not in is told only if it was.
          const isOn = links.some((one) => one[direction] !== undefined && one.mode === mode);
          const packets = sum(links, (counts) => counts[`${set}-${direction}`].packets);
          if (isOn || packets > 0) put(packets, { ...labels, direction, mode });
        }
      }
    }),
  );
  counter(
    {
      name: "flock_spoofed_packets_total",
      help: "Packets dropped because their source is no address of the pod that sent them.",
      labelNames: ["namespace", "pod"],
    },
    counted(({ labels, links }, put) => put(sum(links, ({ spoofed }) => spoofed.packets), labels)),
  );
}

interface PodCounts {
  readonly labels: Readonly<Record<"namespace" | "pod", string>>;
  readonly links: readonly (PolicySelection & { readonly counts: LinkCounts })[];
}

/** The links of each pod, with what was counted on them; not those of containers without a pod. */
function countsOfPods(
  selections: readonly PolicySelection[],
  counters: readonly LinkCounter[],
): readonly PodCounts[] {
  const countsOf = countsByLink(counters);
  const links = selections.filter(({ namespace }) => namespace !== "")
    .map((one) => ({ ...one, counts: countsOf(one.hostIfname) }));
  return [...Map.groupBy(links, podOf).values()].map((links) => {
    const { namespace, podName: pod } = links[0]!;
    return { labels: { namespace, pod }, links };
  });
}

function sum(links: PodCounts["links"], read: (counts: LinkCounts) => number): number {
  return links.reduce((total, { counts }) => total + read(counts), 0);
}

function podOf({ namespace, podName: name }: PolicySelection): string {
  return qualified({ namespace, name });
}
