import { assertEquals } from "@std/assert";
import type { BirdSession } from "../core/bird_session.ts";
import { formatAddress, parseAddress, parsePrefix } from "../core/cidr.ts";
import { parseNodeConfig } from "../core/node_config.ts";
import { BirdAbsentError } from "../io/birdc.ts";
import { configureLog } from "../log.ts";
import { BgpSessions } from "./bgp_sessions.ts";
import { SessionAddresses } from "./session_addresses.ts";

const lines: string[] = [];
configureLog({ level: "info", format: "json", write: (line) => lines.push(line) });

/** What was logged since the last call, without times. */
function logged(): readonly string[] {
  return lines.splice(0).map((line) => {
    const { ts: _, level, msg, ...fields } = JSON.parse(line);
    return [level, msg, ...Object.entries(fields).map(([k, v]) => `${k}=${v}`)].join(" ");
  });
}

const SIX = "2001:db8::1";
const UP: BirdSession = {
  name: "flock_bgp6_2001_db8__1",
  peer: SIX,
  state: "Established",
  info: "Established",
  since: "2026-01-01 10:00:00",
  localAddress: "2001:db8::11",
  localCapabilities: [],
  peerCapabilities: [],
  routes: { imported: 3, exported: 2, preferred: 1, received: 5, filtered: 2 },
};
const DOWN: BirdSession = {
  ...UP,
  state: "Active",
  info: "Active        Received: Hold timer expired",
  lastError: "Received: Hold timer expired",
  since: "2026-01-01 10:00:30",
  routes: undefined,
  localAddress: undefined,
};

class Fixture {
  sessions: readonly BirdSession[] | Error = [];
  readonly noted: string[] = [];
  readonly reloads: string[] = [];
  nowMs = 0;
  /** How far the wall clock is ahead. */
  aheadMs = Date.parse("2026-01-01T12:00:00");
  changes = 0;
  peers: readonly Record<string, unknown>[] = [{ address: SIX, asn: 65000, importLimit: 5 }];
  prefixes = ["2001:db8:1::/64"];
  readonly watch: BgpSessions;

  constructor() {
    // deno-lint-ignore no-this-alias -- getters of another object
    const f = this;
    this.watch = new BgpSessions({
      birdc: {
        overview: () =>
          f.sessions instanceof Error
            ? Promise.reject(f.sessions)
            : Promise.resolve({ sessions: f.sessions, imported: new Map() }),
        reloadIn: (protocol) => Promise.resolve(void f.reloads.push(protocol)),
      },
      node: {
        get config() {
          const bgp = { asn: 65001, peers: f.peers };
          return parseNodeConfig({ name: "n1", annotations: {}, spec: { bgp } }).config;
        },
        get nodePrefixes() {
          return f.prefixes.map(parsePrefix);
        },
      },
      addresses: {
        note: (ends) =>
          Promise.resolve(
            void f.noted.push(
              ...ends.map((end) => `${end.peer} ${formatAddress(end.localAddress)}`),
            ),
          ),
      },
      onChange: () => f.changes++,
      now: () => f.nowMs,
      wallClock: () => f.nowMs + f.aheadMs,
    });
  }

  async look(
    sessions: readonly BirdSession[] | Error,
    afterMs = 1_000,
  ): Promise<readonly string[]> {
    this.nowMs += afterMs;
    this.sessions = sessions;
    await this.watch.look();
    return logged();
  }
}

Deno.test("BgpSessions logs each session that comes up or goes down once, with reason and duration", async () => {
  const f = new Fixture();
  logged();
  assertEquals(await f.look([DOWN]), []);
  assertEquals(await f.look([UP]), [
    `info Established BGP session peer=${SIX} localAddress=2001:db8::11`,
  ]);
  assertEquals(await f.look([UP]), []);
  assertEquals(await f.look([DOWN], 2_000), [
    `info Lost BGP session peer=${SIX} reason=Received: Hold timer expired durationMs=3000`,
  ]);
  assertEquals(await f.look([{ ...DOWN, state: "Connect" }]), []);
  const again = { ...UP, since: "2026-01-01 10:00:40" };
  assertEquals(await f.look([again]), [
    `info Established BGP session peer=${SIX} localAddress=2001:db8::11 durationMs=2000`,
  ]);
  assertEquals(await f.look([again], 0), []);
  assertEquals(await f.look([{ ...UP, since: "2026-01-01 11:00:00" }]), [
    `info Lost BGP session peer=${SIX} reason=it was up again at the next look durationMs=1000`,
    `info Established BGP session peer=${SIX} localAddress=2001:db8::11`,
  ]);
  assertEquals(await f.look(new BirdAbsentError("Cannot reach BIRD: it is absent")), [
    `info Lost BGP session peer=${SIX} reason=Cannot reach BIRD: it is absent durationMs=1000`,
  ]);
  assertEquals(f.watch.flaps.get(SIX), 3);
  assertEquals(f.changes, 6);
  f.peers = [];
  await f.look([]);
  assertEquals([...f.watch.flaps], []);
});

Deno.test("BgpSessions takes a wall clock that steps for what it is", async () => {
  const f = new Fixture();
  await f.look([UP]);
  logged();
  for (const hours of [-5, 5, 1]) {
    f.aheadMs += hours * 3_600_000;
    // As BIRD prints it then.
    const since = new Date(
      Date.parse("2026-01-01T10:00:00") + f.aheadMs -
        Date.parse("2026-01-01T12:00:00"),
    );
    const text = new Date(since.getTime() - since.getTimezoneOffset() * 60_000).toISOString();
    const shown = text.slice(0, 19).replace("T", " ");
    assertEquals(await f.look([{ ...UP, since: shown }]), []);
  }
  assertEquals(f.watch.flaps.get(SIX), 0);
});

