import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { FakeSource } from "../../tests/fakes/fake_source.ts";
import { contains, formatPrefix, parseAddress } from "../core/cidr.ts";
import type { IpLink, IpRoute } from "../core/ip_state.ts";
import type { NodeKernel } from "../io/ip.ts";
import { configureLog } from "../log.ts";
import { connectedPrefixes, NodeState } from "./node_state.ts";

const GOOD = { cidr6: ["2001:db8:f001::/64"], cidr4: ["10.244.1.0/24"] };
const BAD = { cidr6: ["2001:db8:f001::/64"], cidr4: ["10.244.1.0/33"] };

Deno.test("update() takes a NodeConfig over, and again only when it changed", async () => {
  await using f = new Fixture();
  assertEquals(await f.node.update(f.source), false);
  assertEquals([f.node.config, f.node.error, f.node.nodePrefixes], [undefined, undefined, []]);
  f.source.putConfig("n1", GOOD);
  f.source.putConfig("n2", { cidr4: ["10.244.2.0/24"] });
  assertEquals(await f.node.update(f.source), true);
  assertEquals(f.node.nodePrefixes.map(formatPrefix), ["2001:db8:f001::/64", "10.244.1.0/24"]);
  assertEquals(await f.node.update(f.source), false);
  f.source.putConfig("n1", { ...GOOD, cidr4: ["10.244.9.0/24"] });
  assertEquals(await f.node.update(f.source), true);
  assertEquals(f.node.nodePrefixes.map(formatPrefix), ["2001:db8:f001::/64", "10.244.9.0/24"]);
});

Deno.test("update() takes what is left out from the NodeConfig named default", async () => {
  await using f = new Fixture();
  f.source.putConfig("n1", GOOD);
  f.source.putConfig("default", { mtu: 1400 });
  assertEquals(await f.node.update(f.source), true);
  assertEquals(f.node.config?.mtu, 1400);
  f.source.putConfig("default", { mtu: 1450 });
  assertEquals(await f.node.update(f.source), true);
  assertEquals(f.node.config?.mtu, 1450);
});

Deno.test("update() takes prefixes that are left out from the Node, and follows them", async () => {
  await using f = new Fixture();
  f.source.putConfig("n1", { cidr4: [] });
  assertEquals(await f.node.update(f.source), true);
  assertEquals(f.node.nodePrefixes, []);
  f.source.nodes.set("n1", {
    name: "n1",
    podCidrs: ["10.244.1.0/24", "2001:db8:f00d::/64"],
    addresses: [],
  });
  assertEquals(await f.node.update(f.source), true);
  assertEquals(f.node.nodePrefixes.map(formatPrefix), ["2001:db8:f00d::/64"]);
  f.source.putConfig("n1", {});
  f.source.putConfig("default", { bgp: { asn: 65001 } });
  assertEquals(await f.node.update(f.source), true);
  assertEquals(f.node.nodePrefixes.map(formatPrefix), ["2001:db8:f00d::/64", "10.244.1.0/24"]);
  assertEquals(f.node.object?.spec, {}, "the object is told as it was written");
});

Deno.test("update() keeps the last good NodeConfig in force when one is refused or gone", async () => {
  await using f = new Fixture();
  f.source.putConfig("n1", GOOD);
  await f.node.update(f.source);
  f.source.putConfig("n1", BAD);
  assertEquals(await f.node.update(f.source), false);
  assertStringIncludes(f.node.error!, "10.244.1.0/33");
  assertEquals(f.node.nodePrefixes.length, 2);
  f.source.putConfig("n1", GOOD);
  assertEquals(await f.node.update(f.source), true);
  assertEquals(f.node.error, undefined);
  f.source.removeConfig("n1");
  assertEquals(await f.node.update(f.source), false);
  assertEquals(f.node.nodePrefixes.length, 2);
});

Deno.test("update() forgets why a NodeConfig was refused when that is removed", async () => {
  await using f = new Fixture();
  for (const before of [BAD, GOOD]) {
    f.source.putConfig("n1", before);
    await f.node.update(f.source);
    for (let round = 0; round < 2; round++) {
      f.source.putConfig("n1", BAD);
      await f.node.update(f.source);
      assertStringIncludes(f.node.error!, "10.244.1.0/33");
      f.source.removeConfig("n1");
      await f.node.update(f.source);
      assertEquals(f.node.error, undefined);
    }
  }
});

Deno.test("update() restores the last good NodeConfig over a restart, and says what is wrong", async () => {
  await using f = new Fixture();
  f.source.putConfig("n1", GOOD);
  await f.node.update(f.source);
  f.source.putConfig("n1", BAD);
  const restarted = new NodeState("n1", f.dir);
  assertEquals(await restarted.update(f.source), true);
  assertEquals(restarted.nodePrefixes.map(formatPrefix), ["2001:db8:f001::/64", "10.244.1.0/24"]);
  assertStringIncludes(restarted.error!, "10.244.1.0/33");
});

Deno.test("update() restores the last good NodeConfig when its file cannot be read, not when it is gone", async () => {
  await using f = new Fixture();
  f.source.putConfig("n1", GOOD);
  await f.node.update(f.source);
  f.source.removeConfig("n1");
  const restarted = new NodeState("n1", f.dir);
  assertEquals(await restarted.update(f.source), false);
  assertEquals(restarted.config, undefined);
  f.source.damaged = true;
  assertEquals(await restarted.update(f.source), true);
  assertEquals(restarted.nodePrefixes.length, 2);
});

