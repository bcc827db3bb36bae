import { assertEquals } from "@std/assert";
import { parseBirdReply } from "./bird_reply.ts";
import { parseBirdRoutes } from "./bird_routes.ts";

const ROUTES = `0001 BIRD 2.0.12 ready.
1007-Table master4:
     10.244.1.0/24        unreachable [flock_node4 16:51:29.313] * (200)
     203.0.113.0/26       unicast [flock_bgp4_198_51_100_1 2026-11-21 from 198.51.100.9] * (100/10) [AS65000i]
     	via 198.51.100.1 on eth0
                          unicast [flock_kernel4 16:51:30.351] (10)
     	dev eth0
1007-
     Table master6:
     2001:db8:ffff::1/128 unicast [flock_kernel6 16:51:30.351] * (210)
     	via 2001:db8:f001:0:1613:3ed8:f66d:9498 on flock0ea07137 onlink weight 2
     2001:DB8:0:0::/64    unicast [flock_bgp6_x 16:51:30.351] E (100) [i]
1008-	Type: inherit univ
`;

Deno.test("parseBirdRoutes() has each route with its protocol, preference and whether it is the best", () => {
  assertEquals(parseBirdRoutes(parseBirdReply(ROUTES)), [
    {
      dst: "10.244.1.0/24",
      type: "unreachable",
      protocol: "flock_node4",
      preference: 200,
      best: true,
    },
    {
      dst: "203.0.113.0/26",
      type: "unicast",
      protocol: "flock_bgp4_198_51_100_1",
      preference: 100,
      best: true,
    },
    // Of the same network as the one before.
    {
      dst: "203.0.113.0/26",
      type: "unicast",
      protocol: "flock_kernel4",
      preference: 10,
      best: false,
    },
    {
      dst: "2001:db8:ffff::1/128",
      type: "unicast",
      protocol: "flock_kernel6",
      preference: 210,
      best: true,
    },
    {
      dst: "2001:db8::/64",
      type: "unicast",
      protocol: "flock_bgp6_x",
      preference: 100,
      best: false,
    },
  ]);
});

Deno.test("parseBirdRoutes() has none where BIRD has none, or no such protocol", () => {
  for (
    const text of [
      "",
      "8001 Network not found\n",
      "9001 syntax error, unexpected CF_SYM_UNDEFINED, expecting CF_SYM_KNOWN\n",
    ]
  ) assertEquals(parseBirdRoutes(parseBirdReply(`0001 BIRD 2.0.12 ready.\n${text}`)), []);
});
