import { assert, assertEquals, assertRejects } from "@std/assert";
import { apiNode, apiNodeConfig, createClusterFixture } from "../../tests/fakes/cluster.ts";
import type { JsonObject } from "../../tests/fakes/server_side_apply.ts";
import type { NodeConfigStatus } from "../core/node_config_status.ts";
import type { ClusterEvent } from "../core/objects.ts";
import { KubeError } from "./kube_client.ts";

const signal = new AbortController().signal;

function conditionsOf(object: JsonObject | undefined): readonly JsonObject[] {
  return (object?.status as JsonObject).conditions as readonly JsonObject[];
}

function event(message: string, extra: Partial<ClusterEvent> = {}): ClusterEvent {
  const object = { kind: "Pod", namespace: "default", name: "web", uid: "u1" } as const;
  return { object, type: "Warning", reason: "AddressRefused", message, ...extra };
}

Deno.test("setNetworkAvailable() sets its condition and leaves kubelet's alone", async () => {
  await using f = await createClusterFixture();
  await f.until(() => f.source.synced);
  await f.writer.setNetworkAvailable("n1", new Date("2026-01-02T03:04:05.678Z"), signal);
  const conditions = conditionsOf(f.server.store.get("nodes", "n1"));
  assertEquals(conditions.map(({ type, status }) => [type, status]), [
    ["Ready", "True"],
    ["NetworkUnavailable", "False"],
  ]);
  assertEquals(conditions[1], {
    type: "NetworkUnavailable",
    status: "False",
    reason: "FlockReady",
    message: "flock announces this node's prefixes",
    lastHeartbeatTime: "2026-01-02T03:04:05Z",
    lastTransitionTime: "2026-01-02T03:04:05Z",
  });
  const request = f.server.requests.find(({ verb }) => verb === "patch");
  assertEquals(request?.subresource, "status");
  assertEquals(request?.query, { fieldManager: "flock-agent", force: "true" });
  // A later heartbeat is no transition.
  await f.until(() => f.source.node("n1")?.networkUnavailable?.status === "False");
  await f.writer.setNetworkAvailable("n1", new Date("2026-01-02T03:14:05Z"), signal);
  const again = conditionsOf(f.server.store.get("nodes", "n1"))[1];
  assertEquals(again?.lastHeartbeatTime, "2026-01-02T03:14:05Z");
  assertEquals(again?.lastTransitionTime, "2026-01-02T03:04:05Z");
});

Deno.test("removeNetworkAvailable() removes its condition, whoever set it, and leaves kubelet's alone", async () => {
  await using f = await createClusterFixture();
  await f.writer.setNetworkAvailable("n1", new Date(0), signal);
  for (let i = 0; i < 2; i++) {
    await f.writer.removeNetworkAvailable("n1", signal);
    const conditions = conditionsOf(f.server.store.get("nodes", "n1"));
    assertEquals(conditions.map(({ type }) => type), ["Ready"]);
  }
});

Deno.test("setNetworkAvailable() wins against another manager, and says when there is no node", async () => {
  await using f = await createClusterFixture();
  await f.until(() => f.source.synced);
  await f.writer.setNetworkAvailable("n1", new Date(0), signal);
  f.server.store.put("nodes", apiNode("n1"), "cloud-controller");
  await f.until(() => f.source.node("n1")?.networkUnavailable?.status === "True");
  await f.writer.setNetworkAvailable("n1", new Date(60_000), signal);
  const [ready, network] = conditionsOf(f.server.store.get("nodes", "n1"));
  assertEquals([ready?.status, network?.status], ["True", "False"]);
  assertEquals(network?.lastTransitionTime, "1970-01-01T00:01:00Z");
  const error = await assertRejects(
    () => f.writer.setNetworkAvailable("n9", new Date(0), signal),
    KubeError,
    'Cannot change "/api/v1/nodes/n9/status": 404',
  );
  assertEquals(error.status, 404);
});

Deno.test("applyNodeConfigStatus() replaces what it said and nothing else", async () => {
  await using f = await createClusterFixture({ run: false });
  const lastTransitionTime = "2026-01-02T03:04:05Z";
  const foreign = { type: "Audited", status: "True", reason: "x", message: "", lastTransitionTime };
  f.server.store.put("nodeconfigs", {
    ...apiNodeConfig("n1", { mtu: 1500 }),
    status: { conditions: [foreign] },
  }, "auditor");
  const condition = { type: "Accepted", status: "True", reason: "Valid", message: "" } as const;
  const status: NodeConfigStatus = {
    observedGeneration: 1,
    conditions: [
      { ...condition, lastTransitionTime },
      { ...condition, type: "Programmed", lastTransitionTime },
    ],
    addresses: { ipv6: { allocated: 2, capacity: "18446744073709551616" } },
    anycast: [],
    bgp: [{ peer: "2001:db8:25::1", asn: 65000, state: "Established" }],
  };
  await f.writer.applyNodeConfigStatus("n1", status, signal);
  await f.writer.applyNodeConfigStatus("n1", {
    ...status,
    conditions: status.conditions.slice(0, 1),
    bgp: [],
  }, signal);
  const stored = f.server.store.get("nodeconfigs", "n1");
  assertEquals(conditionsOf(stored).map(({ type }) => type), ["Audited", "Accepted"]);
  assertEquals((stored?.status as JsonObject).bgp, []);
  assertEquals(stored?.spec, { mtu: 1500 });
});

