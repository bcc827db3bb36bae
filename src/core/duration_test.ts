import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { parseDuration } from "./duration.ts";

Deno.test("parseDuration() reads what Go's time.ParseDuration reads", () => {
  const cases: readonly (readonly [string, number])[] = [
    ["0", 0],
    ["-0", 0],
    ["30s", 30_000],
    ["1m30s", 90_000],
    ["1h", 3_600_000],
    ["500ms", 500],
    ["1.5s", 1_500],
    [".5s", 500],
    ["2.s", 2_000],
    ["250us", 0.25],
    ["250µs", 0.25],
    ["250μs", 0.25],
    ["1000000ns", 1],
    ["+5s", 5_000],
    ["-5s", -5_000],
    ["1m1ms", 60_001],
  ];
  for (const [text, ms] of cases) assertEquals(parseDuration(text) + 0, ms, text);
});

Deno.test("parseDuration() refuses everything else, and says what", () => {
  for (
    const text of ["", "30", "s", "30 s", " 30s", "30s ", "1d", "1e3s", "30S", "--5s", ".s", "0x1s"]
  ) {
    assertThrows(
      () => parseDuration(text),
      SyntaxError,
      `Cannot parse duration ${JSON.stringify(text)}: it is not like 30s or 1m30s`,
    );
  }
});

Deno.test("parseDuration() adds up the parts of any duration", () => {
  fc.assert(fc.property(
    fc.nat(1000),
    fc.nat(59),
    fc.nat(59),
    fc.nat(999),
    (h, m, s, ms) =>
      parseDuration(`${h}h${m}m${s}s${ms}ms`) === h * 3_600_000 + m * 60_000 + s * 1_000 + ms,
  ));
});

Deno.test("parseDuration() throws nothing but SyntaxError, and keeps its message short", () => {
  fc.assert(fc.property(fc.string({ maxLength: 200 }), (text) => {
    try {
      return Number.isFinite(parseDuration(text));
    } catch (error) {
      return error instanceof SyntaxError && error.message.length < 500;
    }
  }));
});
