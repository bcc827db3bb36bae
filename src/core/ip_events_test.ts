import { assertEquals } from "@std/assert";
import { type IpEvent, parseIpEvent } from "./ip_events.ts";

/** Lines that iproute2 6.1.0 printed, and what is in them. */
const LINES: readonly (readonly [line: string, event: IpEvent | undefined])[] = [
  // Links.
  [
    "[LINK]3: flockaaaaaaaa@p1: <BROADCAST,MULTICAST,M-DOWN> mtu 1500 qdisc noop state DOWN group default \\    link/ether ba:60:29:20:39:93 brd ff:ff:ff:ff:ff:ff",
    { kind: "link", deleted: false, ifname: "flockaaaaaaaa", up: false },
  ],
  [
    "[LINK]3: flockaaaaaaaa@if2: <NO-CARRIER,BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc noqueue state LOWERLAYERDOWN group default \\    link/ether 2a:e4:40:a5:7e:8d brd ff:ff:ff:ff:ff:ff link-netns p1",
    { kind: "link", deleted: false, ifname: "flockaaaaaaaa", up: true },
  ],
  [
    "[LINK]4: br0: <BROADCAST,MULTICAST,UP> mtu 1500 qdisc noqueue state UNKNOWN group default event FEATURE CHANGE \\    link/ether 00:00:00:00:00:00 brd ff:ff:ff:ff:ff:ff",
    { kind: "link", deleted: false, ifname: "br0", up: true },
  ],
  [
    "[LINK]9: LOWER_UP: <BROADCAST,MULTICAST,LOWER_UP> mtu 1500 qdisc noop state DOWN group default ",
    { kind: "link", deleted: false, ifname: "LOWER_UP", up: false },
  ],
  [
    "[LINK]Deleted 3: vc@NONE: <BROADCAST,MULTICAST> mtu 1500 qdisc noop state DOWN group default \\    link/ether ba:60:29:20:39:93 brd ff:ff:ff:ff:ff:ff",
    { kind: "link", deleted: true, ifname: "vc", up: false },
  ],
  // A port of a bridge comes and leaves; the link is there all the time.
  [
    "[LINK]2: vb@va: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc noqueue master br0 state UP group default \\    link/ether 3a:8e:c3:3b:86:f2 brd ff:ff:ff:ff:ff:ff",
    { kind: "link", deleted: false, ifname: "vb", up: true },
  ],
  [
    "[LINK]2: vb@va: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 master br0 state UP \\    link/ether 3a:8e:c3:3b:86:f2",
    undefined,
  ],
  [
    "[LINK]Deleted 2: vb@va: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 master br0 state UP \\    link/ether 3a:8e:c3:3b:86:f2",
    undefined,
  ],
  // Addresses.
  [
    "[ADDR]3: va    inet 10.1.0.1/24 scope global va\\       valid_lft forever preferred_lft forever",
    { kind: "address", deleted: false, ifname: "va" },
  ],
  [
    "[ADDR]Deleted 3: flockaaaaaaaa    inet6 fe80::b860:29ff:fe20:3993/64 scope link tentative \\       valid_lft forever preferred_lft forever",
    { kind: "address", deleted: true, ifname: "flockaaaaaaaa" },
  ],
  // Settings of links, and rules.
  [
    "[NETCONF]inet flock00000001 forwarding off rp_filter strict mc_forwarding off proxy_neigh off ignore_routes_with_linkdown off ",
    { kind: "netconf", ifname: "flock00000001", forwarding: false, rpFilter: true },
  ],
  [
    "[NETCONF]inet6 all forwarding on ",
    { kind: "netconf", ifname: "all", forwarding: true, rpFilter: undefined },
  ],
  ["[NETCONF]Deleted inet flock00000001 ", undefined],
  ["[RULE]Deleted 100: from all lookup 77 ", { kind: "rule" }],
  // Routes.
  ["[ROUTE]10.9.9.9 dev va proto 144 scope link metric 16 ", route("10.9.9.9/32")],
  [
    "[ROUTE]2001:db8:6::1 dev va proto 143 metric 16 pref medium",
    route("2001:db8:6::1/128", { protocol: "143" }),
  ],
  [
    "[ROUTE]Deleted 2001:db8:5::/48 via 2001:db8::2 dev va table 77 proto bird metric 32 pref medium",
    route("2001:db8:5::/48", { deleted: true, table: "77", protocol: "bird", metric: 32 }),
  ],
  [
    "[ROUTE]10.202.0.0/24 via 10.1.0.9 dev va table 1000 src 10.1.0.1 ",
    route("10.202.0.0/24", { table: "1000", protocol: undefined, metric: 0 }),
  ],
  [
    "[ROUTE]10.203.0.0/24 via inet6 2001:db8::9 dev va ",
    route("10.203.0.0/24", { protocol: undefined, metric: 0 }),
  ],
  [
    "[ROUTE]default via 10.1.0.2 dev va ",
    route("0.0.0.0/0", { protocol: undefined, metric: 0 }),
  ],
  [
    "[ROUTE]default via 2001:db8::2 dev va metric 1024 pref medium",
    route("::/0", { protocol: undefined, metric: 1024 }),
  ],
  [
    "[ROUTE]default from 2001:db8:7::/48 dev va metric 8 pref medium",
    route("::/0", { protocol: undefined, metric: 8 }),
  ],
  [
    "[ROUTE]prohibit default table 100 metric 4000000000 ",
    route("0.0.0.0/0", {
      table: "100",
      protocol: undefined,
      metric: 4_000_000_000,
      dev: undefined,
    }),
  ],
  [
    "[ROUTE]blackhole default dev lo table 100 metric 4000 pref medium",
    route("::/0", { table: "100", protocol: undefined, metric: 4000, dev: "lo" }),
  ],
  [
    "[ROUTE]blackhole 10.78.0.0/16 ",
    route("10.78.0.0/16", { protocol: undefined, metric: 0, dev: undefined }),
  ],
  [
    "[ROUTE]unreachable 10.77.0.0/16 proto 143 metric 1000 ",
    route("10.77.0.0/16", { protocol: "143", metric: 1000, dev: undefined }),
  ],
  [
    "[ROUTE]unreachable 2001:db8:7::/48 dev lo proto 143 metric 2000 pref medium",
    route("2001:db8:7::/48", { protocol: "143", metric: 2000, dev: "lo" }),
  ],
  [
    "[ROUTE]local 2001:db8::1 dev va table local proto kernel metric 0 pref medium",
    route("2001:db8::1/128", { table: "local", protocol: "kernel", metric: 0 }),
  ],
  [
    "[ROUTE]Deleted multicast ff00::/8 dev va table local proto kernel metric 256 linkdown pref medium",
    route("ff00::/8", { deleted: true, table: "local", protocol: "kernel", metric: 256 }),
  ],
  [
    "[ROUTE]10.44.0.0/16 tos 0x10 dev va scope link metric 77 mtu lock 1400 ",
    route("10.44.0.0/16", { protocol: undefined, metric: 77 }),
  ],
  // Routes with next-hop objects, and with several next hops.
  [
    "[ROUTE]Deleted 2001:db8:ffff::53 nhid 1718419457 proto 144 metric 16 pref medium\\\tnexthop via 2001:db8::b dev flockbbbbbbbb weight 1 onlink",
    route("2001:db8:ffff::53/128", { deleted: true, dev: undefined, nexthopId: 1718419457 }),
  ],
  [
    "[ROUTE]10.200.0.1 nhid 11 via 10.1.0.3 dev va proto 144 metric 16 ",
    route("10.200.0.1/32", { nexthopId: 11 }),
  ],
  [
    "[ROUTE]default nhid 102 metric 7 pref medium\\\tnexthop via 2001:db8::3 dev va weight 1 \\\tnexthop via 2001:db8::4 dev va weight 1 ",
    route("::/0", { protocol: undefined, metric: 7, dev: undefined, nexthopId: 102 }),
  ],
  [
    "[ROUTE]10.201.0.0/24 metric 5 \\\tnexthop via 10.1.0.5 dev va weight 1 \\\tnexthop via 10.1.0.6 dev va weight 3 ",
    route("10.201.0.0/24", { protocol: undefined, metric: 5, dev: undefined }),
  ],
  // Devices named like the words around them.
  [
    "[ROUTE]10.9.9.9 dev proto proto 144 scope link metric 16 ",
    route("10.9.9.9/32", { dev: "proto" }),
  ],
  [
    "[ROUTE]10.9.9.9 dev nhid proto 144 scope link metric 16 ",
    route("10.9.9.9/32", { dev: "nhid" }),
  ],
  [
    "[ROUTE]default via 10.1.0.2 dev pref proto 144 metric 16 ",
    route("0.0.0.0/0", { dev: "pref" }),
  ],
  // Next hops.
  [
    "[NEXTHOP]id 1718419457 group 1718353921,3/1718353922 type resilient buckets 64 idle_timer 10 unbalanced_timer 60 unbalanced_time 0 proto 144 ",
    { kind: "nexthop", deleted: false, id: 1718419457, protocol: "144" },
  ],
  [
    "[NEXTHOP]Deleted id 14 via 2001:db8::4 dev va scope link proto 144 onlink ",
    { kind: "nexthop", deleted: true, id: 14, protocol: "144" },
  ],
  ["[NEXTHOP]id 15 blackhole ", { kind: "nexthop", deleted: false, id: 15, protocol: undefined }],
  // None of these.
  ["", undefined],
  ["Terminated", undefined],
  ["[LINK]", undefined],
  ["[ADDR]", undefined],
  ["[ROUTE]Deleted ", undefined],
  ["[ROUTE]100 as to 200 via inet 10.1.0.2 dev va ", undefined],
  ["[NEXTHOP]", undefined],
  ["[NEXTHOPBUCKET]id 101 index 3 idle_time 0 nhid 12 ", undefined],
  ["[NEIGH]10.1.0.2 dev va lladdr ba:60:29:20:39:93 REACHABLE", undefined],
];

Deno.test("parseIpEvent() reads what ip monitor prints", async (t) => {
  for (const [line, event] of LINES) {
    await t.step(line.slice(0, 60), () => assertEquals(parseIpEvent(line), event));
  }
});

/** A route to 10.9.9.9 or the like, of ours unless told. */
function route(dst: string, rest: Partial<IpEvent & { kind: "route" }> = {}): IpEvent {
  return {
    kind: "route",
    deleted: false,
    dst,
    family: dst.includes(":") ? "ipv6" : "ipv4",
    table: "main",
    protocol: "144",
    metric: 16,
    dev: "va",
    nexthopId: undefined,
    ...rest,
  };
}
