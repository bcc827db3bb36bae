import { assertEquals } from "@std/assert";
import { parseNodeConfig } from "./node_config.ts";
import { nodeConfigStatusSchema } from "./node_config_status_schema.ts";
import { nodeConfigStatus, type StatusFacts } from "./node_config_status.ts";

const NOW = "2026-01-02T03:04:05Z";
const { config } = parseNodeConfig({
  name: "n1",
  annotations: {},
  spec: {
    cidr6: ["2001:db8:f001::/64"],
    cidr4: ["172.25.214.0/24", "172.25.215.0/30"],
    bgp: {
      asn: 65001,
      peers: [{ address: "2001:DB8:25::1", asn: 65000 }, { address: "198.51.100.1", asn: 65000 }],
    },
  },
});
const UP = new Map([["2001:db8:25::1", "Established"], ["198.51.100.1", "Established"]]);
const FACTS: StatusFacts = {
  generation: 3,
  config,
  allocated: { ipv6: 2, ipv4: 1 },
  anycast: [],
  applied: true,
  leftOut: [],
  drain: { phase: "none" },
  sessions: UP,
};

function conditions(facts: Partial<StatusFacts>): Readonly<Record<string, string>> {
  const status = nodeConfigStatus({ ...FACTS, ...facts }, [], NOW);
  return Object.fromEntries(
    status.conditions.map(({ type, status, reason }) => [type, `${status} ${reason}`]),
  );
}

function messageOf(type: string, facts: Partial<StatusFacts>): string | undefined {
  const { conditions } = nodeConfigStatus({ ...FACTS, ...facts }, [], NOW);
  return conditions.find((condition) => condition.type === type)?.message;
}

Deno.test("nodeConfigStatus() of a node where all is well", () => {
  const status = nodeConfigStatus(FACTS, [], NOW);
  assertEquals(status.observedGeneration, 3);
  assertEquals(status.conditions[0], {
    type: "Accepted",
    status: "True",
    reason: "Valid",
    message: "It is in force",
    observedGeneration: 3,
    lastTransitionTime: NOW,
  });
  assertEquals(conditions({}), {
    Accepted: "True Valid",
    Programmed: "True Applied",
    PeersEstablished: "True Established",
    ImportLimitReached: "False Below",
    AnnounceOpen: "True NoGuard",
    Drained: "False NotDrained",
  });
  assertEquals(status.addresses, {
    ipv6: { allocated: 2, capacity: "18446744073709551616" },
    ipv4: { allocated: 1, capacity: "254" },
  });
  assertEquals(status.bgp, [
    { peer: "2001:db8:25::1", asn: 65000, state: "Established" },
    { peer: "198.51.100.1", asn: 65000, state: "Established" },
  ]);
});

Deno.test("nodeConfigStatus() is what the CRD takes", () => {
  const leftOut = [{ peer: "198.51.100.1", reason: "NoRoute", message: "no route" } as const];
  for (const facts of [FACTS, { ...FACTS, leftOut }, { ...FACTS, config: undefined }]) {
    const status = nodeConfigStatus(facts, [], NOW);
    assertEquals(nodeConfigStatusSchema.parse(status), status);
  }
});

Deno.test("nodeConfigStatus() of a refused object says why, and what is in force instead", () => {
  assertEquals(conditions({ refused: "it is bad" }).Accepted, "False Invalid");
  assertEquals(
    messageOf("Accepted", { refused: "it is bad" }),
    "it is bad; the last good one stays in force",
  );
  const nothing = { config: undefined, refused: "it is bad" };
  assertEquals(conditions(nothing), { Accepted: "False Invalid" });
  assertEquals(messageOf("Accepted", nothing), "it is bad");
  assertEquals(messageOf("Accepted", { refused: "x".repeat(5_000) })?.length, 4_096);
});

