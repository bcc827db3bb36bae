import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import { fakePod, FakeSource } from "../../tests/fakes/fake_source.ts";
import { parsePodAnnotations } from "../core/annotations.ts";
import type { Attachment } from "../core/attachment.ts";
import { parseAddress } from "../core/cidr.ts";
import { ANNOTATION_PREFIX } from "../core/config.ts";
import { CniError } from "../core/errors.ts";
import type { IpRoute } from "../core/ip_state.ts";
import { Ipam } from "../core/ipam.ts";
import { claimsOf } from "../core/node_claims.ts";
import { NO_SURROUNDINGS, readSurroundings, type Surroundings } from "./address_guard.ts";
import { addressesOf, chooseAddresses, type ChosenAddresses } from "./addressing.ts";
import { NodeState } from "./node_state.ts";

const SPEC = {
  cidr6: ["2001:db8:f001::/64"],
  cidr4: ["10.244.1.0/29"],
  reserved: ["10.244.1.3/32", "2001:db8:eeee::/48"],
  bgp: { asn: 65001, peers: [{ address: "198.51.100.1", asn: 65000 }] },
};

Deno.test("chooseAddresses() gives one address of each family, and holds them", async () => {
  await using f = await Fixture.create();
  const { primary, extra, anycast, lastGiven } = f.choose({});
  assertMatch(primary.ipv6!, /^2001:db8:f001:/);
  // Network, gateway and the reserved one are left out.
  assertEquals(primary.ipv4, "10.244.1.2");
  assertEquals([extra, anycast], [[], []]);
  assertEquals(lastGiven, [{ pool: "10.244.1.0/29", address: "10.244.1.2" }]);
  assert(f.holds(primary.ipv6!) && f.holds("10.244.1.2"));
  assertEquals(f.choose({}).primary.ipv4, "10.244.1.4");
});

Deno.test("chooseAddresses() gives nothing of a family that is off", async () => {
  await using f = await Fixture.create();
  assertEquals(Object.keys(f.choose({ ipv4: "false" }).primary), ["ipv6"]);
  assertEquals(Object.keys(f.choose({ ipv6: "false" }).primary), ["ipv4"]);
});

Deno.test("chooseAddresses() takes the first asked address of each family for the allocated one", async () => {
  await using f = await Fixture.create();
  const addresses = "203.0.113.7, 2001:db8:ffff::1, 203.0.113.8, 2001:db8:ffff::2";
  const chosen = f.choose({ addresses, anycast: "2001:db8:ffff::53" });
  assertEquals(chosen, {
    primary: { ipv6: "2001:db8:ffff::1", ipv4: "203.0.113.7" },
    extra: ["203.0.113.8", "2001:db8:ffff::2"],
    anycast: ["2001:db8:ffff::53"],
    lastGiven: [],
  });
  for (const text of ["203.0.113.7", "2001:db8:ffff::2", "2001:db8:ffff::53"]) {
    assert(f.holds(text));
  }
});

Deno.test("chooseAddresses() holds nothing when it fails", async () => {
  await using f = await Fixture.create();
  for (let n = 0; n < 4; n++) f.choose({ ipv6: "false" });
  const error = f.refused({ anycast: "2001:db8:ffff::53", addresses: "2001:db8:ffff::1" });
  assertEquals(error.code, 100);
  assert(!f.holds("2001:db8:ffff::53") && !f.holds("2001:db8:ffff::1"));
  const narrow = f.refused({ cidr4: "10.9.0.0/24", anycast: "2001:db8:ffff::53" });
  assertEquals(narrow.code, 101);
  assert(!f.holds("2001:db8:ffff::53"));
});

