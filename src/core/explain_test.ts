import { assertEquals, assertMatch, assertThrows } from "@std/assert";
import { explainAddress, explainNoAddress, parseExplainTarget } from "./explain.ts";
import type { AddressFacts, HolderFacts, PeerFacts } from "./explain_facts.ts";
import type { FactName } from "./inspection.ts";

const ROUTE = "2001:db8:ffff::53/128 nhid 1718419456 proto 144 metric 16";
const HOLDER: HolderFacts = {
  pod: "web/a",
  uid: "u1",
  containerId: "c1",
  ifname: "eth0",
  state: "committed",
  leaving: false,
  since: "2026-01-01T00:00:00.000Z",
  annotation: "anycast",
  known: { ready: true, terminating: false },
  hostIfname: "flock00000001",
};
const PEER: PeerFacts = {
  peer: "2001:db8:25::1",
  asn: 65000,
  state: "Established",
  since: "2026-01-01T00:00:00.000Z",
  exported: true,
  rejected: false,
};
const LEARNED = {
  dst: "2001:db8:ffff::53/128",
  type: "unicast",
  protocol: "flock_kernel6",
  preference: 210,
  best: true,
};
/** An anycast address that one pod serves and one peer is told of. */
const ANYCAST: AddressFacts = {
  node: "n1",
  address: "2001:db8:ffff::53",
  family: "ipv6",
  role: "anycast",
  holders: [HOLDER],
  legs: [{ via: "2001:db8:f001::a", dev: "flock00000001", weight: 1 }],
  announced: "2001:db8:ffff::53/128",
  route: { wanted: ROUTE, present: ROUTE, missing: [], nexthopId: 1718419456, others: [] },
  bird: { routes: [LEARNED] },
  guarded: true,
  peers: [PEER],
  changes: [{
    at: "2026-01-01T00:01:00.000Z",
    subject: "2001:db8:ffff::53/128",
    what: "web/a began to serve it",
    why: "no longer true: it is not Ready",
  }],
};
/** A pod's own address, which a prefix of the node covers. */
const OWN: AddressFacts = {
  ...ANYCAST,
  address: "2001:db8:f001::a",
  role: "pod",
  holders: [{ ...HOLDER, annotation: undefined }],
  legs: [],
  nodePrefix: "2001:db8:f001::/64",
  announced: "2001:db8:f001::/64",
  route: {
    wanted: "2001:db8:f001::a/128 dev flock00000001 proto 143 metric 16",
    present: "2001:db8:f001::a/128 dev flock00000001 proto 143 metric 16",
    missing: [],
    others: [],
  },
  bird: {
    routes: [{
      dst: "2001:db8:f001::/64",
      type: "unreachable",
      protocol: "flock_node6",
      preference: 200,
      best: true,
    }],
  },
  changes: [],
};
const CHAIN = [
  "pod",
  "allocation",
  "eligible",
  "nextHop",
  "kernelRoute",
  "birdRoute",
  "filter",
  "exported",
  "lastChange",
];

Deno.test("explainAddress() finds a whole chain of an anycast address in order", () => {
  const { ok, broken, facts } = explainAddress(ANYCAST);
  assertEquals([ok, broken], [true, undefined]);
  assertEquals(facts.map(({ fact, state, firstBroken }) => [fact, state, firstBroken]), [
    ...CHAIN.map((fact) => [fact, "ok", undefined]),
  ]);
  assertEquals(facts.map(({ text }) => text), [
    "web/a (UID u1) is Ready",
    "given by annotation flock.fritzlab.net/anycast of web/a, since 2026-01-01T00:00:00.000Z",
    "web/a may serve it",
    "web/a via 2001:db8:f001::a dev flock00000001 weight 1",
    ROUTE,
    "2001:db8:ffff::53/128, learned from the kernel: flock_kernel6, best, preference 210",
    "accepted: it is inside what may be announced (spec.announce.allowed)",
    "2001:db8:ffff::53/128 to 2001:db8:25::1 (AS65000)",
    "2026-01-01T00:01:00.000Z web/a began to serve it: no longer true: it is not Ready",
  ]);
});

