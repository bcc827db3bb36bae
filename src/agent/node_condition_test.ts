import { assertEquals, assertRejects } from "@std/assert";
import { apiNode, createClusterFixture, WATCHES } from "../../tests/fakes/cluster.ts";
import { FakeBirdc } from "../../tests/fakes/fake_birdc.ts";
import type { JsonObject } from "../../tests/fakes/server_side_apply.ts";
import type { BirdProtocol } from "../core/bird_reply.ts";
import { parsePrefix } from "../core/cidr.ts";
import { parseNodeConfig } from "../core/node_config.ts";
import { BirdAbsentError } from "../io/birdc.ts";
import { configureLog } from "../log.ts";
import { isAnnounced, NodeCondition } from "./node_condition.ts";

configureLog({ level: "error", format: "json" });

const PEERS = [{ address: "2001:db8:25::1", asn: 65000 }, { address: "198.51.100.1", asn: 65000 }];
const [P6, P4] = ["2001:db8:f001::/64", "10.244.1.0/24"];

function node(peers: unknown): Parameters<typeof isAnnounced>[1] {
  const spec = { cidr6: [P6], cidr4: [P4], bgp: { asn: 65001, peers } };
  const { config } = parseNodeConfig({ name: "n1", annotations: {}, spec });
  return { config, nodePrefixes: [P6, P4].map(parsePrefix) };
}

function session(name: string, info: string): BirdProtocol {
  return { name, proto: "BGP", state: info === "Established" ? "up" : "start", since: "", info };
}

Deno.test("isAnnounced() once every prefix that a peer could take is told to one", async () => {
  const birdc = new FakeBirdc("");
  const both = node(PEERS);
  assertEquals(await isAnnounced(birdc, both, true), false, "no session");
  birdc.sessions = [session("flock_bgp6_2001_db8_25__1", "Active        Socket: refused")];
  birdc.exported.add(P6).add(P4);
  assertEquals(await isAnnounced(birdc, both, true), false, "session is not up");
  birdc.sessions = [session("flock_bgp6_2001_db8_25__1", "Established")];
  assertEquals(await isAnnounced(birdc, both, true), false, "nobody is told of IPv4");
  birdc.sessions = [...birdc.sessions, session("flock_bgp4_198_51_100_1", "Established")];
  assertEquals(await isAnnounced(birdc, both, true), true);
  assertEquals(await isAnnounced(birdc, both, false), false, "BIRD runs something else");
  birdc.exported.delete(P4);
  assertEquals(await isAnnounced(birdc, both, true), false, "session up, prefix not told");
  // No peer will ever be told of IPv4.
  assertEquals(await isAnnounced(birdc, node(PEERS.slice(0, 1)), true), true);
});

Deno.test("isAnnounced() needs BIRD and a NodeConfig, but no peer where none is configured", async () => {
  const birdc = new FakeBirdc("");
  assertEquals(await isAnnounced(birdc, node([]), true), true);
  assertEquals(await isAnnounced(birdc, { config: undefined, nodePrefixes: [] }, true), false);
  birdc.running = undefined;
  await assertRejects(() => isAnnounced(birdc, node([]), true), BirdAbsentError);
});

/** An API server, and the condition kept on it. */
async function createFixture(timing: { renewMs?: number } = {}): Promise<
  AsyncDisposable & {
    f: Awaited<ReturnType<typeof createClusterFixture>>;
    condition(): string;
    writes(): number;
    stop(): Promise<void>;
    announced: boolean | Error;
  }