Deno.test("chooseAddresses() refuses addresses of the node, a router, a peer, a reserved range", async () => {
  await using f = await Fixture.create();
  const cases = {
    "198.51.100.11": "the node's",
    "198.51.100.254": "its router",
    "198.51.100.253": "its other router",
    "198.51.100.1": "a peer",
    "2001:db8:eeee::1": "reserved",
    "10.244.1.3": "reserved",
  };
  for (const [address, what] of Object.entries(cases)) {
    for (const key of ["addresses", "anycast"]) {
      const error = f.refused({ [key]: address });
      assertEquals(error.code, 102, what);
      assert(error.message.startsWith(`Cannot bind address "${address}": it is reserved`), what);
    }
  }
});

Deno.test("chooseAddresses() refuses what no pod is ever given", async () => {
  await using f = await Fixture.create();
  const never = ["10.244.1.0", "10.244.1.1", "10.244.1.7", "198.51.100.0", "198.51.100.50"];
  for (const address of never) {
    const error = f.refused({ addresses: address });
    assertEquals(error.code, 102, address);
    assertMatch(error.message, /which is never given to a pod$/);
  }
  // Where a guard says so, an address of the node's own network may be announced.
  const allowed = [{ cidr: "198.51.100.0/24" }];
  await using guarded = await Fixture.create({}, { announce: { allowed } });
  assertEquals(guarded.choose({ addresses: "198.51.100.50" }).primary.ipv4, "198.51.100.50");
});

Deno.test("chooseAddresses() refuses what another pod holds, except an anycast address to share", async () => {
  await using f = await Fixture.create();
  f.attachments.push(attachment({
    ip6: "2001:db8:f001::a",
    addresses: ["203.0.113.7"],
    anycast: ["2001:db8:ffff::53"],
  }));
  for (const address of ["2001:db8:f001::a", "203.0.113.7"]) {
    for (const key of ["addresses", "anycast"]) {
      const error = f.refused({ [key]: address });
      assertEquals([error.code, error.message], [
        102,
        `Cannot bind address "${address}": pod "shop/db-0" holds it`,
      ]);
    }
  }
  assertEquals(f.refused({ addresses: "2001:db8:ffff::53" }).code, 102);
  assertEquals(f.choose({ anycast: "2001:db8:ffff::53" }).anycast, ["2001:db8:ffff::53"]);
});

Deno.test("chooseAddresses() refuses what is another node's, or a router's on the node's links", async () => {
  await using f = await Fixture.create();
  const claims = claimsOf({
    nodeConfigs: [{ name: "n2", annotations: {}, spec: { cidr4: ["10.244.2.0/24"] } }],
    nodes: [{ name: "n2", podCidrs: ["2001:db8:f002::/64"], addresses: ["203.0.113.12"] }],
  });
  f.surroundings = { claims, routes: [], routers: ["203.0.113.1", "2001:db8:26::1"] };
  const cases = {
    "10.244.2.77": 'it is in 10.244.2.0/24, a prefix of node "n2"',
    "2001:db8:f002::77": 'it is in 2001:db8:f002::/64, a prefix of node "n2"',
    "203.0.113.12": 'it is an address of node "n2"',
    "203.0.113.1": "it is a router's on the node's links",
    "2001:db8:26::1": "it is a router's on the node's links",
  };
  for (const [address, why] of Object.entries(cases)) {
    for (const key of ["addresses", "anycast"]) {
      const error = f.refused({ [key]: address });
      assertEquals([error.code, error.message], [102, `Cannot bind address "${address}": ${why}`]);
      assert(!f.holds(address));
    }
  }
});

