/**
 * `io/ip_monitor.ts` on a kernel: what `ip` prints is understood, and what becomes of it when its buffer
 * runs over, when it is killed, and when its reader is.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import type { IpEvent, RouteEvent } from "../../src/core/ip_events.ts";
import { parseRoutes } from "../../src/core/ip_state.ts";
import type { FollowCommand } from "../../src/io/command.ts";
import { runIpMonitor } from "../../src/io/ip_monitor.ts";
import { until } from "../../src/lab/wait.ts";
import { testWith } from "../support.ts";
import { Namespace } from "./namespace.ts";

/** Everything that a route's line can differ in. */
const ROUTES = [
  "route add 10.9.9.9 dev va proto 144 metric 16",
  "route add 10.77.0.0/16 via 10.1.0.2 proto bird metric 32 table 77",
  "route add default via 10.1.0.2 metric 5",
  "route add unreachable 10.78.0.0/16 proto 143 metric 1000",
  "route add 10.79.0.0/16 metric 7 nexthop via 10.1.0.5 nexthop via 10.1.0.6 weight 3",
  "route add 10.80.0.1 nhid 101 proto 144 metric 16",
  "route add 10.80.0.2 nhid 11 proto 144 metric 16",
  "route add 2001:db8:6::1 dev va proto 144 metric 16",
  "route add 2001:db8:5::/48 via 2001:db8::2 proto bird metric 32 table 77",
  "route add default via 2001:db8::2",
  "route add blackhole ::/0 metric 4000 table 100",
  "route add unreachable 2001:db8:7::/48 proto 143 metric 2000",
  "route add 2001:db8:9::/48 nexthop via 2001:db8::5 nexthop via 2001:db8::6",
  "route add 2001:db8:ffff::53 nhid 102 proto 144 metric 16",
  "route add ::/0 nhid 102 metric 7",
];

testWith("netns: events tell of the routes that the kernel has, as ip route does", [
  "root",
], async () => {
  await using ns = await Namespace.create();
  await using m = await Monitored.start(ns);
  await ns.run([
    "link add va type veth peer name vb",
    "link set vb up",
    "link set va up",
    "addr add 10.1.0.1/24 dev va",
    "addr add 2001:db8::1/64 dev va nodad",
  ]);
  await m.seen("va is up", (e) => e.kind === "link" && e.ifname === "va" && e.up);
  await m.seen("an address", (e) => e.kind === "address" && e.ifname === "va");
  await ns.run([
    "nexthop add id 11 via 10.1.0.3 dev va proto 144",
    "nexthop add id 12 via 10.1.0.4 dev va proto 144 onlink",
    "nexthop add id 13 via 2001:db8::3 dev va proto 144",
    "nexthop add id 101 group 11,3/12 type resilient buckets 64 proto 144",
    "nexthop add id 102 group 13 proto 144",
    ...ROUTES,
  ]);
  await m.settle();
  const told = m.events.flatMap((e) => e.kind === "route" ? [routeKey(e)] : []);
  const show = async (family: "-4" | "-6"): Promise<readonly string[]> => {
    const { stdout } = await ns.command("ip", ["-j", family, "route", "show", "table", "all"]);
    const routes = parseRoutes(JSON.parse(stdout), family === "-4" ? "ipv4" : "ipv6");
    return routes.filter(({ table }) => table !== "local").map((route) =>
      routeKey({ ...route, protocol: route.protocol.replace("boot", "") })
    );
  };
  const had = [...await show("-4"), ...await show("-6")];
  assert(had.length >= ROUTES.length, had.join("\n"));
  for (const route of had) assert(told.includes(route), `${route} is not in\n${told.join("\n")}`);
  assertEquals(
    m.events.flatMap((e) => e.kind === "nexthop" ? [[e.id, e.protocol, e.deleted]] : []),
    [11, 12, 13, 101, 102].map((id) => [id, "144", false]),
  );

  m.events.length = 0;
  await ns.run([
    "route del 10.9.9.9 metric 16",
    "route del 2001:db8:ffff::53 metric 16",
    "nexthop del id 101",
    "link del va",
  ]);
  await m.seen("va is gone", (e) => e.kind === "link" && e.deleted && e.ifname === "va");
  const deleted = m.events.filter((e) => "deleted" in e && e.deleted);
  assertEquals(
    deleted.flatMap((e) => e.kind === "nexthop" ? [e.id] : []),
    [101],
  );
  assertEquals(
    deleted.flatMap((e) => e.kind === "route" && e.protocol === "144" ? [e.dst] : []).slice(0, 2),
    ["10.9.9.9/32", "2001:db8:ffff::53/128"],
  );
});

testWith("netns: an ip monitor that is killed is started again, with a gap", ["root"], async () => {
  await using ns = await Namespace.create();
  await using m = await Monitored.start(ns);
  for (let round = 1; round <= 2; round++) {
    const [pid] = await ns.pids();
    const gaps = m.gaps.length;
    Deno.kill(pid!, "SIGKILL");
    await until("another gap", () => Promise.resolve(m.gaps.length > gaps));
    await m.settle();
    assert(!(await ns.pids()).includes(pid!), "it is the same one");
  }
});

