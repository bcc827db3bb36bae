import { assertEquals, assertStrictEquals } from "@std/assert";
import type { Labels } from "./label_selector.ts";
import { PeerSets, type PodSelector } from "./peer_sets.ts";
import type { PolicyPod } from "./policy.ts";

const WEB: PodSelector = {
  namespace: "shop",
  pods: [{ key: "app", operator: "In", values: ["web"] }],
};
const EVERY: PodSelector = { pods: [] };
const TEAM: PodSelector = {
  namespaces: [{ key: "team", operator: "In", values: ["ops"] }],
  pods: [],
};
const IPV4 = { family: "ipv4" } as const;
const NAMED = { family: "ipv4", port: { protocol: "TCP", name: "http" } } as const;
const SHOP = new Map<string, Labels>([["shop", { team: "ops" }]]);

function pod(name: string, over: Partial<PolicyPod> = {}): PolicyPod {
  return {
    namespace: "shop",
    name,
    labels: { app: "web" },
    addresses: ["10.0.0.1", "2001:db8::1"],
    hostNetwork: false,
    ports: [{ name: "http", protocol: "TCP", port: 8080 }],
    ...over,
  };
}

Deno.test("PeerSets.elements() is the same object while it has the same elements", () => {
  const peers = new PeerSets();
  const own = (): readonly ReadonlyMap<string, string>[] => [
    peers.elements("web", WEB, IPV4),
    peers.elements("every", EVERY, IPV4),
    peers.elements("every", EVERY, NAMED),
    peers.elements("team", TEAM, IPV4),
  ];
  const other = pod("other", { addresses: ["10.0.0.2"], labels: {} });
  const before = pod("a");
  peers.update([before, other], SHOP);
  const [web, every, named, team] = own();
  assertEquals([...web!.keys()], ["10.0.0.1"]);
  assertEquals([...named!.keys()].sort(), ["10.0.0.1 . 8080", "10.0.0.2 . 8080"]);

  // Another object with the same address, and no longer of the app.
  const after = pod("a", { labels: { app: "db" } });
  peers.update([after, other], SHOP);
  assertEquals([...own()[0]!.keys()], []);
  assertEquals([...web!.keys()], ["10.0.0.1"], "what was given out does not change");
  for (const [n, set] of [every, named, team].entries()) assertStrictEquals(own()[n + 1], set);

  peers.update([after, other], new Map([["shop", { team: "dev" }]]));
  assertEquals([...own()[3]!.keys()], []);
  assertStrictEquals(own()[1], every);

  peers.update([other], SHOP);
  assertEquals(own().map((set) => [...set.keys()]), [[], ["10.0.0.2"], ["10.0.0.2 . 8080"], [
    "10.0.0.2",
  ]]);
});

Deno.test("PeerSets.elements() keeps an address as long as one of its pods is selected", () => {
  const peers = new PeerSets();
  const [a, b] = [pod("a"), pod("b")];
  peers.update([a, b], SHOP);
  const both = peers.elements("web", WEB, IPV4);
  peers.update([b], SHOP);
  assertStrictEquals(peers.elements("web", WEB, IPV4), both);
  peers.update([], SHOP);
  assertEquals(peers.elements("web", WEB, IPV4).size, 0);
  assertEquals(both.size, 1);
});

Deno.test("PeerSets.elements() has no pods with their node's network", () => {
  const peers = new PeerSets();
  peers.update([pod("a", { hostNetwork: true }), pod("b", { addresses: [] })], SHOP);
  assertEquals(peers.elements("every", EVERY, IPV4).size, 0);
});