Deno.test("chooseAddresses() refuses an own address to which BIRD learned a host route", async () => {
  await using f = await Fixture.create();
  const learned = (dst: string, protocol: string, gateway?: string): IpRoute => ({
    family: dst.includes(":") ? "ipv6" : "ipv4",
    dst,
    type: "unicast",
    table: "main",
    protocol,
    metric: 32,
    gateway,
    nextHops: gateway
      ? []
      : [{ gateway: "198.51.100.12", weight: 1 }, { gateway: "198.51.100.13", weight: 1 }],
    flags: [],
  });
  f.surroundings = {
    ...NO_SURROUNDINGS,
    routes: [
      learned("2001:db8:ffff::1/128", "bird", "2001:db8:25::12"),
      learned("203.0.113.7/32", "12"),
      learned("203.0.113.8/32", "static", "198.51.100.9"),
    ],
  };
  const cases = {
    "2001:db8:ffff::1": "2001:db8:25::12",
    "203.0.113.7": "198.51.100.12 and 198.51.100.13",
  };
  for (const [address, via] of Object.entries(cases)) {
    const error = f.refused({ addresses: address });
    assertEquals([error.code, error.message], [
      102,
      `Cannot bind address "${address}": it is announced by somebody else (route learned from ${via})`,
    ]);
    // That is what an anycast address is for.
    assertEquals(f.choose({ anycast: address }).anycast, [address]);
  }
  assertEquals(f.choose({ addresses: "203.0.113.8" }).primary.ipv4, "203.0.113.8");
});

Deno.test("readSurroundings() asks for pods with addresses only, and leaves the own node out", async () => {
  const asked: string[] = [];
  const { signal } = new AbortController();
  const source = new FakeSource();
  source.putConfig("n1", { cidr4: ["10.244.1.0/24"] });
  source.putConfig("n2", { cidr4: ["10.244.2.0/24"] });
  const read = (annotations: Readonly<Record<string, string>>): Promise<Surroundings> => {
    const { options } = parsePodAnnotations(annotations, { ipv6: true, ipv4: true });
    const ip = {
      inspectAddresses(addresses: readonly string[]) {
        asked.push(...addresses);
        return Promise.resolve({ routes: [], routers: ["203.0.113.1"] });
      },
    };
    return readSurroundings(options, { source, ip, nodeName: "n1", signal });
  };
  assertEquals(await read({}), NO_SURROUNDINGS);
  assertEquals(asked, []);
  const { claims, routers } = await read({
    [`${ANNOTATION_PREFIX}anycast`]: "2001:db8:ffff::53",
    [`${ANNOTATION_PREFIX}addresses`]: "203.0.113.7",
  });
  assertEquals(asked, ["203.0.113.7", "2001:db8:ffff::53"]);
  assertEquals([claims.map(({ node }) => node), routers], [["n2"], ["203.0.113.1"]]);
});

Deno.test("chooseAddresses() makes readable identifiers by the pod's annotation, else the node's", async () => {
  await using f = await Fixture.create({ "flock.fritzlab.net/ip-algo": "namespace" });
  const byNode = f.choose({ ipv4: "false" }).primary.ipv6!;
  const byPod = f.choose({ ipv4: "false", "ip-algo": "app" }).primary.ipv6!;
  const again = f.choose({ ipv4: "false" }).primary.ipv6!;
  // One field fills all but the last digit, the instance.
  assertEquals(byNode.slice(0, -1), again.slice(0, -1));
  assert(byPod.slice(0, -1) !== byNode.slice(0, -1), `${byPod} ${byNode}`);
  await using bad = await Fixture.create({ "flock.fritzlab.net/ip-algo": "weather" });
  assertMatch(bad.choose({}).primary.ipv6!, /^2001:db8:f001:/);
});