Deno.test("nodeConfigStatus() tells how far BIRD has come", () => {
  assertEquals(conditions({ applied: false }).Programmed, "False Pending");
  assertEquals(
    conditions({ applied: false, applyError: "no BIRD" }).Programmed,
    "False BirdFailed",
  );
  const leftOut = [
    { peer: "198.51.100.1", reason: "SecretForbidden", message: "apply this Role" } as const,
  ];
  assertEquals(conditions({ leftOut }).Programmed, "False SecretForbidden");
  assertEquals(
    messageOf("Programmed", { leftOut }),
    "Left out 198.51.100.1: apply this Role",
  );
  assertEquals(nodeConfigStatus({ ...FACTS, leftOut }, [], NOW).bgp[1], {
    peer: "198.51.100.1",
    asn: 65000,
    state: "LeftOut",
    message: "apply this Role",
  });
});

Deno.test("nodeConfigStatus() names the sessions that are down", () => {
  const some = {
    sessions: new Map([["2001:db8:25::1", "Active"], ["198.51.100.1", "Established"]]),
  };
  assertEquals(conditions(some).PeersEstablished, "False SomeDown");
  assertEquals(messageOf("PeersEstablished", some), "Not established: 2001:db8:25::1 (Active)");
  assertEquals(conditions({ sessions: undefined }).PeersEstablished, "False AllDown");
  const alone = parseNodeConfig({ name: "n1", annotations: {}, spec: {} }).config;
  assertEquals(conditions({ config: alone }).PeersEstablished, "True NoPeers");
  const guarded = { ...alone, announce: { allowed: [] } };
  assertEquals(conditions({ config: guarded }).AnnounceOpen, "False Guarded");
});

Deno.test("nodeConfigStatus() keeps a condition's time until its status changes", () => {
  const first = nodeConfigStatus(FACTS, [], NOW);
  const later = "2026-01-02T04:00:00Z";
  const second = nodeConfigStatus({ ...FACTS, applied: false }, first.conditions, later);
  const times = Object.fromEntries(
    second.conditions.map(({ type, lastTransitionTime }) => [type, lastTransitionTime]),
  );
  assertEquals(times, {
    Accepted: NOW,
    Programmed: later,
    PeersEstablished: NOW,
    ImportLimitReached: NOW,
    AnnounceOpen: NOW,
    Drained: NOW,
  });
  assertEquals(
    nodeConfigStatus(FACTS, first.conditions, later),
    first,
    "nothing changed, and it did",
  );
});

Deno.test("nodeConfigStatus() says which pods serve an anycast address, and why others do not", () => {
  const leg = { via: "2001:db8:f001::a", dev: "flock00000001", weight: 1 };
  const anycast = [
    {
      address: "2001:db8:ffff::1",
      legs: [leg],
      pods: [
        { pod: "web/b", weight: 1 },
        { pod: "web/c", weight: 1, heldBack: "it is not Ready" },
        { pod: "web/d", weight: 1, heldBack: "it is being deleted" },
      ],
    },
    {
      address: "203.0.113.1",
      legs: [],
      pods: [{ pod: "web/b", weight: 1, heldBack: "it has no IPv4 address" }],
    },
  ];
  assertEquals(nodeConfigStatus({ ...FACTS, anycast }, [], NOW).anycast, [
    {
      address: "2001:db8:ffff::1",
      announced: true,
      pods: ["web/b"],
      message: "web/c: it is not Ready; web/d: it is being deleted",
    },
    {
      address: "203.0.113.1",
      announced: false,
      pods: [],
      message: "web/b: it has no IPv4 address",
    },
  ]);
});

Deno.test("nodeConfigStatus() says how far draining is", () => {
  const since = "2026-01-02T03:04:05.678Z";
  const drained = (drain: StatusFacts["drain"]): unknown => [
    conditions({ drain }).Drained,
    messageOf("Drained", { drain }),
  ];
  assertEquals(drained({ phase: "announcing", since }), [
    "True Draining",
    `Anycast addresses are announced with GRACEFUL_SHUTDOWN (asked for at ${since})`,
  ]);
  assertEquals(drained({ phase: "announcing", since, withdrawsAt: NOW }), [
    "True Draining",
    `Anycast addresses are announced with GRACEFUL_SHUTDOWN until ${NOW} (asked for at ${since})`,
  ]);
  assertEquals(drained({ phase: "withdrawn" }), [
    "True Drained",
    "Anycast addresses are not announced; flock undrain takes it back",
  ]);
});
