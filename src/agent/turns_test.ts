import { assert, assertEquals, assertRejects } from "@std/assert";
import { Turns } from "./turns.ts";

Deno.test("Turns tells which loop is at a turn, and when each had its last", async () => {
  const told: string[] = [];
  const turns = new Turns((loop, seconds) => {
    assert(seconds >= 0);
    told.push(loop);
  });
  const gate = Promise.withResolvers<void>();
  const turn = turns.take("routes", () => gate.promise);
  assertEquals(turns.list().map(({ loop, endedAt }) => [loop, endedAt]), [["routes", undefined]]);
  await new Promise((resolve) => setTimeout(resolve, 2));
  assert(turns.list()[0]!.busyMs > 0);
  gate.resolve();
  await turn;
  const [after] = turns.list();
  assertEquals(after?.busyMs, 0);
  assertEquals(after?.endedAt, after?.succeededAt);
  assert(Math.abs(after!.endedAt! - Date.now()) < 5_000);
  assertEquals(told, ["routes"]);
});

Deno.test("Turns remembers the last success when a turn fails, and hands on what it threw", async () => {
  const turns = new Turns();
  const failure = new Error("no");
  assertEquals(
    await assertRejects(() => turns.take("leaks", () => Promise.reject(failure))),
    failure,
  );
  const [failed] = turns.list();
  assertEquals([failed?.busyMs, failed?.succeededAt], [0, undefined]);
  assert(failed?.endedAt !== undefined);
  assertEquals(await turns.take("leaks", () => Promise.resolve(7)), 7);
  assert(turns.list()[0]?.succeededAt !== undefined);
});

Deno.test("Turns takes note of a loop that only listens", () => {
  const turns = new Turns();
  turns.heard("monitor");
  const [heard] = turns.list();
  assertEquals([heard?.loop, heard?.busyMs], ["monitor", 0]);
  assert(heard?.succeededAt !== undefined);
});
