/**
 * The cluster that truth tables of policies are about: namespaces x, y and z with pods a, b and c each,
 * which serve TCP, UDP and SCTP on 80 and 81, over both families. Labels are `ns` and `pod`, ports have
 * names like `serve-80-tcp`.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import type { Family } from "../src/core/cidr.ts";
import { endpointOf, type Packet, verdict } from "../src/core/policy.ts";
import {
  type ApiNamespace,
  type ApiPod,
  type ApiPolicySpec,
  type ApiSelector,
  namespace,
  networkPolicy,
  parseWorld,
  type WorldObjects,
} from "./policy_objects.ts";

/** What is tried between two pods, named `namespace/name`. */
export interface Flow {
  readonly from: string;
  readonly to: string;
  readonly family: Family;
  readonly protocol: "tcp" | "udp" | "sctp" | "icmp";
  /** 0 for ICMP. */
  readonly port: number;
}

/** Policies, and what passes under them. */
export interface MatrixCase {
  /** By `namespace/name`. */
  readonly policies: Readonly<Record<string, ApiPolicySpec>>;
  /** What passes. A pod and itself are not asked about: they always reach each other. */
  readonly expected: (flow: Flow) => boolean;
  /** What is not as it is in the matrix. */
  readonly objects?: Partial<WorldObjects>;
  /** Ports that are tried. */
  readonly ports?: readonly number[];
}

const NAMES = ["x", "y", "z"];
const PODS = ["a", "b", "c"];
const PROTOCOLS = ["TCP", "UDP", "SCTP"];
const PORTS = [80, 81];

/** Addresses of a pod of the matrix: `10.0.1.1` and `2001:db8:1::1` are x/a's, y/c has `10.0.2.3`. */
export function addressOf(id: string, family: Family): string {
  const [ns = "", pod = ""] = id.split("/");
  const [net, host] = [NAMES.indexOf(ns) + 1, PODS.indexOf(pod) + 1];
  return family === "ipv4" ? `10.0.${net}.${host}` : `2001:db8:${net}::${host}`;
}

/** The namespaces; some with other labels than `ns`. */
export function matrixNamespaces(
  labels: Readonly<Record<string, Readonly<Record<string, string>>>> = {},
): readonly ApiNamespace[] {
  return NAMES.map((name) => namespace(name, labels[name] ?? { ns: name }));
}

/** The pods; some with other labels than `pod`. */
export function matrixPods(
  labels: Readonly<Record<string, Readonly<Record<string, string>>>> = {},
): readonly ApiPod[] {
  return NAMES.flatMap((ns) =>
    PODS.map((pod): ApiPod => {
      const id = `${ns}/${pod}`;
      return {
        apiVersion: "v1",
        kind: "Pod",
        metadata: { namespace: ns, name: pod, labels: labels[id] ?? { pod } },
        spec: {
          nodeName: "n1",
          containers: PORTS.flatMap((containerPort) =>
            PROTOCOLS.map((protocol) => {
              const name = `serve-${containerPort}-${protocol.toLowerCase()}`;
              return { name: `c${name}`, ports: [{ name, containerPort, protocol }] };
            })
          ),
        },
        status: {
          phase: "Running",
          podIPs: [{ ip: addressOf(id, "ipv6") }, { ip: addressOf(id, "ipv4") }],
        },
      };
    })
  );
}

/** Selects pods of a name, wherever they are. */
export function podLabelled(name: string): ApiSelector {
  return { matchLabels: { pod: name } };
}

/** Selects a namespace by the label that somebody gave it. */
export function namespaceLabelled(name: string): ApiSelector {
  return { matchLabels: { ns: name } };
}

/** Selects a namespace by the label that every one has. */
export function namespaceNamed(name: string): ApiSelector {
  return { matchLabels: { "kubernetes.io/metadata.name": name } };
}

/** Selects by one of several values. */
export function oneOf(key: string, ...values: readonly string[]): ApiSelector {
  return { matchExpressions: [{ key, operator: "In", values }] };
}

/** What passes, when all but the way into x/a is open. */
export function intoXa(from: (id: string) => boolean): MatrixCase["expected"] {
  return (flow) => flow.to !== "x/a" || from(flow.from);
}

/** What passes, when all but the way out of x/a is open. */
export function outOfXa(to: (id: string) => boolean): MatrixCase["expected"] {
  return (flow) => flow.from !== "x/a" || to(flow.to);
}

/** True for the pods of these namespaces. */
export function within(...namespaces: readonly string[]): (id: string) => boolean {
  return (id) => namespaces.includes(id.slice(0, 1));
}

/** Checks the whole table: what passes between every two pods. */
export function checkMatrix({ policies, expected, objects = {}, ports = PORTS }: MatrixCase): void {
  const world = parseWorld({
    namespaces: matrixNamespaces(),
    pods: matrixPods(),
    ...objects,
    policies: Object.entries(policies).map(([id, spec]) => {
      const [namespace = "", name = ""] = id.split("/");
      return networkPolicy(namespace, name, spec);
    }),
  });
  assertEquals(world.policies.flatMap(({ problems }) => problems), []);
  const wrong: string[] = [];
  for (const flow of flows(ports)) {
    const wanted = flow.from === flow.to || expected(flow);
    const end = (id: string) =>
      endpointOf(
        world.pods.find(({ namespace, name }) => `${namespace}/${name}` === id)!,
        flow.family,
      )!;
    const { allowed, egress, ingress } = verdict(world, packetOf(flow, end));
    if (allowed === wanted) continue;
    const { from, to, family, protocol, port } = flow;
    wrong.push(
      `${from} → ${to} ${protocol}/${port} (${family}) should ${wanted ? "" : "not "}pass: ` +
        `egress ${egress.kind}, ingress ${ingress.kind}`,
    );
  }
  assertEquals(wrong, []);
}

function packetOf({ from, to, family, protocol, port }: Flow, end: EndOf): Packet {
  const pair = { from: end(from), to: end(to) };
  if (protocol !== "icmp") return { ...pair, protocol, port };
  return { ...pair, protocol: family === "ipv6" ? "icmpv6" : "icmp" };
}

type EndOf = (id: string) => Packet["from"];

function flows(ports: readonly number[]): readonly Flow[] {
  const ids = NAMES.flatMap((ns) => PODS.map((pod) => `${ns}/${pod}`));
  const services = [
    { protocol: "icmp", port: 0 } as const,
    ...(["tcp", "udp", "sctp"] as const).flatMap((protocol) =>
      ports.map((port) => ({ protocol, port }))
    ),
  ];
  return ids.flatMap((from) =>
    ids.flatMap((to) =>
      (["ipv6", "ipv4"] as const).flatMap((family) =>
        services.map((service) => ({ from, to, family, ...service }))
      )
    )
  );
}
