import { assert, assertEquals, assertMatch, assertNotEquals } from "@std/assert";
import fc from "fast-check";
import { parseAddress, parsePrefix } from "./cidr.ts";
import {
  hostBatch,
  hostIfnameOf,
  hostMacOf,
  isHostIfname,
  parseAlias,
  podBatch,
  podMacOf,
  podRouteMetric,
  protocolOf,
  renderAlias,
  routedAddresses,
  shortId,
  type Wiring,
} from "./wiring.ts";

const FREE = (): boolean => false;
const PREFIXES = ["2001:db8:f001::/64", "10.244.1.0/24"].map(parsePrefix);

const WIRING: Wiring = {
  owner: { containerId: "c1", ifname: "eth0", namespace: "shop", podName: "web-0", podUid: "u1" },
  hostIfname: "flock1a2b3c4d",
  netns: "/run/netns/x",
  mtu: 1500,
  primary: { ipv6: "2001:db8:f001::a", ipv4: "10.244.1.2" },
  extra: ["2001:db8:ffff::1"],
  anycast: ["2001:db8:ffff::53", "203.0.113.200"],
};

Deno.test("hostIfnameOf() hashes the container id, for other interfaces with their name", () => {
  // FNV-1a-32 of "foobar" is a published vector.
  assertEquals(hostIfnameOf({ containerId: "foobar", ifname: "eth0" }, FREE), "flockbf9cf968");
  assertEquals(hostIfnameOf({ containerId: "a", ifname: "eth0" }, FREE), "flocke40c292c");
  assertNotEquals(hostIfnameOf({ containerId: "a", ifname: "net1" }, FREE), "flocke40c292c");
});

Deno.test("hostIfnameOf() gives another name while one is taken, each time the same", () => {
  const id = { containerId: "foobar", ifname: "eth0" };
  const taken = new Set<string>();
  for (let n = 0; n < 50; n++) {
    const name = hostIfnameOf(id, (name) => taken.has(name));
    assertEquals(name, hostIfnameOf(id, (name) => taken.has(name)));
    assert(isHostIfname(name) && !taken.has(name), name);
    taken.add(name);
  }
});

Deno.test("hostIfnameOf() gives names that the kernel takes, from any id", () => {
  fc.assert(fc.property(fc.string(), fc.string(), (containerId, ifname) => {
    const name = hostIfnameOf({ containerId, ifname }, FREE);
    assertMatch(name, /^flock[0-9a-f]{8}$/);
    assert(name.length <= 15, "IFNAMSIZ");
  }));
});

Deno.test("isHostIfname() knows ours only", () => {
  for (const name of ["flock00000000", "flockffffffff"]) assert(isHostIfname(name), name);
  for (
    const name of ["flock", "flock0", "flockFFFFFFFF", "xflock00000000", "flock000000000", "eth0"]
  ) {
    assert(!isHostIfname(name), name);
  }
});

Deno.test("hardware addresses are local, unicast, and differ at the two ends", () => {
  assertEquals(hostMacOf("flock1a2b3c4d"), "02:f0:1a:2b:3c:4d");
  assertEquals(podMacOf("flock1a2b3c4d"), "06:f0:1a:2b:3c:4d");
  for (const mac of [hostMacOf("flock1a2b3c4d"), podMacOf("flock1a2b3c4d")]) {
    assertEquals(parseInt(mac.slice(0, 2), 16) & 0b11, 0b10, mac);
  }
});

Deno.test("parseAlias() gives back what renderAlias() wrote", () => {
  const { owner } = WIRING;
  assertEquals(renderAlias(owner), "flock:1:shop/web-0:u1:c1:eth0");
  assertEquals(parseAlias(renderAlias(owner)), owner);
  const podless = { ...owner, namespace: "", podName: "c1", podUid: "" };
  assertEquals(parseAlias(renderAlias(podless)), podless);
  for (
    const alias of ["", "flock", "flock:2:a/b:u:c:eth0", "flock:1:a/b:u:c:", "uplink to spine 1"]
  ) {
    assertEquals(parseAlias(alias), undefined, alias);
  }
});

Deno.test("renderAlias() fits into the kernel's field and never cuts the container's identity", () => {
  const owner = {
    containerId: "f".repeat(64),
    ifname: "eth0",
    namespace: "n".repeat(63),
    podName: "p".repeat(253),
    podUid: crypto.randomUUID(),
  };
  const alias = renderAlias(owner);
  assertEquals(alias.length, 255);
  const parsed = parseAlias(alias)!;
  assertEquals(
    [parsed.containerId, parsed.ifname, parsed.podUid, parsed.namespace],
    [owner.containerId, owner.ifname, owner.podUid, owner.namespace],
  );
  assert(owner.podName.startsWith(parsed.podName));
});

Deno.test("renderAlias() can be read back, and recognised, whatever is long", () => {
  const lengths = [1, 64, 65, 150, 200, 255];
  for (const id of lengths) {
    for (const name of [1, 63, 253]) {
      for (const ifname of ["eth0", "x".repeat(15), "\u00e9".repeat(7), "\u{1f426}\u{1f426}"]) {
        const owner = {
          containerId: "a.".repeat(128).slice(0, id),
          ifname,
          namespace: "n".repeat(63),
          podName: "p".repeat(name),
          podUid: "u".repeat(64),
        };
        const alias = renderAlias(owner);
        assert(new TextEncoder().encode(alias).length <= 255, alias);
        const { containerId, podName, ...rest } = parseAlias(alias)!;
        const { containerId: whole, podName: wholeName, ...same } = owner;
        assertEquals(rest, same);
        assert([whole, shortId(whole)].includes(containerId), containerId);
        assert(wholeName.startsWith(podName) && podName !== "", podName);
      }
    }
  }
  // All of an id is in it: two that begin and end alike are told apart.
  const [one, two] = ["b", "c"].map((middle) => "a".repeat(100) + middle + "a".repeat(100));
  assertNotEquals(shortId(one!), shortId(two!));
  assertEquals(shortId("f".repeat(64)), "f".repeat(64));
  // As it was written before.
  assertEquals(
    parseAlias(`flock:1:shop/web:u1:${"c".repeat(150)}:eth0`)?.containerId,
    "c".repeat(150),
  );
});

