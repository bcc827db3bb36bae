import { assert, assertEquals, assertRejects } from "@std/assert";
import { CniError } from "../core/errors.ts";
import {
  AgentAbsentError,
  type AgentHandler,
  type AgentRequest,
  type AgentServer,
  callAgent,
  MAX_LINE_BYTES,
  serveAgent,
} from "./socket.ts";

const CALL = { connectMs: 0, timeoutMs: 5_000 };

Deno.test("serveAgent() makes a socket and a directory for root only, whatever the umask", async () => {
  await using dir = await tempDir();
  const path = `${dir.path}/run/flock.sock`;
  const umask = Deno.umask(0);
  try {
    await using _server = await serve(path, () => Promise.resolve());
    assertEquals(Deno.umask(), 0, "the process's umask is as it was");
    assertEquals((await Deno.stat(path)).mode! & 0o777, 0o600);
    assertEquals((await Deno.stat(`${dir.path}/run`)).mode! & 0o777, 0o700);
  } finally {
    Deno.umask(umask);
  }
});

Deno.test("callAgent() gets the result, and the handler the request", async () => {
  await using dir = await tempDir();
  let seen: AgentRequest | undefined;
  await using _server = await serve(dir.socket, (request) => {
    seen = request;
    return Promise.resolve({ answer: [1, "\u00e9\n}"] });
  });
  const result = await callAgent(dir.socket, { op: "ADD", args: "a=b;\n\u0000" }, CALL);
  assertEquals(result, { answer: [1, "\u00e9\n}"] });
  assertEquals([seen?.version, seen?.op, seen?.args], [1, "ADD", "a=b;\n\u0000"]);
  assert(seen!.deadline_ms! > 4_000 && seen!.deadline_ms! <= 5_000, `${seen?.deadline_ms}`);
});

Deno.test("callAgent() throws the agent's error as it was; an unexpected one is code 999", async () => {
  await using dir = await tempDir();
  await using _server = await serve(dir.socket, ({ op }) => {
    if (op === "ADD") throw new CniError(104, "Cannot x", { details: "why" });
    throw new TypeError("bug", { cause: new Error("deep") });
  });
  const error = await refused(callAgent(dir.socket, { op: "ADD" }, CALL));
  assertEquals([error.code, error.message, error.details], [104, "Cannot x", "why"]);
  const other = await refused(callAgent(dir.socket, { op: "DEL" }, CALL));
  assertEquals([other.code, other.message, other.details], [999, "bug", "deep"]);
});

Deno.test("serveAgent() refuses requests it cannot read, and goes on", async (t) => {
  await using dir = await tempDir();
  await using _server = await serve(dir.socket, ({ op }) => Promise.resolve(op));
  const cases: Record<string, [line: string, code: number, says: string]> = {
    "no JSON": ["ADD", 6, "not JSON"],
    "an empty line": ["", 6, "not JSON"],
    "a list": ["[]", 6, "not an object"],
    "null": ["null", 6, "not an object"],
    "no version": ["{}", 11, "version is undefined, ours is 1"],
    "a later version": ['{"version": 2, "op": "ADD"}', 11, "version is 2, ours is 1"],
    "a version as text": ['{"version": "1"}', 11, 'version is "1"'],
    "a field that is no text": ['{"version": 1, "netns": 7}', 6, '"netns" is not a string'],
  };
  for (const [name, [line, code, says]] of Object.entries(cases)) {
    await t.step(name, async () => {
      const answer = JSON.parse(await exchange(dir.socket, line + "\n"));
      assertEquals([answer.version, answer.error.code], [1, code]);
      assert(answer.error.msg.includes(says), answer.error.msg);
    });
  }
  await t.step("unknown fields are ignored", async () => {
    const answer = await exchange(dir.socket, '{"version": 1, "op": "x", "new": {}}\n');
    assertEquals(JSON.parse(answer), { version: 1, result: "x" });
  });
  await t.step("a client that sends nothing, or half a line", async () => {
    assertEquals(await exchange(dir.socket, "", { half: true }), "");
    assertEquals(await exchange(dir.socket, '{"version": 1', { half: true }), "");
    assertEquals(await callAgent(dir.socket, { op: "still" }, CALL), "still");
  });
});

Deno.test("serveAgent() closes the connection of a client that does not send in time", async () => {
  await using dir = await tempDir();
  await using _server = await serve(dir.socket, ({ op }) => Promise.resolve(op), 100);
  const started = performance.now();
  for (const start of ["", '{"version": 1,']) {
    assertEquals(await exchange(dir.socket, start), "", "no answer");
  }
  const took = performance.now() - started;
  assert(took >= 190 && took < 2_000, `closed twice after 100 ms: ${took}`);
  // The deadline is for sending, not for the answer.
  await using slow = await tempDir();
  await using _slow = await serve(slow.socket, () => pause(200).then(() => "late"), 50);
  assertEquals(await callAgent(slow.socket, { op: "x" }, CALL), "late");
});

