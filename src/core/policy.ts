/**
 * What NetworkPolicies mean: whether a packet may pass, and because of which policy. Pure, and written
 * to be read beside the specification; `policy_ruleset.ts` says the same to the kernel.
 *
 * @module
 */
import { type Address, contains, type Family, parseAddress } from "./cidr.ts";
import { type Labels, selects } from "./label_selector.ts";
import type {
  NetworkPolicy,
  PolicyPeer,
  PolicyPort,
  PolicyRule,
  PortProtocol,
} from "./network_policy.ts";

/** Of the pod that policies select: what comes to it, what comes from it. */
export type Direction = "ingress" | "egress";

/** What policies look at in a pod. */
export interface PolicyPod {
  readonly namespace: string;
  readonly name: string;
  readonly labels: Labels;
  /** Canonical texts. */
  readonly addresses: readonly string[];
  /** It has its node's network: policies know it by its addresses alone. */
  readonly hostNetwork: boolean;
  readonly ports: readonly NamedPort[];
  readonly nodeName?: string;
}

/** A port of a container that has a name. */
export interface NamedPort {
  readonly name: string;
  readonly protocol: PortProtocol;
  readonly port: number;
}

/** All that a verdict rests on. */
export interface PolicyWorld {
  readonly pods: readonly PolicyPod[];
  /** Labels by name. A namespace that is not known here is selected by no `namespaceSelector`. */
  readonly namespaces: ReadonlyMap<string, Labels>;
  readonly policies: readonly NetworkPolicy[];
  /** Addresses of nodes, canonical, by the node's name: traffic of a pod with its own node passes. */
  readonly nodes: ReadonlyMap<string, readonly string[]>;
  /**
   * Pods that are attached, of which no labels are known: each policy of their namespace denies them what it is
   * about, and as peers they fit no selector. They are not among `pods`.
   */
  readonly unknown?: readonly PolicyPod[];
}

/** One end of a packet. */
export interface Endpoint {
  /** Canonical; both ends' of one family. */
  readonly address: string;
  /** The pod whose link the packet comes from or goes to; undefined: no pod's. */
  readonly pod?: PolicyPod;
}

/** A packet that opens a flow. */
export interface Packet {
  readonly from: Endpoint;
  readonly to: Endpoint;
  /** Lower case, as the kernel names it: `tcp`, `udp`, `sctp`, `icmp`, `icmpv6`, … */
  readonly protocol: string;
  /** Destination port; undefined for protocols without ports. */
  readonly port?: number;
}

/** The name of a policy. */
export interface PolicyName {
  readonly namespace: string;
  readonly name: string;
}

/** What one direction says: `egress` of the pod it comes from, `ingress` of the one it goes to. */
export type Judgement =
  /** No policy selects the pod in this direction, or there is no pod. */
  | { readonly kind: "open" }
  /** Policies are not asked: the packet is between a pod and itself, or its own node. */
  | { readonly kind: "exempt"; readonly why: "itself" | "node" }
  /** The first of the policies that allow it, and its rule, from 0. */
  | { readonly kind: "allowed"; readonly policy: PolicyName; readonly rule: number }
  /** These select the pod, and none of them allows it. */
  | { readonly kind: "denied"; readonly policies: readonly PolicyName[] };

/** Whether a packet may pass. */
export interface Verdict {
  readonly allowed: boolean;
  readonly egress: Judgement;
  readonly ingress: Judgement;
}

/**
 * Policies of one kind. A tier is asked after those before it, about packets that they did not decide;
 * what none decides is open.
 */
interface Tier {
  readonly policies: (world: PolicyWorld) => readonly NetworkPolicy[];
  /** What becomes of a packet that fits a rule. */
  readonly action: (rule: PolicyRule) => "allow";
  /** What becomes of one that fits no rule, though policies of the tier select the pod. */
  readonly unmatched: "deny" | "pass";
}

const TIERS: readonly Tier[] = [
  { policies: (world) => world.policies, action: () => "allow", unmatched: "deny" },
];

/** Whether a packet may pass: both of the pods that it is between have to let it. */
export function verdict(world: PolicyWorld, packet: Packet): Verdict {
  const egress = judge(world, packet, "egress");
  const ingress = judge(world, packet, "ingress");
  return { allowed: egress.kind !== "denied" && ingress.kind !== "denied", egress, ingress };
}

