/**
 * Random worlds for NetworkPolicies: labels, ports and policies over a frame of pods that is given, so
 * that the pods can be real ones. Alphabets are small, so that things meet; blocks are cut around the
 * frame's addresses. What is drawn shrinks.
 *
 * @module
 */
import fc from "fast-check";
import { type Family, parseAddress } from "../src/core/cidr.ts";
import {
  labels,
  type PolicyAlphabet,
  policySpec,
  PORT_NAMES,
  protocol,
} from "./policy_arbitraries.ts";
import {
  type ApiContainerPort,
  type ApiNamespace,
  type ApiPod,
  type ApiPolicy,
  networkPolicy,
  parseWorld,
} from "./policy_objects.ts";
import type { PolicyWorld } from "../src/core/policy.ts";
import { seedOfRun, wholeNumber } from "./seed.ts";

/** Where a pod of a world is. */
export interface PodSlot {
  readonly node: string;
  /** Unique in the world. */
  readonly name: string;
  /** Undefined: drawn. */
  readonly namespace?: string;
  /** `status.podIPs`: canonical. */
  readonly addresses: readonly string[];
  /** Extra and anycast addresses, which several pods may share. */
  readonly extra?: readonly string[];
  readonly annotations?: Readonly<Record<string, string>>;
  readonly hostNetwork?: boolean;
  /** It came to its end: its addresses may be another one's. */
  readonly finished?: boolean;
}

/** What of a world is not drawn. */
export interface WorldFrame {
  readonly slots: readonly PodSlot[];
  /** Names of namespaces, at least one. */
  readonly namespaces: readonly string[];
  /** Addresses of nodes, canonical, by the node's name. */
  readonly nodes: Readonly<Record<string, readonly string[]>>;
  /** Addresses of no pod or node, canonical. */
  readonly outside: readonly string[];
  /** Ports that are tried; named ports are among them. */
  readonly ports: readonly number[];
  /** Most policies of a world. */
  readonly maxPolicies: number;
  /** Also peers and ports that have to be refused, which no API server lets in. */
  readonly refused?: boolean;
}

/** A world as plain data. `pods[n]` is in `frame.slots[n]`. */
export interface DrawnWorld {
  readonly frame: WorldFrame;
  readonly namespaces: readonly ApiNamespace[];
  readonly pods: readonly ApiPod[];
  /** Without UIDs. */
  readonly policies: readonly ApiPolicy[];
}

/** Seed and number of worlds of this run (`FLOCK_SEED`, `FLOCK_WORLDS`), for `fc.assert`. */
export function worldRuns(worlds: number): { readonly seed: number; readonly numRuns: number } {
  const text = Deno.env.get("FLOCK_WORLDS");
  const numRuns = text === undefined ? worlds : wholeNumber("FLOCK_WORLDS", text, 1e6);
  return { seed: seedOfRun(), numRuns };
}

/** Worlds over a frame. */
export function worldOf(frame: WorldFrame): fc.Arbitrary<DrawnWorld> {
  const policies = fc.array(
    fc.tuple(fc.constantFrom(...frame.namespaces), policySpec(alphabetOf(frame))),
    { maxLength: frame.maxPolicies },
  );
  return fc.record({
    namespaces: fc.tuple(...frame.namespaces.map((name) =>
      labels.map((labels): ApiNamespace => ({
        apiVersion: "v1",
        kind: "Namespace",
        metadata: { name, labels },
      }))
    )),
    pods: fc.tuple(...frame.slots.map((slot) => podIn(slot, frame))),
    policies: policies.map((all) =>
      all.map(([namespace, spec], n) => networkPolicy(namespace, `policy-${n}`, spec))
    ),
  }).map((drawn) => ({ frame, ...drawn }));
}

/** What verdicts rest on in a drawn world. */
export function policyWorldOf({ frame, ...objects }: DrawnWorld): PolicyWorld {
  return parseWorld({
    ...objects,
    nodes: frame.nodes,
    extra: frame.slots.map(({ extra = [] }) => extra),
  });
}

/** Frames without real pods: one to five of them on two nodes. */
export const frames: fc.Arbitrary<WorldFrame> = fc.record({
  slots: fc.array(
    fc.record({
      node: fc.constantFrom("n1", "n2"),
      families: fc.constantFrom<readonly Family[]>(["ipv6", "ipv4"], ["ipv6"], ["ipv4"]),
      extra: fc.uniqueArray(
        fc.constantFrom("10.0.9.1", "10.0.9.2", "2001:db8:9::1", "2001:db8:9::2"),
        { maxLength: 2 },
      ),
      kind: fc.oneof(
        { arbitrary: fc.constant("pod"), weight: 8 },
        { arbitrary: fc.constantFrom("hostNetwork", "finished"), weight: 1 },
      ),
    }),
    { minLength: 1, maxLength: 5 },
  ),
  refused: fc.boolean(),
}).map(({ slots, refused }): WorldFrame => {
  const nodes: Readonly<Record<string, readonly string[]>> = {
    n1: ["10.0.8.1", "2001:db8:8::1"],
    n2: ["10.0.8.2", "2001:db8:8::2"],
  };
  return {
    slots: slots.map(({ node, families, extra, kind }, n) => {
      // What a finished pod had is the first pod's now.
      const last = kind === "finished" ? 4 : 4 + n;
      const own = families.map((family) =>
        family === "ipv4" ? `10.0.0.${last}` : `2001:db8::${last}`
      );
      return {
        node,
        name: `p${n}`,
        addresses: kind === "hostNetwork" ? nodes[node]! : own,
        extra: kind === "pod" ? extra : [],
        hostNetwork: kind === "hostNetwork",
        finished: kind === "finished",
      };
    }),
    namespaces: ["x", "y"],
    nodes,
    outside: ["10.0.0.3", "203.0.113.9", "2001:db8::3", "2001:db8:f::9"],
    ports: [80, 81, 8080],
    maxPolicies: 5,
    refused,
  };
});

/** Worlds over any frame. */
export const worlds: fc.Arbitrary<DrawnWorld> = frames.chain(worldOf);

function alphabetOf(frame: WorldFrame): PolicyAlphabet {
  const { namespaces, ports, refused = false } = frame;
  const addresses = [
    ...frame.slots.flatMap((slot) => [...slot.addresses, ...slot.extra ?? []]),
    ...frame.outside,
    ...Object.values(frame.nodes).flat(),
  ];
  return { namespaces, addresses: addresses.map(parseAddress), ports, refused };
}

function podIn(slot: PodSlot, frame: WorldFrame): fc.Arbitrary<ApiPod> {
  const port: fc.Arbitrary<ApiContainerPort> = fc.record({
    name: fc.constantFrom(...PORT_NAMES),
    containerPort: fc.constantFrom(...frame.ports),
    protocol: protocol,
  }, { requiredKeys: ["name", "containerPort"] });
  return fc.record({
    namespace: fc.constantFrom(
      ...(slot.namespace === undefined ? frame.namespaces : [slot.namespace]),
    ),
    labels,
    ports: fc.uniqueArray(port, { maxLength: 3, selector: ({ name }) => name }),
  }).map(({ namespace, labels, ports }) => ({
    apiVersion: "v1",
    kind: "Pod",
    metadata: { namespace, name: slot.name, labels, annotations: slot.annotations ?? {} },
    spec: {
      nodeName: slot.node,
      hostNetwork: slot.hostNetwork ?? false,
      containers: [{ name: "main", ports }],
    },
    status: {
      phase: slot.finished ? "Succeeded" : "Running",
      podIPs: slot.addresses.map((ip) => ({ ip })),
    },
  }));
}
