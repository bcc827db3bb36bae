import { assert, assertEquals, assertRejects } from "@std/assert";
import { ApiServer } from "../../tests/fakes/api_server.ts";
import {
  apiNode,
  apiNodeConfig,
  apiPod,
  createClusterFixture,
  credentialsFor,
  QUICK,
  until,
  WATCHES,
} from "../../tests/fakes/cluster.ts";
import { TcpProxy } from "../../tests/fakes/tcp_proxy.ts";
import { formatPrefix } from "../core/cidr.ts";
import type { Pod } from "../core/objects.ts";
import { configureLog } from "../log.ts";
import { createKubeCluster } from "./kube.ts";

const never = new AbortController().signal;
const lines: string[] = [];
configureLog({ level: "debug", format: "json", write: (line) => lines.push(line) });

function names(pods: Iterable<Pod>): string[] {
  return [...pods].map(({ name }) => name).sort();
}

Deno.test("createKubeCluster() knows this node's objects, as flock's own types", async () => {
  await using f = await createClusterFixture({ run: false });
  const annotations = {
    "flock.fritzlab.net/anycast": "2001:db8:ffff::1",
    "kubernetes.io/config.hash": "h",
    "kubernetes.io/config.mirror": "h",
  };
  const foreign = { "kubernetes.io/config.seen": "2026-01-01T00:00:00Z", "example.org/x": "y" };
  f.server.store.put("pods", apiPod("a", { annotations: { ...annotations, ...foreign } }));
  f.server.store.put("pods", apiPod("other", { node: "n2" }));
  f.server.store.put("nodeconfigs", apiNodeConfig("n1", { cidr6: ["2001:db8:f001::/64"] }));
  f.server.store.put("nodeconfigs", apiNodeConfig("n2", { mtu: 1400 }));
  f.server.store.put("nodeconfigs", apiNodeConfig("default", { mtu: 9000 }));
  f.server.store.put("nodes", apiNode("n1", ["2001:db8:f002::/64", "10.1.0.0/24"]));
  assertEquals(f.source.synced, false);
  const stop = new AbortController();
  const running = f.source.run(stop.signal);
  await f.until(() => f.source.synced);
  const pod = f.source.pod("default", "a");
  assertEquals({ ...pod, uid: "" }, {
    namespace: "default",
    name: "a",
    uid: "",
    nodeName: "n1",
    labels: { app: "web", "pod-template-hash": "abc12" },
    annotations,
    addresses: [],
    hostNetwork: false,
    ports: [],
    finished: false,
    owner: { kind: "ReplicaSet", name: "web-abc12", uid: "r1" },
    templateHash: "abc12",
    image: "example.net/web:1",
    ready: true,
    terminating: false,
  });
  assertEquals(names(f.source.pods()), ["a"]);
  assertEquals(f.source.nodeConfig("n1")?.spec, { cidr6: ["2001:db8:f001::/64"] });
  assertEquals(f.source.nodeConfig("default")?.spec, { mtu: 9000 });
  assertEquals(f.source.nodeConfig("n2"), undefined);
  assertEquals(f.source.node("n1"), {
    name: "n1",
    podCidrs: ["2001:db8:f002::/64", "10.1.0.0/24"],
    addresses: [],
    networkUnavailable: { status: "True", reason: "NoRouteCreated" },
  });
  stop.abort();
  await running;
});

Deno.test("createKubeCluster() follows changes, and pods of other nodes never come", async () => {
  await using f = await createClusterFixture();
  await f.until(() => f.source.synced && f.server.watches === WATCHES);
  let changes = 0;
  using _subscription = f.source.onChange(() => changes++);
  f.server.store.put("pods", apiPod("other", { node: "n2" }));
  f.server.store.put("pods", apiPod("a", { ready: false }));
  await f.until(() => f.source.pod("default", "a")?.ready === false);
  f.server.store.put("pods", apiPod("a"));
  await f.until(() => f.source.pod("default", "a")?.ready === true);
  assertEquals(changes, 2, "a change was told that is none, or was not told");
  // An object that leaves the selection is deleted for whoever watches the selection.
  f.server.store.put("pods", apiPod("a", { node: "n2" }));
  await f.until(() => f.source.pod("default", "a") === undefined);
  f.server.store.put("pods", apiPod("b"));
  await f.until(() => f.source.pod("default", "b") !== undefined);
  f.server.store.delete("pods", "default/b");
  await f.until(() => f.source.pod("default", "b") === undefined);
  const asked = f.server.requests.filter(({ resource }) => resource === "pods");
  assertEquals(
    asked.map(({ verb, query }) => [verb, query.fieldSelector]),
    [["list", "spec.nodeName=n1"], ["watch", "spec.nodeName=n1"]],
  );
});

