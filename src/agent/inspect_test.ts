/**
 * What operators' commands are answered, from a kernel and a BIRD that are made up.
 *
 * @module
 */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { attachment, link, readyPod, snapshot } from "../../tests/attachments.ts";
import { FakeSource, mirror } from "../../tests/fakes/fake_source.ts";
import type { Attachment } from "../core/attachment.ts";
import type { BirdSession } from "../core/bird_session.ts";
import { parsePrefix } from "../core/cidr.ts";
import { desiredState } from "../core/desired_state.ts";
import { CniError } from "../core/errors.ts";
import type {
  AllocationList,
  AnycastList,
  Config,
  PeerList,
  Rendered,
  RouteList,
  Status,
} from "../core/inspection.ts";
import { parseNodeConfig } from "../core/node_config.ts";
import { ownState } from "../core/own_state.ts";
import type { IpRoute } from "../core/ip_state.ts";
import type { PolicyState } from "../core/policy_view.ts";
import { BirdAbsentError } from "../io/birdc.ts";
import { configureLog, log } from "../log.ts";
import { inspectOperations, type InspectOptions } from "./inspect.ts";
import { birdTime } from "./inspect_facts.ts";
import { createHandler } from "./server.ts";

configureLog({ level: "info", format: "json", write: () => {} });

const signal = new AbortController().signal;
const PEER = "2001:db8:25::1";
const NAME = "flock_bgp6_2001_db8_25__1";
const NODE = "2001:db8:f001::/64";
const POD = "2001:db8:f001::1/128";
const SPEC = {
  cidr6: [NODE],
  bgp: { asn: 65001, peers: [{ address: PEER, asn: 65000, bfd: {} }] },
};
const OBJECT = { name: "n1", generation: 3, annotations: {}, spec: SPEC };

class Fixture {
  attachments: Attachment[] = [attachment(1, { ip6: "2001:db8:f001::1" })];
  readonly source = new FakeSource();
  notReady: string | undefined;
  error: string | undefined;
  phase: "none" | "withdrawn" = "none";
  planned = true;
  absent = false;
  sysctls: readonly string[] = [];
  policies: PolicyState = { world: undefined, selections: [], inForce: false, error: undefined };
  session: Partial<BirdSession> = {};
  /** What the kernel has, beside what is wanted of links. */
  routes: Partial<IpRoute>[] = [
    { dst: NODE, type: "unreachable", protocol: "143", metric: 2000, dev: "lo" },
    { dst: POD, protocol: "143", metric: 16, dev: "flock00000001" },
  ];

