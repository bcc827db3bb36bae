/**
 * NetworkPolicies once more, to compare with: what a world allows as explicit sets of (pod, address,
 * protocol, port), expanded straight from the API's objects. It shares no code with what it checks, knows
 * addresses as strings of bits, and refuses what an API server's validation refuses.
 *
 * @module
 */
import type {
  ApiContainerPort,
  ApiPeer,
  ApiPod,
  ApiPort,
  ApiRule,
  ApiSelector,
} from "./policy_objects.ts";
import type { DrawnWorld } from "./policy_worlds.ts";

/** A packet by names alone. `namespace/name` of pods; undefined: no pod's. */
export interface NaivePacket {
  readonly from: { readonly pod?: string; readonly address: string };
  readonly to: { readonly pod?: string; readonly address: string };
  /** `tcp/80`, or a protocol without ports. */
  readonly service: string;
}

interface LivePod {
  readonly id: string;
  readonly object: ApiPod;
  readonly addresses: readonly string[];
}

const NAME_LABEL = "kubernetes.io/metadata.name";

/** Expands a world. The answer tells whether a packet is allowed. */
export function naivePolicies(
  world: DrawnWorld,
  services: readonly string[],
): (packet: NaivePacket) => boolean {
  const { frame } = world;
  const live: LivePod[] = world.pods.flatMap((object, n) => {
    if (object.status.phase !== "Running" || object.spec.hostNetwork) return [];
    const addresses = [...object.status.podIPs.map(({ ip }) => ip), ...frame.slots[n]!.extra ?? []];
    return [{ id: `${object.metadata.namespace}/${object.metadata.name}`, object, addresses }];
  });
  const everywhere = new Set([
    ...live.flatMap(({ addresses }) => addresses),
    ...Object.values(frame.nodes).flat(),
    ...frame.outside,
  ]);
  const spaces = new Map(
    world.namespaces.map(({ metadata }) => [
      metadata.name,
      { ...metadata.labels, [NAME_LABEL]: metadata.name },
    ]),
  );

  function addressesOf(peer: ApiPeer, home: string): string[] {
    const { ipBlock, podSelector, namespaceSelector } = peer;
    if (ipBlock !== undefined) {
      if (podSelector !== undefined || namespaceSelector !== undefined) return [];
      const block = bitsOfCidr(ipBlock.cidr);
      const holes = (ipBlock.except ?? []).map(bitsOfCidr);
      if (block === undefined) return [];
      if (!holes.every((hole) => hole?.startsWith(block) && hole.length > block.length)) return [];
      return [...everywhere].filter((address) => {
        const bits = bitsOfAddress(address);
        return bits.startsWith(block) && !holes.some((hole) => bits.startsWith(hole!));
      });
    }
    if (podSelector === undefined && namespaceSelector === undefined) return [];
    return live.filter(({ object }) => {
      const { namespace, labels = {} } = object.metadata;
      const near = namespaceSelector === undefined
        ? namespace === home
        : fits(namespaceSelector, spaces.get(namespace)!);
      return near && (podSelector === undefined || fits(podSelector, labels));
    }).flatMap(({ addresses }) => addresses);
  }

  const isolated = new Set<string>();
  const allowed = new Set<string>();
  for (const { metadata, spec } of world.policies) {
    const { policyTypes = [], ingress, egress } = spec;
    const inward = policyTypes.length === 0 || policyTypes.includes("Ingress");
    const outward = policyTypes.length === 0
      ? (egress ?? []).length > 0
      : policyTypes.includes("Egress");
    const selected = live.filter(({ object }) =>
      object.metadata.namespace === metadata.namespace &&
      fits(spec.podSelector ?? {}, object.metadata.labels ?? {})
    );
    for (const pod of selected) {
      if (inward) isolated.add(`in ${pod.id}`);
      if (outward) isolated.add(`out ${pod.id}`);
      const add = (way: string, rules: readonly ApiRule[], target: (peer: string) => ApiPod[]) => {
        for (const { from, to, ports } of rules) {
          const peers = from ?? to ?? [];
          const addresses = peers.length === 0
            ? everywhere
            : peers.flatMap((peer) => addressesOf(peer, metadata.namespace));
          for (const address of addresses) {
            const open = (ports ?? []).length === 0
              ? services
              : ports!.flatMap((port) => servicesOf(port, target(address), services));
            for (const service of open) allowed.add(`${way} ${pod.id} ${address} ${service}`);
          }
        }
      };
      if (inward) add("in", ingress ?? [], () => [pod.object]);
      if (outward) {
        add(
          "out",
          egress ?? [],
          (peer) =>
            live.filter(({ addresses }) => addresses.includes(peer)).map(({ object }) => object),
        );
      }
    }
  }

  const nodeOf = new Map(live.map(({ id, object }) => [id, object.spec.nodeName]));
  return ({ from, to, service }) => {
    const passes = (way: string, pod: string | undefined, peer: string): boolean =>
      pod === undefined || !isolated.has(`${way} ${pod}`) ||
      frame.nodes[nodeOf.get(pod)!]?.includes(peer) ||
      allowed.has(`${way} ${pod} ${peer} ${service}`);
    if (from.pod !== undefined && from.pod === to.pod) return true;
    return passes("out", from.pod, to.address) && passes("in", to.pod, from.address);
  };
}

