import { assertEquals } from "@std/assert";
import { attachment, link, linkName, readyPod, snapshot } from "../../tests/attachments.ts";
import type { Attachment } from "./attachment.ts";
import { parseAddress, parsePrefix } from "./cidr.ts";
import {
  describeRoute,
  filterRefusal,
  holderOf,
  kernelFacts,
  lackingOf,
  ownerOf,
} from "./explain_known.ts";
import type { IpRoute } from "./ip_state.ts";
import { nexthopKey, type OwnObject, type OwnState, routeKey } from "./own_objects.ts";

const ANY = "2001:db8:ffff::53";
const KEPT = "2001:db8:f00f::7";
const POD = attachment(1, {
  ip6: "2001:db8:f001::a",
  ip4: "10.244.1.2",
  anycast: [ANY],
  addresses: ["2001:db8:ffff::80", KEPT],
  asked: ["2001:db8:ffff::80"],
});

Deno.test("ownerOf() says whose an address is, and what is announced for it", () => {
  const uplink = {
    ...link(0),
    ifname: "eth0",
    addresses: [{
      family: "ipv6" as const,
      address: "2001:db8:25::11",
      prefixLength: 64,
      scope: "global",
      temporary: false,
      deprecated: false,
      tentative: false,
    }],
  };
  const node = {
    nodeName: "n1",
    attachments: [POD],
    nodePrefixes: snapshot([]).nodePrefixes,
    links: [uplink],
    peers: [parseAddress("2001:db8:25::1")],
    claims: [
      { kind: "prefix" as const, node: "n1", prefix: parsePrefix("2001:db8:f001::/64") },
      { kind: "prefix" as const, node: "n2", prefix: parsePrefix("2001:db8:f002::/64") },
    ],
  };
  const cases: readonly (readonly [
    address: string,
    role: string,
    announced: string,
    dst: string,
    owner?: string,
  ])[] = [
    [ANY, "anycast", `${ANY}/128`, `${ANY}/128`],
    ["2001:db8:f001::a", "pod", "2001:db8:f001::/64", "2001:db8:f001::a/128"],
    ["10.244.1.2", "pod", "10.244.1.0/24", "10.244.1.2/32"],
    [KEPT, "pod", `${KEPT}/128`, `${KEPT}/128`],
    ["2001:db8:f001::b", "unused", "2001:db8:f001::/64", "2001:db8:f001::/64"],
    [
      "2001:db8:25::11",
      "node",
      "2001:db8:25::11/128",
      "2001:db8:25::11/128",
      "this node's own, on link eth0",
    ],
    [
      "2001:db8:25::1",
      "node",
      "2001:db8:25::1/128",
      "2001:db8:25::1/128",
      "a BGP peer of this node",
    ],
    [
      "2001:db8:f002::1",
      "otherNode",
      "2001:db8:f002::1/128",
      "2001:db8:f002::1/128",
      'in 2001:db8:f002::/64, a prefix of node "n2"',
    ],
    ["203.0.113.9", "unknown", "203.0.113.9/32", "203.0.113.9/32"],
  ];
  for (const [address, role, announced, dst, owner] of cases) {
    const known = ownerOf(parseAddress(address), node);
    assertEquals([known.role, known.announced, known.dst, known.owner], [
      role,
      announced,
      dst,
      owner,
    ], address);
    assertEquals(known.having, role === "anycast" || role === "pod" ? [POD] : [], address);
  }
});

Deno.test("holderOf() says what holds a pod back", () => {
  const guard = [{ prefix: parsePrefix("2001:db8:eeee::/48"), namespaces: ["*"] }];
  const of = (text: string, change: Parameters<typeof snapshot>[1], pod: Attachment = POD) => {
    const role = text === ANY ? "anycast" as const : "pod" as const;
    const known = holderOf(pod, text, { role, snapshot: snapshot([pod], change), lacking: [] });
    return [known.annotation, known.heldBack, known.linkProblem];
  };
  const notReady = (one: Attachment) => ({ ...readyPod(one), ready: false });
  assertEquals(of(ANY, {}), ["anycast", undefined, undefined]);
  assertEquals(of(ANY, { podOf: notReady }), ["anycast", "it is not Ready", undefined]);
  assertEquals(of("10.244.1.2", { podOf: notReady }), [undefined, undefined, undefined]);
  assertEquals(of("2001:db8:ffff::80", {}), ["addresses", undefined, undefined]);
  assertEquals(of("2001:db8:ffff::80", { allowed: guard }), [
    "addresses",
    "the address is outside what may be announced (spec.announce.allowed)",
    undefined,
  ]);
  assertEquals(of(KEPT, { allowed: guard }), [undefined, undefined, undefined]);
  const down = new Map([[linkName(1), link(1, { carrier: false })]]);
  assertEquals(of(ANY, { links: down }), [
    "anycast",
    "its interface is down",
    "its interface is down",
  ]);
  const podless = attachment(2, { namespace: "", podName: "", podUid: "", ip4: "10.244.1.3" });
  const known = holderOf(podless, "10.244.1.3", {
    role: "pod",
    snapshot: snapshot([podless]),
    lacking: ["addr add fe80::1/64 dev x"],
  });
  assertEquals([known.pod, known.known, known.linkProblem], [
    "",
    undefined,
    "its node's end lacks: addr add fe80::1/64 dev x",
  ]);
});

