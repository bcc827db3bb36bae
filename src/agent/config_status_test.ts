import { assertEquals } from "@std/assert";
import type { Attachment } from "../core/attachment.ts";
import type { DrainReport } from "../core/drain_state.ts";
import { parseNodeConfig } from "../core/node_config.ts";
import type { LeftOutPeer, NodeConfigStatus } from "../core/node_config_status.ts";
import type { ClusterEvent, NodeConfigObject } from "../core/objects.ts";
import { configureLog } from "../log.ts";
import type { SessionView } from "./bgp_sessions.ts";
import { ConfigStatus } from "./config_status.ts";

const lines: string[] = [];
configureLog({ level: "info", format: "json", write: (line) => lines.push(line) });

type DrainStatus = Omit<DrainReport, "routed">;

const signal = new AbortController().signal;
const PEER = "2001:db8:25::1";
const SPEC = {
  cidr6: ["2001:db8:f001::/64"],
  bgp: { asn: 65001, peers: [{ address: "2001:db8:25::1", asn: 65000 }] },
};

class Fixture {
  object: NodeConfigObject | undefined = {
    name: "n1",
    uid: "u1",
    generation: 2,
    annotations: {},
    spec: SPEC,
  };
  readonly node = (() => {
    // deno-lint-ignore no-this-alias -- getters of another object
    const f = this;
    return {
      get object() {
        return f.object;
      },
      config: parseNodeConfig({ name: "n1", annotations: {}, spec: SPEC }).config,
      error: undefined as string | undefined,
    };
  })();
  readonly sessions: { peers: readonly SessionView[]; limited: readonly string[] } = {
    peers: [],
    limited: [],
  };
  now = Date.parse("2026-01-02T03:04:05Z");
  attachments: Attachment[] = [];
  readonly bgpInput: { leftOut: LeftOutPeer[]; waitingFor: string | undefined } = {
    leftOut: [],
    waitingFor: undefined,
  };
  readonly drain: { status: DrainStatus } = { status: { phase: "none", addresses: [] } };
  readonly speaker = { state: { applied: true, error: undefined } };
  readonly written: NodeConfigStatus[] = [];
  readonly events: ClusterEvent[] = [];
  refuse: Error | undefined;
  readonly status = new ConfigStatus({
    nodeName: "n1",
    node: this.node,
    anycast: () => [],
    attachments: () => this.attachments,
    speaker: this.speaker,
    drain: this.drain,
    bgpInput: this.bgpInput,
    sessions: this.sessions,
    writer: {
      applyNodeConfigStatus: (_name, status) => {
        if (this.refuse !== undefined) return Promise.reject(this.refuse);
        this.written.push(status);
        return Promise.resolve();
      },
      recordEvent: (event) => this.events.push(event),
    },
    now: () => this.now,
    clock: () => this.now,
  });

  session(state: string): void {
    this.sessions.peers = [{
      peer: PEER,
      family: "ipv6",
      state,
      takes: state === "Established",
    }];
  }

  async look(): Promise<void> {
    await this.status.look(signal);
    this.now += 10_000;
  }

  condition(type: string): string {
    const found = this.written.at(-1)?.conditions.find((one) => one.type === type);
    return `${found?.status} ${found?.reason}`;
  }
}

Deno.test("ConfigStatus writes what is so, and writes again only what changed", async () => {
  const f = new Fixture();
  f.session("Established");
  await f.look();
  await f.look();
  assertEquals(f.written.length, 1);
  assertEquals(f.written[0]?.observedGeneration, 2);
  assertEquals(f.written[0]?.conditions[0]?.lastTransitionTime, "2026-01-02T03:04:05Z");
  assertEquals(f.written[0]?.bgp, [{ peer: "2001:db8:25::1", asn: 65000, state: "Established" }]);
  f.attachments = [{ ip6: "2001:db8:f001::a" } as Attachment];
  await f.look();
  assertEquals(f.written[1]?.addresses, {
    ipv6: { allocated: 1, capacity: "18446744073709551616" },
  });
});

Deno.test("ConfigStatus writes the first news at once, and later ones at most every 10 s", async () => {
  const f = new Fixture();
  const states = ["Idle", "Connect", "OpenSent", "OpenConfirm", "Established"];
  for (const state of states) {
    f.session(state);
    await f.status.look(signal);
  }
  assertEquals(f.written.map(({ bgp }) => bgp[0]?.state), states);
  f.session("Active");
  await f.status.look(signal);
  f.now += 9_999;
  await f.status.look(signal);
  assertEquals(f.written.length, 5);
  f.now += 1;
  await f.status.look(signal);
  assertEquals(f.written.length, 6);
  assertEquals(f.condition("PeersEstablished"), "False AllDown");
});