testWith("netns: an overrun of the kernel's buffer is a gap, and events go on", [
  "root",
], async () => {
  await using ns = await Namespace.create();
  const follow: FollowCommand = (tool, args, options) =>
    ns.follow(tool, args.map((arg) => arg === "8388608" ? "4096" : arg), options);
  await using m = await Monitored.start(ns, follow);
  const [pid] = await ns.pids();
  Deno.kill(pid!, "SIGSTOP");
  try {
    await ns.run(
      Array.from({ length: 500 }, (_, n) => `route add unreachable 10.${n >> 8}.${n & 255}.0/24`),
    );
  } finally {
    Deno.kill(pid!, "SIGCONT");
  }
  await until(
    "the gap",
    () => Promise.resolve(m.gaps.includes("the kernel's buffer ran over")),
  );
  await m.settle();
  assertEquals(await ns.pids(), [pid]);
});

testWith("netns: an ip that knows no next hops is asked for the rest", ["root"], async () => {
  await using ns = await Namespace.create();
  // What an older ip says to the word, this one says to another.
  const follow: FollowCommand = (tool, args, options) =>
    ns.follow(tool, args.map((arg) => arg === "nexthop" ? "nexthop-of-later" : arg), options);
  await using m = await Monitored.start(ns, follow);
  assertEquals(m.gaps.slice(0, 2), ["ip monitor starts", "ip monitor starts"]);
});

testWith("netns: an ip monitor whose reader was killed ends at the next event", [
  "root",
], async () => {
  await using ns = await Namespace.create();
  const module = import.meta.resolve("../../src/io/ip_monitor.ts");
  const config = new URL("../../deno.json", import.meta.url).pathname;
  const program = `import { runIpMonitor } from ${JSON.stringify(module)};
    const handlers = { onEvent() {}, onGap() {} };
    await runIpMonitor(handlers, new AbortController().signal);`;
  await using reader = new Deno.Command("nsenter", {
    args: [
      `--net=${ns.path}`,
      Deno.execPath(),
      "run",
      "-A",
      "--no-check",
      `--config=${config}`,
      "-",
    ],
    stdin: "piped",
    stdout: "null",
    stderr: "null",
  }).spawn();
  const input = reader.stdin.getWriter();
  await input.write(new TextEncoder().encode(program));
  await input.close();
  const orphan = await until(
    "ip monitor",
    async () => (await ns.pids()).find((pid) => pid !== reader.pid && isMonitor(pid)),
  );
  try {
    reader.kill("SIGKILL");
    await reader.status;
    assert(isMonitor(orphan), "it ended without an event");
    await until("its end", async () => {
      await ns.run(["route replace unreachable 10.0.0.0/8"]);
      return !isMonitor(orphan);
    });
  } finally {
    if (isMonitor(orphan)) Deno.kill(orphan, "SIGKILL");
  }
});

testWith("netns: nothing is left of a monitor that was stopped", ["root"], async () => {
  await using ns = await Namespace.create();
  const round = async (): Promise<number> => {
    {
      await using _m = await Monitored.start(ns);
    }
    assertEquals(await ns.pids(), []);
    return [...Deno.readDirSync("/proc/self/fd")].length;
  };
  const before = await round();
  for (let n = 0; n < 5; n++) await round();
  assertEquals(await round(), before);
});

function isMonitor(pid: number): boolean {
  try {
    return Deno.readTextFileSync(`/proc/${pid}/cmdline`).includes("\0monitor\0");
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/** What an event and an observed route have in common. */
function routeKey(route: Omit<RouteEvent, "kind" | "deleted">): string {
  const { family, dst, table, protocol = "", metric, dev = "", nexthopId = 0 } = route;
  return [family, dst, `table ${table}`, protocol, metric, dev, nexthopId].join(" ");
}

/** A monitor in a namespace, and what it told. */
class Monitored implements AsyncDisposable {
  readonly events: IpEvent[] = [];
  readonly gaps: string[] = [];
  readonly #stop = new AbortController();
  readonly #running: Promise<void>;
  #marks = 0;

  private constructor(readonly ns: Namespace, follow: FollowCommand) {
    this.#running = runIpMonitor(
      {
        onEvent: (event) => this.events.push(event),
        onGap: (reason) => this.gaps.push(reason),
      },
      this.#stop.signal,
      { follow },
    );
  }

  static async start(ns: Namespace, follow = ns.follow): Promise<Monitored> {
    const m = new Monitored(ns, follow);
    try {
      await m.settle();
    } catch (error) {
      await m[Symbol.asyncDispose]();
      throw error;
    }
    return m;
  }

  async seen(what: string, test: (event: IpEvent) => boolean): Promise<void> {
    await until(what, () => Promise.resolve(this.events.some(test)), { everyMs: 10 });
  }

  /** Until `ip` listens, and has told everything so far: events come in the kernel's order. */
  async settle(): Promise<void> {
    const table = `${1_000 + ++this.#marks}`;
    await until(`the event of table ${table}`, async () => {
      await this.ns.run([
        `route add unreachable 10.0.0.0/8 table ${table}`,
        `route del unreachable 10.0.0.0/8 table ${table}`,
      ]);
      return this.events.some((e) => e.kind === "route" && e.deleted && e.table === table);
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }
}
