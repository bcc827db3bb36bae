import { assert, assertEquals, assertRejects } from "@std/assert";
import type { IpRoute } from "../core/ip_state.ts";
import { CniError } from "../core/errors.ts";
import { configureLog } from "../log.ts";
import { Drain, drainOperations } from "./drain.ts";

const START = Date.parse("2026-01-02T03:04:05Z");
const ADDRESSES = ["2001:db8:ffff::53", "203.0.113.200"];

function route(dst: string, protocol = "144"): IpRoute {
  const family = dst.includes(":") ? "ipv6" : "ipv4";
  const rest = { type: "unicast", table: "main", metric: 16, nextHops: [], flags: [] };
  return { family, dst, protocol, ...rest };
}

/** A node whose agents come and go, with clocks that move only when told. */
class Fixture implements Disposable {
  readonly dir = Deno.makeTempDirSync({ prefix: "flock-drain-" });
  readonly file = `${this.dir}/drain.json`;
  readonly logged: Record<string, unknown>[] = [];
  wall = START;
  ticks = 0;
  announced = true;
  addresses: readonly string[] = ADDRESSES;
  routes: readonly IpRoute[] = [];
  changes = 0;

  constructor() {
    const write = (line: string): void => void this.logged.push(JSON.parse(line));
    configureLog({ level: "info", format: "json", write });
  }

  open(): Promise<Drain> {
    return Drain.open({
      stateDir: this.dir,
      announced: () => this.announced,
      addresses: () => this.addresses,
      ip: { observe: () => Promise.resolve({ routes: this.routes }) },
      onChange: () => void this.changes++,
      now: () => this.wall,
      ticks: () => this.ticks,
    });
  }

  /** Lets time go by. */
  pass(ms: number): void {
    this.wall += ms;
    this.ticks += ms;
  }

  onDisk(): Record<string, unknown> | undefined {
    try {
      return JSON.parse(Deno.readTextFileSync(this.file));
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return undefined;
      throw error;
    }
  }

  messages(): readonly unknown[] {
    return this.logged.map(({ msg }) => msg);
  }

  [Symbol.dispose](): void {
    Deno.removeSync(this.dir, { recursive: true });
  }
}

function phases(drain: Drain): readonly [boolean, boolean] {
  return [drain.active, drain.withdrawn];
}

Deno.test("Drain announces for the wait, then withdraws, until it is taken back", async () => {
  using f = new Fixture();
  const drain = await f.open();
  assertEquals(phases(drain), [false, false]);
  f.announced = false;
  f.routes = ADDRESSES.map((address) => route(`${address}/${address.includes(":") ? 128 : 32}`));

  const first = await drain.drain(30_000);
  assertEquals(first, {
    phase: "announcing",
    since: "2026-01-02T03:04:05.000Z",
    withdrawsAt: undefined,
    waitMs: 30_000,
    addresses: ADDRESSES,
    routed: ADDRESSES,
  });
  assertEquals([...phases(drain), f.changes], [true, false, 1]);
  assertEquals(f.onDisk()?.wait_ms, 30_000);

  // The wait begins when BIRD has the community.
  assertEquals(await drain.look(), 50);
  f.pass(2_000);
  f.announced = true;
  assertEquals(await drain.look(), 1_000);
  assertEquals((await drain.report()).withdrawsAt, "2026-01-02T03:04:37.000Z");
  assertEquals(f.onDisk()?.announced_at, "2026-01-02T03:04:07.000Z");
  f.pass(29_900);
  assertEquals(await drain.look(), 100);
  assertEquals([...phases(drain), f.changes], [true, false, 1]);
  f.pass(100);
  await drain.look();
  assertEquals([...phases(drain), f.changes], [true, true, 2]);
  assertEquals(f.onDisk()?.withdrawn_at, "2026-01-02T03:04:37.000Z");

  f.routes = [route("203.0.113.200/32", "bird"), route("203.0.113.0/24")];
  const last = await drain.report();
  assertEquals([last.phase, last.withdrawsAt, last.routed], ["withdrawn", undefined, []]);

  assertEquals((await drain.undrain()).phase, "none");
  assertEquals([...phases(drain), f.changes], [false, false, 3]);
  assertEquals(f.onDisk(), undefined);
  assertEquals((await drain.undrain()).phase, "none");
  assertEquals(f.changes, 3);
  assertEquals(f.messages(), [
    "Started draining",
    "Announced graceful shutdown",
    "Withdrew anycast addresses",
    "Ended draining",
  ]);
});

Deno.test("Drain waits 5 s for a BIRD that is away, and no longer", async () => {
  using f = new Fixture();
  const drain = await f.open();
  f.announced = false;
  await drain.drain(1_000);
  f.pass(4_999);
  assertEquals(await drain.look(), 50);
  f.pass(1);
  assertEquals(await drain.look(), 1_000);
  assertEquals(f.messages().at(-1), "Could not announce graceful shutdown");
  f.pass(1_000);
  await drain.look();
  assertEquals(phases(drain), [true, true]);
});

Deno.test("Drain has nothing to wait for without anycast addresses", async () => {
  using f = new Fixture();
  f.addresses = [];
  const drain = await f.open();
  await drain.drain(30_000);
  await drain.look();
  assertEquals(phases(drain), [true, true]);
});

