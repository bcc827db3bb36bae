import { assertEquals, assertThrows } from "@std/assert";
import { contains, FAMILIES, parseAddress, parsePrefix } from "../core/cidr.ts";
import { ANYCAST_SPACE, LINK_LENGTH, MAX_NODES, planLab, POD_SPACE } from "./plan.ts";

Deno.test("planLab() gives nodes the AS numbers of the design", () => {
  const numbers = (design: "a" | "b" | "c"): number[] =>
    planLab({ design }).nodes.map((node) => node.asn);
  assertEquals(numbers("a"), [65001, 65001]);
  assertEquals(numbers("b"), [65001, 65002]);
  assertEquals(numbers("c"), [65000, 65000]);
});

Deno.test("planLab() gives every node addresses of the link and a prefix of its own", () => {
  const { nodes, router } = planLab({ nodes: MAX_NODES });
  for (const family of FAMILIES) {
    const link = parsePrefix(`${router.addresses[family]}/${LINK_LENGTH[family]}`);
    const addresses = nodes.map((node) => node.addresses[family]!);
    assertEquals(new Set([...addresses, router.addresses[family]]).size, MAX_NODES + 1);
    for (const address of addresses) assertEquals(contains(link, parseAddress(address)), true);
    const prefixes = nodes.map((node) => parsePrefix(node.prefixes[family]!));
    assertEquals(new Set(prefixes.map((prefix) => prefix.value)).size, MAX_NODES);
    for (const prefix of prefixes) {
      assertEquals(contains(parsePrefix(POD_SPACE[family]), prefix), true);
      assertEquals(contains(parsePrefix(ANYCAST_SPACE[family]), prefix), false);
    }
  }
});

Deno.test("planLab() leaves out a family that is not wanted", () => {
  const plan = planLab({ families: ["ipv6"] });
  assertEquals(Object.keys(plan.router.addresses), ["ipv6"]);
  assertEquals(plan.nodes.map((node) => Object.keys(node.prefixes)), [["ipv6"], ["ipv6"]]);
});

Deno.test("planLab() gives default routes only in design (a), unless told", () => {
  assertEquals(planLab({ design: "a" }).defaultRoutes, true);
  assertEquals(planLab({ design: "b" }).defaultRoutes, false);
  assertEquals(planLab({ design: "b", defaultRoutes: true }).defaultRoutes, true);
});

Deno.test("planLab() refuses a number of nodes that has no addresses", () => {
  for (const nodes of [0, 1.5, MAX_NODES + 1]) {
    assertThrows(() => planLab({ nodes }), RangeError, `"${nodes}" nodes`);
  }
});