Deno.test("callAgent() and serveAgent() take lines of 1 MiB and refuse longer ones", async (t) => {
  await using dir = await tempDir();
  await using _server = await serve(dir.socket, ({ op, args = "" }) => {
    return Promise.resolve(op === "echo" ? args : "x".repeat(Number(args)));
  });
  const near = MAX_LINE_BYTES - 200;
  await t.step("both ways, near the limit", async () => {
    const result = await callAgent(dir.socket, { op: "echo", args: "y".repeat(near) }, CALL);
    assertEquals(String(result).length, near);
  });
  await t.step("a request over it is not sent", async () => {
    const call = callAgent(dir.socket, { op: "echo", args: "y".repeat(MAX_LINE_BYTES) }, CALL);
    const error = await refused(call);
    assertEquals(error.code, 5);
    assert(/^Cannot send 10\d+ bytes: over 1048576$/.test(error.message), error.message);
  });
  await t.step("a request over it is refused by the server", async () => {
    const answer = await exchange(dir.socket, "y".repeat(MAX_LINE_BYTES + 1));
    assertEquals(JSON.parse(answer).error, {
      code: 5,
      msg: "Cannot read line: it is over 1048576 bytes",
      details: "",
    });
  });
  await t.step("instead of an answer over it the caller gets an error", async () => {
    const call = callAgent(dir.socket, { op: "make", args: String(MAX_LINE_BYTES) }, CALL);
    const error = await refused(call);
    assertEquals(error.code, 5);
    assert(error.message.startsWith("Cannot send "), error.message);
  });
  await t.step("an answer over it is not read to its end", async () => {
    await using other = await tempDir();
    using _endless = answerWith(other.socket, "x".repeat(MAX_LINE_BYTES + 1) + "\n");
    const error = await refused(callAgent(other.socket, { op: "x" }, CALL));
    assertEquals([error.code, error.message], [5, "Cannot read line: it is over 1048576 bytes"]);
  });
});

Deno.test("serveAgent() aborts the handler's signal when the client goes away", async () => {
  await using dir = await tempDir();
  const { promise: started, resolve: start } = Promise.withResolvers<void>();
  const { promise: aborted, resolve: abort } = Promise.withResolvers<unknown>();
  await using _server = await serve(dir.socket, (_request, signal) => {
    signal.addEventListener("abort", () => abort(signal.reason));
    start();
    return aborted;
  });
  const conn = await Deno.connect({ transport: "unix", path: dir.socket });
  await conn.write(new TextEncoder().encode('{"version": 1, "op": "ADD"}\n'));
  await started;
  conn.close();
  assertEquals(String(await aborted), "Error: The client went away");
});

Deno.test("serveAgent() answers several at once", async () => {
  await using dir = await tempDir();
  const both = Promise.withResolvers<void>();
  let waiting = 0;
  await using _server = await serve(dir.socket, async ({ op }) => {
    if (++waiting === 2) both.resolve();
    await both.promise;
    return op;
  });
  const calls = ["a", "b"].map((op) => callAgent(dir.socket, { op }, CALL));
  assertEquals(await Promise.all(calls), ["a", "b"]);
});

Deno.test("serveAgent() replaces a stale socket and nothing else", async (t) => {
  await using dir = await tempDir();
  await t.step("of an agent that was killed", async () => {
    // Closed by the process's end, a socket's file stays.
    await new Deno.Command(Deno.execPath(), {
      args: [
        "eval",
        "--no-config",
        `Deno.listen({ transport: "unix", path: "${dir.socket}" }); Deno.exit()`,
      ],
    }).output();
    assert((await Deno.lstat(dir.socket)).isSocket);
    await assertRejects(() => callAgent(dir.socket, { op: "x" }, CALL), AgentAbsentError);
    await using _server = await serve(dir.socket, () => Promise.resolve("new"));
    assertEquals(await callAgent(dir.socket, { op: "x" }, CALL), "new");
  });
  await t.step("not of an agent that answers", async () => {
    await using _server = await serve(dir.socket, () => Promise.resolve("first"));
    await assertRejects(
      () => serve(dir.socket, () => Promise.resolve("second")),
      Error,
      `Cannot listen on "${dir.socket}": another agent answers there`,
    );
    assertEquals(await callAgent(dir.socket, { op: "x" }, CALL), "first");
  });
  await t.step("not a file of somebody else's", async () => {
    const path = `${dir.path}/file`;
    await Deno.writeTextFile(path, "precious");
    await assertRejects(
      () => serve(path, () => Promise.resolve()),
      Error,
      `Cannot listen on "${path}": it is there and is no socket`,
    );
    assertEquals(await Deno.readTextFile(path), "precious");
  });
});

Deno.test("AgentServer.stop() takes no new calls and waits for those under way", async () => {
  await using dir = await tempDir();
  const started = Promise.withResolvers<void>();
  const finish = Promise.withResolvers<string>();
  const server = await serve(dir.socket, () => {
    started.resolve();
    return finish.promise;
  });
  const call = callAgent(dir.socket, { op: "x" }, CALL);
  await started.promise;
  let stopped = false;
  const stop = server.stop(5_000).then(() => stopped = true);
  await assertRejects(() => callAgent(dir.socket, { op: "x" }, CALL), AgentAbsentError);
  assert(!stopped, "the call is under way");
  finish.resolve("done");
  assertEquals(await call, "done");
  await stop;
});