Deno.test("BgpSessions says nothing of sessions that were up before it looked, nor of a BIRD that it cannot ask", async () => {
  const f = new Fixture();
  logged();
  assertEquals(await f.look([UP]), []);
  const failure = new Error("Cannot run birdc: EAGAIN");
  for (let look = 1; look <= 5; look++) assertEquals(await f.look(failure), []);
  assertEquals(f.watch.peers.map(({ state }) => state), ["Unknown"]);
  assertEquals(await f.look([UP]), []);
  assertEquals(f.watch.flaps.get(SIX), 0);
});

Deno.test("BgpSessions notes the addresses of sessions that are up, configured or not", async () => {
  const f = new Fixture();
  f.peers = [];
  const foreign = { ...UP, name: "mine", peer: "" };
  await f.look([UP, { ...DOWN, name: "flock_bgp6_2001_db8__3", peer: "2001:db8::3" }, foreign]);
  assertEquals(f.noted, [`${SIX} 2001:db8::11`]);
});

Deno.test("BgpSessions tells of a family that no peer takes, once it has been so for a while", async () => {
  const f = new Fixture();
  f.prefixes = ["2001:db8:1::/64", "10.244.1.0/24"];
  await f.look([UP]);
  assertEquals(f.watch.unheard, ["ipv4"]);
  assertEquals(await f.look([UP], 9_999), []);
  assertEquals(await f.look([UP]), [
    "info Found no peer for prefixes of a family family=ipv4 prefixes=10.244.1.0/24 " +
    "reason=no peer has an address of it",
  ]);
  assertEquals(await f.look([UP], 60_000), []);
  f.prefixes = ["2001:db8:1::/64"];
  await f.look([DOWN]);
  assertEquals(await f.look([DOWN], 10_000), [
    "info Found no peer for prefixes of a family family=ipv6 prefixes=2001:db8:1::/64 " +
    "reason=no session is up",
  ]);
  assertEquals(
    (await f.look([UP]))[1],
    `info Found a peer for prefixes of a family family=ipv6 ` +
      `peers=${SIX} durationMs=11000`,
  );
  f.peers = [];
  await f.look([], 20_000);
  assertEquals(f.watch.unheard, [], "a node without peers announces nothing, and need not");
});

Deno.test("BgpSessions asks a peer again for its routes when there is room below its limit", async () => {
  const f = new Fixture();
  await f.look([UP]);
  const hit = (imported: number): BirdSession => ({
    ...UP,
    importLimitReached: true,
    routes: { ...UP.routes!, imported },
  });
  logged();
  assertEquals(await f.look([hit(5)]), [
    `warn Blocked routes of BGP peer peer=${SIX} importLimit=5 imported=5`,
  ]);
  assertEquals(f.watch.limited, [SIX]);
  assertEquals(await f.look([hit(5)], 600_000), []);
  assertEquals(f.reloads.length, 0, "it is full");
  await f.look([hit(4)]);
  assertEquals(f.reloads, [UP.name]);
  // Told again, it announces too many again.
  await f.look([UP]);
  await f.look([hit(4)]);
  await f.look([hit(4)], 50_000);
  assertEquals(f.reloads.length, 1, "not within a minute");
  await f.look([hit(4)], 10_000);
  assertEquals(f.reloads.length, 2);
  await f.look([hit(4)], 60_000);
  assertEquals(f.reloads.length, 2, "less and less often");
  assertEquals(await f.look([UP]), []);
  assertEquals(f.watch.limited, [SIX], "it may be told too many at any moment");
  assertEquals(await f.look([UP], 30_000), [
    `info Unblocked routes of BGP peer peer=${SIX} importLimit=5 durationMs=754000`,
  ]);
  assertEquals(f.watch.limited, []);
});

Deno.test("BgpSessions asks again at once when the limit was raised", async () => {
  const f = new Fixture();
  const full = { ...UP, routes: { ...UP.routes!, imported: 5 } };
  await f.look([{ ...full, importLimitReached: true }]);
  f.peers = [{ ...f.peers[0], importLimit: 50 }];
  await f.look([full]);
  assertEquals(f.reloads, [UP.name]);
});

Deno.test("SessionAddresses keeps what sessions were established with, and survives a bad file", async () => {
  const dir = await Deno.makeTempDir({ prefix: "flock-addresses-" });
  try {
    const first = await SessionAddresses.open(dir);
    assertEquals(first.isEmpty, true);
    await first.note([]);
    assertEquals([...Deno.readDirSync(dir)].length, 0);
    const { localAddress } = UP;
    const own = parseAddress(localAddress!);
    await first.note([{ peer: SIX, localAddress: own }]);
    const second = await SessionAddresses.open(dir);
    assertEquals(formatAddress(second.get(SIX)!), localAddress);
    assertEquals(second.get("2001:db8::2"), undefined);
    logged();
    for (const text of ["", "null", '{"x": 1}', "{"]) {
      await Deno.writeTextFile(`${dir}/session_addresses.json`, text);
      assertEquals((await SessionAddresses.open(dir)).isEmpty, true);
      assertEquals(logged().length, 1);
    }
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});