const DST = `${ANY}/128`;
const KEY = routeKey("ipv6", DST, 16);
const object = (kind: OwnObject["kind"], text: string, more: Partial<OwnObject> = {}) => ({
  kind,
  subject: DST,
  text,
  devs: [linkName(1)],
  ...more,
});
const routeOf = (text: string): OwnObject =>
  object("route", text, {
    id: 7,
    route: { type: "unicast", family: "ipv6", protocol: "144", metric: 16, shared: true },
  });
const WANTED: OwnState = new Map([
  [KEY, routeOf("route")],
  [nexthopKey(7), object("group", "group", { subject: "7", id: 7 })],
  [nexthopKey(8), object("nexthop", "hop", { subject: "8", id: 8 })],
  [nexthopKey(9), object("nexthop", "another's", { subject: "9", id: 9, devs: ["other"] })],
  ["end", object("end", "link set up", { subject: linkName(1) })],
]);
const LEGS = [{ via: "2001:db8:f001::a", dev: linkName(1), weight: 1 }];

Deno.test("kernelFacts() compares a route with what is there, and with what it needs", () => {
  const without = (...keys: string[]): OwnState =>
    new Map([...WANTED].filter(([key]) => !keys.includes(key)));
  const of = (present: OwnState, wanted = WANTED) =>
    kernelFacts(DST, LEGS, { wanted, present, others: [] });
  const all = { wanted: "route", present: "route", missing: [], nexthopId: 7, others: [] };
  assertEquals(of(WANTED), all);
  assertEquals(of(without(KEY)), { ...all, present: undefined });
  assertEquals(of(without(nexthopKey(7), nexthopKey(8), nexthopKey(9))), {
    ...all,
    missing: ["group", "hop"],
  });
  assertEquals(of(WANTED, without(KEY)), { ...all, wanted: undefined, nexthopId: undefined });
  assertEquals(of(without(KEY), without(KEY)).present, undefined);
  assertEquals(lackingOf(linkName(1), WANTED, without("end")), ["link set up"]);
  assertEquals(lackingOf(linkName(1), WANTED, WANTED), []);
});

Deno.test("kernelFacts() tells which of others' routes win", () => {
  const other = (protocol: string, metric: number): IpRoute => ({
    family: "ipv6",
    dst: DST,
    type: "unicast",
    table: "main",
    protocol,
    metric,
    dev: "eth0",
    nextHops: [],
    flags: [],
  });
  const others = [other("144", 16), other("static", 16), other("bird", 32), other("boot", 0)];
  assertEquals(kernelFacts(DST, LEGS, { wanted: WANTED, present: new Map(), others }).others, [
    { text: "proto static dev eth0 metric 16", wins: true },
    { text: "proto bird dev eth0 metric 32", wins: false },
    // What has none has the kernel's own, 1024.
    { text: "proto boot dev eth0 metric 0", wins: false },
  ]);
});

Deno.test("describeRoute() leaves out whose route it is where nobody said", () => {
  const route = { family: "ipv6", dst: DST, type: "unicast", table: "main", metric: 0 } as const;
  const to = { ...route, dev: "lo", nextHops: [], flags: [] };
  assertEquals(describeRoute({ ...to, protocol: "" }), "dev lo metric 0");
  assertEquals(
    describeRoute({ ...to, protocol: "", gateway: "fe80::1" }),
    "via fe80::1 dev lo metric 0",
  );
});

Deno.test("filterRefusal() knows what the configuration's filter lets through", () => {
  const allowed = [{ prefix: parsePrefix("2001:db8:ffff::/48"), namespaces: ["default"] }];
  const of = (text: string, reserved: string[] = []) =>
    filterRefusal(parseAddress(text), [POD], {
      reserved: reserved.map(parsePrefix),
      announce: { allowed },
    });
  assertEquals(of(ANY), undefined);
  assertEquals(of(ANY, ["2001:db8:ffff::/64"]), "is reserved (2001:db8:ffff::/64)");
  assertEquals(of("2001:db8:eeee::1"), "is outside what may be announced (spec.announce.allowed)");
  // Given from a prefix that the node had.
  assertEquals(of(KEPT), undefined);
});