Deno.test("chooseAddresses() lets a namespace announce only what the NodeConfig allows it", async () => {
  const allowed = [{ cidr: "2001:db8:ffff::/48", namespaces: ["edge-*", "infra"] }];
  await using f = await Fixture.create({}, { announce: { allowed } });
  const inside = { anycast: "2001:db8:ffff::53" };
  for (const namespace of ["edge-dns", "edge-", "infra"]) f.choose(inside, namespace);
  for (const namespace of ["default", "edge", "my-edge-dns", "infra2"]) {
    const error = assertThrows(() => f.choose(inside, namespace), CniError);
    assertEquals(error.code, 102);
    assertMatch(error.message, /"2001:db8:ffff::53": it is not allowed in namespace ".*announce/);
  }
  for (const key of ["anycast", "addresses"]) {
    const error = assertThrows(() => f.choose({ [key]: "10.244.2.77" }, "infra"), CniError);
    assertEquals(error.code, 102);
    assertMatch(error.message, /"10.244.2.77": it is outside what may be announced/);
    assert(!f.holds("10.244.2.77"));
  }
  // An address of the node's own prefix is announced with it anyway.
  assertEquals(f.choose({ addresses: "10.244.1.5" }).primary.ipv4, "10.244.1.5");
});

Deno.test("addressesOf() names every address of an attachment once", () => {
  const texts = ["2001:db8::1", "10.0.0.1", "10.0.0.2", "2001:db8::53"];
  const [ip6, ip4, extra, anycast] = texts as [string, string, string, string];
  assertEquals(
    addressesOf({ ip6, ip4, addresses: [extra], anycast: [anycast] }),
    texts.map(parseAddress),
  );
  assertEquals(addressesOf({}), []);
});

class Fixture implements AsyncDisposable {
  readonly attachments: Attachment[] = [];
  surroundings: Surroundings = NO_SURROUNDINGS;
  readonly #ipam = new Ipam((bits) => {
    const [word = 0n] = crypto.getRandomValues(new BigUint64Array(1));
    return BigInt.asUintN(bits, word);
  });

  private constructor(readonly dir: string, readonly node: NodeState) {}

  static async create(
    annotations: Readonly<Record<string, string>> = {},
    spec: Readonly<Record<string, unknown>> = {},
  ): Promise<Fixture> {
    const dir = await Deno.makeTempDir({ prefix: "flock-addressing-" });
    const node = new NodeState("n1", dir);
    const source = new FakeSource();
    source.putConfig("n1", { ...SPEC, ...spec }, annotations);
    await node.update(source);
    const address = { family: "ipv4", address: "198.51.100.11", prefixLength: 24 } as const;
    const flags = { scope: "global", temporary: false, deprecated: false, tentative: false };
    node.kernel = {
      links: [{
        ifname: "eth0",
        up: true,
        carrier: true,
        mtu: 1500,
        mac: "",
        addresses: [{ ...address, ...flags }],
      }],
      routes: [],
      defaultRoutes: [{
        family: "ipv4",
        dst: "0.0.0.0/0",
        type: "unicast",
        table: "main",
        protocol: "static",
        metric: 0,
        dev: "eth0",
        gateway: "198.51.100.254",
        nextHops: [{ gateway: "198.51.100.253", dev: "eth0", weight: 1 }],
        flags: [],
      }],
    };
    return new Fixture(dir, node);
  }

  choose(annotations: Readonly<Record<string, string>>, namespace = "default"): ChosenAddresses {
    const pod = fakePod({
      namespace,
      annotations: Object.fromEntries(
        Object.entries(annotations).map(([key, value]) => [ANNOTATION_PREFIX + key, value]),
      ),
    });
    const { options } = parsePodAnnotations(pod.annotations, { ipv6: true, ipv4: true });
    const { node, attachments, surroundings } = this;
    return chooseAddresses({ pod, options, containerId: "c1" }, {
      node,
      attachments,
      surroundings,
      ipam: this.#ipam,
    });
  }

  refused(annotations: Readonly<Record<string, string>>): CniError {
    return assertThrows(() => this.choose(annotations), CniError) as CniError;
  }

  holds(text: string): boolean {
    return this.#ipam.isUsed(parseAddress(text));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return Deno.remove(this.dir, { recursive: true });
  }
}

function attachment(of: Partial<Attachment>): Attachment {
  return {
    containerId: "c0",
    ifname: "eth0",
    namespace: "shop",
    podName: "db-0",
    podUid: "u0",
    hostIfname: "flock00000000",
    netns: "/run/netns/x",
    state: "committed",
    allocatedAt: "2026-01-01T00:00:00.000Z",
    ...of,
  };
}