Deno.test("createKubeCluster() reads lists in pages of 500", async () => {
  await using f = await createClusterFixture({ run: false });
  for (let n = 0; n < 1_201; n++) f.server.store.put("pods", apiPod(`p${n}`));
  const stop = new AbortController();
  const running = f.source.run(stop.signal);
  await f.until(() => f.source.synced);
  assertEquals(names(f.source.pods()).length, 1_201);
  const lists = f.server.requests.filter((r) => r.resource === "pods" && r.verb === "list");
  assertEquals(lists.map(({ query }) => query.limit), ["500", "500", "500"]);
  stop.abort();
  await running;
});

Deno.test("createKubeCluster() begins a list again when it expires between two pages", async () => {
  await using f = await createClusterFixture({ run: false });
  for (let n = 0; n < 700; n++) f.server.store.put("pods", apiPod(`p${n}`));
  let expired = 0;
  f.server.refuse = ({ resource, query }) => {
    if (resource === "pods" && query.continue !== undefined && expired++ === 0) {
      f.server.store.compact();
      f.server.store.put("pods", apiPod("late"));
    }
    return false;
  };
  const stop = new AbortController();
  const running = f.source.run(stop.signal);
  await f.until(() => f.source.synced);
  assertEquals(names(f.source.pods()).length, 701, "pages of two lists were put together");
  assert(expired > 1);
  stop.abort();
  await running;
});

for (const goneAsStatus of [false, true]) {
  const how = goneAsStatus ? "HTTP's status" : "an event";
  Deno.test(`createKubeCluster() lists again after 410 as ${how}`, async () => {
    await using f = await createClusterFixture();
    f.server.goneAsStatus = goneAsStatus;
    f.server.store.put("pods", apiPod("stays"));
    f.server.store.put("pods", apiPod("goes"));
    await f.until(() => names(f.source.pods()).length === 2 && f.server.watches === WATCHES);
    await f.server.stop();
    f.server.store.delete("pods", "default/goes");
    f.server.store.put("pods", apiPod("comes"));
    f.server.store.compact();
    f.server.resume();
    await f.until(() => names(f.source.pods()).join() === "comes,stays");
    const lists = f.server.requests.filter((r) => r.resource === "pods" && r.verb === "list");
    assertEquals(lists.length, 2);
  });
}

Deno.test("createKubeCluster() goes on from bookmarks: what was forgotten before them is not missed", async () => {
  await using f = await createClusterFixture({ timing: { watchMs: 1_000 } });
  f.server.bookmarkMs = 20;
  await f.until(() => f.source.synced && f.server.watches === WATCHES);
  // Nothing of this node happens, while versions that it has seen are forgotten.
  for (let n = 0; n < 50; n++) f.server.store.put("pods", apiPod(`x${n}`, { node: "n2" }));
  f.server.store.compact();
  await new Promise((resolve) => setTimeout(resolve, 60));
  f.server.endWatches();
  f.server.store.put("pods", apiPod("new"));
  await f.until(() => f.source.pod("default", "new") !== undefined);
  const lists = f.server.requests.filter((r) => r.resource === "pods" && r.verb === "list");
  assertEquals(lists.length, 1);
});

Deno.test("createKubeCluster() keeps what it knows while the server is away, and catches up", async () => {
  await using f = await createClusterFixture();
  f.server.store.put("pods", apiPod("a"));
  await f.until(() => f.source.pod("default", "a") !== undefined && f.server.watches === WATCHES);
  await f.server.stop();
  lines.length = 0;
  await f.until(() => lines.some((line) => line.includes("Could not follow objects")));
  assertEquals(f.source.synced, true);
  assertEquals(names(f.source.pods()), ["a"]);
  await assertRejects(() => f.source.fetchPod("default", "a", never), Error, "Cannot read");
  f.server.store.put("pods", apiPod("b"));
  f.server.store.delete("pods", "default/a");
  f.server.resume();
  await f.until(() => names(f.source.pods()).join() === "b");
  await f.until(() => lines.some((line) => line.includes("Reached API server again")));
});

