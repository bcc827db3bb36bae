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
  const { world, inForce, error } = input.state;
  const packets = packetsOf(parsePolicyQuestion(text), world);
  const paths = packets.map((packet) => pathOf(packet, input));
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

function pathOf(packet: AskedPacket, input: ExplainPolicyInput): PolicyPath {
  const { world } = input.state;
  const judged = verdict(world, packet);
  const egress = judgementOf("egress", judged.egress, packet, input);
  const ingress = judgementOf("ingress", judged.ingress, packet, input);
  return {
    family: packet.family,
    protocol: packet.protocol,
    port: packet.port,
    from: endOf(packet.from.address, packet.fromPod, world),
    to: endOf(packet.to.address, packet.toPod, world),
    allowed: judged.allowed,
    passes: egress.passes && ingress.passes,
    egress,
    ingress,
  };
}

function endOf(address: string, pod: AskedPacket["toPod"], { nodes }: PolicyWorld): PolicyEnd {
  const owner = [...nodes].find(([, addresses]) => addresses.includes(address))?.[0];
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
  { node, state: { world, selections } }: ExplainPolicyInput,
): PolicyJudgement {
  const pod = direction === "egress" ? packet.fromPod : packet.toPod;
  const link = pod &&
    selections.find((one) =>
      one.namespace === pod.namespace && one.podName === pod.name && one[direction] !== undefined
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
      return judgement.policies.length === 1
        ? `denied: the pod is selected by ${names}, which does not allow it`
        : `denied: the pod is selected by ${names}; none of them allows it`;
    }
  }
}
