import { assertEquals } from "@std/assert";
import { parseBirdReply } from "./bird_reply.ts";
import { parseBfdSessions, parseSessions } from "./bird_session.ts";

const ALL = `0001 BIRD 2.0.12 ready.
2002-Name       Proto      Table      State  Since         Info
1002-flock_device Device     ---        up     2026-11-21 16:10:50  
1006-
1002-flock_node6 Static     master6    up     2026-11-21 16:10:50  
1006-  Channel ipv6
         State:          UP
     
1002-flock_bgp4_198_51_100_1 BGP        ---        up     2026-11-21 16:10:54  Established   
1006-  BGP state:          Established
         Neighbor address: 198.51.100.1
         Neighbor AS:      65000
         Neighbor ID:      198.51.100.1
         Local capabilities
           Multiprotocol
             AF announced: ipv4
           Graceful restart
             Restart time: 30
         Neighbor capabilities
           Multiprotocol
             AF announced: ipv4
           Long-lived graceful restart
             LL stale time: 0
         Session:          external AS4
         Source address:   198.51.100.11
         Hold timer:       7.171/9
       Channel ipv4
         State:          UP
         Import limit:   1 [HIT]
           Action:       block
         Routes:         1 imported, 2 exported, 1 preferred
         Route change stats:     received   rejected   filtered    ignored   accepted
           Import updates:              5          0          3          0          2
           Import withdraws:            1          0        ---          0          1
     
1002-flock_bgp6_fe80__1 BGP        ---        start  2026-11-21 16:10:54  Active        Socket: Connection refused
1006-  BGP state:          Active
         Neighbor address: fe80::1%eth0
         Last error:       Socket: Connection refused

1002-flock_bgp6_2001_db8_25__1 BGP        ---        down   2026-11-21 16:10:54  
1006-  BGP state:          Down
         Neighbor address: 2001:db8:25::1
`;

Deno.test("parseSessions() has each BGP protocol with what was negotiated", () => {
  const sessions = parseSessions(parseBirdReply(ALL));
  assertEquals(sessions.map(({ peer, state, info }) => [peer, state, info]), [
    ["198.51.100.1", "Established", "Established"],
    ["fe80::1", "Active", "Active        Socket: Connection refused"],
    ["2001:db8:25::1", "Down", ""],
  ]);
  const [first, second] = sessions;
  assertEquals(first?.peerId, "198.51.100.1");
  assertEquals(first?.localCapabilities, ["Multiprotocol", "Graceful restart"]);
  assertEquals(first?.peerCapabilities, ["Multiprotocol", "Long-lived graceful restart"]);
  assertEquals(second?.localCapabilities, []);
  assertEquals([first?.importLimitReached, second?.importLimitReached], [true, false]);
  assertEquals([first?.lastError, second?.lastError], [undefined, "Socket: Connection refused"]);
});

Deno.test("parseSessions() has counts and times where there are any", () => {
  const [first, , third] = parseSessions(parseBirdReply(ALL));
  assertEquals(first?.routes, {
    imported: 1,
    exported: 2,
    preferred: 1,
    received: 5,
    filtered: 3,
  });
  assertEquals([first?.since, first?.localAddress, first?.holdTime], [
    "2026-11-21 16:10:54",
    "198.51.100.11",
    9,
  ]);
  // The peer said nothing of restarting; our own time is not its.
  assertEquals(first?.peerRestartTime, undefined);
  const both = ALL.replace("Long-lived graceful restart", "Graceful restart")
    .replace("LL stale time: 0", "Restart time: 120");
  assertEquals(parseSessions(parseBirdReply(both))[0]?.peerRestartTime, 120);
  assertEquals([third?.routes, third?.localAddress, third?.holdTime], [
    undefined,
    undefined,
    undefined,
  ]);
});

Deno.test("parseSessions() finds none where there are none", () => {
  const none = ALL.slice(0, ALL.indexOf("1002-flock_bgp4"));
  assertEquals(parseSessions(parseBirdReply(none)), []);
  assertEquals(parseSessions(parseBirdReply("0001 BIRD 2.0.12 ready.\n")), []);
});

Deno.test("parseBfdSessions() has each session", () => {
  const reply = parseBirdReply(`0001 BIRD 2.0.12 ready.
1020-flock_bfd:
     IP address                Interface  State      Since         Interval  Timeout
     2001:db8:25::1            eth0       Down       2026-11-21 16:10:50    1.000    0.000
     198.51.100.1              eth0       Up         2026-11-21 16:10:50    0.300    0.900

`);
  assertEquals(parseBfdSessions(reply), [
    { peer: "2001:db8:25::1", state: "Down", since: "2026-11-21 16:10:50" },
    { peer: "198.51.100.1", state: "Up", since: "2026-11-21 16:10:50" },
  ]);
  const none = parseBirdReply("0001 BIRD 2.0.12 ready.\n9001 There is no BFD protocol running\n");
  assertEquals(parseBfdSessions(none), []);
});