/** The policies that select a pod in a direction, in the order given. None: all is allowed. */
export function selectingPolicies(
  policies: Iterable<NetworkPolicy>,
  pod: PolicyPod,
  direction: Direction,
): readonly NetworkPolicy[] {
  if (pod.hostNetwork) return [];
  return [...policies].filter((policy) =>
    policy.namespace === pod.namespace && policy[direction] !== undefined &&
    selects(policy.podSelector, pod.labels)
  );
}

/**
 * The pods that an address means to a policy. Several may share an anycast address; a node's address is
 * none of the pods' that have its network.
 */
export function ownersOf(world: PolicyWorld, address: string): readonly PolicyPod[] {
  return world.pods.filter((pod) => !pod.hostNetwork && pod.addresses.includes(address));
}

/** A pod as one end of a packet, with its first address of a family; undefined: it has none. */
export function endpointOf(pod: PolicyPod, family: Family): Endpoint | undefined {
  const address = pod.addresses.find((text) => parseAddress(text).family === family);
  if (address === undefined) return undefined;
  return pod.hostNetwork ? { address } : { address, pod };
}

function judge(world: PolicyWorld, packet: Packet, direction: Direction): Judgement {
  const [subject, peer] = direction === "egress"
    ? [packet.from, packet.to]
    : [packet.to, packet.from];
  const { pod } = subject;
  if (pod === undefined || pod.hostNetwork) return { kind: "open" };
  if (pod === peer.pod) return { kind: "exempt", why: "itself" };
  if (pod.nodeName !== undefined && world.nodes.get(pod.nodeName)?.includes(peer.address)) {
    return { kind: "exempt", why: "node" };
  }
  for (const tier of TIERS) {
    const all = tier.policies(world);
    if (world.unknown?.includes(pod)) {
      const about = all.filter((one) =>
        one.namespace === pod.namespace && one[direction] !== undefined
      );
      if (about.length > 0) return { kind: "denied", policies: about.map(nameOf) };
      continue;
    }
    const policies = selectingPolicies(all, pod, direction);
    if (policies.length === 0) continue;
    const address = parseAddress(peer.address);
    const owners = ownersOf(world, peer.address);
    // Names of ports are those of the pod that the packet goes to: this one, or whose address it is.
    const named = direction === "ingress" ? [pod] : owners;
    for (const policy of policies) {
      const fitsPeer = (one: PolicyPeer): boolean =>
        one.kind === "block"
          ? isInBlock(one, address)
          : owners.some((owner) => isSelected(world, policy, one, owner));
      for (const [number, rule] of policy[direction]!.entries()) {
        const { peers, ports } = rule;
        if (peers !== undefined && !peers.some(fitsPeer)) continue;
        if (ports !== undefined && !ports.some((one) => fitsPort(one, packet, named))) continue;
        switch (tier.action(rule)) {
          case "allow":
            return { kind: "allowed", policy: nameOf(policy), rule: number };
        }
      }
    }
    if (tier.unmatched === "deny") return { kind: "denied", policies: policies.map(nameOf) };
  }
  return { kind: "open" };
}

function isInBlock(block: PolicyPeer & { kind: "block" }, address: Address): boolean {
  return contains(block.cidr, address) && !block.except.some((part) => contains(part, address));
}

function isSelected(
  world: PolicyWorld,
  policy: NetworkPolicy,
  peer: PolicyPeer & { kind: "pods" },
  pod: PolicyPod,
): boolean {
  if (!selects(peer.pods, pod.labels)) return false;
  if (peer.namespaces === undefined) return pod.namespace === policy.namespace;
  const labels = world.namespaces.get(pod.namespace);
  return labels !== undefined && selects(peer.namespaces, labels);
}

function fitsPort(wanted: PolicyPort, packet: Packet, named: readonly PolicyPod[]): boolean {
  const { port } = packet;
  if (port === undefined || packet.protocol !== wanted.protocol.toLowerCase()) return false;
  if (wanted.kind === "range") return wanted.first <= port && port <= wanted.last;
  return named.some((pod) =>
    pod.ports.some((one) =>
      one.name === wanted.name && one.protocol === wanted.protocol && one.port === port
    )
  );
}

function nameOf({ namespace, name }: NetworkPolicy): PolicyName {
  return { namespace, name };
}