Deno.test("AgentServer.stop() gives up calls and clients after its grace", async () => {
  await using dir = await tempDir();
  const server = await serve(
    dir.socket,
    (_request, signal) =>
      new Promise((_, reject) =>
        signal.addEventListener("abort", () => reject(new CniError(11, String(signal.reason))))
      ),
  );
  const call = refused(callAgent(dir.socket, { op: "x" }, CALL));
  using silent = await Deno.connect({ transport: "unix", path: dir.socket });
  await pause(20);
  const began = performance.now();
  await server.stop(50);
  const took = performance.now() - began;
  assert(took >= 45 && took < 1_000, `after 50 ms: ${took}`);
  assertEquals((await call).message, "Error: The agent is stopping");
  assertEquals(await silent.read(new Uint8Array(1)), null, "the silent client's connection closed");
});

Deno.test("callAgent() waits for an absent agent, no longer than it was told", async () => {
  await using dir = await tempDir();
  const began = performance.now();
  const error = await assertRejects(
    () => callAgent(dir.socket, { op: "x" }, { connectMs: 200, timeoutMs: 5_000 }),
    AgentAbsentError,
  );
  const took = performance.now() - began;
  assert(took > 50 && took <= 400, `${took}`);
  assertEquals(error.message, `Cannot call agent at "${dir.socket}": nobody answers there`);

  const call = callAgent(dir.socket, { op: "x" }, { connectMs: 5_000, timeoutMs: 5_000 });
  await pause(50);
  await using _server = await serve(dir.socket, () => Promise.resolve("here now"));
  assertEquals(await call, "here now");
});

Deno.test("callAgent() fails with a code when the agent says nothing, or nonsense", async (t) => {
  await t.step("no answer in time", async () => {
    await using dir = await tempDir();
    await using _server = await serve(
      dir.socket,
      (_request, signal) => new Promise((resolve) => signal.addEventListener("abort", resolve)),
    );
    const call = callAgent(dir.socket, { op: "x" }, { connectMs: 0, timeoutMs: 100 });
    const error = await refused(call);
    assertEquals(error.code, 11);
    assert(error.message.includes("no answer within 0.1 s"), error.message);
  });
  const cases: Record<string, [answer: string, code: number]> = {
    "the connection closes": ["", 5],
    "half a line": ['{"version"', 5],
    "no JSON": ["hello\n", 6],
    "JSON of another shape": ["7\n", 6],
    "an error without a code": ['{"error": "no"}\n', 6],
  };
  for (const [name, [answer, code]] of Object.entries(cases)) {
    await t.step(name, async () => {
      await using dir = await tempDir();
      using _agent = answerWith(dir.socket, answer);
      assertEquals((await refused(callAgent(dir.socket, { op: "x" }, CALL))).code, code);
    });
  }
});

/** A server whose failures fail the test. */
function serve(
  path: string,
  handler: AgentHandler,
  requestDeadlineMs?: number,
): Promise<AgentServer> {
  const onError = (error: unknown): void => {
    throw error;
  };
  return serveAgent(path, handler, onError, { requestDeadlineMs });
}

/** Sends some bytes, and with `half` says that there are no more; returns all that comes back. */
async function exchange(path: string, text: string, options = { half: false }): Promise<string> {
  using conn = await Deno.connect({ transport: "unix", path });
  const bytes = new TextEncoder().encode(text);
  for (let sent = 0; sent < bytes.length;) sent += await conn.write(bytes.subarray(sent));
  if (options.half) await conn.closeWrite();
  const decoder = new TextDecoder();
  let answer = "";
  const chunk = new Uint8Array(65_536);
  for (let n; (n = await conn.read(chunk)) !== null;) {
    answer += decoder.decode(chunk.subarray(0, n), { stream: true });
  }
  return answer;
}

/** An agent that answers one call with some text, whatever it is asked. */
function answerWith(path: string, text: string): Disposable {
  const listener = Deno.listen({ transport: "unix", path });
  const served = (async () => {
    using conn = await listener.accept();
    await conn.read(new Uint8Array(65_536));
    const bytes = new TextEncoder().encode(text);
    for (let sent = 0; sent < bytes.length;) sent += await conn.write(bytes.subarray(sent));
  })();
  // The caller may hang up before all is written.
  served.catch(() => {});
  return { [Symbol.dispose]: () => listener.close() };
}

function refused(call: Promise<unknown>): Promise<CniError> {
  return assertRejects(() => call, CniError) as Promise<CniError>;
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

async function tempDir(): Promise<AsyncDisposable & { path: string; socket: string }> {
  const path = await Deno.makeTempDir();
  return {
    path,
    socket: `${path}/flock.sock`,
    [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }),
  };
}