Deno.test("createKubeCluster() logs a lasting failure when it doubles, not each time", async () => {
  await using f = await createClusterFixture({ timing: { retryMinMs: 1, retryMaxMs: 2 } });
  await f.until(() => f.source.synced);
  lines.length = 0;
  await f.server.stop();
  await new Promise((resolve) => setTimeout(resolve, 300));
  const written =
    lines.filter((line) => line.includes("Could not follow") && line.includes("/pods")).length;
  assert(written >= 3 && written < 12, `${written} lines`);
});

Deno.test("createKubeCluster() gives up a connection from which nothing comes", async () => {
  await using f = await createClusterFixture({ timing: { watchMs: 1_000, silenceMs: 200 } });
  f.server.bookmarkMs = 50;
  await f.until(() => f.source.synced && f.server.watches === WATCHES);
  await new Promise((resolve) => setTimeout(resolve, 300));
  assertEquals(f.server.watches, WATCHES, "a watch with bookmarks was given up");
  lines.length = 0;
  f.server.freeze();
  f.server.store.put("pods", apiPod("a"));
  await f.until(() => lines.some((line) => line.includes("nothing came for 0.2 s")));
  assertEquals(f.source.pod("default", "a"), undefined);
  f.server.thaw();
  await f.until(() => f.source.pod("default", "a") !== undefined);
});

Deno.test("createKubeCluster() makes a new connection when the one it has is dead", async () => {
  await using server = await ApiServer.start();
  await using proxy = new TcpProxy(server.port);
  server.store.put("nodes", apiNode("n1"));
  const credentials = credentialsFor(server, proxy.port);
  const timing = { ...QUICK, watchMs: 1_000, silenceMs: 1_200 };
  await using cluster = createKubeCluster({ node: "n1", credentials, timing });
  const { source } = cluster;
  const stop = new AbortController();
  const running = source.run(stop.signal);
  await until(() => source.synced && server.watches === WATCHES);
  const before = proxy.accepted;
  assert(before >= WATCHES, "watches share a connection");
  proxy.stall();
  server.store.put("pods", apiPod("a"));
  await until(() => source.pod("default", "a") !== undefined, 5_000);
  assert(proxy.accepted > before, "it came on a dead connection");
  stop.abort();
  await running;
});

Deno.test("createKubeCluster() asks for a watch that ends before its silence is given up", async () => {
  await using f = await createClusterFixture({ timing: { watchMs: 50_000, silenceMs: 55_000 } });
  await f.until(() => f.server.watches === WATCHES);
  for (const { query } of f.server.requests.filter(({ verb }) => verb === "watch")) {
    const seconds = Number(query.timeoutSeconds);
    assert(seconds >= 40 && seconds <= 50, query.timeoutSeconds);
    assertEquals(query.allowWatchBookmarks, "true");
  }
});

Deno.test("createKubeCluster() waits as long as a busy server asks", async () => {
  await using f = await createClusterFixture({ run: false, timing: { retryMaxMs: 10_000 } });
  let asked = 0;
  f.server.refuse = ({ resource }) => {
    if (resource !== "pods" || asked++ > 0) return false;
    return { code: 429, retryAfter: 1 };
  };
  const started = performance.now();
  const stop = new AbortController();
  const running = f.source.run(stop.signal);
  await f.until(() => f.source.synced);
  assert(performance.now() - started > 1_000, "it did not wait");
  stop.abort();
  await running;
});

Deno.test("createKubeCluster() is not in sync while something is refused, and says what", async () => {
  await using f = await createClusterFixture({ run: false });
  f.server.refuse = ({ resource }) => resource === "nodeconfigs";
  lines.length = 0;
  const stop = new AbortController();
  const running = f.source.run(stop.signal);
  await f.until(() => lines.some((line) => line.includes("Could not follow objects")));
  const line = lines.find((line) => line.includes("Could not follow objects")) ?? "";
  assert(
    line.includes('403 nodeconfigs \\"\\" is forbidden: User \\"flock\\" cannot list resource'),
    line,
  );
  assertEquals(f.source.synced, false);
  f.server.refuse = () => false;
  await f.until(() => f.source.synced);
  stop.abort();
  await running;
});

