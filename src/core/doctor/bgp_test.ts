import { assertEquals, assertStringIncludes } from "@std/assert";
import { idsOf, nodeConfig, session } from "../../../tests/doctor_facts.ts";
import type { BirdSession } from "../bird_session.ts";
import type { Speaker, TcpSocket } from "../tcp_sockets.ts";
import {
  judgeBfd,
  judgeBird,
  judgeDrops,
  judgeGracefulRestart,
  judgePeerIds,
  judgeSessions,
  judgeSpeakers,
} from "./bgp.ts";
import type { BirdFacts } from "./facts.ts";

const SIX = "2001:db8:25::1";
const FOUR = "198.51.100.1";

function bird(sessions: readonly BirdSession[], bfd: BirdFacts["bfd"] = []): BirdFacts {
  return { routerId: "198.51.100.11", sessions, bfd };
}

function down(peer: string, change: Partial<BirdSession> = {}): BirdSession {
  const none = { localCapabilities: [], peerCapabilities: [] };
  return session(peer, { state: "Active", info: "Active", ...none, ...change });
}

Deno.test("judgeBird() wants BIRD where there are peers", () => {
  const absent = { unknown: "Cannot reach BIRD" };
  assertEquals(idsOf(judgeBird(absent, nodeConfig())), ["bird-absent"]);
  assertEquals(judgeBird(absent, undefined), "Cannot reach BIRD");
  assertEquals(
    judgeBird(absent, nodeConfig({ bgp: { peers: [] } })),
    "the NodeConfig has no peers",
  );
  assertEquals(judgeBird({ known: bird([]) }, nodeConfig()), []);
});

Deno.test("judgeSessions() tells one session from all", () => {
  assertEquals(judgeSessions(bird([])), []);
  assertEquals(judgeSessions(bird([session(SIX)])), []);
  assertEquals(idsOf(judgeSessions(bird([session(SIX), down(FOUR)]))), ["session-down"]);
  const problems = judgeSessions(
    bird([down(SIX), down(FOUR, { info: "Idle", lastError: "Socket: No route to host" })]),
  );
  assertEquals(idsOf(problems), ["no-session", "no-session"]);
  assertEquals(
    problems[1]?.finding,
    "session with 198.51.100.1: Idle (last error: Socket: No route to host)",
  );
});

Deno.test("judgeGracefulRestart() wants what is configured to be negotiated", () => {
  const without = ["Multiprotocol"];
  const cases: readonly (readonly [string, BirdSession, number])[] = [
    ["both", session(SIX), 0],
    ["only here", session(SIX, { peerCapabilities: without }), 1],
    ["off here", session(SIX, { localCapabilities: without, peerCapabilities: without }), 0],
    ["not established", down(SIX), 0],
  ];
  for (const [name, one, count] of cases) {
    assertEquals(judgeGracefulRestart(bird([one])).length, count, name);
  }
});

Deno.test("judgeBfd() wants what is configured to be up", () => {
  const config = nodeConfig({ bgp: { peers: [{ address: SIX, asn: 65000, bfd: {} }] } });
  const all = [session(SIX), session(FOUR)];
  const cases: readonly (readonly [string, Parameters<typeof judgeBfd>, number])[] = [
    ["not configured", [bird(all), nodeConfig()], 0],
    ["up", [bird(all, [{ peer: SIX, state: "Up" }]), config], 0],
    ["down", [bird(all, [{ peer: SIX, state: "Down" }]), config], 1],
    ["none", [bird(all), config], 1],
    ["down, and the NodeConfig is not known", [
      bird(all, [{ peer: SIX, state: "Down" }]),
      undefined,
    ], 1],
    ["the BGP session is down too", [bird([down(SIX)], [{ peer: SIX, state: "Down" }]), config], 0],
    ["up on one of two links", [
      bird(all, [{ peer: SIX, state: "Down" }, { peer: SIX, state: "Up" }]),
      config,
    ], 0],
  ];
  for (const [name, facts, count] of cases) assertEquals(judgeBfd(...facts).length, count, name);
});

