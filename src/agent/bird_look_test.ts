import { assert, assertEquals } from "@std/assert";
import type { BfdSession, BirdSession } from "../core/bird_session.ts";
import type { BirdRoute } from "../core/bird_routes.ts";
import { parseNodeConfig } from "../core/node_config.ts";
import type { NodeConfig } from "../core/node_config.ts";
import { BirdLooks } from "./bird_look.ts";

const NAME = "flock_bgp6_2001_db8__1";
const UP: BirdSession = {
  name: NAME,
  peer: "2001:db8::1",
  state: "Established",
  info: "Established",
  since: "2026-01-01 10:00:00",
  localCapabilities: [],
  peerCapabilities: [],
  routes: { imported: 3, exported: 2, preferred: 1, received: 5, filtered: 2 },
};

Deno.test("BirdLooks tells of each configured peer, and of the node's own routes", async () => {
  const f = new Fixture({ bfd: true });
  f.sessions = [UP];
  f.imported = new Map([["flock_kernel6", 4], ["flock_node6", 1], ["flock_node4", 2], [NAME, 3]]);
  f.bfd = [{ peer: "2001:db8::1", state: "Up" }];
  assertEquals(await f.looks.look(), {
    peers: [{
      peer: "2001:db8::1",
      family: "ipv6",
      established: true,
      imported: 3,
      exported: 2,
      bfdUp: true,
    }],
    own: { ipv6: 5, ipv4: 2 },
  });
  f.bfd = [{ peer: "2001:db8::1", state: "Down" }];
  f.sessions = [];
  const without = await f.looks.look();
  assertEquals(without?.peers.map(({ established, bfdUp }) => [established, bfdUp]), [
    [false, false],
  ]);
});

Deno.test("BirdLooks asks for BFD only where a peer has it", async () => {
  const f = new Fixture();
  f.sessions = [UP];
  assertEquals((await f.looks.look())?.peers[0]?.bfdUp, undefined);
  assertEquals(f.asked, ["overview"]);
});

Deno.test("BirdLooks counts only the node's own routes where BIRD has others of the kernel, too", async () => {
  const f = new Fixture({ multihop: 2 });
  f.imported = new Map([["flock_kernel6", 4], ["flock_node6", 1]]);
  const route = { type: "unicast", protocol: "flock_kernel6", preference: 210, best: true };
  f.routes = [{ dst: "2001:db8:1::/64", ...route }, { dst: "2001:db8:ffff::53/128", ...route }];
  assertEquals((await f.looks.look())?.own, { ipv6: 2, ipv4: 0 });
  assertEquals(f.asked, ["overview", "routes"]);
});

Deno.test("BirdLooks shares a look that is under way or fresh", async () => {
  const f = new Fixture({ freshMs: 60_000 });
  f.sessions = [UP];
  const [first, second] = await Promise.all([f.looks.look(), f.looks.look()]);
  assert(first !== undefined && first === second);
  assertEquals(await f.looks.look(), first);
  assertEquals(f.asked, ["overview"]);
});

Deno.test("BirdLooks does not wait for a BIRD that hangs, and takes its answer when it comes", async () => {
  const f = new Fixture({ freshMs: 60_000, waitMs: 5 });
  const gate = Promise.withResolvers<void>();
  f.gate = gate.promise;
  assertEquals(await f.looks.look(), undefined);
  assertEquals(await f.looks.look(), undefined);
  assertEquals(f.asked, ["overview"]);
  f.sessions = [UP];
  gate.resolve();
  await gate.promise;
  await new Promise((resolve) => setTimeout(resolve, 0));
  assertEquals((await f.looks.look())?.peers[0]?.established, true);
  assertEquals(f.asked, ["overview"]);
});

Deno.test("BirdLooks knows no more than that a BIRD is away", async () => {
  const f = new Fixture();
  f.fail = true;
  assertEquals(await f.looks.look(), undefined);
  f.fail = false;
  assert(await f.looks.look() !== undefined);
});

class Fixture {
  sessions: readonly BirdSession[] = [];
  imported: ReadonlyMap<string, number> = new Map();
  bfd: readonly BfdSession[] = [];
  routes: readonly BirdRoute[] = [];
  gate: Promise<void> | undefined;
  fail = false;
  readonly asked: string[] = [];
  readonly looks: BirdLooks;
  peers: NodeConfig["bgp"]["peers"];

  constructor(
    options: { bfd?: boolean; multihop?: number; freshMs?: number; waitMs?: number } = {},
  ) {
    const { config } = parseNodeConfig({
      name: "n1",
      annotations: {},
      spec: {
        cidr6: ["2001:db8:1::/64"],
        bgp: {
          asn: 65001,
          peers: [{
            address: "2001:db8::1",
            asn: 65000,
            bfd: options.bfd ? {} : undefined,
            multihop: options.multihop,
          }],
        },
      },
    });
    this.peers = config.bgp.peers;
    // deno-lint-ignore no-this-alias
    const f = this;
    this.looks = new BirdLooks({
      birdc: {
        overview: async () => {
          f.asked.push("overview");
          await f.gate;
          if (f.fail) throw new Error("Cannot reach BIRD");
          return { sessions: f.sessions, imported: f.imported };
        },
        bfdSessions: () => {
          f.asked.push("bfd");
          return Promise.resolve(f.bfd);
        },
        ownRoutes: () => {
          f.asked.push("routes");
          return Promise.resolve(f.routes);
        },
      },
      node: {
        get config() {
          return { ...config, bgp: { ...config.bgp, peers: f.peers } };
        },
      },
      freshMs: options.freshMs ?? 0,
      waitMs: options.waitMs,
    });
  }
}
