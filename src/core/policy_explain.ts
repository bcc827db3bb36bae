/**
 * `flock policies explain`: what policies say of a packet, in words, by the verdict that the ruleset is
 * made to agree with.
 *
 * @module
 */
import { takeWithin } from "./answer_size.ts";
import {
  type Direction,
  type Judgement,
  type PolicyName,
  type PolicyPod,
  type PolicyWorld,
  verdict,
} from "./policy.ts";
import type {
  PolicyEnd,
  PolicyExplanation,
  PolicyJudgement,
  PolicyPath,
} from "./policy_inspection.ts";
import { type AskedPacket, packetsOf, parsePolicyQuestion } from "./policy_question.ts";
import type { GuardedLink, PolicySelection } from "./policy_selection.ts";
import { type PolicyState, qualified } from "./policy_view.ts";
import { namesText, ruleText } from "./policy_words.ts";

/** Characters of the ways that are explained: many pods may share an address. */
const MAX_PATHS = 800_000;
/** Most policies that are named of those that deny. */
const MAX_POLICIES = 50;

/** What an explanation rests on. */
export interface ExplainPolicyInput {
  /** Name of the own node. */
  readonly node: string;
  readonly state: Omit<PolicyState, "world"> & { readonly world: PolicyWorld };
}

/**
 * Explains.
 *
 * @param text `FROM TO [PROTOCOL/]PORT`
 * @throws {SyntaxError | RangeError} when it cannot be understood, or names what is not there
 */
export function explainPolicies(text: string, input: ExplainPolicyInput): PolicyExplanation {
  const { links = [], inForce, error } = input.state;
  const world = { ...input.state.world, unknown: unknownPods(links, input.node) };
  const packets = packetsOf(parsePolicyQuestion(text), world);
  const paths = packets.map((packet) =>
    pathOf(packet, { ...input, state: { ...input.state, world } })
  );
  const { taken, omitted } = takeWithin(MAX_PATHS, paths);
  const [from = "", to = "", port = ""] = text.split(" ").filter((word) => word !== "");
  return {
    kind: "PolicyExplanation",
    node: input.node,
    inForce,
    error,
    from,
    to,
    port,
    passes: paths.every((path) => path.passes),
    items: taken,
    omitted,
  };
}

/** Pods of links that nobody knows any more; those of one pod have the same addresses. */
function unknownPods(links: readonly GuardedLink[], nodeName: string): readonly PolicyPod[] {
  const pods = new Map<string, PolicyPod>();
  for (const { namespace, podName: name, addresses, pod } of links) {
    if (namespace === "" || pod !== undefined) continue;
    const what = { labels: {}, ports: [], hostNetwork: false, nodeName };
    const key = [namespace, name, ...addresses].join(" ");
    pods.set(key, { namespace, name, addresses, ...what });
  }
  return [...pods.values()];
}

function pathOf(packet: AskedPacket, input: ExplainPolicyInput): PolicyPath {
  const { world } = input.state;
  const judged = verdict(world, packet);
  const egress = judgementOf("egress", judged.egress, packet, input);
  const ingress = judgementOf("ingress", judged.ingress, packet, input);
  return {
    family: packet.family,
    protocol: packet.protocol,
    port: packet.port,
    from: endOf(packet.from.address, packet.fromPod, { world, peer: packet.toPod }),
    to: endOf(packet.to.address, packet.toPod, { world, peer: packet.fromPod }),
    allowed: judged.allowed,
    passes: egress.passes && ingress.passes,
    egress,
    ingress,
  };
}

function endOf(
  address: string,
  pod: PolicyPod | undefined,
  { world: { nodes }, peer }: {
    readonly world: PolicyWorld;
    readonly peer: PolicyPod | undefined;
  },
): PolicyEnd {
  const owners = [...nodes].filter(([, addresses]) => addresses.includes(address));
  // A gateway's address is every node's: it is that of the pod's own one.
  const owner = (owners.find(([name]) => name === peer?.nodeName) ?? owners[0])?.[0];
  return {
    address,
    pod: pod && qualified(pod),
    hostNetwork: pod?.hostNetwork ? true : undefined,
    node: pod?.nodeName ?? owner,
  };
}

function judgementOf(
  direction: Direction,
  judgement: Judgement,
  packet: AskedPacket,
  { node, state: { world, selections, links = [] } }: ExplainPolicyInput,
): PolicyJudgement {
  const [pod, { address }] = direction === "egress"
    ? [packet.fromPod, packet.from]
    : [packet.toPod, packet.to];
  const isOfPod = (one: PolicySelection | GuardedLink): boolean =>
    one.namespace === pod?.namespace && one.podName === pod.name;
  // There may be two of one name: one has just been made anew, the other is not yet detached.
  const own = links.find((one) => isOfPod(one) && one.addresses.includes(address))?.hostIfname;
  const link = selections.find((one) =>
    isOfPod(one) && one[direction] !== undefined && (own ?? one.hostIfname) === one.hostIfname
  );
  const denies = judgement.kind === "denied";
  const passes = !denies || link?.mode === "audit";
  const text = judgementText(direction, judgement, pod, world);
  const elsewhere = pod?.nodeName !== undefined && pod.nodeName !== node && !pod.hostNetwork &&
    (denies || judgement.kind === "allowed");
  return {
    outcome: judgement.kind,
    policies: policiesOf(judgement).map(qualified).sort().slice(0, MAX_POLICIES),
    rule: judgement.kind === "allowed" ? judgement.rule + 1 : undefined,
    mode: link?.mode,
    passes,
    text: text +
      (denies && passes ? "; the pod is in audit mode: the packet is counted, and passes" : "") +
      (elsewhere ? `; its node ${pod.nodeName} enforces this${denies ? ELSEWHERE : ""}` : ""),
  };
}

const ELSEWHERE = ", and knows whether the pod is in audit mode";

function policiesOf(judgement: Judgement): readonly PolicyName[] {
  switch (judgement.kind) {
    case "allowed":
      return [judgement.policy];
    case "denied":
      return judgement.policies;
    case "open":
    case "exempt":
      return [];
  }
}

function judgementText(
  direction: Direction,
  judgement: Judgement,
  pod: AskedPacket["toPod"],
  world: PolicyWorld,
): string {
  switch (judgement.kind) {
    case "open":
      return pod === undefined
        ? "no pod has this address, and policies are about pods"
        : pod.hostNetwork
        ? "the pod has its node's network, and policies are not about such pods"
        : "no policy selects the pod: everything passes";
    case "exempt":
      return judgement.why === "itself"
        ? "a pod's packets to itself pass"
        : "packets between a pod and its own node pass";
    case "allowed": {
      const { policy: { namespace, name }, rule } = judgement;
      const found = world.policies.find((one) => one.namespace === namespace && one.name === name);
      const words = found?.[direction]?.[rule];
      return `allowed by ${namespace}/${name}, ${direction} rule ${rule + 1}` +
        (words === undefined ? "" : `: ${ruleText(direction, words)}`);
    }
    case "denied": {
      const names = namesText(judgement.policies.map(qualified).sort());
      if (pod !== undefined && world.unknown?.includes(pod)) {
        return "denied: the pod's labels are not known any more, so that it is taken to be selected by " +
          `${names}`;
      }
      return judgement.policies.length === 1
        ? `denied: the pod is selected by ${names}, which does not allow it`
        : `denied: the pod is selected by ${names}; none of them allows it`;
    }
  }
}
