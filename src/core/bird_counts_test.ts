import { assertEquals } from "@std/assert";
import { parseImported } from "./bird_counts.ts";
import { parseBirdReply } from "./bird_reply.ts";

/** As BIRD 2.0.12 prints it. */
const REPLY = `0001 BIRD 2.0.12 ready.
2002-Name       Proto      Table      State  Since         Info
1002-flock_device Device     ---        up     2026-11-21 16:56:13  
1006-
1002-flock_kernel6 Kernel     master6    up     2026-11-21 16:56:13  
1006-  Channel ipv6
         State:          UP
         Table:          master6
         Preference:     10
         Input filter:   flock_learn
         Output filter:  (unnamed)
         Routes:         12 imported, 1 exported, 3 preferred
         Route change stats:     received   rejected   filtered    ignored   accepted
           Import updates:              1          0          1          0          0
     
1002-flock_bgp4_198_51_100_1 BGP        ---        up     2026-11-21 16:56:14  Established   
1006-  BGP state:          Established
         Neighbor address: 198.51.100.1
       Channel ipv4
         State:          UP
         Import limit:   20000
           Action:       restart
         Routes:         2 imported, 4 filtered, 1 exported, 1 preferred
       Channel ipv6
         State:          UP
         Routes:         3 imported, 1 exported, 1 preferred
     
1002-flock_bgp4_198_51_100_2 BGP        ---        start  2026-11-21 16:56:14  Active
1006-  BGP state:          Active
       Channel ipv4
         State:          DOWN
     
`;

Deno.test("parseImported() counts each protocol's routes over its channels", () => {
  assertEquals(Object.fromEntries(parseImported(parseBirdReply(REPLY))), {
    flock_device: 0,
    flock_kernel6: 12,
    flock_bgp4_198_51_100_1: 5,
    flock_bgp4_198_51_100_2: 0,
  });
});

Deno.test("parseImported() finds nothing in a reply that is no list", () => {
  assertEquals(parseImported(parseBirdReply("0001 BIRD 2.0.12 ready.\n")).size, 0);
});
