import { assert, assertEquals, assertNotStrictEquals, assertStrictEquals } from "@std/assert";
import fc from "fast-check";
import { parseAddress } from "./cidr.ts";
import { type Labels, type LabelSelector, selects } from "./label_selector.ts";
import { type Aspect, aspectKeyOf, PeerSets, type PodSelector } from "./peer_sets.ts";
import type { PolicyPod } from "./policy.ts";

const A: LabelSelector = [{ key: "app", operator: "In", values: ["a"] }];
const IPV4: Aspect = { family: "ipv4" };
const HTTP: Aspect = { family: "ipv4", port: { protocol: "TCP", name: "http" } };

function pod(change: Partial<PolicyPod> = {}): PolicyPod {
  return {
    namespace: "x",
    name: "p",
    labels: { app: "a" },
    addresses: ["10.0.0.1", "2001:db8::1"],
    hostNetwork: false,
    ports: [],
    ...change,
  };
}

function keysOf(sets: PeerSets, selector: PodSelector, aspect = IPV4): readonly string[] {
  const elements = sets.elements(JSON.stringify(selector), selector, aspect);
  assert(elements.values().every((value) => value === ""));
  return [...elements.keys()].sort();
}

Deno.test("PeerSets gives the addresses of selected pods, by family", () => {
  const sets = new PeerSets();
  sets.update(
    [
      pod(),
      pod({ namespace: "y", addresses: ["10.0.0.2"] }),
      pod({ labels: {}, addresses: ["::3"] }),
    ],
    new Map<string, Labels>([["x", { team: "red" }], ["y", {}]]),
  );
  assertEquals(keysOf(sets, { pods: [] }), ["10.0.0.1", "10.0.0.2"]);
  assertEquals(keysOf(sets, { pods: [] }, { family: "ipv6" }), ["2001:db8::1", "::3"]);
  assertEquals(keysOf(sets, { pods: A }, { family: "ipv6" }), ["2001:db8::1"]);
  assertEquals(keysOf(sets, { namespace: "y", pods: A }), ["10.0.0.2"]);
  assertEquals(keysOf(sets, { namespace: "z", pods: [] }), []);
  const red: LabelSelector = [{ key: "team", operator: "Exists", values: [] }];
  assertEquals(keysOf(sets, { namespaces: red, pods: [] }), ["10.0.0.1"]);
  assertEquals(keysOf(sets, { namespaces: [], pods: [] }), ["10.0.0.1", "10.0.0.2"]);
});

Deno.test("PeerSets: a namespace nobody knows is selected by no labels, not even by none of them", () => {
  const sets = new PeerSets();
  sets.update([pod()], new Map());
  assertEquals(keysOf(sets, { namespaces: [], pods: [] }), []);
  assertEquals(keysOf(sets, { namespace: "x", pods: [] }), ["10.0.0.1"]);
  assertEquals(keysOf(sets, { pods: [] }), ["10.0.0.1"]);
});

Deno.test("PeerSets: pods with their node's network are nobody's peers", () => {
  const sets = new PeerSets();
  sets.update([pod({ hostNetwork: true })], new Map([["x", {}]]));
  assertEquals(keysOf(sets, { pods: [] }), []);
});

Deno.test("PeerSets gives each address with the ports that have a name", () => {
  const sets = new PeerSets();
  const ports = [
    { name: "http", protocol: "TCP", port: 80 },
    { name: "http", protocol: "UDP", port: 81 },
    { name: "dns", protocol: "TCP", port: 53 },
    // Of two containers.
    { name: "http", protocol: "TCP", port: 8080 },
  ] as const;
  sets.update([pod({ addresses: ["10.0.0.1", "10.0.0.2", "::1"], ports })], new Map());
  assertEquals(keysOf(sets, { pods: [] }, HTTP), [
    "10.0.0.1 . 80",
    "10.0.0.1 . 8080",
    "10.0.0.2 . 80",
    "10.0.0.2 . 8080",
  ]);
  const other = (protocol: "UDP" | "SCTP"): readonly string[] =>
    keysOf(sets, { pods: [] }, { family: "ipv6", port: { protocol, name: "http" } });
  assertEquals([other("UDP"), other("SCTP")], [["::1 . 81"], []]);
});

