import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { FakeBirdc } from "../../tests/fakes/fake_birdc.ts";
import { FakeClock } from "../../tests/fakes/fake_clock.ts";
import { BirdRefusedError } from "../io/birdc.ts";
import { configureLog } from "../log.ts";
import { BgpSpeaker, RELOAD_WINDOW_MS, RETRY_MAX_MS, RETRY_MIN_MS } from "./bgp.ts";

class Fixture implements AsyncDisposable {
  readonly dir = Deno.makeTempDirSync({ prefix: "flock-bgp-" });
  readonly path = `${this.dir}/bird/bird.conf`;
  readonly clock = new FakeClock();
  readonly birdc = new FakeBirdc(this.path);
  readonly logged: Record<string, unknown>[] = [];
  readonly reloads: string[] = [];
  readonly speaker: BgpSpeaker;

  constructor() {
    const write = (line: string): void => void this.logged.push(JSON.parse(line));
    configureLog({ level: "info", format: "json", write });
    this.speaker = new BgpSpeaker({
      path: this.path,
      birdc: this.birdc,
      check: async (path) => {
        if ((await Deno.readTextFile(path)).includes("refuse")) {
          throw new BirdRefusedError("Cannot use it: refused offline", 8002);
        }
      },
      sleep: this.clock.sleep,
      now: this.clock.now,
      onReload: (result, seconds) => {
        assert(seconds >= 0 && seconds < 60);
        this.reloads.push(result);
      },
    });
  }

  inPlace(): string {
    return Deno.readTextFileSync(this.path);
  }

