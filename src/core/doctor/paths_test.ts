import { assertEquals, assertStringIncludes } from "@std/assert";
import {
  address,
  idsOf,
  link,
  network,
  nodeConfig,
  peers,
  POD_LINK,
  route,
} from "../../../tests/doctor_facts.ts";
import type { PeerPath } from "./facts.ts";
import { judgeMtu, judgeOwnSubnets, judgePeerPaths } from "./paths.ts";

Deno.test("judgeMtu() compares pods, links to the world and the ways to peers", async (t) => {
  const uplink = (mtu: number): ReturnType<typeof network> =>
    network({ links: [link("eth0", { mtu }), link(POD_LINK)] });
  const path = (mtu: number): readonly PeerPath[] => peers().map((peer) => ({ ...peer, mtu }));
  const cases: readonly (readonly [string, Parameters<typeof judgeMtu>, readonly string[]])[] = [
    ["all equal", [uplink(1500), undefined, peers()], []],
    ["jumbo frames outside", [uplink(9000), undefined, peers()], []],
    ["a narrow link", [uplink(1400), undefined, undefined], ["mtu-pods"]],
    ["a NodeConfig that says more", [uplink(1500), nodeConfig({ mtu: 9000 }), undefined], [
      "mtu-pods",
    ]],
    ["a NodeConfig that says less", [uplink(1500), nodeConfig({ mtu: 1400 }), undefined], []],
    ["a narrow way to both peers", [uplink(1500), undefined, path(1400)], ["mtu-path", "mtu-path"]],
    ["the way says what the link says", [uplink(1400), undefined, path(1400)], ["mtu-pods"]],
    ["no pods and no mtu", [
      network({ links: [link("eth0", { mtu: 1400 })] }),
      undefined,
      path(1300),
    ], []],
  ];
  for (const [name, facts, ids] of cases) {
    await t.step(name, () => assertEquals(idsOf(judgeMtu(...facts)), ids));
  }
});

Deno.test("judgePeerPaths() wants a way, and an address that can be a next hop", async (t) => {
  const way = (change: Partial<PeerPath>): readonly PeerPath[] => [{ ...peers()[0]!, ...change }];
  const config = nodeConfig({
    bgp: { peers: [{ address: "2001:db8:25::1", asn: 65000, localAddress: "2001:db8:25::11" }] },
  });
  const linkLocal = route("2001:db8:25::1/128", { dev: "eth0", prefsrc: "fe80::7" });
  const cases: readonly (readonly [string, readonly PeerPath[], readonly string[]])[] = [
    ["as it should be", peers(), []],
    ["no route", way({ route: undefined }), ["peer-route"]],
    ["unreachable", way({ route: route("::/0", { type: "unreachable" }) }), ["peer-route"]],
    ["only link-local", way({ route: linkLocal }), ["next-hop"]],
    ["told another one", [{ peer: config.bgp.peers[0]!, route: linkLocal }], []],
    ["a pod", way({ route: route("x", { dev: POD_LINK, prefsrc: "2001:db8:25::11" }) }), [
      "next-hop",
    ]],
  ];
  for (const [name, paths, ids] of cases) {
    await t.step(name, () => assertEquals(idsOf(judgePeerPaths(network(), paths)), ids));
  }
});

Deno.test("judgeOwnSubnets() finds what BGP must not teach", async (t) => {
  const cases: readonly (readonly [string, string, string, number])[] = [
    ["the link's network", "198.51.100.0/24", "bird", 1],
    ["a part of it", "2001:db8:25:0:8000::/80", "bird", 1],
    ["by another speaker", "198.51.100.128/25", "bgp", 1],
    ["by number", "198.51.100.128/25", "186", 1],
    ["around it", "198.51.0.0/16", "bird", 0],
    ["elsewhere", "2001:db8:f002::/64", "bird", 0],
    ["the kernel's own", "198.51.100.0/24", "kernel", 0],
    ["a Service's address", "203.0.113.7/32", "bird", 0],
  ];
  for (const [name, dst, protocol, count] of cases) {
    await t.step(name, () => {
      const { links } = network();
      const services = link("kube-ipvs0", { addresses: [address("203.0.113.7/24")] });
      const problems = judgeOwnSubnets(network({
        links: [...links, services],
        routes: [route(dst, { protocol, gateway: "198.51.100.1" })],
      }));
      assertEquals(problems.length, count);
      if (count > 0) assertStringIncludes(problems[0]!.finding, dst);
    });
  }
});