Deno.test("recordEvent() writes what kubectl describe shows, and counts repeated ones", async () => {
  let now = Date.parse("2026-01-02T03:04:05Z");
  await using f = await createClusterFixture({ run: false, now: () => now });
  const sent = (): readonly string[] =>
    f.server.requests.map(({ verb, resource }) => `${verb} ${resource}`);
  f.writer.recordEvent(event("it is taken"));
  f.writer.recordEvent(event("it is taken"));
  await f.until(() => sent().length === 1);
  now += 30_000;
  f.writer.recordEvent(event("it is taken"));
  await new Promise((resolve) => setTimeout(resolve, 30));
  assertEquals(sent(), ["create events"]);
  const created = f.server.requests[0]?.body;
  const name = (created?.metadata as JsonObject).name;
  assertEquals({ ...created, metadata: {} }, {
    apiVersion: "v1",
    kind: "Event",
    metadata: {},
    involvedObject: { apiVersion: "v1", kind: "Pod", namespace: "default", name: "web", uid: "u1" },
    type: "Warning",
    reason: "AddressRefused",
    message: "it is taken",
    count: 1,
    firstTimestamp: "2026-01-02T03:04:05Z",
    lastTimestamp: "2026-01-02T03:04:05Z",
    source: { component: "flock-agent", host: "n1" },
    reportingComponent: "flock-agent",
    reportingInstance: "n1",
  });
  assert(/^web\.[0-9a-f]{16}$/.test(String(name)));

  now += 31_000;
  f.writer.recordEvent(event("it is taken"));
  await f.until(() => sent().length === 2);
  const stored = f.server.store.get("events", `default/${name}`);
  assertEquals([stored?.count, stored?.lastTimestamp], [4, "2026-01-02T03:05:06Z"]);

  // Events live for an hour at the server: then it begins anew.
  f.server.store.delete("events", `default/${name}`);
  now += 61_000;
  f.writer.recordEvent(event("it is taken"));
  await f.until(() => sent().length === 4);
  assertEquals(sent(), ["create events", "patch events", "patch events", "create events"]);
});

Deno.test("recordEvent() puts events of what is in no namespace into default", async () => {
  await using f = await createClusterFixture({ run: false });
  f.writer.recordEvent(event("bad", { object: { kind: "NodeConfig", name: "n1", uid: "u2" } }));
  await f.until(() => f.server.requests.length === 1);
  const { namespace, body } = f.server.requests[0]!;
  assertEquals(namespace, "default");
  assertEquals(body?.involvedObject, {
    apiVersion: "flock.fritzlab.net/v1alpha1",
    kind: "NodeConfig",
    name: "n1",
    uid: "u2",
  });
});

Deno.test("recordEvent() cuts a loud object short, and a server that refuses costs nothing", async () => {
  await using f = await createClusterFixture({ run: false });
  for (let n = 0; n < 50; n++) f.writer.recordEvent(event(`try ${n}`));
  await f.until(() => f.server.requests.length === 10);
  f.server.refuse = () => true;
  const object = { kind: "NodeConfig", name: "n1" } as const;
  f.writer.recordEvent(event("refused", { object }));
  await f.until(() => f.server.requests.length === 11);
  f.server.refuse = () => false;
  f.writer.recordEvent(event("accepted", { object }));
  await f.until(() => f.server.requests.length === 12);
  assertEquals(f.server.requests.length, 12);
});

Deno.test("readSecret() tells a value, a missing one and a forbidden one apart", async () => {
  await using f = await createClusterFixture({ run: false });
  f.server.store.put("secrets", {
    apiVersion: "v1",
    kind: "Secret",
    metadata: { namespace: "kube-system", name: "flock-bgp" },
    data: { password: btoa("s3cret") },
  });
  f.server.refuse = ({ name }) => name === "other";
  const read = (name: string, key = "password"): Promise<unknown> =>
    f.writer.readSecret({ namespace: "kube-system", name, key }, signal);
  assertEquals(await read("flock-bgp"), { kind: "value", value: "s3cret" });
  assertEquals(await read("flock-bgp", "constructor"), {
    kind: "missing",
    reason: 'Secret "kube-system/flock-bgp" has no key "constructor"',
  });
  assertEquals(await read("none"), {
    kind: "missing",
    reason: 'there is no Secret "kube-system/none"',
  });
  assertEquals(await read("other"), { kind: "forbidden" });
  await f.server.stop();
  await assertRejects(
    () => read("flock-bgp"),
    Error,
    'Cannot read "/api/v1/namespaces/kube-system/',
  );
  f.server.resume();
});