  /** Waits until something holds; the files are real, so it takes a moment. */
  async until(holds: () => boolean): Promise<void> {
    const end = performance.now() + 2_000;
    while (!holds()) {
      assert(performance.now() < end, `it did not come to ${holds}: ${Deno.inspect(this)}`);
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.speaker[Symbol.asyncDispose]();
    assertEquals(this.clock.sleeping, []);
    Deno.removeSync(this.dir, { recursive: true });
  }
}

Deno.test("BgpSpeaker reloads at once, then once at the end of the window", async () => {
  await using f = new Fixture();
  f.speaker.apply("A");
  await f.until(() => f.speaker.state.applied);
  assertEquals(f.birdc.reloads, ["A"]);
  f.speaker.apply("B");
  f.clock.advance(200);
  f.speaker.apply("C");
  f.speaker.apply("D");
  await f.until(() => f.clock.sleeping.length === 1);
  assertEquals(f.birdc.reloads, ["A"]);
  assertEquals(f.speaker.state.applied, false);
  assertEquals(f.speaker.state.error, undefined);
  f.clock.advance(RELOAD_WINDOW_MS - 200 - 1);
  await new Promise((resolve) => setTimeout(resolve, 20));
  assertEquals(f.birdc.reloads, ["A"]);
  f.clock.advance(1);
  await f.until(() => f.speaker.state.applied);
  assertEquals(f.birdc.reloads, ["A", "D"]);
  assertEquals(f.inPlace(), "D");
  assertEquals(f.speaker.state.reloads, 2);
  assertEquals(f.speaker.state.lastAppliedAt, f.clock.now());
});

Deno.test("BgpSpeaker removes what a killed agent left, passwords in it", async () => {
  await using f = new Fixture();
  Deno.mkdirSync(`${f.dir}/bird`);
  Deno.writeTextFileSync(`${f.dir}/bird/.flock-1.tmp`, 'password "secret"');
  f.speaker.apply("A");
  await f.until(() => f.speaker.state.applied);
  assertEquals([...Deno.readDirSync(`${f.dir}/bird`)].map(({ name }) => name), ["bird.conf"]);
});

Deno.test("BgpSpeaker reloads at once again when the window is over", async () => {
  await using f = new Fixture();
  f.speaker.apply("A");
  await f.until(() => f.speaker.state.applied);
  f.clock.advance(RELOAD_WINDOW_MS);
  f.speaker.apply("B");
  await f.until(() => f.speaker.state.applied);
  assertEquals(f.birdc.reloads, ["A", "B"]);
});

Deno.test("BgpSpeaker does nothing when the text is what is in force", async () => {
  await using f = new Fixture();
  f.speaker.apply("A");
  await f.until(() => f.speaker.state.applied);
  f.speaker.apply("A");
  f.speaker.apply("B");
  f.speaker.apply("A");
  await f.until(() => f.clock.sleeping.length === 1);
  f.clock.advance(RELOAD_WINDOW_MS);
  await f.until(() => f.clock.sleeping.length === 0);
  f.clock.advance(60_000);
  await new Promise((resolve) => setTimeout(resolve, 20));
  assertEquals(f.birdc.reloads, ["A"]);
  assert(f.speaker.state.applied);
});

Deno.test("BgpSpeaker does not wait longer than the window when the clock is set back", async () => {
  await using f = new Fixture();
  f.speaker.apply("A");
  await f.until(() => f.speaker.state.applied);
  f.clock.advance(-3_600_000);
  f.speaker.apply("B");
  await f.until(() => f.clock.sleeping.length === 1);
  assertEquals(f.clock.sleeping, [RELOAD_WINDOW_MS]);
});

Deno.test("BgpSpeaker leaves the file when the check refuses, and backs off", async () => {
  await using f = new Fixture();
  f.speaker.apply("A");
  await f.until(() => f.speaker.state.applied);
  f.clock.advance(RELOAD_WINDOW_MS);
  f.speaker.apply("refuse");
  const waits: number[] = [];
  for (let n = 1; n <= 8; n++) {
    await f.until(() => f.speaker.state.failures === n && f.clock.sleeping.length === 1);
    waits.push(f.clock.sleeping[0]!);
    f.clock.advance(waits.at(-1)!);
  }
  assertEquals(waits, [1, 2, 4, 8, 16, 30, 30, 30].map((s) => s * 1_000));
  assertEquals([waits[0], waits.at(-1)], [RETRY_MIN_MS, RETRY_MAX_MS]);
  await f.until(() => f.speaker.state.failures === 9 && f.clock.sleeping.length === 1);
  assertEquals([f.inPlace(), f.birdc.running], ["A", "A"]);
  assertEquals(f.speaker.state.applied, false);
  assertStringIncludes(f.speaker.state.error ?? "", "syntax error");
  // On change, then at each doubling: attempts 1, 2, 4 and 8.
  const warnings = f.logged.filter((line) => line.level === "warn");
  assertEquals(warnings.map((line) => line.failures), [1, 2, 4, 8]);
  assertEquals(warnings.map((line) => line.msg).at(0), "Could not apply BIRD configuration");
  // The text that was in force before is put in force anew: nobody knows what BIRD runs.
  f.clock.advance(RELOAD_WINDOW_MS);
  f.speaker.apply("A");
  await f.until(() => f.speaker.state.applied);
  assertEquals(f.birdc.reloads, ["A", "A"]);
  assertEquals(f.speaker.state.error, undefined);
});

Deno.test("BgpSpeaker tries a new text at once while it backs off", async () => {
  await using f = new Fixture();
  f.speaker.apply("refuse");
  await f.until(() => f.clock.sleeping.length === 1);
  f.clock.advance(RELOAD_WINDOW_MS);
  assert(!f.speaker.state.applied);
  f.speaker.apply("A");
  await f.until(() => f.speaker.state.applied);
  assertEquals(f.birdc.reloads, ["A"]);
});

Deno.test("BgpSpeaker puts the file in place while BIRD is absent, and reloads when it is back", async () => {
  await using f = new Fixture();
  f.birdc.running = undefined;
  f.speaker.apply("A");
  await f.until(() => f.clock.sleeping.length === 1);
  assertEquals(f.inPlace(), "A");
  assertStringIncludes(f.speaker.state.error ?? "", "absent");
  f.birdc.running = "something else";
  f.clock.advance(RETRY_MIN_MS);
  await f.until(() => f.speaker.state.applied);
  assertEquals(f.birdc.running, "A");
});

Deno.test("BgpSpeaker checks without BIRD while BIRD is absent", async () => {
  await using f = new Fixture();
  f.speaker.apply("A");
  await f.until(() => f.speaker.state.applied);
  f.birdc.running = undefined;
  f.clock.advance(RELOAD_WINDOW_MS);
  f.speaker.apply("refuse");
  await f.until(() => f.speaker.state.failures === 1);
  assertEquals(f.inPlace(), "A");
  assertStringIncludes(f.speaker.state.error ?? "", "refused offline");
});

Deno.test("BgpSpeaker tries again when the directory cannot be written", async () => {
  await using f = new Fixture();
  Deno.writeTextFileSync(`${f.dir}/bird`, "a file where the directory should be");
  f.speaker.apply("A");
  await f.until(() => f.clock.sleeping.length === 1);
  assertStringIncludes(f.speaker.state.error ?? "", `"${f.dir}/bird"`);
  Deno.removeSync(`${f.dir}/bird`);
  f.clock.advance(RETRY_MIN_MS);
  await f.until(() => f.speaker.state.applied);
  assertEquals(f.inPlace(), "A");
  assertEquals((Deno.statSync(f.path).mode ?? 0) & 0o777, 0o640);
});

Deno.test("BgpSpeaker finishes the attempt in hand when it is disposed", async () => {
  const f = new Fixture();
  const gate = Promise.withResolvers<void>();
  f.birdc.gate = gate.promise;
  f.speaker.apply("A");
  await new Promise((resolve) => setTimeout(resolve, 20));
  const disposed = f.speaker[Symbol.asyncDispose]();
  gate.resolve();
  await disposed;
  assertEquals(f.birdc.reloads, ["A"]);
  await f[Symbol.asyncDispose]();
});

Deno.test("BgpSpeaker ends at once while it backs off", async () => {
  await using f = new Fixture();
  f.speaker.apply("refuse");
  await f.until(() => f.clock.sleeping.length === 1);
});

Deno.test("BgpSpeaker tells what became of each attempt", async () => {
  await using f = new Fixture();
  f.speaker.apply("A");
  await f.until(() => f.speaker.state.applied);
  f.birdc.running = undefined;
  f.clock.advance(RELOAD_WINDOW_MS);
  f.speaker.apply("B");
  await f.until(() => f.speaker.state.failures === 1);
  f.birdc.running = "A";
  f.speaker.apply("refuse C");
  f.clock.advance(RELOAD_WINDOW_MS);
  await f.until(() => f.speaker.state.failures === 2);
  f.speaker.apply("D");
  f.clock.advance(RELOAD_WINDOW_MS);
  await f.until(() => f.speaker.state.applied);
  assertEquals(f.reloads, ["ok", "absent", "refused", "ok"]);
});
