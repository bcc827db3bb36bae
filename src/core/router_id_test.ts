import { assertEquals } from "@std/assert";
import { parseAddress } from "./cidr.ts";
import type { IpAddress, IpLink } from "./ip_state.ts";
import { chooseRouterId, type RouterIdInput, routerIdOf } from "./router_id.ts";

function link(ifname: string, ...addresses: string[]): Pick<IpLink, "ifname" | "addresses"> {
  return {
    ifname,
    addresses: addresses.map((address): IpAddress => ({
      family: address.includes(":") ? "ipv6" : "ipv4",
      address,
      prefixLength: 24,
      scope: "global",
      temporary: false,
      deprecated: false,
      tentative: false,
    })),
  };
}

function route(dst: string, dev: string | undefined, metric = 0): RouterIdInput["routes"][number] {
  return {
    family: dst.includes(":") ? "ipv6" : "ipv4",
    dst,
    type: "unicast",
    metric,
    dev,
    nextHops: dev === undefined ? [{ dev: "eth1", gateway: "198.51.100.1", weight: 1 }] : [],
  };
}

const LINKS = [
  link("lo", "127.0.0.1"),
  link("docker0", "172.17.0.1"),
  link("eth0", "2001:db8::11", "198.51.100.11", "198.51.100.99"),
  link("eth1", "203.0.113.11"),
  link("flock0123abcd", "169.254.1.1", "10.9.9.9"),
];
const BASE: RouterIdInput = { links: LINKS, routes: [], nodeName: "host001" };

Deno.test("chooseRouterId() takes what is told, kept, on the default route's link, or made", async (t) => {
  const v4 = route("0.0.0.0/0", "eth0", 100);
  const cases: readonly (readonly [string, Partial<RouterIdInput>, string])[] = [
    ["configured", { configured: parseAddress("9.9.9.9"), kept: "198.51.100.11" }, "9.9.9.9"],
    ["kept while it is there", { kept: "203.0.113.11", routes: [v4] }, "203.0.113.11"],
    ["kept but gone", { kept: "203.0.113.12", routes: [v4] }, "198.51.100.11"],
    ["kept but a pod's link's", { kept: "10.9.9.9", routes: [v4] }, "198.51.100.11"],
    [
      "kept, made from the name before there was an address",
      { kept: routerIdOf("host001"), routes: [v4] },
      routerIdOf("host001"),
    ],
    ["kept, made from another name", { kept: routerIdOf("a"), routes: [v4] }, "198.51.100.11"],
    ["default route", { routes: [route("10.0.0.0/8", "docker0"), v4] }, "198.51.100.11"],
    ["best metric", { routes: [v4, route("0.0.0.0/0", "eth1", 50)] }, "203.0.113.11"],
    ["several next hops", { routes: [route("0.0.0.0/0", undefined)] }, "203.0.113.11"],
    ["IPv6 default route only", { routes: [route("::/0", "eth0")] }, "198.51.100.11"],
    [
      "IPv4 default route before IPv6",
      { routes: [route("::/0", "eth1"), v4] },
      "198.51.100.11",
    ],
    ["link towards the first peer", { peerRoute: { dev: "eth1" } }, "203.0.113.11"],
    [
      "link without IPv4",
      { links: [link("eth0", "2001:db8::11")], routes: [v4] },
      routerIdOf("host001"),
    ],
    [
      "link-local IPv4",
      { links: [link("eth0", "169.254.7.7")], routes: [v4] },
      routerIdOf("host001"),
    ],
    ["unreachable default", { routes: [{ ...v4, type: "unreachable" }] }, routerIdOf("host001")],
    ["nothing", {}, routerIdOf("host001")],
  ];
  for (const [name, input, expected] of cases) {
    await t.step(name, () => assertEquals(chooseRouterId({ ...BASE, ...input }), expected));
  }
});

Deno.test("routerIdOf() folds FNV-1a-32 into 1.0.0.0 to 126.255.255.255", () => {
  // FNV-1a-32 of "a" is e40c292c, of "" 811c9dc5; both are above 126 × 2^24 = 7e000000.
  assertEquals(routerIdOf("a"), "103.12.41.44");
  assertEquals(routerIdOf(""), "4.28.157.197");
  for (let n = 0; n < 2_000; n++) {
    const first = Number(routerIdOf(`node-${n}`).split(".")[0]);
    assertEquals(first >= 1 && first <= 126, true);
  }
});