Deno.test("explainAddress() says of a pod's own address that the node's prefix is announced", () => {
  const { ok, facts } = explainAddress(OWN);
  assertEquals(ok, true);
  assertEquals(facts.slice(1, 4).map(({ text }) => text), [
    "given by 2001:db8:f001::/64, to web/a, since 2026-01-01T00:00:00.000Z",
    "web/a may have it: its own address, Ready or not",
    "web/a dev flock00000001",
  ]);
  assertEquals(facts.slice(5).map(({ text }) => text), [
    "2001:db8:f001::/64, the node's prefix, which covers 2001:db8:f001::a: flock_node6, best, preference 200",
    "accepted: 2001:db8:f001::/64 is the node's own prefix",
    "2001:db8:f001::/64 to 2001:db8:25::1 (AS65000)",
    "nothing since it was attached at 2026-01-01T00:00:00.000Z, as far as this agent knows",
  ]);
});

const holder = (change: Partial<HolderFacts>): Partial<AddressFacts> => ({
  holders: [{ ...HOLDER, ...change }],
});
const route = (change: Partial<AddressFacts["route"]>): Partial<AddressFacts> => ({
  route: { ...ANYCAST.route, ...change },
});
const peer = (change: Partial<PeerFacts>): Partial<AddressFacts> => ({
  peers: [PEER, { ...PEER, peer: "2001:db8:25::2", ...change }],
});
const learned = (...routes: Partial<typeof LEARNED>[]): Partial<AddressFacts> => ({
  bird: { routes: routes.map((one) => ({ ...LEARNED, ...one })) },
});

Deno.test("explainAddress() marks the first broken fact", async (t) => {
  const cases: readonly (readonly [FactName, Partial<AddressFacts>, RegExp])[] = [
    ["pod", holder({ known: undefined, heldBack: "its Pod is gone" }), /u1\) is gone, or another/],
    [
      "allocation",
      holder({ state: "pending", heldBack: "it is being attached" }),
      /being attached/,
    ],
    ["allocation", holder({ leaving: true, heldBack: "it is being detached" }), /being detached/],
    ["eligible", holder({ heldBack: "it is not Ready" }), /held back: it is not Ready$/],
    ["eligible", holder({ heldBack: "the node is drained" }), /the node is drained$/],
    // The link is down, too; what comes first is named.
    [
      "eligible",
      holder({ heldBack: "it is not Ready", linkProblem: "its link is gone" }),
      /Ready$/,
    ],
    [
      "nextHop",
      holder({ heldBack: "its link is gone", linkProblem: "its link is gone" }),
      /^none to web\/a: its link is gone \(flock00000001\)$/,
    ],
    ["kernelRoute", route({ present: undefined }), /it is not there$/],
    [
      "kernelRoute",
      route({ present: undefined, others: [{ text: "proto static dev eth0", wins: true }] }),
      /in its place: proto static dev eth0$/,
    ],
    ["kernelRoute", route({ present: "something else" }), /there is something else$/],
    ["kernelRoute", route({ missing: ["id 1 group 2"] }), /not as it should be: id 1 group 2$/],
    [
      "kernelRoute",
      route({ others: [{ text: "proto static dev eth0 metric 5", wins: true }] }),
      /a better one wins: proto static dev eth0 metric 5$/,
    ],
    ["kernelRoute", route({ wanted: undefined }), /flock wants none, but there is/],
    ["birdRoute", { bird: { error: "no BIRD", routes: [] } }, /^no BIRD$/],
    ["birdRoute", learned(), /no route to 2001:db8:ffff::53\/128 of this node$/],
    ["birdRoute", learned({ protocol: "flock_bgp6_x" }), /what it has is from flock_bgp6_x$/],
    [
      "birdRoute",
      learned({ protocol: "other", preference: 220 }, { best: false }),
      /prefers other \(220\) to flock_kernel6 \(210\)$/,
    ],
    ["filter", { refused: "is reserved (2001:db8:ffff::/48)" }, /^it is reserved/],
    [
      "filter",
      peer({ exported: false, rejected: true }),
      /rejects .* for 2001:db8:25::2: its conf/,
    ],
    [
      "exported",
      peer({ exported: false, state: "Active", since: "now" }),
      /AS65000\); not to 2001:db8:25::2: the session is Active, since now$/,
    ],
    [
      "exported",
      peer({ exported: false, leftOut: "no route leads to it" }),
      /no route leads to it$/,
    ],
    ["exported", peer({ exported: false, state: undefined }), /configuration does not have it$/],
    ["exported", peer({ exported: false }), /BIRD has nothing to tell it$/],
    ["exported", { peers: [] }, /^no IPv6 peer is configured$/],
  ];
  for (const [fact, change, text] of cases) {
    await t.step(`${fact} ${text}`, () => {
      const chain = explainAddress({ ...ANYCAST, ...change });
      const marked = chain.facts.filter(({ firstBroken }) => firstBroken);
      assertEquals([chain.ok, chain.broken, marked.map((one) => one.fact)], [false, fact, [fact]]);
      assertMatch(marked[0]!.text, text);
      const before = chain.facts.slice(0, CHAIN.indexOf(fact));
      assertEquals(before.map(({ state }) => state), before.map(() => "ok"));
      assertEquals(chain.facts.map((one) => one.fact as string), CHAIN);
    });
  }
});

