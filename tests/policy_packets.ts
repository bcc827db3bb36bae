/**
 * Every packet of a world: between each address of its pods and each other address that plays a part in
 * it, with each protocol and port.
 *
 * @module
 */
import type { Family } from "../src/core/cidr.ts";
import type { Endpoint, Packet, PolicyWorld } from "../src/core/policy.ts";

/** Protocols with ports, as the kernel names them. */
const WITH_PORTS = ["tcp", "udp", "sctp"];

/**
 * Packets from or to a pod; those between addresses of no pod are nobody's business.
 *
 * @param outside addresses of no pod or node, canonical
 */
export function packetsOf(
  world: PolicyWorld,
  { outside, ports }: { readonly outside: readonly string[]; readonly ports: readonly number[] },
): readonly Packet[] {
  const ofPods = world.pods.filter(({ hostNetwork }) => !hostNetwork)
    .flatMap((pod) => pod.addresses.map((address): Endpoint => ({ address, pod })));
  const others = [...[...world.nodes.values()].flat(), ...outside]
    .map((address): Endpoint => ({ address }));
  const pairs = [
    ...ofPods.flatMap((from) => [...ofPods, ...others].map((to) => ({ from, to }))),
    ...others.flatMap((from) => ofPods.map((to) => ({ from, to }))),
  ].filter(({ from, to }) => familyOf(from) === familyOf(to));
  return pairs.flatMap((pair): Packet[] => [
    { ...pair, protocol: familyOf(pair.from) === "ipv6" ? "icmpv6" : "icmp" },
    ...WITH_PORTS.flatMap((protocol) => ports.map((port) => ({ ...pair, protocol, port }))),
  ]);
}

/** A packet in words, unique in its world. */
export function showPacket({ from, to, protocol, port }: Packet): string {
  const show = ({ address, pod }: Endpoint): string =>
    pod === undefined ? address : `${pod.namespace}/${pod.name} ${address}`;
  return `${show(from)} → ${show(to)} ${protocol}${port === undefined ? "" : `/${port}`}`;
}

function familyOf({ address }: Endpoint): Family {
  return address.includes(":") ? "ipv6" : "ipv4";
}
