import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import type { Attachment } from "./attachment.ts";
import { parsePrefix } from "./cidr.ts";
import { type DesiredRoute, desiredRoutes, diffRoutes, type RouteChange } from "./desired_state.ts";
import type { IpLink, IpRoute } from "./ip_state.ts";

const PREFIXES = ["2001:db8:f001::/64", "10.244.1.0/24"].map(parsePrefix);
const NOT_PENDING = (): boolean => false;

Deno.test("desiredRoutes() is every pod's addresses and the node's prefixes", () => {
  const a = attachment(1, {
    ip6: "2001:db8:f001::a",
    ip4: "10.244.1.2",
    addresses: ["2001:db8:ffff::1"],
  });
  assertEquals(
    desiredRoutes({ attachments: [a], nodePrefixes: PREFIXES, links: [link(1)] }).map(textOf),
    [
      "10.244.1.0/24 unreachable proto 143 metric 1000",
      "10.244.1.2/32 dev flock00000001 proto 143 metric 16",
      "2001:db8:f001::/64 unreachable proto 143 metric 2000",
      "2001:db8:f001::a/128 dev flock00000001 proto 143 metric 16",
      "2001:db8:ffff::1/128 dev flock00000001 proto 144 metric 16",
    ],
  );
});

Deno.test("desiredRoutes() leaves out routes of a link that is gone", () => {
  const attachments = [1, 2].map((n) => attachment(n, { ip6: `2001:db8:f001::${n}` }));
  assertEquals(
    desiredRoutes({ attachments, nodePrefixes: [], links: [link(2)] }).map(({ dst }) => dst),
    ["2001:db8:f001::2/128"],
  );
});

Deno.test("desiredRoutes() announces an address by itself that no prefix of the node covers any more", () => {
  const a = attachment(1, { ip4: "10.244.1.2" });
  const [before] = desiredRoutes({ attachments: [a], nodePrefixes: [], links: [link(1)] });
  assertEquals(before?.protocol, 144);
});

Deno.test("desiredRoutes() does not depend on the order of its input", () => {
  const attachments = [1, 2, 3].map((n) => attachment(n, { ip6: `2001:db8:f001::${n}` }));
  const links = [1, 2, 3].map(link);
  assertEquals(
    desiredRoutes({ attachments, nodePrefixes: PREFIXES, links }),
    desiredRoutes({
      attachments: attachments.toReversed(),
      nodePrefixes: PREFIXES.toReversed(),
      links: links.toReversed(),
    }),
  );
});

Deno.test("diffRoutes() makes the line for each change", () => {
  const want = route("2001:db8:f001::a/128");
  const cases: readonly (readonly [string, DesiredRoute[], IpRoute[], string[]])[] = [
    ["missing", [want], [], [
      "route replace 2001:db8:f001::a/128 dev flock00000001 proto 143 metric 16",
    ]],
    ["there", [want], [observed(want)], []],
    ["protocol", [want], [observed(want, { protocol: "144" })], [
      "route replace 2001:db8:f001::a/128 dev flock00000001 proto 143 metric 16",
    ]],
    ["device", [want], [observed(want, { dev: "eth0" })], [
      "route replace 2001:db8:f001::a/128 dev flock00000001 proto 143 metric 16",
    ]],
    ["next hop", [want], [observed(want, { gateway: "fe80::2" })], [
      "route replace 2001:db8:f001::a/128 dev flock00000001 proto 143 metric 16",
    ]],
    ["source", [want], [observed(want, { prefsrc: "2001:db8::1" })], [
      "route replace 2001:db8:f001::a/128 dev flock00000001 proto 143 metric 16",
    ]],
    ["several next hops", [want], [observed(want, { nextHops: [{ dev: "eth0" }] })], [
      "route replace 2001:db8:f001::a/128 dev flock00000001 proto 143 metric 16",
    ]],
    ["metric", [want], [observed(want, { metric: 1024 })], [
      "route del 2001:db8:f001::a/128 dev flock00000001 proto 143 metric 1024",
      "route replace 2001:db8:f001::a/128 dev flock00000001 proto 143 metric 16",
    ]],
    ["stray", [], [observed(want)], [
      "route del 2001:db8:f001::a/128 dev flock00000001 proto 143 metric 16",
    ]],
    ["stray unreachable IPv6", [], [observed(unreachable("2001:db8:f009::/64"), { dev: "lo" })], [
      "route del unreachable 2001:db8:f009::/64 dev lo proto 143 metric 2000",
    ]],
    ["stray unreachable IPv4", [], [observed(unreachable("10.244.9.0/24"))], [
      "route del unreachable 10.244.9.0/24 proto 143 metric 1000",
    ]],
    ["unreachable", [unreachable("10.244.1.0/24")], [], [
      "route replace unreachable 10.244.1.0/24 proto 143 metric 1000",
    ]],
    // The kernel shows IPv6's unreachable routes on lo.
    [
      "unreachable IPv6 is there",
      [unreachable("2001:db8:f001::/64")],
      [observed(unreachable("2001:db8:f001::/64"), { dev: "lo" })],
      [],
    ],
    ["other table", [], [observed(want, { table: "100" })], []],
    ["same in another table only", [want], [observed(want, { table: "100" })], [
      "route replace 2001:db8:f001::a/128 dev flock00000001 proto 143 metric 16",
    ]],
  ];
  for (const [name, desired, have, lines] of cases) {
    assertEquals(diffRoutes(desired, have, NOT_PENDING).map(({ line }) => line), lines, name);
  }
});