Deno.test("PeerSets: an address of several pods stays until the last of them is gone", () => {
  const sets = new PeerSets();
  const [one, two] = [pod(), pod({ name: "q" })];
  for (const pods of [[one], [one, two], [two], [two, one], [one]]) {
    sets.update(pods, new Map());
    assertEquals(keysOf(sets, { pods: A }), ["10.0.0.1"]);
  }
  sets.update([pod({ labels: {} })], new Map());
  assertEquals(keysOf(sets, { pods: A }), []);
});

Deno.test("PeerSets: elements are the same object until a pod that is selected changes", () => {
  const sets = new PeerSets();
  const namespaces = new Map<string, Labels>([["x", {}], ["y", {}]]);
  const other = pod({ namespace: "y", name: "q", addresses: ["10.0.0.9"] });
  const [one, key] = [pod(), "a of x"];
  const elements = (): ReadonlyMap<string, string> =>
    sets.elements(key, { namespace: "x", pods: A }, IPV4);
  sets.update([one], namespaces);
  const first = elements();
  assertStrictEquals(elements(), first);
  for (const pods of [[one], [one, other], [other, one], [one]]) {
    sets.update(pods, new Map(namespaces));
    assertStrictEquals(elements(), first);
  }
  sets.update([one], new Map([["x", namespaces.get("x")!], ["y", { team: "red" }]]));
  assertStrictEquals(elements(), first);
  sets.update([one, pod({ addresses: ["10.0.0.2"] })], namespaces);
  assertNotStrictEquals(elements(), first);
  assertEquals([...elements().keys()], ["10.0.0.1", "10.0.0.2"]);
});

Deno.test("PeerSets: what is not kept is computed anew when it is asked for again", () => {
  const sets = new PeerSets();
  const selector: PodSelector = { pods: A };
  sets.update([pod()], new Map());
  const first = sets.elements("one", selector, IPV4);
  sets.keep(new Set(["one"]));
  assertStrictEquals(sets.elements("one", selector, IPV4), first);
  sets.keep(new Set(["two"]));
  sets.update([pod({ addresses: ["10.0.0.2"] })], new Map());
  assertEquals([...sets.elements("one", selector, IPV4).keys()], ["10.0.0.2"]);
});

Deno.test("aspectKeyOf() tells aspects apart", () => {
  const names = ["http", "dns"];
  const aspects = (["ipv4", "ipv6"] as const).flatMap((family): readonly Aspect[] => [
    { family },
    ...(["TCP", "UDP"] as const).flatMap((protocol) =>
      names.map((name) => ({ family, port: { protocol, name } }))
    ),
  ]);
  assertEquals(new Set(aspects.map(aspectKeyOf)).size, aspects.length);
});

