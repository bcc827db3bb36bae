import { assert, assertEquals, assertMatch, assertStrictEquals } from "@std/assert";
import {
  apiNamespace,
  apiPod,
  apiPolicy,
  type ClusterFixture,
  createClusterFixture,
  WATCHES,
} from "../../tests/fakes/cluster.ts";
import type { JsonObject } from "../../tests/fakes/server_side_apply.ts";
import type { PeerPod } from "../core/objects.ts";
import { configureLog } from "../log.ts";

const lines: string[] = [];
configureLog({ level: "info", format: "json", write: (line) => lines.push(line) });

const BLOCK: JsonObject = { from: [{ ipBlock: { cidr: "10.0.0.0/8" } }] };

function peer({ source }: ClusterFixture, name: string): PeerPod | undefined {
  return [...source.peers()].find((pod) => pod.name === name);
}

/** How often a list or a watch of the pods of all nodes was asked for. */
function askedForPeers({ server }: ClusterFixture): number {
  return server.requests.filter(({ resource, query }) =>
    resource === "pods" && query.fieldSelector === undefined
  ).length;
}

Deno.test("a cluster without policies does not ask for the pods of all nodes", async () => {
  await using f = await createClusterFixture();
  f.server.store.put("namespaces", apiNamespace("shop", { team: "a" }));
  f.server.store.put("pods", apiPod("other", { node: "n2" }));
  await f.until(() => f.source.policiesSynced && f.server.watches === WATCHES);
  await f.until(() => [...f.source.namespaces()].length === 1);
  assertEquals([...f.source.namespaces()], [{
    name: "shop",
    labels: { team: "a", "kubernetes.io/metadata.name": "shop" },
    annotations: {},
  }]);
  assertEquals([[...f.source.policies()], [...f.source.peers()]], [[], []]);
  assertEquals(askedForPeers(f), 0);
});

Deno.test("the first policy brings the pods of all nodes, and the last one leaves them", async () => {
  await using f = await createClusterFixture();
  const addresses = ["10.244.2.7", "2001:db8:f002::7"];
  const annotations = { "flock.fritzlab.net/policy-mode": "audit" };
  const labels = { tier: "front" };
  const other = apiPod("other", { node: "n2", addresses, annotations, labels });
  f.server.store.put("pods", other);
  f.server.store.put("pods", apiPod("own"));
  await f.until(() => f.source.policiesSynced && f.server.watches === WATCHES);
  // Until they are there, the policy is in force without them, which is stricter.
  f.server.refuse = ({ resource, query }) =>
    resource === "pods" && query.fieldSelector === undefined;
  f.server.store.put("networkpolicies", apiPolicy("p", { ingress: [BLOCK] }));
  await f.until(() => [...f.source.policies()].length === 1);
  assertEquals([f.source.policiesSynced, f.source.synced], [true, true]);
  assertMatch(f.source.policiesProblem!, /^pods of other nodes are not known yet/);
  await f.until(() => askedForPeers(f) > 1);
  assertMatch(
    f.source.policiesProblem!,
    /^pods of other nodes are not known yet: Cannot read "\/api\/v1\/pods": 403 .*forbidden/,
  );
  assertEquals([[...f.source.peers()], f.source.policiesSynced], [[], true]);
  f.server.refuse = () => false;
  await f.until(() => f.source.policiesProblem === undefined);
  assertEquals([...f.source.peers()].map(({ name }) => name).sort(), ["other", "own"]);
  const found = peer(f, "other");
  assertEquals({ ...found, uid: "" }, {
    namespace: "default",
    name: "other",
    uid: "",
    nodeName: "n2",
    labels: { app: "web", "pod-template-hash": "abc12", tier: "front" },
    annotations,
    addresses,
    hostNetwork: false,
    ports: [],
    finished: false,
  });
  f.server.store.put("pods", apiPod("other", { node: "n2", addresses, labels: { tier: "back" } }));
  await f.until(() => peer(f, "other")?.labels.tier === "back");
  f.server.store.delete("networkpolicies", "default/p");
  await f.until(() => [...f.source.policies()].length === 0);
  f.server.store.delete("pods", "default/other");
  await f.until(() => peer(f, "other") === undefined);
});

Deno.test("routes do not wait for policies, and an agent without the rights says so", async () => {
  await using f = await createClusterFixture({ run: false });
  f.server.refuse = ({ resource }) => resource === "networkpolicies" || resource === "namespaces";
  lines.length = 0;
  const stop = new AbortController();
  const running = f.source.run(stop.signal);
  await f.until(() => f.source.synced);
  for (const path of ["/api/v1/namespaces", "/apis/networking.k8s.io/v1/networkpolicies"]) {
    await f.until(() => lines.some((line) => line.includes(path) && line.includes("forbidden")));
  }
  assertEquals(f.source.policiesSynced, false);
  assertMatch(f.source.policiesProblem!, /^NetworkPolicies are not known yet: Cannot .*forbidden/);
  f.server.refuse = ({ resource }) => resource === "namespaces";
  await f.until(() => f.source.policiesProblem!.startsWith("namespaces are not known yet: "));
  f.server.refuse = () => false;
  await f.until(() => f.source.policiesSynced);
  assertEquals(f.source.policiesProblem, undefined);
  stop.abort();
  await running;
});

Deno.test("an agent that starts waits for the pods of all nodes, when there is a policy", async () => {
  await using f = await createClusterFixture({ run: false });
  f.server.store.put("networkpolicies", apiPolicy("p", {}));
  f.server.store.put("pods", apiPod("other", { node: "n2" }));
  f.server.refuse = ({ resource, query }) =>
    resource === "pods" && query.fieldSelector === undefined;
  const stop = new AbortController();
  const running = f.source.run(stop.signal);
  await f.until(() => [...f.source.policies()].length === 1 && askedForPeers(f) > 1);
  assertEquals([f.source.policiesSynced, f.source.synced], [false, true]);
  f.server.refuse = () => false;
  await f.until(() => f.source.policiesSynced);
  assertEquals([...f.source.peers()].map(({ name }) => name), ["other"]);
  stop.abort();
  await running;
});