Deno.test("judgeDrops() tells counters that a peer which is down can explain", () => {
  const secret = { namespace: "n", name: "s", key: "k" };
  const config = (peer: Readonly<Record<string, unknown>>): ReturnType<typeof nodeConfig> =>
    nodeConfig({ bgp: { peers: [{ address: SIX, asn: 65000, ...peer }] } });
  const cases: readonly (readonly [string, Parameters<typeof judgeDrops>, readonly string[]])[] = [
    ["all up", [bird([session(SIX)]), { TCPMD5Failure: 3 }, undefined], []],
    ["none dropped", [bird([down(SIX)]), { TCPMD5Failure: 0 }, undefined], []],
    ["another password", [
      bird([down(SIX)]),
      { TCPMD5Failure: 3 },
      config({ passwordSecretRef: secret }),
    ], ["md5"]],
    ["none here", [bird([down(SIX)]), { TCPMD5Unexpected: 3 }, config({})], ["md5"]],
    ["of the past", [bird([down(SIX)]), { TCPMD5Failure: 3, TCPMinTTLDrop: 3 }, config({})], []],
    ["TTL", [bird([down(SIX)]), { TCPMinTTLDrop: 3 }, config({ ttlSecurity: true })], [
      "ttl-security",
    ]],
    ["nothing is known of the peer", [bird([down(SIX)]), { TCPMinTTLDrop: 3 }, undefined], [
      "ttl-security",
    ]],
  ];
  for (const [name, facts, ids] of cases) assertEquals(idsOf(judgeDrops(...facts)), ids, name);
});

Deno.test("judgePeerIds() finds the node's own router id at a peer", () => {
  assertEquals(judgePeerIds(bird([session(SIX)])), []);
  const twin = session(SIX, { peerId: "198.51.100.11" });
  assertEquals(idsOf(judgePeerIds(bird([twin]))), ["router-id"]);
});

Deno.test("judgeSpeakers() finds two in each other's way", async (t) => {
  const socket = (text: string): TcpSocket => {
    const [local = "", peer] = text.split(" > ");
    const [, localAddress = "", localPort] = /^(.*) (\d+)$/.exec(local) ?? [];
    return {
      state: peer === undefined ? "listening" : "established",
      localAddress,
      localPort: Number(localPort),
      peerAddress: peer ?? "::",
      peerPort: peer === undefined ? 0 : 179,
      inode: "1",
    };
  };
  const speakers = (all: Readonly<Record<string, readonly string[]>>): readonly Speaker[] =>
    Object.entries(all).map(([name, sockets], i) => ({
      pid: 100 + i,
      name,
      sockets: sockets.map(socket),
    }));
  const any = ["0.0.0.0 179", ":: 179"];
  const running = bird([session(SIX)]);
  const cases: readonly (readonly [
    string,
    Readonly<Record<string, readonly string[]>>,
    BirdFacts | undefined,
    readonly string[],
  ])[] = [
    ["BIRD alone", { bird: [...any, "198.51.100.11 179 > 198.51.100.1"] }, running, []],
    [
      "another one, from another address",
      {
        bird: [...any, "198.51.100.11 179 > 198.51.100.1"],
        bgpd: ["198.51.100.12 4000 > 198.51.100.1"],
      },
      running,
      [],
    ],
    [
      "another one, to another router",
      {
        bird: [...any, "198.51.100.11 179 > 198.51.100.1"],
        bgpd: ["198.51.100.11 4000 > 198.51.100.2"],
      },
      running,
      [],
    ],
    [
      "both from one address to one router",
      {
        bird: [...any, "198.51.100.11 179 > 198.51.100.1"],
        bgpd: ["198.51.100.11 4000 > 198.51.100.1"],
      },
      running,
      ["bird (process 100) and bgpd (process 101) both speak BGP from 198.51.100.11 to 198.51.100.1"],
    ],
    [
      "each listens on its own",
      { bird: ["198.51.100.11 179"], bgpd: ["198.51.100.12 179"] },
      running,
      [],
    ],
    ["each on any address", { bird: any, bgpd: any }, running, [
      "bird (process 100) and bgpd (process 101) both listen on 0.0.0.0",
    ]],
    ["another one has the port", { bgpd: any }, running, [
      "bgpd (process 100) listens on BGP's port, and BIRD cannot",
    ]],
    ["another one has the port, and BIRD has no peers", { bgpd: any }, bird([]), []],
    ["no BIRD", { bgpd: any }, undefined, []],
  ];
  for (const [name, all, facts, findings] of cases) {
    await t.step(name, () => {
      const problems = judgeSpeakers(speakers(all), facts);
      assertEquals(problems.map(({ finding }) => finding), findings);
    });
  }
});

Deno.test("judgeDrops() says which peers", () => {
  const [problem] = judgeDrops(bird([down(SIX), session(FOUR)]), { TCPMD5NotFound: 2 }, undefined);
  assertStringIncludes(problem!.finding, `2 segments were dropped since boot`);
  assertStringIncludes(problem!.finding, `not established: ${SIX}`);
});
