/**
 * Random worlds for NetworkPolicies: labels, ports and policies over a frame of pods that is given, so
 * that the pods can be real ones. Alphabets are small, so that things meet; blocks are cut around the
 * frame's addresses. What is drawn shrinks.
 *
 * @module
 */
import fc from "fast-check";
import {
  bitsOf,
  contains,
  type Family,
  formatAddress,
  formatPrefix,
  parseAddress,
  type Prefix,
  prefixOf,
} from "../src/core/cidr.ts";
import {
  type ApiContainerPort,
  type ApiNamespace,
  type ApiPeer,
  type ApiPod,
  type ApiPolicy,
  type ApiPolicySpec,
  type ApiPort,
  type ApiRule,
  type ApiSelector,
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

const PORT_NAMES = ["http", "dns", "alt"];
const LENGTHS: Readonly<Record<Family, readonly number[]>> = {
  ipv4: [0, 8, 16, 24, 28, 30, 31, 32],
  ipv6: [0, 16, 32, 48, 64, 112, 124, 126, 127, 128],
};

/** Seed and number of worlds of this run (`FLOCK_SEED`, `FLOCK_WORLDS`), for `fc.assert`. */
export function worldRuns(worlds: number): { readonly seed: number; readonly numRuns: number } {
  const text = Deno.env.get("FLOCK_WORLDS");
  const numRuns = text === undefined ? worlds : wholeNumber("FLOCK_WORLDS", text, 1e6);
  return { seed: seedOfRun(), numRuns };
}

/** Worlds over a frame. */
export function worldOf(frame: WorldFrame): fc.Arbitrary<DrawnWorld> {
  const policies = fc.array(
    fc.tuple(fc.constantFrom(...frame.namespaces), policySpec(frame)),
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

const value = fc.constantFrom("a", "b", "");
const labels = fc.record({ app: value, tier: value }, { requiredKeys: [] });

/** Label selectors; `names` are values besides those that labels are drawn from. */
function selector(keys: readonly string[], names: readonly string[]): fc.Arbitrary<ApiSelector> {
  const key = fc.constantFrom(...keys);
  const values = fc.uniqueArray(fc.constantFrom("a", "b", "", "nobody", ...names), {
    minLength: 1,
    maxLength: 3,
  });
  const expression = fc.oneof(
    fc.record({ key, operator: fc.constantFrom("In" as const, "NotIn" as const), values }),
    fc.record({ key, operator: fc.constantFrom("Exists" as const, "DoesNotExist" as const) }),
  );
  return fc.oneof(
    { arbitrary: fc.constant({}), weight: 2 },
    {
      arbitrary: fc.dictionary(key, fc.constantFrom("a", "b", ...names), {
        minKeys: 1,
        maxKeys: 1,
        noNullPrototype: true,
      }).map((matchLabels) => ({ matchLabels })),
      weight: 3,
    },
    {
      arbitrary: fc.record({
        matchLabels: labels,
        matchExpressions: fc.array(expression, { minLength: 1, maxLength: 2 }),
      }, { requiredKeys: ["matchExpressions"] }),
      weight: 3,
    },
  );
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

const protocol = fc.constantFrom("TCP", "UDP", "SCTP");

function policySpec(frame: WorldFrame): fc.Arbitrary<ApiPolicySpec> {
  const peers = listOf(peer(frame));
  const ports = listOf(policyPort(frame));
  const rules = <K extends "from" | "to">(
    key: K,
  ): fc.Arbitrary<readonly ApiRule[] | null | undefined> =>
    fc.oneof(
      {
        arbitrary: fc.array(
          fc.record({ [key]: peers, ports }).map(given<ApiRule>),
          { maxLength: 3 },
        ),
        weight: 8,
      },
      { arbitrary: fc.constantFrom(null, undefined), weight: 2 },
    );
  return fc.record({
    podSelector: fc.oneof(fc.constant({}), selector(["app", "tier"], [])),
    policyTypes: fc.constantFrom<ApiPolicySpec["policyTypes"]>(
      undefined,
      ["Ingress"],
      ["Egress"],
      ["Ingress", "Egress"],
      ["Egress", "Ingress"],
    ),
    ingress: rules("from"),
    egress: rules("to"),
  }).map(given<ApiPolicySpec>);
}

/** A list, or one of the three ways to say "all". */
function listOf<T>(entry: fc.Arbitrary<T>): fc.Arbitrary<readonly T[] | null | undefined> {
  return fc.oneof(
    { arbitrary: fc.array(entry, { minLength: 1, maxLength: 3 }), weight: 4 },
    { arbitrary: fc.constantFrom([], null, undefined), weight: 1 },
  );
}

function peer(frame: WorldFrame): fc.Arbitrary<ApiPeer> {
  const podSelector = selector(["app", "tier"], []);
  const namespaceSelector = selector(
    ["app", "tier", "kubernetes.io/metadata.name"],
    frame.namespaces,
  );
  const ipBlock = block(frame);
  return fc.oneof(
    { arbitrary: fc.record({ podSelector }), weight: 3 },
    { arbitrary: fc.record({ namespaceSelector }), weight: 3 },
    { arbitrary: fc.record({ podSelector, namespaceSelector }), weight: 3 },
    { arbitrary: fc.record({ ipBlock }), weight: 4 },
    {
      arbitrary: fc.oneof(
        fc.constantFrom<ApiPeer>(
          {},
          { ipBlock: { cidr: "10.0.0.0/33" } },
          { ipBlock: { cidr: "10.0.0.0/16", except: ["2001:db8::/64"] } },
          { ipBlock: { cidr: "10.0.0.0/16", except: ["10.1.0.0/24"] } },
        ),
        fc.record({ podSelector, ipBlock }),
      ),
      weight: frame.refused ? 1 : 0,
    },
  );
}

/** Blocks around the frame's addresses, with parts taken out that are around others of them. */
function block(frame: WorldFrame): fc.Arbitrary<NonNullable<ApiPeer["ipBlock"]>> {
  const addresses = [
    ...frame.slots.flatMap((slot) => [...slot.addresses, ...slot.extra ?? []]),
    ...frame.outside,
    ...Object.values(frame.nodes).flat(),
  ].map(parseAddress);
  const cut = fc.record({
    at: fc.constantFrom(...addresses),
    length: fc.nat(9),
    bits: fc.boolean(),
  });
  return fc.tuple(cut, fc.array(cut, { maxLength: 3 })).map(([outer, inner]) => {
    const lengths = LENGTHS[outer.at.family];
    const cidr = prefixOf(outer.at, lengths[outer.length % lengths.length]!);
    const longer = lengths.filter((length) => length > cidr.length);
    const except = inner
      .filter(({ at }) => longer.length > 0 && contains(cidr, at))
      .map((one) => textOf(prefixOf(one.at, longer[one.length % longer.length]!), one.bits));
    return { cidr: textOf(cidr, outer.bits), ...(except.length === 0 ? {} : { except }) };
  });
}

/** A prefix in CIDR notation, with or without its last bit set that does not count. */
function textOf(prefix: Prefix, bits: boolean): string {
  if (!bits || prefix.length === bitsOf(prefix.family)) return formatPrefix(prefix);
  return `${formatAddress({ ...prefix, value: prefix.value | 1n })}/${prefix.length}`;
}

function policyPort(frame: WorldFrame): fc.Arbitrary<ApiPort> {
  const numbers = [...new Set(frame.ports.flatMap((port) => [port - 1, port, port + 1]))];
  const number = fc.constantFrom(...numbers);
  return fc.oneof(
    { arbitrary: fc.record({ protocol }, { requiredKeys: [] }), weight: 1 },
    { arbitrary: fc.record({ protocol, port: number }, { requiredKeys: ["port"] }), weight: 3 },
    {
      arbitrary: fc.record({ protocol, port: fc.constantFrom(...PORT_NAMES, "nobody") }, {
        requiredKeys: ["port"],
      }),
      weight: 3,
    },
    {
      arbitrary: fc.tuple(fc.record({ protocol }, { requiredKeys: [] }), number, number).map((
        [one, a, b],
      ) => ({ ...one, port: Math.min(a, b), endPort: Math.max(a, b) })),
      weight: 2,
    },
    {
      arbitrary: fc.constantFrom<ApiPort>(
        { protocol: "ICMP" },
        { port: 81, endPort: 80 },
        { port: "http", endPort: 90 },
        { endPort: 90 },
        { port: 0 },
      ),
      weight: frame.refused ? 1 : 0,
    },
  );
}

/** Without the fields that are undefined: no manifest has them. */
function given<T>(fields: object): T {
  return Object.fromEntries(Object.entries(fields).filter(([, v]) => v !== undefined)) as T;
}