Deno.test("diffRoutes() does not touch a link that is being wired or torn down", () => {
  const mine = route("2001:db8:f001::a/128");
  const other = route("2001:db8:f001::b/128", "flock00000002");
  const isPending = (dev: string): boolean => dev === "flock00000001";
  assertEquals(diffRoutes([], [observed(mine)], isPending), []);
  assertEquals(diffRoutes([mine], [], isPending), []);
  assertEquals(diffRoutes([other], [observed(mine)], isPending).map(({ dst }) => dst), [other.dst]);
});

Deno.test("diffRoutes(), applied, gives the desired state, and a second diff is empty", () => {
  const host = fc.integer({ min: 1, max: 6 });
  const anyRoute = fc.oneof(
    fc.record({ n: host, dev: host }).map(({ n, dev }) =>
      route(`2001:db8:f001::${n}/128`, name(dev))
    ),
    fc.record({ n: host, dev: host }).map(({ n, dev }) => route(`10.244.1.${n}/32`, name(dev))),
    host.map((n) => unreachable(`2001:db8:f00${n}::/64`)),
    host.map((n) => unreachable(`10.244.${n}.0/24`)),
  );
  const anyObserved = fc.record({
    route: anyRoute,
    change: fc.record({
      protocol: fc.constantFrom("143", "144"),
      metric: fc.constantFrom(16, 32, 1000, 2000),
      table: fc.constantFrom("main", "main", "main", "100"),
      gateway: fc.constantFrom(undefined, undefined, "fe80::2"),
    }, { requiredKeys: [] }),
  }).map(({ route, change }) => observed(route, change));
  fc.assert(fc.property(
    fc.array(anyRoute, { maxLength: 12 }),
    fc.array(anyObserved, { maxLength: 12 }),
    (routes, have) => {
      const desired = unique(routes, (r) => `${r.dst} ${r.metric}`);
      const kernel = unique(have, (r) => `${r.table} ${r.dst} ${r.metric}`);
      const after = apply(kernel, diffRoutes(desired, kernel, NOT_PENDING), desired);
      const main = after.filter(({ table }) => table === "main");
      assertEquals(main.map(keyText).sort(), desired.map((r) => keyText(observed(r))).sort());
      assertEquals(
        after.filter(({ table }) => table !== "main"),
        kernel.filter(({ table }) => table !== "main"),
        "foreign tables",
      );
      assertEquals(diffRoutes(desired, after, NOT_PENDING), []);
    },
  ));
});

/** A model of the kernel: one route for each destination and metric of a table. */
function apply(
  kernel: readonly IpRoute[],
  changes: readonly RouteChange[],
  desired: readonly DesiredRoute[],
): IpRoute[] {
  let routes = [...kernel];
  for (const { kind, line } of changes) {
    const words = line.split(" ").filter((word) => word !== "unreachable");
    const dst = words[2];
    const metric = Number(words.at(-1));
    const found = routes.find((r) => r.table === "main" && r.dst === dst && r.metric === metric);
    if (kind === "remove") assert(found, `"${line}" removes what is not there`);
    routes = routes.filter((r) => r !== found);
    if (kind === "remove") continue;
    const want = desired.find((r) => r.dst === dst && r.metric === metric)!;
    const [head] = textOf(want).split(" ");
    assert(line.includes(head!) && line.includes(`proto ${want.protocol}`), line);
    if (want.dev) assert(line.includes(`dev ${want.dev} `), line);
    routes.push(observed(want));
  }
  return routes;
}

function unique<T>(items: readonly T[], key: (item: T) => string): T[] {
  return [...new Map(items.map((item) => [key(item), item])).values()];
}

function keyText({ dst, type, dev, protocol, metric, gateway }: IpRoute): string {
  return [dst, type, dev, protocol, metric, gateway].join(" ");
}

function textOf({ dst, type, dev, protocol, metric }: DesiredRoute): string {
  return `${dst} ${dev ? `dev ${dev}` : type} proto ${protocol} metric ${metric}`;
}

function route(dst: string, dev = "flock00000001"): DesiredRoute {
  const family = dst.includes(":") ? "ipv6" : "ipv4";
  return { family, dst, type: "unicast", dev, protocol: 143, metric: 16 };
}

function unreachable(dst: string): DesiredRoute {
  const family = dst.includes(":") ? "ipv6" : "ipv4";
  return {
    family,
    dst,
    type: "unreachable",
    protocol: 143,
    metric: family === "ipv6" ? 2000 : 1000,
  };
}

function observed(want: DesiredRoute, change: Partial<IpRoute> = {}): IpRoute {
  return {
    ...want,
    protocol: String(want.protocol),
    table: "main",
    nextHops: [],
    flags: [],
    ...change,
  };
}

function name(n: number): string {
  return `flock0000000${n}`;
}

function link(n: number): IpLink {
  return { ifname: name(n), up: true, mtu: 1500, mac: "", addresses: [] };
}

function attachment(
  n: number,
  addresses: Pick<Attachment, "ip6" | "ip4" | "addresses">,
): Attachment {
  return {
    containerId: `c${n}`,
    ifname: "eth0",
    namespace: "default",
    podName: `p${n}`,
    podUid: `u${n}`,
    hostIfname: name(n),
    netns: `/run/netns/p${n}`,
    state: "committed",
    allocatedAt: "2026-01-01T00:00:00.000Z",
    ...addresses,
  };
}