> {
  const f = await createClusterFixture();
  const stop = new AbortController();
  const fixture = {
    f,
    announced: false as boolean | Error,
    condition: () => {
      const { conditions } = f.server.store.get("nodes", "n1")?.status as JsonObject;
      const found = (conditions as JsonObject[]).find(({ type }) => type === "NetworkUnavailable");
      return `${found?.status} ${found?.reason}`;
    },
    writes: () => f.server.requests.filter(({ verb }) => verb === "patch").length,
    async stop() {
      stop.abort();
      await running;
    },
    async [Symbol.asyncDispose]() {
      await fixture.stop();
      subscription[Symbol.dispose]();
      await f[Symbol.asyncDispose]();
    },
  };
  const keeper = new NodeCondition({
    nodeName: "n1",
    source: f.source,
    writer: f.writer,
    announced: () =>
      fixture.announced instanceof Error
        ? Promise.reject(fixture.announced)
        : Promise.resolve(fixture.announced),
    timing: { pollMs: 5, renewMs: 60_000, restMs: 20, retryMs: 10, ...timing },
  });
  const subscription = f.source.onChange(() => keeper.wake());
  const running = keeper.run(stop.signal);
  await f.until(() => f.source.synced && f.server.watches === WATCHES);
  return fixture;
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

Deno.test("NodeCondition sets the condition once the node is announced, and once only", async () => {
  await using t = await createFixture();
  t.announced = new Error("BIRD is absent");
  await pause(30);
  t.announced = false;
  await pause(30);
  assertEquals([t.condition(), t.writes()], ["True NoRouteCreated", 0]);
  t.announced = true;
  await t.f.until(() => t.condition() === "False FlockReady");
  // A session that goes down later takes nothing back.
  t.announced = false;
  await pause(100);
  assertEquals([t.condition(), t.writes()], ["False FlockReady", 1]);
});

Deno.test("NodeCondition sets it again at once when somebody else changed it", async () => {
  await using t = await createFixture();
  t.announced = true;
  await t.f.until(() => t.condition() === "False FlockReady");
  await pause(40);
  t.f.server.store.put("nodes", apiNode("n1"), "cloud-controller");
  assertEquals(t.condition(), "True NoRouteCreated");
  await t.f.until(() => t.condition() === "False FlockReady");
});

Deno.test("NodeCondition renews it now and then", async () => {
  await using t = await createFixture({ renewMs: 60 });
  t.announced = true;
  await t.f.until(() => t.writes() >= 3);
});

Deno.test("NodeCondition tries again until the server takes it", async () => {
  await using t = await createFixture();
  t.f.server.refuse = ({ verb }) => verb === "patch";
  t.announced = true;
  await t.f.until(() => t.writes() >= 3);
  assertEquals(t.condition(), "True NoRouteCreated");
  t.f.server.refuse = () => false;
  await t.f.until(() => t.condition() === "False FlockReady");
});

for (const end of ["goes on", "is told to stop at that moment"]) {
  Deno.test(`NodeCondition goes with the node's label, when the agent ${end}`, async () => {
    await using t = await createFixture();
    const { store } = t.f.server;
    const label = (present: boolean): void => {
      const node = store.get("nodes", "n1")!;
      const labels: JsonObject = present ? { "flock.fritzlab.net/agent": "" } : {};
      store.put("nodes", { ...node, metadata: { ...node.metadata as JsonObject, labels } });
    };
    label(true);
    t.announced = true;
    await t.f.until(() => t.condition() === "False FlockReady");
    await t.f.until(() => t.f.source.node("n1")?.networkUnavailable?.status === "False");
    label(false);
    await t.f.until(() => t.f.source.node("n1")?.optedIn === undefined);
    if (end === "goes on") {
      await t.f.until(() => t.condition() === "undefined undefined");
      const writes = t.writes();
      await pause(50);
      assertEquals(t.writes(), writes, "it is removed once, and not set again");
      label(true);
      await t.f.until(() => t.condition() === "False FlockReady");
      // The next network has said so itself: that stays.
      label(false);
      store.put("nodes", apiNode("n1"), "another-network");
    }
    await t.stop();
    const expected = end === "goes on" ? "True NoRouteCreated" : "undefined undefined";
    assertEquals(t.condition(), expected);
  });
}
