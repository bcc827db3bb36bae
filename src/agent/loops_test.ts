import { assertEquals, assertRejects } from "@std/assert";
import { TerminalError } from "../core/errors.ts";
import { configureLog } from "../log.ts";
import { keepRunning } from "./loops.ts";

Deno.test("keepRunning() runs a loop again that failed, and says so at each doubling", async () => {
  const lines: string[] = [];
  configureLog({ level: "info", format: "json", write: (line) => lines.push(line) });
  let runs = 0;
  await keepRunning(
    "queue",
    () => {
      if (++runs <= 5) throw new Deno.errors.NotCapable("Too many open files");
      return Promise.resolve();
    },
    new AbortController().signal,
    { retryMs: 1 },
  );
  assertEquals(runs, 6);
  assertEquals(lines.map((line) => JSON.parse(line)).map((l) => [l.loop, l.failures]), [
    ["queue", 1],
    ["queue", 2],
    ["queue", 4],
  ]);
});

Deno.test("keepRunning() ends with its signal, and with what trying again would not mend", async () => {
  const stop = new AbortController();
  await keepRunning("queue", () => {
    stop.abort();
    return Promise.resolve();
  }, stop.signal);
  await assertRejects(
    () =>
      keepRunning(
        "queue",
        () => Promise.reject(new TerminalError("Cannot go on")),
        new AbortController().signal,
      ),
    TerminalError,
  );
});