  ask<T>(op: string, args?: string): Promise<T> {
    const handler = createHandler(inspectOperations(this.#options()));
    return handler({ version: 1, op, args }, signal) as Promise<T>;
  }

  #options(): InspectOptions {
    const { config } = parseNodeConfig(OBJECT);
    const desired = desiredState(
      snapshot(this.attachments, { nodePrefixes: [parsePrefix(NODE)] }),
    );
    const wanted = ownState(desired, new Map(), { foreignIds: new Set(), sticky: true });
    const bird = <T>(value: T): Promise<T> => {
      if (!this.absent) return Promise.resolve(value);
      return Promise.reject(new BirdAbsentError("Cannot reach BIRD: it is absent"));
    };
    const route = { type: "unreachable", protocol: "flock_node6", preference: 200, best: true };
    return {
      nodeName: "n1",
      startedAt: new Date("2026-01-01T00:00:00Z"),
      settings: { source: { kind: "manifests", dir: "/m" } },
      origins: [{ name: "--socket", value: "/s", from: "flag" }],
      network: { notReady: this.notReady },
      reconciler: { settled: true },
      source: this.source,
      node: {
        config,
        error: this.error,
        object: OBJECT,
        sources: { own: OBJECT, podCidrs: [] },
        nodePrefixes: [parsePrefix(NODE)],
        mtu: () => 1500,
      },
      store: { list: () => this.attachments },
      kernel: {
        wanted: new Map([...wanted].filter(([, { kind }]) => kind === "route")),
        planned: this.planned,
      },
      sysctls: { differences: () => Promise.resolve(this.sysctls) },
      anycast: () => desired.anycast,
      ip: {
        observe: () =>
          Promise.resolve({
            links: [link(1)],
            neighbors: [],
            nexthops: [],
            defaultRoutes: [],
            routes: this.routes.map((change): IpRoute => ({
              family: "ipv6",
              dst: "",
              type: "unicast",
              table: "main",
              protocol: "",
              metric: 0,
              nextHops: [],
              flags: [],
              ...change,
            })),
          }),
      },
      birdc: {
        status: () =>
          bird({
            version: "2.0.12",
            routerId: "198.51.100.11",
            startedAt: "2026-01-01 00:00:00.123",
            configuredAt: "",
          }),
        sessions: () =>
          bird([{
            name: NAME,
            peer: PEER,
            state: "Established",
            info: "Established",
            localCapabilities: ["Graceful restart"],
            peerCapabilities: ["Graceful restart"],
            since: "2026-01-01 00:00:01",
            ...this.session,
          }]),
        bfdSessions: () => bird([{ peer: PEER, state: "Up" }]),
        ownRoutes: () => bird([{ dst: NODE, ...route }]),
        routesTo: () => bird([{ dst: NODE, ...route }]),
      },
      speaker: { state: { applied: true } },
      bgpInput: { last: undefined, leftOut: [], waitingFor: undefined },
      drain: { status: { phase: this.phase } },
      policies: {
        ...this.policies,
        render: () => this.policies.world && "add table inet flock\n",
      },
    };
  }
}

Deno.test("status tells of a healthy node that it is one", async () => {
  const status = await new Fixture().ask<Status>("status");
  assertEquals(status.differences, { computed: true, count: 0, first: [] });
  assertEquals([status.ready, status.pods, status.peers], [true, 1, { total: 1, established: 1 }]);
  assertEquals(status.prefixes, [
    { prefix: NODE, family: "ipv6", allocated: 1, capacity: "18446744073709551616" },
  ]);
  assertEquals(status.nodeConfig, {
    name: "n1",
    accepted: true,
    inForce: true,
    generation: 3,
    refused: undefined,
  });
  assertEquals(status.bird.routerId, "198.51.100.11");
  assertEquals(status.source.directory, "/m");
});

Deno.test("status counts the pods that policies are about", async () => {
  const f = new Fixture();
  assertEquals((await f.ask<Status>("status")).policies, {
    total: 0,
    selectedPods: 0,
    inForce: false,
    error: undefined,
  });
  const link = (n: number, podName: string, ingress?: []) =>
    ({ hostIfname: `flock${n}`, namespace: "web", podName, mode: "enforce", ingress }) as const;
  // A pod with two links is one pod.
  const selections = [link(1, "a", []), link(2, "a", []), link(3, "b"), link(4, "c", [])];
  f.policies = { ...f.policies, selections, error: "nft is away" };
  const { policies } = await f.ask<Status>("status");
  assertEquals([policies?.selectedPods, policies?.error], [2, "nft is away"]);
});

Deno.test("status tells what is wrong", async () => {
  const f = new Fixture();
  f.notReady = "its caches are not in sync yet";
  f.error = 'Cannot use NodeConfig "n1": spec.mtu "x"';
  f.absent = true;
  f.phase = "withdrawn";
  f.routes = f.routes.slice(0, 1);
  log.warn("Could not do something", { address: "2001:db8::1", err: new Error("why") });
  const status = await f.ask<Status>("status");
  assertEquals([status.ready, status.notReady], [false, f.notReady]);
  assertEquals([status.nodeConfig.accepted, status.nodeConfig.refused], [false, f.error]);
  assertEquals(status.differences, {
    computed: true,
    count: 1,
    first: [`${POD}: the kernel does not have it`],
  });
  assertEquals([status.bird.running, status.bird.error], [
    false,
    "Cannot reach BIRD: it is absent",
  ]);
  assertEquals(status.anycast, { total: 0, announced: undefined });
  assertEquals(status.drain.phase, "withdrawn");
  assertEquals(
    status.problems[0]?.message,
    "Could not do something address=2001:db8::1 err=why",
  );
});

Deno.test("allocations have the state of their pods", async () => {
  const f = new Fixture();
  const states = ["ready", "notReady", "terminating", "unknown", "unknown", "ready"];
  f.attachments = states.map((_, n) => attachment(n + 1, { ip6: `2001:db8:f001::${n + 1}` }));
  const pods = f.attachments.map(readyPod);
  f.source.put(pods[0]!);
  f.source.put({ ...pods[1]!, ready: false });
  f.source.put({ ...pods[2]!, terminating: true });
  // Another pod of the same name is not this one.
  f.source.put({ ...pods[3]!, uid: "other" });
  // A mirror pod is its static pod.
  f.source.put({ ...pods[5]!, uid: "mirror", annotations: mirror(pods[5]!.uid) });
  const { items } = await f.ask<AllocationList>("allocations");
  assertEquals(items.map(({ podState }) => podState), states);
  assertEquals(items[0]?.pod, "default/p1");
});

Deno.test("routes have what differs first, and go on without BIRD", async () => {
  const f = new Fixture();
  f.routes = f.routes.slice(0, 1);
  const list = await f.ask<RouteList>("routes");
  assertEquals(list.items.map(({ dst, differences }) => [dst, differences]), [
    [POD, ["the kernel does not have it"]],
    [NODE, []],
  ]);
  assertEquals(list.items[1]?.exportedTo, [PEER]);
  f.absent = true;
  const without = await f.ask<RouteList>("routes");
  assertEquals([without.birdRunning, without.items[1]?.bird], [false, undefined]);
});

Deno.test("nothing differs as long as nobody knows what is wanted", async () => {
  const f = new Fixture();
  f.planned = false;
  const { items, computed } = await f.ask<RouteList>("routes");
  assertEquals([computed, items.length, items.flatMap((one) => one.differences)], [false, 2, []]);
  assertEquals(items.map(({ desired, kernel }) => [desired, kernel?.metric]), [
    [undefined, 2_000],
    [undefined, 16],
  ]);
  const { differences } = await f.ask<Status>("status");
  assertEquals(differences, { computed: false, count: 0, first: [] });
});

Deno.test("routes are limited, and say how many were left out", async () => {
  const f = new Fixture();
  const address = (n: number): string => `2001:db8:f001::1:${n.toString(16)}`;
  f.attachments = Array.from(
    { length: 1_600 },
    (_, n) => attachment(1, { containerId: `c${n}`, hostIfname: `flock${n}`, ip6: address(n) }),
  );
  const { items, omitted } = await f.ask<RouteList>("routes");
  // One more is the node's prefix, and one the kernel's that nothing wants.
  assertEquals([items.length, omitted], [1_500, 102]);
  assert(JSON.stringify({ items }).length < 1 << 20, "it does not fit into an answer");
});

Deno.test("bgp has each peer with what BIRD says, or why not", async () => {
  const f = new Fixture();
  const { items: [up] } = await f.ask<PeerList>("bgp");
  assertEquals([up?.state, up?.bfd, up?.gracefulRestart], [
    "Established",
    { configured: true, state: "Up", since: undefined },
    { configured: true, negotiated: true, peerRestartTime: undefined },
  ]);
  f.session = { state: "Active", lastError: "Socket: refused", peerCapabilities: [] };
  const { items: [down] } = await f.ask<PeerList>("bgp");
  assertEquals([down?.state, down?.lastError, down?.gracefulRestart.negotiated], [
    "Active",
    "Socket: refused",
    undefined,
  ]);
  f.absent = true;
  const away = await f.ask<PeerList>("bgp");
  assertEquals([away.birdError, away.items[0]?.state], [
    "Cannot reach BIRD: it is absent",
    "Unknown",
  ]);
});

Deno.test("anycast says which pods serve an address, and whether it is announced", async () => {
  const f = new Fixture();
  f.attachments = [attachment(1, { ip6: "2001:db8:f001::1", anycast: ["2001:db8:ffff::1"] })];
  const { items: [item] } = await f.ask<AnycastList>("anycast");
  assertEquals([item?.routed, item?.announced, item?.nextHops, item?.pods], [
    false,
    false,
    [{ pod: "default/p1", via: "2001:db8:f001::1", dev: "flock00000001", weight: 1 }],
    [{ pod: "default/p1", weight: 1 }],
  ]);
});

Deno.test("config has NodeConfig and settings", async () => {
  const { items } = await new Fixture().ask<Config>("config");
  const from = (name: string): string | undefined => items.find((one) => one.name === name)?.from;
  assertEquals([from("spec.bgp.asn"), from("--socket")], ["NodeConfig n1", "flag"]);
});

Deno.test("render gives lines of ip, refuses what it does not know, and waits for nothing", async () => {
  const f = new Fixture();
  const routes = await f.ask<Rendered>("render", "routes");
  assertEquals(routes.text.split("\n").filter((line) => line.includes("unreachable")), [
    `route replace unreachable ${NODE} proto 143 metric 2000`,
  ]);
  assertEquals(routes.inForce, true);
  const bird = await assertRejects(() => f.ask("render", "bird"), CniError);
  assertEquals(bird.code, 11);
  f.planned = false;
  const early = await assertRejects(() => f.ask("render", "routes"), CniError);
  assertEquals([early.code, early.message], [
    11,
    "Cannot render routes: no pass over them was made yet",
  ]);
  const nft = await assertRejects(() => f.ask("render", "nft"), CniError);
  assertEquals([nft.code, nft.message], [
    11,
    "Cannot render the packet filter's rules: caches are not in sync yet",
  ]);
  const world = { pods: [], namespaces: new Map(), policies: [], nodes: new Map() };
  f.policies = { world, selections: [], inForce: true, error: undefined };
  const rules = await f.ask<Rendered>("render", "nft");
  assertEquals([rules.text, rules.inForce], ["add table inet flock\n", true]);
  const other = await assertRejects(() => f.ask("render", "nfs"), CniError);
  assertEquals([other.code, other.message], [
    4,
    'Cannot render "nfs": it is none of "bird", "routes" and "nft"',
  ]);
});

Deno.test("birdTime() reads whole times only", () => {
  const time = birdTime("2026-01-01 10:20:30.123");
  assertEquals(time, new Date(2026, 0, 1, 10, 20, 30, 123).toISOString());
  for (const text of ["", "10:20:30", "2026-01-01", "2026-99-99 10:20:30"]) {
    assertEquals(birdTime(text), undefined, text);
  }
});
