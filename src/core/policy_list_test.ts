import { assert, assertEquals } from "@std/assert";
import { networkPolicy, parseWorld } from "../../tests/policy_objects.ts";
import { policyList } from "./policy_list.ts";
import type { PolicySelection } from "./policy_selection.ts";

const NODE = "n1";

function selection(n: number, change: Partial<PolicySelection> = {}): PolicySelection {
  return {
    hostIfname: `flock${n}`,
    namespace: "web",
    podName: `pod-${n}`,
    mode: "enforce",
    ...change,
  };
}

function world(
  policies: Parameters<typeof parseWorld>[0]["policies"],
): ReturnType<typeof parseWorld> {
  return parseWorld({ namespaces: [], pods: [], policies });
}

const IN_FORCE = { inForce: true, error: undefined } as const;

Deno.test("policyList() says whom each policy selects, and what each pod was denied", () => {
  const named = (name: string) => ({ namespace: "web", name });
  const list = policyList({
    node: NODE,
    counters: [
      { set: "dropped-ingress", hostIfname: "flock1", packets: 2, bytes: 120 },
      { set: "audited-ingress", hostIfname: "flock1", packets: 1, bytes: 60 },
      { set: "spoofed", hostIfname: "flock2", packets: 9, bytes: 900 },
    ],
    state: {
      ...IN_FORCE,
      world: world([
        networkPolicy("web", "b", {
          podSelector: { matchLabels: { app: "b" } },
          egress: [{ ports: [{ port: 443 }] }, { to: [{ ipBlock: { cidr: "bad" } }] }],
        }),
        networkPolicy("web", "a", { podSelector: {}, policyTypes: ["Ingress"] }),
        networkPolicy("db", "a", { podSelector: {} }),
      ]),
      selections: [
        selection(2, { ingress: [named("a"), named("b")], egress: [named("b")], mode: "audit" }),
        selection(1, { ingress: [named("a")] }),
        // A second link of the same pod.
        selection(3, { podName: "pod-1", ingress: [named("a")] }),
        selection(4),
      ],
    },
  });
  assertEquals(
    list.items.map(({ namespace, name, selects, types }) => [
      `${namespace}/${name}`,
      selects,
      types,
    ]),
    [
      ["db/a", [], ["Ingress"]],
      ["web/a", ["pod-1", "pod-2"], ["Ingress"]],
      ["web/b", ["pod-2"], ["Ingress", "Egress"]],
    ],
  );
  const { problems, ...b } = list.items[2]!;
  assertEquals(b, {
    namespace: "web",
    name: "b",
    uid: "",
    types: ["Ingress", "Egress"],
    podSelector: "app=b",
    selects: ["pod-2"],
    selectsOmitted: undefined,
    ingress: [],
    egress: [
      "to everybody, on tcp/443",
      "to nobody: no entry of it can be used, on every port and protocol",
    ],
    rulesOmitted: undefined,
  });
  assertEquals(problems.length, 1);
  const none = { packets: 0, bytes: 0 };
  assertEquals(list.pods.map(({ pod, hostIfname }) => [pod, hostIfname]), [
    ["web/pod-1", "flock1"],
    ["web/pod-1", "flock3"],
    ["web/pod-2", "flock2"],
    ["web/pod-4", "flock4"],
  ]);
  assertEquals(list.pods[0], {
    pod: "web/pod-1",
    hostIfname: "flock1",
    mode: "enforce",
    ingress: {
      policies: ["a"],
      policiesOmitted: undefined,
      dropped: { packets: 2, bytes: 120 },
      audited: { packets: 1, bytes: 60 },
    },
    egress: { policies: undefined, policiesOmitted: undefined, dropped: none, audited: none },
    spoofed: none,
  });
  assertEquals(list.pods[2]?.spoofed, { packets: 9, bytes: 900 });
});

Deno.test("policyList() has no counts where they cannot be read, and no items before anything is known", () => {
  const state = { inForce: false, error: "nft is away", world: undefined };
  const counters = "Cannot run";
  const list = policyList({
    node: NODE,
    state: { ...state, selections: [selection(1)] },
    counters,
  });
  assertEquals([list.inForce, list.error, list.items, list.countersError], [
    false,
    "nft is away",
    [],
    counters,
  ]);
  assertEquals([list.pods[0]?.spoofed, list.pods[0]?.ingress.dropped], [undefined, undefined]);
});

Deno.test("policyList() fits into an answer whatever is in the cluster", () => {
  const long = (n: number): string => `${"x".repeat(240)}-${n}`;
  const peers = Array.from({ length: 30 }, (_, n) => ({ ipBlock: { cidr: `10.0.${n}.0/24` } }));
  const rules = Array.from({ length: 1_000 }, () => ({ from: peers }));
  const egress = Array.from({ length: 1_000 }, () => ({ to: peers }));
  const big = networkPolicy("web", "0-big", { podSelector: {}, ingress: rules, egress });
  const many = Array.from(
    { length: 2_000 },
    (_, n) => networkPolicy("web", long(n), { podSelector: {} }),
  );
  const names = many.map(({ metadata }) => metadata);
  const list = policyList({
    node: NODE,
    counters: [],
    state: {
      ...IN_FORCE,
      world: world([big, ...many]),
      selections: Array.from({ length: 500 }, (_, n) => selection(n, { ingress: names })),
    },
  });
  assert(JSON.stringify(list).length < 1 << 20, String(JSON.stringify(list).length));
  const [first] = list.items;
  assertEquals(first?.name, "0-big");
  assertEquals(
    (first?.ingress?.length ?? 0) + (first?.egress?.length ?? 0) + first!.rulesOmitted!,
    2_000,
  );
  assertEquals(list.items.length + list.omitted!, 2_001);
  assertEquals(list.pods.length + list.podsOmitted!, 500);
  const [pod] = list.pods;
  assertEquals(pod!.ingress.policies!.length + pod!.ingress.policiesOmitted!, 2_000);
});