Deno.test("drain() again restarts nothing; another wait counts from the same beginning", async () => {
  using f = new Fixture();
  const drain = await f.open();
  await drain.drain(30_000);
  await drain.look();
  f.pass(10_000);
  const { since, withdrawsAt } = await drain.drain(30_000);
  assertEquals([since, withdrawsAt], ["2026-01-02T03:04:05.000Z", "2026-01-02T03:04:35.000Z"]);
  assertEquals((await drain.drain(60_000)).withdrawsAt, "2026-01-02T03:05:05.000Z");
  assertEquals(f.onDisk()?.wait_ms, 60_000);
  await drain.drain(0);
  await drain.look();
  assertEquals([...phases(drain), f.changes], [true, true, 2]);
  // What is withdrawn is not announced again.
  const report = await drain.drain(60_000);
  assertEquals([report.phase, report.waitMs], ["withdrawn", 0]);
  assertEquals(f.changes, 2);
});

Deno.test("Drain goes on in the next agent, also when its time passed meanwhile", async () => {
  using f = new Fixture();
  const first = await f.open();
  await first.drain(30_000);
  await first.look();
  f.pass(10_000);
  f.ticks = 5;
  const second = await f.open();
  assertEquals(phases(second), [true, false]);
  assertEquals(second.status.withdrawsAt, "2026-01-02T03:04:35.000Z");
  assertEquals(await second.look(), 1_000);
  f.pass(20_000);
  const third = await f.open();
  assertEquals(phases(third), [true, true]);
  assertEquals(f.messages().at(-1), "Found node drained");
  await third.undrain();
  assertEquals(phases(await f.open()), [false, false]);
});

Deno.test("Drain of an agent that ended before BIRD had the community still waits", async () => {
  using f = new Fixture();
  f.announced = false;
  const first = await f.open();
  await first.drain(30_000);
  await first.look();
  f.pass(3_600_000);
  const second = await f.open();
  f.announced = true;
  assertEquals(phases(second), [true, false]);
  assertEquals(await second.look(), 1_000);
  assertEquals(second.status.withdrawsAt, "2026-01-02T04:04:35.000Z");
});

Deno.test("Drain is not held up by a clock that was set back, nor undone by it", async () => {
  using f = new Fixture();
  const first = await f.open();
  await first.drain(30_000);
  await first.look();
  f.wall -= 86_400_000;
  const second = await f.open();
  assertEquals(second.status.withdrawsAt, "2026-01-01T03:04:35.000Z");
  f.ticks += 30_000;
  await second.look();
  assertEquals(phases(second), [true, true]);
  f.wall -= 86_400_000;
  assertEquals(phases(await f.open()), [true, true]);
});

Deno.test("Drain with a damaged file is drained, says so, and undrain mends it", async () => {
  using f = new Fixture();
  Deno.writeTextFileSync(f.file, '{"version": 1, "sin');
  for (const mend of ["drain", "undrain"] as const) {
    const drain = await f.open();
    assertEquals(phases(drain), [true, true]);
    const error = f.logged.at(-1);
    assertEquals(error?.level, "error");
    assertEquals(error?.path, f.file);
    assert(String(error?.err).includes(`"${f.file}": it is not JSON`), String(error?.err));
    assertEquals(drain.status.since, undefined);
    if (mend === "drain") {
      assertEquals((await drain.drain(30_000)).phase, "withdrawn");
      assertEquals(phases(await f.open()), [true, true]);
      Deno.writeTextFileSync(f.file, "");
    } else {
      await drain.undrain();
      assertEquals(phases(await f.open()), [false, false]);
    }
  }
});

Deno.test("drain() that cannot be written down is not begun", async () => {
  using f = new Fixture();
  const drain = await f.open();
  Deno.mkdirSync(f.file);
  await assertRejects(() => drain.drain(1_000), Error, `Cannot write file "${f.file}"`);
  assertEquals([...phases(drain), f.changes], [false, false, 0]);
  Deno.removeSync(f.file);
  await drain.drain(0);
  // From here on it is done also where it cannot be written down.
  Deno.removeSync(f.file);
  Deno.mkdirSync(f.file);
  await drain.look();
  assertEquals(phases(drain), [true, true]);
  assertEquals(f.messages().filter((m) => m === "Could not write the state of draining").length, 2);
});

Deno.test("Drain.run() goes through the phases by itself", async () => {
  using f = new Fixture();
  const done = Promise.withResolvers<void>();
  const drain = await Drain.open({
    stateDir: f.dir,
    announced: () => true,
    addresses: () => ADDRESSES,
    ip: { observe: () => Promise.resolve({ routes: [] }) },
    onChange: () => drain.withdrawn && done.resolve(),
  });
  const stop = new AbortController();
  const running = drain.run(stop.signal);
  await drain.drain(20);
  await done.promise;
  assertEquals(phases(drain), [true, true]);
  stop.abort();
  await running;
});

Deno.test("drainOperations() starts with a wait, tells without one, and refuses a wrong one", async () => {
  using f = new Fixture();
  const { drain, undrain } = drainOperations(await f.open());
  const { signal } = new AbortController();
  const request = { version: 1, op: "drain" };
  const phaseOf = async (answer: Promise<unknown>): Promise<unknown> =>
    (await answer as { phase: unknown }).phase;
  assertEquals(await phaseOf(drain!(request, signal)), "none");
  assertEquals(await phaseOf(drain!({ ...request, wait_ms: 5 }, signal)), "announcing");
  assertEquals(await phaseOf(drain!(request, signal)), "announcing");
  for (const wait of [-1, "30s", 1e12]) {
    const error = await assertRejects(
      async () => await drain!({ ...request, wait_ms: wait as number }, signal),
      CniError,
      `"wait_ms" is ${JSON.stringify(wait)}`,
    );
    assertEquals(error.code, 6);
  }
  assertEquals(await phaseOf(undrain!(request, signal)), "none");
});
