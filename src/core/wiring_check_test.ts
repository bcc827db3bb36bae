import { assert, assertEquals } from "@std/assert";
import { type Address, parsePrefix, type Prefix } from "./cidr.ts";
import type { IpAddress, IpLink, IpNeighbor, IpRoute } from "./ip_state.ts";
import { hostMacOf, podMacOf, protocolOf, renderAlias, type Wiring } from "./wiring.ts";
import { checkHost, checkPod, hostSysctls, type ObservedEnd, podSysctls } from "./wiring_check.ts";

const DEV = "flock1a2b3c4d";
const PREFIXES = ["2001:db8:f001::/64", "10.244.1.0/24"].map(parsePrefix);

const WIRING: Wiring = {
  owner: { containerId: "c1", ifname: "eth0", namespace: "shop", podName: "web-0", podUid: "u1" },
  hostIfname: DEV,
  netns: "/run/netns/x",
  mtu: 1500,
  primary: { ipv6: "2001:db8:f001::a", ipv4: "10.244.1.2" },
  extra: ["2001:db8:ffff::1"],
  anycast: ["2001:db8:ffff::53", "203.0.113.200"],
};

const HOST: ObservedEnd = {
  links: [{
    ...link(DEV, hostMacOf(DEV), ["fe80::1/64", "169.254.1.1/32"]),
    alias: renderAlias(WIRING.owner),
  }],
  routes: [
    route("2001:db8:f001::a/128", "143"),
    route("10.244.1.2/32", "143"),
    route("2001:db8:ffff::1/128", "144"),
  ],
  neighbors: ["2001:db8:f001::a", "10.244.1.2", "2001:db8:ffff::1"].map((address) =>
    neighbor(address, DEV, podMacOf(DEV))
  ),
  sysctls: hostSysctls(WIRING),
};

const POD: ObservedEnd = {
  links: [
    link("lo", "00:00:00:00:00:00", [
      "127.0.0.1/8",
      "::1/128",
      "2001:db8:ffff::53/128",
      "203.0.113.200/32",
    ]),
    link("eth0", podMacOf(DEV), ["2001:db8:f001::a/128", "10.244.1.2/32", "2001:db8:ffff::1/128"]),
  ],
  routes: [
    podRoute("::/0", "2001:db8:f001::a", "fe80::1"),
    podRoute("169.254.1.1/32", "10.244.1.2"),
    podRoute("0.0.0.0/0", "10.244.1.2", "169.254.1.1"),
  ],
  neighbors: ["fe80::1", "169.254.1.1"].map((a) => neighbor(a, "eth0", hostMacOf(DEV))),
  sysctls: podSysctls(WIRING),
};

function protocolAt(prefixes: readonly Prefix[]): (address: Address) => number {
  return (address) => protocolOf(address, prefixes);
}

const PROTOCOL_OF = protocolAt(PREFIXES);

Deno.test("checkHost() and checkPod() find nothing wrong with what is right", () => {
  assertEquals(checkHost(WIRING, PROTOCOL_OF, HOST), []);
  assertEquals(checkPod(WIRING, POD), []);
});

Deno.test("checkHost() and checkPod() leave alone what later plugins and operators added", () => {
  const more = (end: ObservedEnd): ObservedEnd => ({
    links: [...end.links, link("dummy0", "02:00:00:00:00:01", ["198.18.0.1/32"])],
    routes: [...end.routes, { ...route("198.18.0.0/15", "static"), dev: "dummy0" }],
    neighbors: [...end.neighbors, neighbor("198.18.0.2", "dummy0", "02:00:00:00:00:02")],
    sysctls: end.sysctls,
  });
  assertEquals(checkHost(WIRING, PROTOCOL_OF, more(HOST)), []);
  assertEquals(checkPod(WIRING, more(POD)), []);
});

Deno.test("checkHost() and checkPod() name whatever is taken away", () => {
  for (
    const [end, check] of [
      [HOST, (o: ObservedEnd) => checkHost(WIRING, PROTOCOL_OF, o)],
      [POD, (o: ObservedEnd) => checkPod(WIRING, o)],
    ] as const
  ) {
    for (const { without, naming } of eachRemoval(end)) {
      const problems = check(without);
      assert(problems.length > 0, `it misses ${naming}`);
      assert(problems.some((text) => text.includes(naming)), `${naming} in ${problems}`);
    }
  }
});

