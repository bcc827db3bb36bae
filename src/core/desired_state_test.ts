import { assertEquals } from "@std/assert";
import { attachment, link, linkName, snapshot } from "../../tests/attachments.ts";
import { parsePrefix } from "./cidr.ts";
import { type DesiredRoute, desiredState } from "./desired_state.ts";

Deno.test("desiredState() is every pod's addresses and the node's prefixes", () => {
  const a = attachment(1, {
    ip6: "2001:db8:f001::a",
    ip4: "10.244.1.2",
    addresses: ["2001:db8:ffff::1"],
    anycast: ["203.0.113.200"],
  });
  assertEquals(desiredState(snapshot([a])).routes.map(textOf), [
    "10.244.1.0/24 unreachable proto 143 metric 1000",
    "10.244.1.2/32 dev flock00000001 proto 143 metric 16",
    "2001:db8:f001::/64 unreachable proto 143 metric 2000",
    "2001:db8:f001::a/128 dev flock00000001 proto 143 metric 16",
    "2001:db8:ffff::1/128 dev flock00000001 proto 144 metric 16",
    "203.0.113.200/32 via 10.244.1.2 proto 144 metric 16",
  ]);
});

Deno.test("desiredState() has nothing of a link that is gone or an attachment that is pending", () => {
  const a = attachment(1, { ip6: "2001:db8:f001::1", anycast: ["2001:db8:ffff::1"] });
  const b = attachment(2, { ip6: "2001:db8:f001::2" });
  const c = attachment(3, { ip6: "2001:db8:f001::3", state: "pending" });
  const links = new Map([2, 3].map((n) => [linkName(n), link(n)]));
  const { routes, ends } = desiredState(snapshot([a, b, c], { links, nodePrefixes: [] }));
  assertEquals(routes.map(({ dst }) => dst), ["2001:db8:f001::2/128"]);
  assertEquals([...ends.keys()], [linkName(2)]);
});

Deno.test("desiredState() announces an address by itself that no prefix of the node covers any more", () => {
  const a = attachment(1, { ip4: "10.244.1.2" });
  const [route] = desiredState(snapshot([a], { nodePrefixes: [] })).routes;
  assertEquals(route?.protocol, 144);
});

Deno.test("desiredState() keeps an address that was asked for, and announces it only while allowed", () => {
  const ours = "2001:db8:ffff::1";
  const a = attachment(1, { ip6: ours, asked: [ours] });
  const at = (namespaces: string[]): [number | undefined, readonly string[]] => {
    const allowed = [{ prefix: parsePrefix("2001:db8:ffff::/48"), namespaces }];
    const { routes, refused } = desiredState(snapshot([a], { allowed, nodePrefixes: [] }));
    return [routes[0]?.protocol, refused.map(({ address, why }) => `${address} ${why}`)];
  };
  assertEquals(at(["default"]), [144, []]);
  assertEquals(at(["edge"]), [143, [
    `${ours} is not allowed in namespace "default" (spec.announce.allowed)`,
  ]]);
  const reserved = [parsePrefix("2001:db8:ffff::/64")];
  const covered = desiredState(snapshot([a], { reserved, nodePrefixes: [] }));
  assertEquals(covered.routes[0]?.protocol, 143);
  assertEquals(covered.refused.map(({ why }) => why), ["is reserved (2001:db8:ffff::/64)"]);
  // What was given from a former prefix nobody asked for.
  const given = { ...a, asked: undefined };
  const allowed = [{ prefix: parsePrefix("2001:db8:fffe::/48"), namespaces: ["*"] }];
  const { routes, refused } = desiredState(snapshot([given], { allowed, nodePrefixes: [] }));
  assertEquals([routes[0]?.protocol, refused], [144, []]);
});

Deno.test("desiredState() has all that a link loses when it is set down", () => {
  const a = attachment(1, { ip6: "2001:db8:f001::a", ip4: "10.244.1.2" });
  assertEquals(desiredState(snapshot([a])).ends.get(linkName(1)), [
    "link set flock00000001 address 02:f0:00:00:00:01",
    "link set flock00000001 up",
    "addr replace fe80::1/64 dev flock00000001 nodad",
    "addr replace 169.254.1.1/32 dev flock00000001 scope host",
    "neigh replace 2001:db8:f001::a dev flock00000001 lladdr 06:f0:00:00:00:01 nud permanent",
    "neigh replace 10.244.1.2 dev flock00000001 lladdr 06:f0:00:00:00:01 nud permanent",
  ]);
});

Deno.test("desiredState() does not depend on the order of its input", () => {
  const attachments = [1, 2, 3].map((n) =>
    attachment(n, { ip6: `2001:db8:f001::${n}`, anycast: ["2001:db8:ffff::1"] })
  );
  const one = snapshot(attachments);
  const other = snapshot(attachments.toReversed(), {
    nodePrefixes: one.nodePrefixes.toReversed(),
    links: new Map([...one.links].toReversed()),
  });
  assertEquals(desiredState(one).routes, desiredState(other).routes);
});

function textOf({ dst, type, dev, legs, protocol, metric }: DesiredRoute): string {
  const to = legs?.map(({ via }) => `via ${via}`).join(" ") ?? (dev ? `dev ${dev}` : type);
  return `${dst} ${to} proto ${protocol} metric ${metric}`;
}
