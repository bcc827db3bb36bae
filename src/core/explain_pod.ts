/**
 * The first half of a chain: which pod has the address, how it was given, and whether it may be routed to
 * it. Of several pods that share an address the one that gets furthest counts.
 *
 * @module
 */
import { FAMILY_NAMES } from "./cidr.ts";
import { ANNOTATION_PREFIX } from "./config.ts";
import { type AddressFacts, type HolderFacts, listed } from "./explain_facts.ts";
import type { Fact } from "./inspection.ts";

/** The facts on the way to a pod, in their order. */
const STAGES = ["pod", "allocation", "eligible", "nextHop"] as const;
type Stage = (typeof STAGES)[number];

/** The facts about the pods that have an address. */
export function podFacts(facts: AddressFacts): readonly Fact[] {
  const { holders } = facts;
  if (holders.length === 0) return [nobody(facts)];
  const best = Math.max(...holders.map((holder) => stageOf(holder)));
  return STAGES.map((stage, i): Fact => ({
    fact: stage,
    state: best > i ? "ok" : "broken",
    text: listed(holders.map((holder) => WORDS[stage](holder, facts))),
    data: { pods: holders.map((holder) => dataOf(stage, holder, facts)) },
  }));
}

/** Where on its way the chain breaks for a pod; the number of stages when it does not. */
function stageOf({ pod, known, state, leaving, heldBack, linkProblem }: HolderFacts): number {
  if (pod !== "" && known === undefined) return STAGES.indexOf("pod");
  if (state === "pending" || leaving) return STAGES.indexOf("allocation");
  // A link that is down holds a pod back, too.
  if (heldBack !== undefined && heldBack !== linkProblem) return STAGES.indexOf("eligible");
  return linkProblem === undefined ? STAGES.length : STAGES.indexOf("nextHop");
}

const WORDS: Readonly<Record<Stage, (holder: HolderFacts, facts: AddressFacts) => string>> = {
  pod(holder) {
    const { known, uid } = holder;
    const name = nameOf(holder);
    if (holder.pod === "") return name;
    if (known === undefined) return `${name} (UID ${uid}) is gone, or another one has its name`;
    const life = known.terminating ? "is being deleted" : known.ready ? "is Ready" : "is not Ready";
    return `${name} (UID ${uid}) ${life}`;
  },
  allocation(holder, { nodePrefix }) {
    const { annotation, state, leaving, since } = holder;
    const name = nameOf(holder);
    if (state === "pending") return `${name} is being attached since ${since}`;
    if (leaving) return `${name} is being detached`;
    const source = annotation !== undefined
      ? `annotation ${ANNOTATION_PREFIX}${annotation} of ${name}`
      : `${nodePrefix ?? "a prefix that the node had"}, to ${name}`;
    return `given by ${source}, since ${since}`;
  },
  eligible(holder, { role }) {
    const name = nameOf(holder);
    const { heldBack, linkProblem } = holder;
    if (stageOf(holder) > STAGES.indexOf("eligible")) {
      return role === "anycast"
        ? `${name} may serve it`
        : `${name} may have it: its own address, Ready or not`;
    }
    const why = heldBack === linkProblem ? undefined : heldBack;
    return `${name} is held back: ${why ?? lifeOf(holder)}`;
  },
  nextHop(holder, { legs, role }) {
    const { hostIfname: dev, linkProblem } = holder;
    const name = nameOf(holder);
    if (stageOf(holder) < STAGES.indexOf("nextHop")) return `none to ${name}: it is held back`;
    if (linkProblem !== undefined) return `none to ${name}: ${linkProblem} (${dev})`;
    const leg = legs.find((one) => one.dev === dev);
    if (leg === undefined) return `${name} dev ${dev}`;
    const share = role === "anycast" ? ` weight ${leg.weight}` : "";
    return `${name} via ${leg.via} dev ${leg.dev}${share}`;
  },
};

function dataOf(stage: Stage, holder: HolderFacts, { legs }: AddressFacts): Fact["data"] {
  const { pod, uid, containerId, ifname, state, since, annotation, known, heldBack } = holder;
  switch (stage) {
    case "pod":
      return { pod, uid, known: known !== undefined, ...known };
    case "allocation":
      return { pod, containerId, ifname, state, since, annotation };
    case "eligible":
      return { pod, eligible: stageOf(holder) > STAGES.indexOf("eligible"), heldBack };
    case "nextHop": {
      const { via, dev, weight } = legs.find((leg) => leg.dev === holder.hostIfname) ?? {};
      return { pod, via, dev: dev ?? holder.hostIfname, weight, problem: holder.linkProblem };
    }
  }
}

function lifeOf({ pod, known, state }: HolderFacts): string {
  if (pod !== "" && known === undefined) return "its Pod is gone";
  return state === "pending" ? "it is being attached" : "it is being detached";
}

function nameOf({ pod, containerId }: HolderFacts): string {
  return pod === "" ? `container ${containerId.slice(0, 12)}, which has no Pod,` : pod;
}

function nobody({ role, owner, nodePrefix, node, family }: AddressFacts): Fact {
  const whose = {
    anycast: "no pod has it",
    pod: "no pod has it",
    unused: `no pod has it: it is an unused address of ${nodePrefix}`,
    node: `no pod has it: it is ${owner}`,
    otherNode: `it is ${owner}: ask there`,
    unknown: `no pod of node "${node}" has it, and no node's prefix that is known here covers it`,
  }[role];
  return {
    fact: "pod",
    state: "broken",
    text: whose,
    data: { pods: [], family: FAMILY_NAMES[family], owner, nodePrefix },
  };
}
