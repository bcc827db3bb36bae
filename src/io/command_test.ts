import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { CommandError, followCommand, runCommand } from "./command.ts";

Deno.test("followCommand() delivers lines of both streams, and the status", async () => {
  const lines: string[] = [];
  const errors: string[] = [];
  // The pauses make chunks that end inside a line, and inside a character.
  const script = `printf 'one\\n\\ngr\\303'; echo bad >&2; sleep 0.05
    printf '\\274n\\nlast'; printf worse >&2; exit 3`;
  const status = await followCommand("sh", ["-c", script], {
    onLine: (line) => lines.push(line),
    onErrorLine: (line) => errors.push(line),
    signal: new AbortController().signal,
  });
  assertEquals([lines, errors], [["one", "", "grün", "last"], ["bad", "worse"]]);
  assertEquals([status.code, status.signal], [3, null]);
});

Deno.test("followCommand() loses no line of many", async () => {
  let next = 1;
  await followCommand("sh", ["-c", "seq 100000"], {
    onLine: (line) => assertEquals(line, `${next++}`),
    onErrorLine: (line) => assertEquals(line, ""),
    signal: new AbortController().signal,
  });
  assertEquals(next, 100_001);
});

Deno.test("followCommand() ends the command when the signal aborts, and delivers nothing more", async () => {
  const stop = new AbortController();
  const lines: string[] = [];
  const status = await followCommand("sh", ["-c", "echo $$; echo more; exec sleep 600"], {
    onLine(line) {
      lines.push(line);
      stop.abort();
    },
    onErrorLine: (line) => lines.push(line),
    signal: stop.signal,
  });
  assertEquals([status.signal, lines.length], ["SIGKILL", 1]);
  assertThrows(() => Deno.kill(Number(lines[0]), "SIGCONT"), Deno.errors.NotFound);
});

Deno.test("followCommand() ends although somebody else holds the command's output open", async () => {
  const stop = new AbortController();
  let other = 0;
  const status = await followCommand("sh", ["-c", "sleep 600 & echo $!; wait"], {
    onLine(line) {
      other = Number(line);
      stop.abort();
    },
    onErrorLine: () => {},
    signal: stop.signal,
  });
  Deno.kill(other, "SIGKILL");
  assertEquals(status.signal, "SIGKILL");
});

Deno.test("followCommand() ends the command when a handler throws", async () => {
  let pid = 0;
  const following = followCommand("sh", ["-c", "echo $$; exec sleep 600"], {
    onLine(line) {
      pid = Number(line);
      throw new RangeError("no such line");
    },
    onErrorLine: () => {},
    signal: new AbortController().signal,
  });
  await assertRejects(() => following, RangeError, "no such line");
  assertThrows(() => Deno.kill(pid, "SIGCONT"), Deno.errors.NotFound);
});

Deno.test("followCommand() starts nothing when the signal was aborted before", async () => {
  const following = followCommand("sh", ["-c", "echo started"], {
    onLine: (line) => assertEquals(line, ""),
    onErrorLine: () => {},
    signal: AbortSignal.abort(new Error("too late")),
  });
  await assertRejects(() => following, Error, "too late");
});

Deno.test("runCommand() tells a missed deadline from a kill by somebody else", async () => {
  const late = await assertRejects(
    () => runCommand("sh", ["-c", "exec sleep 9"], { timeoutMs: 50 }),
    CommandError,
  );
  assertEquals(late.message, 'Cannot run "sh -c exec sleep 9": not done within 1 s');
  const killed = await assertRejects(() => runCommand("sh", ["-c", "kill -9 $$"]), CommandError);
  assertEquals(killed.message, 'Cannot run "sh -c kill -9 $$": killed by SIGKILL');
});

Deno.test("a tool that cannot be started is named", async () => {
  const long = "x".repeat(3_000_000);
  for (
    const run of [
      () => runCommand("sh", [long]),
      () =>
        followCommand("sh", [long], {
          onLine: () => {},
          onErrorLine: () => {},
          signal: new AbortController().signal,
        }),
    ]
  ) {
    const error = await assertRejects(run, Error);
    assertEquals(error.message, 'Cannot run "sh": Argument list too long (os error 7)');
  }
});

Deno.test("runCommand() that cannot start leaves nobody's stdin rejected", async () => {
  const rejected: unknown[] = [];
  const take = (event: PromiseRejectionEvent): void => {
    event.preventDefault();
    rejected.push(event.reason);
  };
  globalThis.addEventListener("unhandledrejection", take);
  try {
    const { promise: stdin, reject } = Promise.withResolvers<string>();
    // No argument may hold a NUL: the start itself fails.
    await assertRejects(() => runCommand("sh", ["\0"], { stdin }));
    reject(new Error("the step before it failed"));
    await new Promise((resolve) => setTimeout(resolve, 0));
    assertEquals(rejected, []);
  } finally {
    globalThis.removeEventListener("unhandledrejection", take);
  }
});
