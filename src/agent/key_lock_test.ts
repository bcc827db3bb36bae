import { assert, assertEquals, assertRejects } from "@std/assert";
import { KeyLock } from "./key_lock.ts";

Deno.test("run() does one thing at a time under a key, in the order of arrival", async () => {
  const lock = new KeyLock();
  const events: string[] = [];
  const gates = Array.from({ length: 3 }, () => Promise.withResolvers<void>());
  const runs = gates.map((gate, n) =>
    lock.run("a", async () => {
      events.push(`begin ${n}`);
      await gate.promise;
      events.push(`end ${n}`);
      return n;
    })
  );
  // Opened in the wrong order.
  for (const n of [2, 0, 1]) {
    gates[n]!.resolve();
    await turn();
  }
  assertEquals(await Promise.all(runs), [0, 1, 2]);
  assertEquals(events, ["begin 0", "end 0", "begin 1", "end 1", "begin 2", "end 2"]);
});

Deno.test("run() lets different keys run in parallel", async () => {
  const lock = new KeyLock();
  const gate = Promise.withResolvers<void>();
  const a = lock.run("a", () => gate.promise);
  await lock.run("b", () => Promise.resolve());
  assert(lock.isBusy("a") && !lock.isBusy("b"));
  gate.resolve();
  await a;
});

Deno.test("run() goes on after a failure, which only its caller sees", async () => {
  const lock = new KeyLock();
  const failed = lock.run("a", () => Promise.reject(new Error("as asked")));
  const thrown = lock.run("a", () => {
    throw new Error("at once");
  });
  const next = lock.run("a", () => Promise.resolve("done"));
  await assertRejects(() => failed, Error, "as asked");
  await assertRejects(() => thrown, Error, "at once");
  assertEquals(await next, "done");
});

Deno.test("cancel() reaches what runs and what waits, and nothing that came later or has ended", async () => {
  const lock = new KeyLock();
  const cancelled: string[] = [];
  const add = (name: string, work: () => Promise<void>): Promise<void> =>
    lock.run("a", work, (reason) => cancelled.push(`${name}: ${reason.message}`));
  await add("ended", () => Promise.resolve());
  const gate = Promise.withResolvers<void>();
  const runs = [add("runs", () => gate.promise), add("waits", () => Promise.resolve())];
  lock.cancel("b", new Error("other key"));
  lock.cancel("a", new Error("deleted"));
  runs.push(add("later", () => Promise.resolve()));
  assertEquals(cancelled, ["runs: deleted", "waits: deleted"]);
  gate.resolve();
  await Promise.all(runs);
  lock.cancel("a", new Error("too late"));
  assertEquals(cancelled.length, 2);
});

Deno.test("isBusy() is true while something runs or waits, and nothing is kept afterwards", async () => {
  const lock = new KeyLock();
  assert(!lock.isBusy("a"));
  const gate = Promise.withResolvers<void>();
  const first = lock.run("a", () => gate.promise);
  const second = lock.run("a", () => Promise.reject(new Error("as asked")));
  gate.resolve();
  await first;
  assert(lock.isBusy("a"));
  await assertRejects(() => second);
  await turn();
  assert(!lock.isBusy("a"));
});

/** Lets everything that is ready run. */
function turn(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 0));
}
