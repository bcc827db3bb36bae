import { assert, assertEquals } from "@std/assert";
import type { IpEvent } from "../core/ip_events.ts";
import { configureLog } from "../log.ts";
import { FakeClock } from "../../tests/fakes/fake_clock.ts";
import type { FollowCommand, FollowOptions } from "./command.ts";
import { runIpMonitor } from "./ip_monitor.ts";

const STARTS = "ip monitor starts";
const LISTENS = "ip monitor listens";
const OVERRUN = "the kernel's buffer ran over";

Deno.test("runIpMonitor() tells of a gap at the start, and of another when ip listens", async () => {
  await using m = await Monitor.start();
  assertEquals([m.command, m.gaps, m.clock.sleeping], [
    "ip -rcvbuf 8388608 -o monitor label link address route rule netconf nexthop",
    [STARTS],
    [1_000],
  ]);
  await m.advance(1_000);
  assertEquals([m.gaps, m.clock.sleeping], [[STARTS, LISTENS], []]);
});

Deno.test("runIpMonitor() delivers events, and skips what is none", async () => {
  await using m = await Monitor.start();
  m.ip.onLine("[NEXTHOP]id 15 blackhole ");
  m.ip.onLine("[NEIGH]10.1.0.2 dev va lladdr ba:60:29:20:39:93 REACHABLE");
  m.ip.onLine("[ADDR]3: va    inet 10.1.0.1/24 scope global va");
  assertEquals(m.events.map(({ kind }) => kind), ["nexthop", "address"]);
});

Deno.test("runIpMonitor() tells of a gap when the kernel dropped events, and goes on", async () => {
  await using m = await Monitor.start();
  m.ip.onErrorLine("netlink receive error No buffer space available (105)");
  m.ip.onErrorLine("something else");
  assertEquals([m.gaps, m.starts.length], [[STARTS, OVERRUN], 1]);
});

Deno.test("runIpMonitor() starts ip again, later and later, and sooner after a good one", async () => {
  await using m = await Monitor.start();
  const waited: number[] = [];
  for (let n = 0; n < 9; n++) {
    m.ip.onErrorLine(`no ${n}`);
    waited.push(await m.endAndRestart());
  }
  assertEquals(waited, [100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000]);
  // None of them lived for the second one.
  assertEquals(m.gaps, Array(10).fill(STARTS));
  assertEquals(
    m.logs.map(({ level, msg, err, retryInMs }) => ({ level, msg, err, retryInMs })),
    [[0, 100], [1, 200], [2, 400], [4, 1_600], [8, 10_000]].map(([n, retryInMs]) => ({
      level: "warn",
      msg: "Route monitor ended",
      err: `Cannot run "${m.command}": exit status 1: no ${n}`,
      retryInMs,
    })),
  );

  await m.advance(9_999);
  assertEquals(await m.endAndRestart(), 10_000);
  await m.advance(10_000);
  assertEquals(await m.endAndRestart(), 100);
});

Deno.test("runIpMonitor() tells the last of what ip said", async () => {
  await using m = await Monitor.start();
  for (const word of ["one", "two", "three", "four"]) m.ip.onErrorLine(word);
  await m.endAndRestart();
  assertEquals(m.logs[0]?.err, `Cannot run "${m.command}": exit status 1: two; three; four`);
});

Deno.test("runIpMonitor() does without next hops where ip does not know them", async () => {
  await using m = await Monitor.start();
  m.ip.onErrorLine('Argument "nexthop" is unknown, try "ip monitor help".');
  await m.end(255);
  assertEquals([m.starts.length, m.command, m.gaps], [
    2,
    "ip -rcvbuf 8388608 -o monitor label link address route rule netconf",
    [STARTS, STARTS],
  ]);
  assertEquals(m.logs.map(({ msg }) => msg), ["Could not follow next hops"]);
  // Not a second time: then it is a failure like another.
  m.ip.onErrorLine('Argument "nexthop" is unknown, try "ip monitor help".');
  assertEquals(await m.endAndRestart(), 100);
});

