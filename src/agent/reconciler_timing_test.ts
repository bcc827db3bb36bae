import { assert, assertEquals, assertFalse } from "@std/assert";
import { ANY, gate, ReconcilerFixture } from "../../tests/fakes/reconciler_fixture.ts";

const ROUTE_DEL = `route del ${ANY}/128 metric 16`;

Deno.test("120 changes of readiness at once are one batch, and two while one is under way", async () => {
  await using f = await ReconcilerFixture.create({ pods: 120 });
  f.start();
  await f.settle();
  const before = f.ip.batches.length;
  for (let n = 1; n <= 120; n++) f.setReady(n, false);
  await f.settle();
  assertEquals(f.ip.batches.length - before, 1);
  assertFalse(f.isRouted);
  const change = gate();
  f.ip.changeGate = change.held;
  for (let n = 1; n <= 120; n++) {
    f.setReady(n, true);
    await Promise.resolve();
  }
  await f.settle();
  change.release();
  await f.settle();
  assert(f.ip.batches.length - before <= 3, `${f.ip.batches.length - before} batches`);
  assertEquals(f.ip.nexthops.size, 121);
});

Deno.test("markDirty() has full passes 500 ms apart, and 20 ms for repairs", async () => {
  await using f = await ReconcilerFixture.create();
  f.start();
  await f.settle();
  assertEquals(f.ip.reads, 1);
  f.reconciler.markDirty();
  f.reconciler.markDirty();
  await f.advance(499);
  assertEquals(f.ip.reads, 1);
  await f.advance(1);
  assertEquals(f.ip.reads, 2);
  f.reconciler.markDirty({ repair: true });
  await f.advance(19);
  assertEquals(f.ip.reads, 2);
  await f.advance(1);
  assertEquals(f.ip.reads, 3);
  // A repair is not put off by what was asked for before, and is not done twice.
  f.reconciler.markDirty();
  f.reconciler.markDirty({ repair: true });
  await f.advance(20);
  assertEquals(f.ip.reads, 4);
  await f.advance(10_000);
  assertEquals(f.ip.reads, 4, "no periodic pass with an interval of 0");
  f.reconciler.markDirty();
  await f.settle();
  assertEquals(f.ip.reads, 5, "the first after a while is at once");
});

Deno.test("markDirty() puts repairs off when somebody goes on removing what is repaired", async () => {
  await using f = await ReconcilerFixture.create();
  f.start();
  await f.settle();
  const repairsIn = async (ms: number): Promise<number> => {
    const before = f.ip.reads;
    for (let at = 0; at < ms; at += 20) {
      f.reconciler.markDirty({ repair: true });
      await f.advance(20);
    }
    return f.ip.reads - before;
  };
  const first = await repairsIn(400);
  assert(first >= 19 && first <= 21, `${first} in the first 400 ms`);
  await repairsIn(2_000);
  const later = await repairsIn(1_000);
  assert(later >= 9 && later <= 11, `${later} in a later second`);
  await f.advance(5_000);
  assert(await repairsIn(400) >= 19, "at once again after a while");
});

Deno.test("passes are periodic with an interval", async () => {
  await using f = await ReconcilerFixture.create({ intervalMs: 30_000 });
  f.start();
  await f.settle();
  for (const reads of [2, 3, 4]) {
    f.ip.foreign(ROUTE_DEL);
    await f.advance(29_999);
    assertEquals(f.ip.reads, reads - 1);
    assertFalse(f.isRouted);
    await f.advance(1);
    assertEquals(f.ip.reads, reads);
    assert(f.isRouted);
  }
  assertEquals(f.kernel.counters.reinstalls, 3);
});

Deno.test("failed passes are tried again less and less often", async () => {
  await using f = await ReconcilerFixture.create();
  f.ip.readError = new Error("Cannot run ip: killed by SIGKILL");
  f.start();
  await f.settle();
  const waits = [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000];
  for (const [n, wait] of waits.entries()) {
    await f.advance(wait - 1);
    assertEquals(f.ip.reads, n + 1);
    await f.advance(1);
    assertEquals(f.ip.reads, n + 2);
  }
  const told = f.logged.filter((line) => line === "warn Could not reconcile").length;
  assertEquals(told, 4, "the first, second, fourth and eighth");
  assertFalse(f.reconciler.settled);
  f.ip.readError = undefined;
  await f.advance(30_000);
  assert(f.isRouted && f.reconciler.settled);
  // From the beginning, for the next failure.
  f.ip.readError = new Error("again");
  f.reconciler.markDirty();
  await f.advance(500);
  const { reads } = f.ip;
  await f.advance(999);
  assertEquals(f.ip.reads, reads);
  f.ip.readError = undefined;
  await f.advance(1);
  assertEquals(f.ip.reads, reads + 1);
});
