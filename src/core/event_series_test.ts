import { assertEquals } from "@std/assert";
import { BURST, EventLimiter, REFILL_MS, REPEAT_MS, SERIES_MS } from "./event_series.ts";
import type { ClusterEvent } from "./objects.ts";

function event(message: string, name = "web"): ClusterEvent {
  const object = { kind: "Pod", namespace: "default", name, uid: "u" } as const;
  return { object, type: "Warning", reason: "Refused", message };
}

Deno.test("EventLimiter counts the same event and tells it once a minute", () => {
  const limiter = new EventLimiter();
  const first = limiter.add(event("x"), 0);
  assertEquals(first?.count, 1);
  assertEquals(limiter.add(event("x"), REPEAT_MS - 1), undefined);
  const second = limiter.add(event("x"), REPEAT_MS);
  assertEquals(second === first, true);
  assertEquals([second?.count, second?.firstAt, second?.lastAt], [3, 0, REPEAT_MS]);
});

Deno.test("EventLimiter begins a new series after a long silence", () => {
  const limiter = new EventLimiter();
  limiter.add(event("x"), 0);
  assertEquals(limiter.add(event("x"), SERIES_MS + 1)?.count, 1);
});

Deno.test("EventLimiter goes on telling when the clock is set, and with its time", () => {
  for (const step of [-86_400_000, 86_400_000]) {
    const limiter = new EventLimiter();
    limiter.add(event("x"), 0, 0);
    const again = limiter.add(event("x"), step, REPEAT_MS);
    assertEquals([again?.count, again?.firstAt, again?.lastAt], [2, 0, step]);
    assertEquals(limiter.add(event("x"), 0, REPEAT_MS + 1), undefined);
  }
});

Deno.test("EventLimiter tells other messages and other objects apart", () => {
  const limiter = new EventLimiter();
  limiter.add(event("x"), 0);
  assertEquals(limiter.add(event("y"), 0)?.count, 1);
  assertEquals(limiter.add(event("x", "db"), 0)?.count, 1);
});

Deno.test("EventLimiter cuts a loud object short and lets it speak again", () => {
  const limiter = new EventLimiter();
  const told = Array.from({ length: BURST + 5 }, (_, n) => limiter.add(event(`m${n}`), 0))
    .filter((series) => series !== undefined);
  assertEquals(told.length, BURST);
  assertEquals(limiter.add(event("other", "db"), 0)?.count, 1);
  assertEquals(limiter.add(event("late"), REFILL_MS - 1), undefined);
  assertEquals(limiter.add(event("later"), REFILL_MS)?.count, 1);
  assertEquals(limiter.add(event("latest"), REFILL_MS), undefined);
});

Deno.test("EventLimiter forgets the oldest, not the latest", () => {
  const limiter = new EventLimiter();
  for (let n = 0; n < 5_000; n++) limiter.add(event("x", `p${n}`), 0);
  assertEquals(limiter.add(event("x", "p4999"), 1), undefined);
  assertEquals(limiter.add(event("x", "p0"), 1)?.count, 1);
});