Deno.test("update() warns when pods may announce any address, once as long as it is so", async () => {
  await using f = new Fixture();
  const logs: string[] = [];
  configureLog({ level: "warn", format: "json", write: (line) => logs.push(line) });
  const put = async (spec: Record<string, unknown>): Promise<number> => {
    f.source.putConfig("n1", { ...GOOD, ...spec });
    await f.node.update(f.source);
    return logs.splice(0).filter((line) => line.includes("announce any address")).length;
  };
  assertEquals(await put({}), 1);
  assertEquals(await put({ mtu: 1400 }), 0);
  assertEquals(await put({ announce: { allowed: [] } }), 0);
  assertEquals(await put({}), 1);
});

Deno.test("update() has no NodeConfig in force when there never was a good one", async () => {
  await using f = new Fixture();
  f.source.putConfig("n1", BAD);
  assertEquals(await f.node.update(f.source), false);
  assertEquals(f.node.config, undefined);
  assertStringIncludes(f.node.error!, "10.244.1.0/33");
  await Deno.writeTextFile(`${f.dir}/node_config.json`, "{ damaged");
  const restarted = new NodeState("n1", f.dir);
  assertEquals(await restarted.update(f.source), false);
  assertEquals(restarted.config, undefined);
});

Deno.test("mtu() is the network configuration's, the NodeConfig's, the smallest way out's, 1500", async () => {
  await using f = new Fixture();
  assertEquals(f.node.mtu(undefined), 1500);
  f.node.kernel = kernel({
    links: [link("lo", 65536), link("eth0", 9000), link("eth1", 1420), link("eth2", 1280)],
    defaultRoutes: [route("eth0"), route(undefined, ["eth0", "eth1"]), route("lo")],
  });
  assertEquals(f.node.mtu(undefined), 1420);
  f.source.putConfig("n1", { ...GOOD, mtu: 1450 });
  await f.node.update(f.source);
  assertEquals(f.node.mtu(undefined), 1450);
  assertEquals(f.node.mtu(1300), 1300);
});

Deno.test("mtu() never looks at a pod's link", async () => {
  await using f = new Fixture();
  f.node.kernel = kernel({
    links: [link("eth0", 1500), link("flock00000001", 1280)],
    defaultRoutes: [route("eth0"), route("flock00000001")],
  });
  assertEquals(f.node.mtu(undefined), 1500);
});

Deno.test("reserved is the same list until something in it changes", async () => {
  await using f = new Fixture();
  f.source.putConfig("n1", {
    ...GOOD,
    reserved: ["10.96.0.0/12"],
    bgp: { asn: 65001, peers: [{ address: "2001:db8:25::1", asn: 65000 }] },
  });
  await f.node.update(f.source);
  const state = (address: string): NodeKernel =>
    kernel({ links: [link("eth0", 1500, address), link("flock00000001", 1500, "169.254.1.1")] });
  f.node.kernel = state("198.51.100.11");
  const reserved = f.node.reserved;
  const has = (text: string): boolean =>
    f.node.reserved.some((prefix) => contains(prefix, parseAddress(text)));
  for (const text of ["10.97.1.1", "2001:db8:25::1", "198.51.100.11"]) assert(has(text), text);
  assert(!has("198.51.100.12"));
  f.node.kernel = state("198.51.100.11");
  assert(f.node.reserved === reserved, "nothing changed");
  f.node.kernel = state("198.51.100.12");
  assert(has("198.51.100.12") && !has("198.51.100.11"));
});

Deno.test("connectedPrefixes() are the networks of the node's own links", () => {
  const state = kernel({
    links: [
      link("lo", 65536, "127.0.0.1"),
      link("eth0", 1500, "198.51.100.11"),
      link("flock00000001", 1500, "10.244.1.2"),
      link("kube-ipvs0", 1500, "10.96.0.10"),
    ],
  });
  assertEquals(connectedPrefixes(state).map(formatPrefix), ["198.51.100.0/24"]);
});

class Fixture implements AsyncDisposable {
  readonly dir = Deno.makeTempDirSync({ prefix: "flock-node-state-" });
  readonly source = new FakeSource();
  readonly node = new NodeState("n1", this.dir);

  [Symbol.asyncDispose](): Promise<void> {
    return Deno.remove(this.dir, { recursive: true });
  }
}

function kernel(state: Partial<NodeKernel>): NodeKernel {
  return { links: [], routes: [], defaultRoutes: [], ...state };
}

function link(ifname: string, mtu: number, ...addresses: readonly string[]): IpLink {
  return {
    ifname,
    mtu,
    up: true,
    carrier: true,
    mac: "",
    addresses: addresses.map((address) => ({
      family: "ipv4",
      address,
      prefixLength: 24,
      scope: "global",
      temporary: false,
      deprecated: false,
      tentative: false,
    })),
  };
}

function route(dev: string | undefined, hops: readonly string[] = []): IpRoute {
  return {
    family: "ipv4",
    dst: "0.0.0.0/0",
    type: "unicast",
    table: "main",
    protocol: "static",
    metric: 0,
    dev,
    nextHops: hops.map((dev) => ({ dev, weight: 1 })),
    flags: [],
  };
}
