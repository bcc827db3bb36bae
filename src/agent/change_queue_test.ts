import { assertEquals } from "@std/assert";
import { ChangeQueue } from "./change_queue.ts";

Deno.test("ChangeQueue runs once for changes that come together, and once more for later ones", async () => {
  const gate = Promise.withResolvers<void>();
  let runs = 0;
  using queue = new ChangeQueue(async () => {
    runs++;
    await gate.promise;
  });
  const first = queue.add();
  queue.add();
  queue.add();
  assertEquals(runs, 1);
  gate.resolve();
  await first;
  assertEquals(runs, 2);
});

Deno.test("ChangeQueue runs again after a failure", async () => {
  const { promise, resolve } = Promise.withResolvers<void>();
  let runs = 0;
  using queue = new ChangeQueue(() => {
    if (++runs === 1) return Promise.reject(new Error("disk full"));
    resolve();
    return Promise.resolve();
  }, { retryMs: 1 });
  await queue.add();
  assertEquals(runs, 1);
  await promise;
  assertEquals(runs, 2);
});

Deno.test("ChangeQueue does not try again once it has been disposed of", async () => {
  let runs = 0;
  {
    using queue = new ChangeQueue(() => Promise.reject(new Error(`run ${++runs}`)), { retryMs: 1 });
    await queue.add();
  }
  await new Promise((resolve) => setTimeout(resolve, 10));
  assertEquals(runs, 1);
});
