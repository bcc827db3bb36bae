import { assertEquals } from "@std/assert";
import { attachment, link, linkName, readyPod, snapshot } from "../../tests/attachments.ts";
import { anycastAddresses, anycastRefusals, type AnycastSnapshot } from "./anycast.ts";
import type { Attachment } from "./attachment.ts";
import { parsePrefix } from "./cidr.ts";
import type { Pod } from "./objects.ts";

const ANY = "2001:db8:ffff::53";
const POD = attachment(1, { ip6: "2001:db8:f001::a", anycast: [ANY] });
const LEG = { via: "2001:db8:f001::a", dev: linkName(1), weight: 1 };

Deno.test("anycastAddresses() routes an address to every pod that is attached and Ready", () => {
  const other = attachment(2, { ip6: "2001:db8:f001::b", ip4: "10.244.1.2", anycast: [ANY] });
  assertEquals(anycastAddresses(snapshot([other, POD, attachment(3, { ip6: "::3" })])), [{
    address: ANY,
    legs: [LEG, { via: "2001:db8:f001::b", dev: linkName(2), weight: 1 }],
    pods: [{ pod: "default/p1", weight: 1 }, { pod: "default/p2", weight: 1 }],
  }]);
});

Deno.test("anycastAddresses() says why a pod does not serve its address", () => {
  const as = (change: Partial<Pod>) => (a: Attachment): Pod => ({ ...readyPod(a), ...change });
  const links = (change: Parameters<typeof link>[1]) => new Map([[linkName(1), link(1, change)]]);
  const guard = (cidr: string, ...namespaces: string[]) => [{
    prefix: parsePrefix(cidr),
    namespaces,
  }];
  const cases: readonly (readonly [string, Attachment, Partial<AnycastSnapshot>])[] = [
    ["it is being attached", { ...POD, state: "pending" }, {}],
    ["it is being detached", POD, { leaving: new Set(["c1/eth0"]) }],
    ["its Pod is gone", POD, { podOf: () => undefined }],
    ["it is not Ready", POD, { podOf: as({ ready: false }) }],
    // Still Ready, and about to be reset.
    ["it is being deleted", POD, { podOf: as({ terminating: true }) }],
    ["the node is drained", POD, { drained: true }],
    ["its link is gone", POD, { links: new Map() }],
    ["its interface is down", POD, { links: links({ carrier: false }) }],
    ["it has no IPv6 address", { ...POD, ip6: undefined, ip4: "10.244.1.2" }, {}],
    [
      "the address is reserved (2001:db8:ffff::/64)",
      POD,
      { reserved: [parsePrefix("2001:db8:ffff::/64")] },
    ],
    [
      "the address is outside what may be announced (spec.announce.allowed)",
      POD,
      { allowed: guard("2001:db8:fffe::/48", "*") },
    ],
    [
      'the address is not allowed in namespace "default" (spec.announce.allowed)',
      POD,
      { allowed: guard("2001:db8:ffff::/48", "edge-*") },
    ],
  ];
  for (const [heldBack, pod, change] of cases) {
    assertEquals(anycastAddresses(snapshot([pod], change)), [
      { address: ANY, legs: [], pods: [{ pod: "default/p1", weight: 1, heldBack }] },
    ], heldBack);
  }
});

Deno.test("anycastAddresses() goes on serving through a link that was set down: it is set up again", () => {
  const links = new Map([[linkName(1), link(1, { up: false, carrier: false })]]);
  assertEquals(anycastAddresses(snapshot([POD], { links }))[0]?.legs, [LEG]);
});

Deno.test("anycastAddresses() takes a pod with two interfaces once, by eth0", () => {
  const net1 = { ...POD, ifname: "net1", hostIfname: linkName(2), ip6: "2001:db8:f001::c" };
  const both = anycastAddresses(snapshot([net1, POD]));
  assertEquals(both.map(({ legs, pods }) => [legs, pods.length]), [[[LEG], 1]]);
  const links = new Map([[linkName(2), link(2)]]);
  assertEquals(anycastAddresses(snapshot([net1, POD], { links }))[0]?.legs, [
    { via: "2001:db8:f001::c", dev: linkName(2), weight: 1 },
  ]);
});

Deno.test("anycastAddresses() holds back those that came last when there are too many", () => {
  const pods = ["03", "01", "02"].map((day, i) =>
    attachment(i + 1, {
      ip6: `2001:db8:f001::${i + 1}`,
      anycast: [ANY],
      allocatedAt: `2026-01-${day}T00:00:00.000Z`,
    })
  );
  const heldBack = "2 other pods of the node serve the address, and more cannot";
  const [address] = anycastAddresses(snapshot(pods, { maxLegs: 2 }));
  assertEquals(address?.legs.map(({ dev }) => dev), [linkName(2), linkName(3)]);
  assertEquals(address?.pods.map((pod) => pod.heldBack), [heldBack, undefined, undefined]);
  // One that does not serve takes nobody's place.
  const [rest] = anycastAddresses(snapshot(pods, {
    maxLegs: 2,
    podOf: (one) => ({ ...readyPod(one), ready: one !== pods[1] }),
  }));
  assertEquals(rest?.legs.map(({ dev }) => dev), [linkName(1), linkName(3)]);
});

Deno.test("anycastAddresses() takes the weight from the annotation as it is now", () => {
  const weighted = (text: string) => (a: Attachment): Pod => ({
    ...readyPod(a),
    annotations: { "flock.fritzlab.net/anycast-weight": text },
  });
  for (const [text, weight] of [["7", 7], ["255", 255], ["0", 1], ["many", 1]] as const) {
    const [address] = anycastAddresses(snapshot([POD], { podOf: weighted(text) }));
    assertEquals(address?.legs, [{ ...LEG, weight }], text);
  }
});

Deno.test("anycastRefusals() names what a NodeConfig that became narrower takes", () => {
  const allowed = [{ prefix: parsePrefix("2001:db8:ffff::/48"), namespaces: ["edge-*"] }];
  const edge = attachment(2, { namespace: "edge-1", ip6: "2001:db8:f001::b", anycast: [ANY] });
  const pending = attachment(3, { state: "pending", anycast: [ANY] });
  assertEquals(anycastRefusals(snapshot([POD, edge, pending], { allowed })), [{
    attachment: POD,
    address: ANY,
    why: 'is not allowed in namespace "default" (spec.announce.allowed)',
  }]);
});