Deno.test("createKubeCluster() skips an object that makes no sense and keeps what it knew of it", async () => {
  await using f = await createClusterFixture();
  f.server.store.put("pods", apiPod("a"));
  await f.until(() => f.source.pod("default", "a") !== undefined && f.server.watches === WATCHES);
  lines.length = 0;
  f.server.store.put("pods", { ...apiPod("a", { ready: false }), status: "up" });
  f.server.store.put("pods", apiPod("b"));
  await f.until(() => f.source.pod("default", "b") !== undefined);
  assertEquals(f.source.pod("default", "a")?.ready, true);
  assert(
    lines.some((line) => line.includes("Could not read object") && line.includes("default/a")),
  );
});

Deno.test("claims() asks for all nodes, at most twice a minute, and goes on when there is no answer", async () => {
  let now = 0;
  await using f = await createClusterFixture({ run: false, now: () => now });
  for (let n = 2; n < 700; n++) {
    f.server.store.put(
      "nodeconfigs",
      apiNodeConfig(`n${n}`, { cidr4: [`10.${n >> 8}.${n & 255}.0/24`] }),
    );
  }
  f.server.store.put("nodes", {
    ...apiNode("n2", ["10.200.2.0/24"]),
    status: { addresses: [{ type: "InternalIP", address: "198.51.100.12" }] },
  });
  const claims = async (): Promise<string[]> =>
    (await f.source.claims(never)).map(({ kind, node, prefix }) =>
      `${kind} ${node} ${formatPrefix(prefix)}`
    );
  const lists = (): number => f.server.requests.filter(({ verb }) => verb === "list").length;
  // Two at the same time ask once: two pages and one.
  const [first, second] = await Promise.all([claims(), claims()]);
  assertEquals(first, second);
  assertEquals([first.length, lists()], [700, 3]);
  assert(first.includes("prefix n699 10.2.187.0/24"));
  assert(first.includes("prefix n2 10.200.2.0/24"));
  assert(first.includes("address n2 198.51.100.12/32"));

  f.server.store.delete("nodeconfigs", "n699");
  now += 29_000;
  assertEquals([(await claims()).length, lists()], [700, 3]);
  now += 1_000;
  assertEquals([(await claims()).length, lists()], [699, 6]);

  await f.server.stop();
  lines.length = 0;
  for (let n = 0; n < 3; n++) {
    now += 30_000;
    assertEquals((await claims()).length, 699);
  }
  assertEquals(lines.filter((line) => line.includes("Could not read other nodes")).length, 1);
  f.server.resume();
  f.server.store.delete("nodeconfigs", "n698");
  now += 30_000;
  assertEquals((await claims()).length, 698);
  assert(lines.some((line) => line.includes("Read other nodes again")));
});

Deno.test("claims() ends with its signal, and leaves the answer to others", async () => {
  await using f = await createClusterFixture({ run: false });
  f.server.store.put("nodeconfigs", apiNodeConfig("n2", { cidr4: ["10.2.0.0/24"] }));
  const stop = new AbortController();
  const given = f.source.claims(stop.signal);
  const waited = f.source.claims(never);
  stop.abort(new Error("given up"));
  await assertRejects(() => given, Error, "given up");
  assertEquals((await waited).length, 1);
});

Deno.test("fetchPod() asks once, for pods of any node; one that is not there is no error", async () => {
  await using f = await createClusterFixture({ run: false });
  f.server.store.put("pods", apiPod("a", { node: "n2" }));
  assertEquals((await f.source.fetchPod("default", "a", never))?.nodeName, "n2");
  assertEquals(await f.source.fetchPod("default", "b", never), undefined);
  assertEquals(f.server.requests.map(({ verb, name }) => [verb, name]), [["get", "a"], [
    "get",
    "b",
  ]]);
});

Deno.test("fetchPod() ends with its signal", async () => {
  await using f = await createClusterFixture({ run: false });
  f.server.delayMs = 5_000;
  const reason = new Error("enough");
  const stop = new AbortController();
  setTimeout(() => stop.abort(reason), 20);
  const error = await assertRejects(() => f.source.fetchPod("default", "a", stop.signal));
  assertEquals(error, reason);
  f.server.delayMs = 0;
});