Deno.test("explainAddress() does not judge what BIRD could not be asked", () => {
  const { facts } = explainAddress({ ...ANYCAST, bird: { error: "no BIRD", routes: [] } });
  assertEquals(facts.slice(5).map(({ fact, state }) => [fact, state]), [
    ["birdRoute", "broken"],
    ["filter", "unknown"],
    ["exported", "unknown"],
    ["lastChange", "ok"],
  ]);
});

Deno.test("explainAddress() goes by the pod that gets furthest", () => {
  const waiting = { ...HOLDER, pod: "web/b", heldBack: "it is not Ready" };
  const chain = explainAddress({ ...ANYCAST, holders: [waiting, HOLDER] });
  assertEquals(chain.ok, true);
  assertMatch(chain.facts[2]!.text, /^web\/b is held back: it is not Ready; web\/a may serve it$/);
  const gone = { ...HOLDER, pod: "web/c", known: undefined };
  assertEquals(explainAddress({ ...ANYCAST, holders: [gone, waiting] }).broken, "eligible");
});

Deno.test("explainAddress() says whose an address is that no pod has", () => {
  const none: AddressFacts = { ...OWN, holders: [], toward: "proto bird via fe80::1 dev eth0" };
  const cases: readonly (readonly [Partial<AddressFacts>, RegExp, number])[] = [
    [{ role: "unused" }, /an unused address of 2001:db8:f001::\/64$/, 6],
    [{ role: "node", owner: "this node's own, on link eth0" }, /it is this node's own, on/, 3],
    [{ role: "otherNode", owner: 'in 2001:db8:f002::/64, a prefix of node "n2"' }, /ask there$/, 3],
    [{ role: "unknown", nodePrefix: undefined }, /^no pod of node "n1" has it, and no/, 3],
  ];
  for (const [change, text, count] of cases) {
    const { ok, broken, facts } = explainAddress({ ...none, ...change });
    assertEquals([ok, broken, facts.length], [false, "pod", count]);
    assertMatch(facts[0]!.text, text);
    assertEquals(facts.slice(1).map(({ state }) => state), facts.slice(1).map(() => "ok"));
  }
});

Deno.test("explainNoAddress() tells a pod that is not attached from one that is not known", () => {
  const { broken } = explainNoAddress("web/a", { known: "web/a is Ready", why: "not attached" });
  assertEquals(broken, "allocation");
  assertEquals(explainNoAddress("web/a", { why: "not known" }).broken, "pod");
});

Deno.test("parseExplainTarget() takes an address, a host route or a pod, and nothing else", () => {
  const address = { kind: "address", address: "2001:db8::1" };
  assertEquals(parseExplainTarget("2001:DB8:0::1") as unknown, address);
  assertEquals(parseExplainTarget(" 2001:db8::1/128 ") as unknown, address);
  assertEquals(parseExplainTarget("198.51.100.7/32") as unknown, {
    kind: "address",
    address: "198.51.100.7",
  });
  assertEquals(parseExplainTarget("web/a-0") as unknown, {
    kind: "pod",
    namespace: "web",
    name: "a-0",
  });
  for (const text of ["", "web", "web/", "/a", "web/a/b", "web/a b", "Web/a", "2001:db8::/64"]) {
    assertThrows(() => parseExplainTarget(text), SyntaxError, "Cannot explain");
  }
});