Deno.test("checkHost() and checkPod() name whatever is different", () => {
  const host = (change: Partial<IpLink>): ObservedEnd => ({
    ...HOST,
    links: [{ ...HOST.links[0]!, ...change }],
  });
  const pod = (change: Partial<IpLink>): ObservedEnd => ({
    ...POD,
    links: [POD.links[0]!, { ...POD.links[1]!, ...change }],
  });
  const routeOf = (end: ObservedEnd, n: number, change: Partial<IpRoute>): ObservedEnd => ({
    ...end,
    routes: end.routes.map((r, i) => i === n ? { ...r, ...change } : r),
  });
  const neighborOf = (end: ObservedEnd, change: Partial<IpNeighbor>): ObservedEnd => ({
    ...end,
    neighbors: end.neighbors.map((n, i) => i === 0 ? { ...n, ...change } : n),
  });
  const hostCases: readonly (readonly [ObservedEnd, string])[] = [
    [host({ up: false }), `link ${DEV} is down on the node`],
    [
      host({ mac: "02:00:00:00:00:01" }),
      `link ${DEV} on the node has hardware address 02:00:00:00:00:01, not 02:f0:1a:2b:3c:4d`,
    ],
    [host({ alias: undefined }), `alias of link ${DEV} is ""`],
    [host({ alias: "mine" }), `alias of link ${DEV} is "mine"`],
    [
      routeOf(HOST, 0, { protocol: "static" }),
      `route 2001:db8:f001::a/128 dev ${DEV} has protocol static, not 143`,
    ],
    [
      routeOf(HOST, 0, { metric: 1024 }),
      `route 2001:db8:f001::a/128 dev ${DEV} is missing on the node`,
    ],
    [routeOf(HOST, 1, { table: "100" }), `route 10.244.1.2/32 dev ${DEV} is missing on the node`],
    [
      neighborOf(HOST, { mac: "02:00:00:00:00:01" }),
      `neighbor entry 2001:db8:f001::a dev ${DEV} is missing`,
    ],
    [
      neighborOf(HOST, { permanent: false }),
      `neighbor entry 2001:db8:f001::a dev ${DEV} is missing`,
    ],
    [
      { ...HOST, sysctls: { ...HOST.sysctls, [`net/ipv4/conf/${DEV}/rp_filter`]: "2" } },
      `sysctl net.ipv4.conf.${DEV}.rp_filter is 2 on the node, not 0`,
    ],
  ];
  for (const [observed, problem] of hostCases) {
    assertEquals(checkHost(WIRING, PROTOCOL_OF, observed), [problem]);
  }
  const podCases: readonly (readonly [ObservedEnd, string])[] = [
    [pod({ up: false }), "link eth0 is down in the pod"],
    [
      { ...POD, links: [{ ...POD.links[0]!, up: false }, POD.links[1]!] },
      "link lo is down in the pod",
    ],
    [
      routeOf(POD, 0, { prefsrc: "2001:db8:ffff::1" }),
      "route ::/0 via fe80::1 dev eth0 src 2001:db8:f001::a is missing",
    ],
    [
      routeOf(POD, 2, { gateway: "169.254.1.2" }),
      "route 0.0.0.0/0 via 169.254.1.1 dev eth0 src 10.244.1.2 is missing",
    ],
    [
      { ...POD, sysctls: { ...POD.sysctls, "net/ipv4/tcp_mtu_probing": "0" } },
      "sysctl net.ipv4.tcp_mtu_probing is 0 in the pod, not 1",
    ],
  ];
  for (const [observed, problem] of podCases) assertEquals(checkPod(WIRING, observed), [problem]);
});

Deno.test("checkHost() asks for another protocol when the node's prefixes changed", () => {
  assertEquals(checkHost(WIRING, protocolAt([]), HOST).length, 2);
  assertEquals(checkHost(WIRING, protocolAt([parsePrefix("2001:db8::/32"), PREFIXES[1]!]), HOST), [
    `route 2001:db8:ffff::1/128 dev ${DEV} has protocol 144, not 143`,
  ]);
});

Deno.test("checkPod() asks for no sysctl that the kernel has not", () => {
  assertEquals(checkPod(WIRING, { ...POD, sysctls: {} }), []);
});

Deno.test("podSysctls() are what families and anycast need", () => {
  assertEquals(podSysctls({ ...WIRING, anycast: [] }), { "net/ipv6/conf/eth0/disable_ipv6": "0" });
  assertEquals(podSysctls({ ...WIRING, anycast: [], primary: { ipv4: "10.244.1.2" } }), {});
  assertEquals(podSysctls(WIRING)["net/ipv4/tcp_mtu_probing"], "1");
});

/** The end without each of its parts that the wiring needs, and the text that must name it. */
function* eachRemoval(end: ObservedEnd): Iterable<{ without: ObservedEnd; naming: string }> {
  const drop = <T>(list: readonly T[], item: T): readonly T[] => list.filter((x) => x !== item);
  for (const one of end.links) {
    yield { without: { ...end, links: drop(end.links, one) }, naming: `link ${one.ifname} is` };
    for (const address of one.addresses) {
      if (["127.0.0.1", "::1"].includes(address.address)) continue;
      const changed = { ...one, addresses: drop(one.addresses, address) };
      yield {
        without: { ...end, links: end.links.map((l) => l === one ? changed : l) },
        naming: `address ${address.address}/${address.prefixLength} on ${one.ifname} is missing`,
      };
    }
  }
  for (const one of end.routes) {
    yield { without: { ...end, routes: drop(end.routes, one) }, naming: `route ${one.dst} ` };
  }
  for (const one of end.neighbors) {
    yield {
      without: { ...end, neighbors: drop(end.neighbors, one) },
      naming: `neighbor entry ${one.address} dev ${one.dev} is missing`,
    };
  }
}

function link(ifname: string, mac: string, cidrs: readonly string[]): IpLink {
  return { ifname, mac, up: true, carrier: true, mtu: 1500, addresses: cidrs.map(address) };
}

function address(cidr: string): IpAddress {
  const [text = "", length] = cidr.split("/");
  return {
    family: text.includes(":") ? "ipv6" : "ipv4",
    address: text,
    prefixLength: Number(length),
    scope: "global",
    temporary: false,
    deprecated: false,
    tentative: false,
  };
}

function route(dst: string, protocol: string): IpRoute {
  return {
    family: dst.includes(":") ? "ipv6" : "ipv4",
    dst,
    type: "unicast",
    table: "main",
    protocol,
    metric: 16,
    dev: DEV,
    nextHops: [],
    flags: [],
  };
}

function podRoute(dst: string, prefsrc: string, gateway?: string): IpRoute {
  return { ...route(dst, "boot"), metric: 1024, dev: "eth0", prefsrc, gateway };
}

function neighbor(text: string, dev: string, mac: string): IpNeighbor {
  return { address: text, dev, mac, permanent: true };
}