Deno.test("ConfigStatus tells once of a peer that announces more than its limit", async () => {
  const f = new Fixture();
  f.session("Established");
  await f.look();
  assertEquals(f.condition("ImportLimitReached"), "False Below");
  f.sessions.limited = [PEER];
  await f.look();
  await f.look();
  assertEquals(f.condition("ImportLimitReached"), "True Blocked");
  assertEquals(f.condition("PeersEstablished"), "True Established");
  assertEquals(f.events.map(({ type, reason, message }) => `${type} ${reason}: ${message}`), [
    "Warning ImportLimitReached: Peer 2001:db8:25::1 announces more routes than importLimit " +
    "(20000): those above it are not taken",
  ]);
  f.sessions.limited = [];
  await f.look();
  assertEquals(f.condition("ImportLimitReached"), "False Below");
});

Deno.test("ConfigStatus keeps the times that the object has from an earlier agent", async () => {
  const f = new Fixture();
  f.session("Established");
  const since = "2025-01-01T00:00:00Z";
  const before = [
    { type: "Accepted", status: "True", lastTransitionTime: since },
    { type: "PeersEstablished", status: "False", lastTransitionTime: since },
  ];
  f.object = { ...f.object!, conditions: before };
  await f.look();
  const times = f.written[0]?.conditions.map(({ type, lastTransitionTime }) =>
    `${type} ${lastTransitionTime === since}`
  );
  assertEquals(times, [
    "Accepted true",
    "Programmed false",
    "PeersEstablished false",
    "ImportLimitReached false",
    "AnnounceOpen false",
    "Drained false",
  ]);
});

Deno.test("ConfigStatus tries again what was refused, and writes anew to a new object", async () => {
  const f = new Fixture();
  f.refuse = new Error("the API server is away");
  for (let failure = 1; failure <= 5; failure++) await f.look();
  assertEquals(
    lines.filter((line) => line.includes("Could not write NodeConfig status"))
      .map((line) => JSON.parse(line).failures),
    [1, 2, 4],
  );
  f.refuse = undefined;
  await f.look();
  assertEquals(f.written.length, 1);
  f.object = { ...f.object!, uid: "u2" };
  await f.look();
  assertEquals(f.written.length, 2);
  f.object = undefined;
  f.session("Established");
  await f.look();
  assertEquals(f.written.length, 2);
});

Deno.test("ConfigStatus tells of a refused object and of sessions that go and come", async () => {
  const f = new Fixture();
  const told = (): string[] => f.events.splice(0).map(({ type, reason }) => `${type} ${reason}`);
  f.session("Connect");
  await f.look();
  f.session("Established");
  await f.look();
  assertEquals(told(), [], "a session that comes up for the first time is no news");
  f.session("Active");
  await f.look();
  await f.look();
  const [event] = f.events;
  assertEquals(event, {
    object: { kind: "NodeConfig", name: "n1", uid: "u1" },
    type: "Warning",
    reason: "PeerDown",
    message: "BGP session with 2001:db8:25::1 is down: it is Active",
  });
  assertEquals(told(), ["Warning PeerDown"]);
  f.session("Established");
  await f.look();
  assertEquals(told(), ["Normal PeerUp"]);
  f.session("Unknown");
  await f.look();
  assertEquals(told(), ["Warning PeerDown"]);
  assertEquals(f.condition("PeersEstablished"), "False AllDown");
  f.node.error = "it is bad";
  await f.look();
  await f.look();
  assertEquals(told(), ["Warning Refused"]);
  assertEquals(f.condition("Accepted"), "False Invalid");
});

Deno.test("ConfigStatus tells that running pods keep their MTU", async () => {
  const f = new Fixture();
  f.attachments = [{} as Attachment];
  const look = async (spec: Record<string, unknown>): Promise<void> => {
    f.node.config =
      parseNodeConfig({ name: "n1", annotations: {}, spec: { ...SPEC, ...spec } }).config;
    await f.look();
  };
  await look({});
  await look({ mtu: 1400 });
  await look({ mtu: 1400 });
  await look({});
  f.attachments = [];
  await look({ mtu: 1300 });
  assertEquals(f.events.map(({ reason, message }) => `${reason}: ${message}`), [
    "MtuChanged: New pods get MTU 1400; running ones keep theirs",
    "MtuChanged: New pods get the MTU of the node's way out; running ones keep theirs",
  ]);
});

Deno.test("ConfigStatus names the peers that were left out", async () => {
  const f = new Fixture();
  f.bgpInput.leftOut = [
    { peer: "2001:db8:25::1", reason: "SecretMissing", message: "there is no Secret" },
  ];
  await f.look();
  assertEquals(f.condition("Programmed"), "False SecretMissing");
  assertEquals(f.written[0]?.bgp[0]?.state, "LeftOut");
  f.bgpInput.waitingFor = "the password of peer 2001:db8:25::1";
  await f.look();
  assertEquals(f.condition("Programmed"), "False Pending");
});
