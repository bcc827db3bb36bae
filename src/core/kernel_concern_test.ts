import { assertEquals } from "@std/assert";
import { attachment, snapshot } from "../../tests/attachments.ts";
import { desiredState } from "./desired_state.ts";
import { parseIpEvent } from "./ip_events.ts";
import { type Concern, concernOf } from "./kernel_concern.ts";
import { ownState } from "./own_state.ts";

const A = attachment(1, { ip6: "2001:db8:f001::a", anycast: ["2001:db8:ffff::53"] });
const WANTED = ownState(desiredState(snapshot([A])), new Map(), {
  foreignIds: new Set(),
  sticky: true,
});
const GROUP = [...WANTED.values()].find(({ kind }) => kind === "group")!.id!;

Deno.test("concernOf() tells what is amiss from what flock did itself", () => {
  const cases: readonly (readonly [Concern, string])[] = [
    ["none", `[ROUTE]2001:db8:ffff::53 nhid ${GROUP} proto 144 metric 16 pref medium`],
    ["repair", `[ROUTE]Deleted 2001:db8:ffff::53 nhid ${GROUP} proto 144 metric 16 pref medium`],
    ["repair", "[ROUTE]2001:db8:ffff::53 nhid 7 proto 144 metric 16 pref medium"],
    // Somebody else's in its place; and gone from there.
    ["repair", "[ROUTE]2001:db8:ffff::53 dev eth0 proto static metric 16 pref medium"],
    ["repair", "[ROUTE]Deleted 2001:db8:ffff::53 dev eth0 proto static metric 16 pref medium"],
    // Beside it, in another table, or neither.
    ["look", "[ROUTE]2001:db8:ffff::53 dev eth0 proto static metric 5 pref medium"],
    ["look", `[ROUTE]Deleted 2001:db8:ffff::53 dev eth0 table 7 proto 144 metric 16 pref medium`],
    ["none", "[ROUTE]2001:db8:ffff::54 dev eth0 table 7 proto static metric 16 pref medium"],
    ["look", "[ROUTE]default via fe80::9 dev eth1 proto ra metric 1024 pref medium"],
    ["none", "[ROUTE]Deleted default via fe80::9 dev eth1 proto ra metric 1024 pref medium"],
    ["none", "[ROUTE]default via fe80::9 dev eth1 proto static metric 1024 pref medium"],
    ["none", "[ROUTE]2001:db8::/32 via fe80::9 dev eth0 proto bird metric 32 pref medium"],
    // A stray of ours, and one that was withdrawn on purpose.
    ["repair", "[ROUTE]2001:db8:ffff::99 dev eth0 proto 144 metric 16 pref medium"],
    ["none", "[ROUTE]Deleted 2001:db8:ffff::99 dev eth0 proto 144 metric 16 pref medium"],
    ["repair", `[NEXTHOP]Deleted id ${GROUP} group 5 proto 144 `],
    ["look", `[NEXTHOP]id ${GROUP} group 5 proto 144 `],
    ["look", "[NEXTHOP]id 9 via 2001:db8::9 dev eth0 scope link proto 144 "],
    ["none", "[NEXTHOP]id 9 via 2001:db8::9 dev eth0 scope link proto static "],
    ["none", "[NEXTHOP]Deleted id 9 via 2001:db8::9 dev eth0 scope link proto static "],
    ["repair", "[LINK]4: flock00000001@if2: <BROADCAST,MULTICAST> mtu 1500 qdisc noqueue "],
    ["repair", "[LINK]Deleted 4: flock00000001@if2: <BROADCAST,MULTICAST> mtu 1500 qdisc noop "],
    ["none", "[LINK]5: flock00000002@if2: <BROADCAST,MULTICAST> mtu 1500 qdisc noqueue "],
    ["look", "[LINK]2: eth0: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc noqueue "],
    ["repair", "[ADDR]Deleted 4: flock00000001    inet6 fe80::1/64 scope link nodad "],
    ["none", "[ADDR]4: flock00000001    inet6 fe80::1/64 scope link nodad "],
    ["repair", "[NETCONF]inet all forwarding off "],
    ["repair", "[NETCONF]inet6 all forwarding off "],
    ["none", "[NETCONF]inet all forwarding on "],
    ["none", "[NETCONF]inet eth0 forwarding off "],
    ["repair", "[NETCONF]inet flock00000001 forwarding off "],
    ["repair", "[NETCONF]inet flock00000001 rp_filter strict "],
    ["none", "[NETCONF]inet flock00000001 forwarding on rp_filter off "],
    ["none", "[NETCONF]inet flock00000002 forwarding off "],
    ["look", "[RULE]100: from all lookup 77 "],
    ["look", "[ADDR]2: eth0    inet 198.51.100.11/24 scope global eth0"],
  ];
  for (const [concern, line] of cases) {
    assertEquals(concernOf(parseIpEvent(line)!, WANTED), concern, line);
  }
});