Deno.test("routedAddresses() names the primary ones first and no anycast", () => {
  const texts = [WIRING.primary.ipv6!, WIRING.primary.ipv4!, ...WIRING.extra];
  assertEquals(routedAddresses(WIRING), texts.map(parseAddress));
  assertEquals(routedAddresses({ primary: {}, extra: [] }), []);
});

Deno.test("protocolOf() is 143 inside the node's prefixes and 144 outside", () => {
  const cases = {
    "2001:db8:f001::a": 143,
    "2001:db8:f001:1::": 144,
    "10.244.1.255": 143,
    "10.244.2.0": 144,
  };
  for (const [text, protocol] of Object.entries(cases)) {
    assertEquals(protocolOf(parseAddress(text), PREFIXES), protocol, text);
  }
  assertEquals(protocolOf(parseAddress("10.244.1.1"), []), 144);
});

Deno.test("hostBatch() makes link, gateways, neighbour entries and routes, in this order", () => {
  assertEquals(hostBatch(WIRING, PREFIXES), [
    "link add flock1a2b3c4d address 02:f0:1a:2b:3c:4d mtu 1500 type veth " +
    "peer name eth0 netns /run/netns/x address 06:f0:1a:2b:3c:4d mtu 1500",
    "link set flock1a2b3c4d addrgenmode none",
    "link set flock1a2b3c4d alias flock:1:shop/web-0:u1:c1:eth0",
    "link set flock1a2b3c4d up",
    "addr replace fe80::1/64 dev flock1a2b3c4d nodad",
    "addr replace 169.254.1.1/32 dev flock1a2b3c4d scope host",
    ...["2001:db8:f001::a", "10.244.1.2", "2001:db8:ffff::1"].map((address) =>
      `neigh replace ${address} dev flock1a2b3c4d lladdr 06:f0:1a:2b:3c:4d nud permanent`
    ),
    "route add 2001:db8:f001::a/128 dev flock1a2b3c4d proto 143 metric 16",
    "route add 10.244.1.2/32 dev flock1a2b3c4d proto 143 metric 16",
    "route add 2001:db8:ffff::1/128 dev flock1a2b3c4d proto 144 metric 16",
  ]);
});

Deno.test("podBatch() makes addresses, neighbour entries and routes, and anycast on lo", () => {
  assertEquals(podBatch(WIRING), [
    "link set lo up",
    "link set dev eth0 addrgenmode none",
    "link set dev eth0 up",
    "addr add 2001:db8:f001::a/128 dev eth0 nodad",
    "addr add 10.244.1.2/32 dev eth0",
    "addr add 2001:db8:ffff::1/128 dev eth0 nodad",
    "neigh replace fe80::1 dev eth0 lladdr 02:f0:1a:2b:3c:4d nud permanent",
    "route replace default via fe80::1 dev eth0 src 2001:db8:f001::a",
    "neigh replace 169.254.1.1 dev eth0 lladdr 02:f0:1a:2b:3c:4d nud permanent",
    "route replace 169.254.1.1 dev eth0 scope link src 10.244.1.2",
    "route replace default via 169.254.1.1 dev eth0 src 10.244.1.2",
    "addr replace 2001:db8:ffff::53/128 dev lo nodad preferred_lft 0",
    "addr replace 203.0.113.200/32 dev lo preferred_lft 0",
  ]);
});

Deno.test("podBatch() gives routes of a further interface a metric of their own", () => {
  const lines = (ifname: string): readonly string[] =>
    podBatch({ ...WIRING, owner: { ...WIRING.owner, ifname } })
      .filter((line) => line.startsWith("route "));
  const metric = podRouteMetric("net1");
  assert(metric !== undefined && metric > 1024, "behind the kernel's for IPv6");
  assertEquals(lines("net1"), [
    `route replace default via fe80::1 dev net1 src 2001:db8:f001::a metric ${metric}`,
    `route replace 169.254.1.1 dev net1 scope link src 10.244.1.2 metric ${metric}`,
    `route replace default via 169.254.1.1 dev net1 src 10.244.1.2 metric ${metric}`,
  ]);
  assertNotEquals(podRouteMetric("net2"), metric);
});

Deno.test("hostBatch() and podBatch() have no word of a family that the pod has not", () => {
  const only = (primary: Wiring["primary"]): string =>
    [
      ...hostBatch({ ...WIRING, primary, extra: [], anycast: [] }, PREFIXES),
      ...podBatch({ ...WIRING, primary, extra: [], anycast: [] }),
    ].join("\n");
  const ipv6 = only({ ipv6: WIRING.primary.ipv6 });
  assert(ipv6.includes("fe80::1") && !/\d+\.\d+\.\d+\.\d+/.test(ipv6), ipv6);
  const ipv4 = only({ ipv4: WIRING.primary.ipv4 });
  assert(ipv4.includes("169.254.1.1") && !ipv4.includes("::"), ipv4);
});
