/**
 * What kernel, BIRD and router should have, by the rules of docs/design.md and of nothing else: a second
 * opinion on the agent's, which this file has no code of. In sorted lines, which can be read and compared.
 *
 *     an anycast address    while a pod has it that is attached, Ready, not terminating and allowed
 *     a pod's own address   as long as it is attached; announced by itself where no prefix covers it
 *
 * @module
 */
import {
  contains,
  formatPrefix,
  hostPrefix,
  parseAddress,
  parsePrefix,
} from "../../src/core/cidr.ts";

/** A pod as the cluster, the runtime and the kernel have it. */
export interface ModelPod {
  readonly name: string;
  readonly namespace: string;
  /** The node's end of its veth. */
  readonly dev: string;
  /** What its annotations ask for. */
  readonly anycast: readonly string[];
  readonly weight: number;
  readonly asked: readonly string[];
  /** The addresses that its ADD returned, the pod's own first; none while it is not attached. */
  readonly addresses: readonly string[];
  /** Condition Ready is true, and there is no deletionTimestamp. */
  readonly eligible: boolean;
  /** Its veth is there. */
  readonly linked: boolean;
}

/** An entry of `spec.announce.allowed`. */
export interface Allowed {
  readonly cidr: string;
  readonly namespaces: readonly string[];
}

/** A node as its NodeConfig has it. */
export interface ModelNode {
  /** What the router reaches it by. */
  readonly gateways: readonly string[];
  readonly prefixes: readonly string[];
  /** Undefined: no guard. */
  readonly allowed: readonly Allowed[] | undefined;
  readonly pods: readonly ModelPod[];
}

/** May an address be announced for pods of a namespace? */
export function isAllowed(
  allowed: readonly Allowed[] | undefined,
  address: string,
  namespace: string,
): boolean {
  return allowed === undefined ||
    allowed.some(({ cidr, namespaces }) =>
      covers(cidr, address) &&
      namespaces.some((glob) =>
        glob.endsWith("*") ? namespace.startsWith(glob.slice(0, -1)) : glob === namespace
      )
    );
}

/** May everything that a pod asks for be announced? Without that, its ADD is refused. */
export function mayAttach(
  { prefixes, allowed }: Pick<ModelNode, "prefixes" | "allowed">,
  { anycast, asked, namespace }: Pick<ModelPod, "anycast" | "asked" | "namespace">,
): boolean {
  const announced = [...anycast, ...asked.filter((address) => !isCovered(prefixes, address))];
  return announced.every((address) => isAllowed(allowed, address, namespace));
}

/** The routes that are ours and the next-hop objects that a node's kernel should have. */
export function expectedKernel(node: ModelNode): readonly string[] {
  const pods = node.pods.filter(({ addresses, linked }) => addresses.length > 0 && linked);
  const unicast = pods.flatMap((pod) =>
    pod.addresses.map((address) =>
      `route ${cidrOf(address)} dev ${pod.dev} proto ${protocolOf(node, pod, address)} metric 16`
    )
  );
  const prefixes = node.prefixes.map((prefix) =>
    `route unreachable ${prefix} proto 143 metric ${prefix.includes(":") ? 2000 : 1000}`
  );
  const legs = legsOf(node);
  const anycast = Array.from(
    legs,
    ([address, members]) =>
      `route ${cidrOf(address)} proto 144 metric 16 by resilient group of ${
        members.map(({ leg, pod }) => `${leg} weight ${pod.weight}`).sort().join(", ")
      }`,
  );
  const objects = new Set(Array.from(legs.values()).flat().map(({ leg }) => `next hop ${leg}`));
  return [...unicast, ...prefixes, ...anycast, ...objects].sort();
}

/** The host routes that BIRD should have learned from a node's kernel. */
export function expectedLearned(node: ModelNode): readonly string[] {
  const alone = node.pods.filter(({ linked }) => linked).flatMap((pod) =>
    pod.addresses.filter((address) => protocolOf(node, pod, address) === 144)
  );
  return [...alone, ...legsOf(node).keys()].map(cidrOf).sort();
}

/** What the router should have heard, from all nodes. */
export function expectedRouter(nodes: readonly ModelNode[]): readonly string[] {
  const heard = new Map<string, string[]>();
  for (const node of nodes) {
    for (const prefix of [...node.prefixes, ...expectedLearned(node)]) {
      const gateway = node.gateways.find((text) => text.includes(":") === prefix.includes(":"))!;
      heard.set(prefix, [...heard.get(prefix) ?? [], gateway]);
    }
  }
  return Array.from(heard, ([prefix, gateways]) => `${prefix} via ${gateways.sort().join(", ")}`)
    .sort();
}

/** The legs of each anycast address that a node has any of. */
function legsOf(node: ModelNode): ReadonlyMap<string, readonly { leg: string; pod: ModelPod }[]> {
  const legs = new Map<string, { leg: string; pod: ModelPod }[]>();
  for (const pod of node.pods) {
    if (!pod.eligible || !pod.linked) continue;
    for (const address of pod.anycast) {
      const via = pod.addresses.find((own) => own.includes(":") === address.includes(":"));
      if (via === undefined || !isAllowed(node.allowed, address, pod.namespace)) continue;
      const leg = `via ${via} dev ${pod.dev} onlink`;
      legs.set(address, [...legs.get(address) ?? [], { leg, pod }]);
    }
  }
  return legs;
}

/**
 * 144 is announced by itself: outside the node's prefixes, what the pod was given in any case, what it
 * asked for while that is allowed.
 */
function protocolOf(node: ModelNode, pod: ModelPod, address: string): 143 | 144 {
  if (isCovered(node.prefixes, address)) return 143;
  const asked = pod.asked.includes(address);
  return !asked || isAllowed(node.allowed, address, pod.namespace) ? 144 : 143;
}

function isCovered(prefixes: readonly string[], address: string): boolean {
  return prefixes.some((prefix) => covers(prefix, address));
}

function covers(prefix: string, address: string): boolean {
  return contains(parsePrefix(prefix), parseAddress(address));
}

function cidrOf(address: string): string {
  return formatPrefix(hostPrefix(parseAddress(address)));
}