const label = fc.constantFrom("a", "b");
const labels = fc.record({ app: label, tier: label }, { requiredKeys: [] });
const namespaceName = fc.constantFrom("x", "y", "z");
const requirement = fc.oneof(
  fc.record({
    key: fc.constantFrom("app", "tier"),
    operator: fc.constantFrom("In" as const, "NotIn" as const),
    values: fc.uniqueArray(label, { minLength: 1 }),
  }),
  fc.record({
    key: fc.constantFrom("app", "tier"),
    operator: fc.constantFrom("Exists" as const, "DoesNotExist" as const),
    values: fc.constant([]),
  }),
);
const selector: fc.Arbitrary<LabelSelector> = fc.array(requirement, { maxLength: 2 });
const podSelector: fc.Arbitrary<PodSelector> = fc.oneof(
  fc.record({ pods: selector }),
  fc.record({ namespace: namespaceName, pods: selector }),
  fc.record({ namespaces: selector, pods: selector }),
);
const aspect: fc.Arbitrary<Aspect> = fc.constantFrom(
  IPV4,
  HTTP,
  { family: "ipv6" },
  { family: "ipv6", port: { protocol: "UDP", name: "http" } },
);
const anyPod: fc.Arbitrary<PolicyPod> = fc.record({
  namespace: namespaceName,
  name: fc.constantFrom("p", "q"),
  labels,
  addresses: fc.uniqueArray(fc.constantFrom("10.0.0.1", "10.0.0.2", "::1", "::2")),
  hostNetwork: fc.nat(9).map((n) => n === 0),
  ports: fc.uniqueArray(
    fc.record({
      name: fc.constantFrom("http", "dns"),
      protocol: fc.constantFrom("TCP" as const, "UDP" as const),
      port: fc.constantFrom(80, 81),
    }),
    { maxLength: 3, selector: (port) => JSON.stringify(port) },
  ),
});
type Step =
  | { readonly kind: "pod"; readonly slot: number; readonly pod: PolicyPod | undefined }
  | { readonly kind: "namespace"; readonly name: string; readonly labels: Labels | undefined }
  | { readonly kind: "use"; readonly selector: PodSelector; readonly aspect: Aspect }
  | { readonly kind: "forget"; readonly one: number };
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({
    kind: fc.constant("pod" as const),
    slot: fc.nat(4),
    pod: fc.option(anyPod, { nil: undefined }),
  }),
  fc.record({
    kind: fc.constant("namespace" as const),
    name: namespaceName,
    labels: fc.option(labels, { nil: undefined }),
  }),
  fc.record({ kind: fc.constant("use" as const), selector: podSelector, aspect }),
  fc.record({ kind: fc.constant("forget" as const), one: fc.nat(3) }),
);

Deno.test("property: PeerSets kept up to date are as those computed plainly", () => {
  let elements = 0;
  fc.assert(
    fc.property(fc.array(step, { minLength: 1, maxLength: 40, size: "max" }), (steps) => {
      const sets = new PeerSets();
      const pods = new Map<number, PolicyPod>();
      const namespaces = new Map<string, Labels>();
      const uses = new Map<string, { readonly selector: PodSelector; readonly aspect: Aspect }>();
      for (const one of steps) {
        if (one.kind === "pod") put(pods, one.slot, one.pod);
        else if (one.kind === "namespace") put(namespaces, one.name, one.labels);
        else if (one.kind === "use") uses.set(JSON.stringify([one.selector, one.aspect]), one);
        else {for (const key of [...uses.keys()].filter((_, n) => n % 4 === one.one)) {
            uses.delete(key);
          }}
        sets.update(pods.values(), new Map(namespaces));
        sets.keep(new Set(Array.from(uses.values(), ({ selector }) => JSON.stringify(selector))));
        for (const { selector, aspect } of uses.values()) {
          const expected = plainly([...pods.values()], namespaces, { selector, aspect });
          assertEquals(keysOf(sets, selector, aspect), expected);
          elements += expected.length;
        }
      }
    }),
    { numRuns: 300 },
  );
  assert(elements > 1_000, `${elements} elements`);
});

/** What a selector selects, from scratch. */
function plainly(
  pods: readonly PolicyPod[],
  known: ReadonlyMap<string, Labels>,
  { selector, aspect: { family, port } }: {
    readonly selector: PodSelector;
    readonly aspect: Aspect;
  },
): readonly string[] {
  const { namespace, namespaces } = selector;
  const elements = pods.filter((one) => {
    const labels = known.get(one.namespace);
    if (one.hostNetwork || !selects(selector.pods, one.labels)) return false;
    if (namespace !== undefined) return one.namespace === namespace;
    return namespaces === undefined || (labels !== undefined && selects(namespaces, labels));
  }).flatMap(({ addresses, ports }) =>
    addresses.filter((address) => parseAddress(address).family === family).flatMap((address) =>
      port === undefined ? [address] : ports
        .filter(({ name, protocol }) => name === port.name && protocol === port.protocol)
        .map((one) => `${address} . ${one.port}`)
    )
  );
  return [...new Set(elements)].sort();
}

function put<K, V>(map: Map<K, V>, key: K, value: V | undefined): void {
  if (value === undefined) map.delete(key);
  else map.set(key, value);
}