function fits(selector: ApiSelector, labels: Readonly<Record<string, string>>): boolean {
  for (const [key, value] of Object.entries(selector.matchLabels ?? {})) {
    if (labels[key] !== value) return false;
  }
  for (const { key, operator, values } of selector.matchExpressions ?? []) {
    const has = key in labels;
    const listed = has && new Set(values).has(labels[key]!);
    if (operator === "Exists" && !has) return false;
    if (operator === "DoesNotExist" && has) return false;
    if (operator === "In" && !listed) return false;
    if (operator === "NotIn" && listed) return false;
  }
  return true;
}

function servicesOf(wanted: ApiPort, to: readonly ApiPod[], services: readonly string[]): string[] {
  const { protocol = "TCP", port, endPort } = wanted;
  const name = protocol.toLowerCase();
  if (!["tcp", "udp", "sctp"].includes(name)) return [];
  if (port === undefined) {
    return endPort === undefined ? services.filter((one) => one.startsWith(`${name}/`)) : [];
  }
  if (typeof port === "string") {
    if (endPort !== undefined) return [];
    const known: ApiContainerPort[] = to.flatMap(({ spec }) =>
      spec.containers.flatMap(({ ports = [] }) => ports)
    );
    return known.filter((one) => one.name === port && (one.protocol ?? "TCP") === protocol)
      .map(({ containerPort }) => `${name}/${containerPort}`);
  }
  if (port < 1) return [];
  return services.filter((service) => {
    const [of, number] = service.split("/");
    return of === name && Number(number) >= port && Number(number) <= (endPort ?? port);
  });
}

/** The fixed bits of a prefix; undefined: there is no such prefix. The two families begin differently. */
function bitsOfCidr(text: string): string | undefined {
  const [address = "", length = ""] = text.split("/");
  const bits = bitsOfAddress(address);
  return Number(length) > bits.length - 1 ? undefined : bits.slice(0, 1 + Number(length));
}

function bitsOfAddress(text: string): string {
  const bits = (part: string, base: number, width: number): string =>
    Number.parseInt(part, base).toString(2).padStart(width, "0");
  if (!text.includes(":")) return `4${text.split(".").map((part) => bits(part, 10, 8)).join("")}`;
  const [head = "", tail] = text.split("::");
  const left = head === "" ? [] : head.split(":");
  const right = tail === undefined || tail === "" ? [] : tail.split(":");
  const zeros = Array.from({ length: 8 - left.length - right.length }, () => "0");
  return `6${[...left, ...zeros, ...right].map((part) => bits(part, 16, 16)).join("")}`;
}