Deno.test("runIpMonitor() tries again when ip cannot be started, and when a handler throws", async () => {
  await using m = await Monitor.start({ absent: true });
  assertEquals([m.logs[0]?.err, m.starts.length], ['Cannot find tool "ip"', 0]);
  m.absent = false;
  await m.advance(100);
  assertEquals(m.starts.length, 1);
  m.failing = true;
  await m.advance(1_000);
  assert(m.ip.signal.aborted, "the ip of the failed handler goes on");
  assertEquals(m.logs[1]?.err, "Cannot take a gap");
});

Deno.test("runIpMonitor() ends with its signal, after ip, whatever it waits for", async () => {
  for (const state of ["listening", "waiting"] as const) {
    await using m = await Monitor.start();
    if (state === "waiting") await m.end(1);
    const gaps = m.gaps.length;
    m.stop.abort();
    await m.running;
    assertEquals([m.gaps.length, m.clock.sleeping, m.starts.length], [gaps, [], 1]);
    assert(m.ip.ended, "ip goes on");
  }
});

interface StartedIp extends FollowOptions {
  readonly args: readonly string[];
  readonly exit: (code: number) => void;
  ended: boolean;
}

/** A monitor whose `ip` and clock the test is. */
class Monitor implements AsyncDisposable {
  readonly clock = new FakeClock();
  readonly starts: StartedIp[] = [];
  readonly events: IpEvent[] = [];
  readonly gaps: string[] = [];
  readonly logs: Record<string, unknown>[] = [];
  readonly stop = new AbortController();
  running = Promise.resolve();
  absent = false;
  failing = false;

  static async start(options: { readonly absent?: boolean } = {}): Promise<Monitor> {
    const m = new Monitor();
    m.absent = options.absent ?? false;
    const write = (line: string): unknown => m.logs.push(JSON.parse(line));
    configureLog({ level: "info", format: "json", write });
    m.running = runIpMonitor(
      {
        onEvent: (event) => m.events.push(event),
        onGap(reason) {
          if (m.failing) throw new Error("Cannot take a gap");
          m.gaps.push(reason);
        },
      },
      m.stop.signal,
      { follow: m.#follow, sleep: m.clock.sleep, now: m.clock.now },
    );
    await turn();
    return m;
  }

  /** The last one that was started. */
  get ip(): StartedIp {
    return this.starts.at(-1)!;
  }

  get command(): string {
    return `ip ${this.ip.args.join(" ")}`;
  }

  async advance(ms: number): Promise<void> {
    this.clock.advance(ms);
    await turn();
  }

  async end(code: number): Promise<void> {
    this.ip.exit(code);
    await turn();
  }

  /** Ends `ip`, and waits for the next one. @returns milliseconds until it was started */
  async endAndRestart(): Promise<number> {
    const before = this.starts.length;
    await this.end(1);
    const [ms] = this.clock.sleeping;
    await this.advance(ms!);
    assertEquals(this.starts.length, before + 1);
    return ms!;
  }

  readonly #follow: FollowCommand = async (_tool, args, options) => {
    if (this.absent) throw new Deno.errors.NotFound('Cannot find tool "ip"');
    const { promise, resolve } = Promise.withResolvers<Deno.CommandStatus>();
    const ip: StartedIp = {
      ...options,
      args,
      ended: false,
      exit: (code) => resolve({ success: code === 0, code, signal: null }),
    };
    this.starts.push(ip);
    options.signal.addEventListener("abort", () => {
      // A killed process takes a moment to end.
      setTimeout(() => resolve({ success: false, code: 137, signal: "SIGKILL" }), 1);
    });
    const status = await promise;
    ip.ended = true;
    return status;
  };

  async [Symbol.asyncDispose](): Promise<void> {
    this.stop.abort();
    await this.running;
  }
}

/** Lets everything happen that waits for nothing. */
function turn(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 5));
}
