import { assertEquals } from "@std/assert";
import type { IpRoute } from "./ip_state.ts";
import { hostIfnamesOf, nexthopDeletions, routeDeletions } from "./leftovers.ts";

const route: IpRoute = {
  family: "ipv4",
  dst: "10.1.2.3/32",
  type: "unicast",
  table: "main",
  protocol: "143",
  metric: 16,
  dev: "flock0000000a",
  nextHops: [],
  flags: [],
};

Deno.test("hostIfnamesOf() knows host veths by their name only", () => {
  const links = [
    "flock0000000b",
    "eth0",
    "flock",
    "flock0000000a",
    "flockbridge0",
    "flock0000000A",
  ];
  assertEquals(hostIfnamesOf(links.map((ifname) => ({ ifname }))), [
    "flock0000000a",
    "flock0000000b",
  ]);
});

Deno.test("routeDeletions() deletes ours in any table, and nobody else's", () => {
  assertEquals(
    routeDeletions([
      route,
      { ...route, protocol: "144", table: "77" },
      { ...route, dst: "2001:db8::/64", type: "unreachable", metric: 2000, dev: "lo" },
      ...["kernel", "bird", "static", "14", "1430", ""].map((protocol) => ({ ...route, protocol })),
    ]),
    [
      "route del 10.1.2.3/32 table main proto 143 metric 16",
      "route del 10.1.2.3/32 table 77 proto 144 metric 16",
      "route del unreachable 2001:db8::/64 table main proto 143 metric 2000",
    ],
  );
});

Deno.test("nexthopDeletions() deletes groups before what they hold", () => {
  const nexthops = [{ id: 5, group: false }, { id: 9, group: true }, { id: 3, group: false }];
  assertEquals(nexthopDeletions(nexthops), [
    "nexthop del id 9",
    "nexthop del id 3",
    "nexthop del id 5",
  ]);
});
