import { assert, assertEquals } from "@std/assert";
import { createStart, epochOf } from "./clock.ts";

Deno.test("epochOf() and createStart() tell times by the clock as it is now, not as it was", () => {
  const now = Date.now;
  try {
    const [start, ticks, began] = [createStart(), performance.now(), now()];
    assertEquals(start(), start());
    for (const step of [-3_600_000, 3_600_000]) {
      Date.now = () => now() + step;
      for (const told of [start().getTime(), epochOf(ticks)]) {
        assert(Math.abs(told - began - step) < 60_000, `${told - began}`);
      }
    }
  } finally {
    Date.now = now;
  }
});