Deno.test("rights that are taken away are told of when it lasts, until they are back", async () => {
  await using f = await createClusterFixture({ timing: { troubleMs: 400 } });
  f.server.store.put("networkpolicies", apiPolicy("p", {}));
  await f.until(() => f.server.watches === WATCHES + 1 && f.source.policiesProblem === undefined);
  f.server.refuse = ({ resource }) => resource === "networkpolicies";
  const refusedAt = performance.now();
  f.server.endWatches();
  await f.until(() => f.source.policiesProblem !== undefined);
  assert(performance.now() - refusedAt >= 400, "a blip is no trouble");
  assertMatch(
    f.source.policiesProblem!,
    /^changes of NetworkPolicies are not heard of: Cannot read .*: 403 .*forbidden/,
  );
  assertEquals([f.source.policiesSynced, [...f.source.policies()].length], [true, 1]);
  // A watch that is open is enough: there may be nothing to hear.
  f.server.refuse = () => false;
  await f.until(() => f.source.policiesProblem === undefined);
});

Deno.test("what says the same as before stays the same object, and is no change", async () => {
  await using f = await createClusterFixture();
  const { store } = f.server;
  store.put("networkpolicies", apiPolicy("p", { ingress: [BLOCK] }));
  store.put("namespaces", apiNamespace("shop"));
  store.put("pods", apiPod("a", { node: "n2" }));
  store.put("pods", apiPod("b", { node: "n2" }));
  await f.until(() => [...f.source.peers()].length === 2 && f.server.watches === WATCHES + 1);
  const all = (): unknown[] => [
    ...[...f.source.policies()],
    ...[...f.source.namespaces()],
    peer(f, "a"),
  ];
  const before = all();
  assertStrictEquals(peer(f, "a")?.labels, peer(f, "b")?.labels, "equal labels are shared");
  let changes = 0;
  using _subscription = f.source.onChange(() => changes++);
  // A status, a managed field, a resync: nothing that policies look at.
  store.put("pods", apiPod("a", { node: "n2", ready: false }));
  store.put("networkpolicies", apiPolicy("p", { ingress: [BLOCK] }));
  store.put("pods", apiPod("b", { node: "n2", labels: { tier: "front" } }));
  await f.until(() => peer(f, "b")?.labels.tier === "front");
  assertEquals([changes, all()], [1, before]);
  all().forEach((object, n) => assertStrictEquals(object, before[n]));
  // Nor does a new list make them others.
  const lists = (): number => f.server.requests.filter(({ verb }) => verb === "list").length;
  const listed = lists();
  store.compact();
  f.server.endWatches();
  await f.until(() => lists() >= listed + WATCHES + 1 && f.server.watches === WATCHES + 1);
  all().forEach((object, n) => assertStrictEquals(object, before[n]));
});

Deno.test("what is refused of a policy is told once for each of its contents", async () => {
  await using f = await createClusterFixture();
  const { store } = f.server;
  const told = (): string[] => lines.filter((line) => line.includes("Refused parts of policy"));
  lines.length = 0;
  const bad: JsonObject = { from: [{ ipBlock: { cidr: "10.0.0.0/33" } }] };
  store.put("networkpolicies", apiPolicy("p", { ingress: [bad, BLOCK] }));
  await f.until(() => told().length === 1 && f.server.watches === WATCHES + 1);
  const { level, object, problems } = JSON.parse(told()[0]!);
  assertEquals([level, object, problems], ["warn", "NetworkPolicy default/p", [
    'spec.ingress[0].from[0].ipBlock.cidr is "10.0.0.0/33", not a prefix (address/length)',
  ]]);
  assertEquals([...f.source.policies()][0]?.ingress?.length, 2);
  store.put("networkpolicies", {
    ...apiPolicy("p", { ingress: [bad, BLOCK] }),
    metadata: { name: "p", namespace: "default", labels: { a: "b" } },
  });
  store.compact();
  f.server.endWatches();
  store.put("networkpolicies", apiPolicy("q", {}));
  await f.until(() => [...f.source.policies()].length === 2);
  assertEquals(told().length, 1);
  store.put("networkpolicies", apiPolicy("p", { ingress: [bad] }));
  await f.until(() => told().length === 2);
  // Which pods it is about is not clear: it stays what it was.
  store.put("networkpolicies", apiPolicy("p", { podSelector: { matchExpressions: [{}] } }));
  await f.until(() => lines.some((line) => line.includes("Could not read object")));
  assertEquals([...f.source.policies()].find(({ name }) => name === "p")?.ingress?.length, 1);
});

Deno.test("thousands of pods share few sets of labels, and each has its own", async () => {
  await using f = await createClusterFixture({ run: false });
  const count = 2_500;
  for (let n = 0; n < count; n++) {
    const labels = { "statefulset.kubernetes.io/pod-name": `db-${n}` };
    f.server.store.put("pods", apiPod(`db-${n}`, { node: "n2", labels }));
  }
  f.server.store.put("networkpolicies", apiPolicy("p", {}));
  const stop = new AbortController();
  const running = f.source.run(stop.signal);
  await f.until(() => f.source.policiesSynced && [...f.source.peers()].length === count, 10_000);
  for (const { name, labels } of f.source.peers()) {
    assert(labels["statefulset.kubernetes.io/pod-name"] === name, name);
  }
  stop.abort();
  await running;
});
