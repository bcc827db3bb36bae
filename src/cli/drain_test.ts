/**
 * `flock drain` and `flock undrain` with an agent of the test's making on a real socket. What the real
 * agent does is in tests/netns/drain_test.ts.
 *
 * @module
 */
import { assertEquals, assertRejects } from "@std/assert";
import type { DrainReport } from "../core/drain_state.ts";
import type { AgentRequest } from "../io/socket.ts";
import { drain, undrain } from "./drain.ts";

const ADDRESSES = ["2001:db8:ffff::53", "203.0.113.200"];
const REPORTS = {
  asked: { phase: "announcing", addresses: ADDRESSES, routed: ADDRESSES },
  announcing: {
    phase: "announcing",
    withdrawsAt: "2026-01-02T03:04:35.678Z",
    addresses: ADDRESSES,
    routed: ADDRESSES,
  },
  withdrawing: { phase: "withdrawn", addresses: ADDRESSES, routed: ADDRESSES.slice(1) },
  withdrawn: { phase: "withdrawn", addresses: ADDRESSES, routed: [] },
  none: { phase: "none", addresses: ADDRESSES.slice(1), routed: [] },
} as const satisfies Readonly<Record<string, DrainReport>>;

class Fixture implements AsyncDisposable {
  readonly dir = Deno.makeTempDirSync({ prefix: "flock-drain-cli-" });
  readonly socket = `${this.dir}/flock.sock`;
  readonly said: string[] = [];
  readonly requests: Pick<AgentRequest, "op" | "wait_ms">[] = [];
  readonly #stack = new AsyncDisposableStack();

  /**
   * An agent that answers with these, one after the other; `away`: it ends without an answer, and starts
   * again when the command has noticed.
   */
  agent(...names: readonly (keyof typeof REPORTS | "away")[]): void {
    const rest = [...names];
    const listen = (): Deno.Listener => Deno.listen({ transport: "unix", path: this.socket });
    let listener = listen();
    let isOver = false;
    const serving = (async () => {
      while (!isOver) {
        for await (const conn of listener) {
          const { op, wait_ms } = await requestOf(conn);
          this.requests.push({ op, wait_ms });
          const name = (rest.length > 1 ? rest.shift() : rest[0])!;
          if (name === "away") listener.close();
          else await conn.write(lineOf({ version: 1, result: REPORTS[name] }));
          conn.close();
        }
        while (!isOver && !this.said.some((line) => line.startsWith("The agent does not answer"))) {
          await new Promise((resolve) => setTimeout(resolve, 20));
        }
        if (isOver) return;
        listener = listen();
      }
    })();
    this.#stack.defer(async () => {
      isOver = true;
      try {
        listener.close();
      } catch { /* it is away */ }
      await serving;
    });
  }

  drain(options: { routesMs?: number } = {}): Promise<number> {
    const say = (line: string): void => void this.said.push(line);
    return drain({ socket: this.socket, waitMs: 30_000, say, ...options });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
    await Deno.remove(this.dir, { recursive: true });
  }
}

Deno.test("drain() tells each step once and ends when nothing is routed any more", async () => {
  await using f = new Fixture();
  f.agent("asked", "announcing", "announcing", "withdrawing", "withdrawn");
  assertEquals(await f.drain(), 0);
  assertEquals(f.said, [
    "Draining: 2 anycast addresses are to be announced with GRACEFUL_SHUTDOWN",
    "Announcing: 2 anycast addresses are announced with GRACEFUL_SHUTDOWN until 2026-01-02T03:04:35Z",
    "Withdrawing: 1 anycast address is still routed",
    "Withdrawn: 2 anycast addresses are not announced; flock undrain takes it back",
  ]);
  // Only the first one asks for it: what is taken back meanwhile is not begun again.
  assertEquals(f.requests, [
    { op: "drain", wait_ms: 30_000 },
    ...Array.from({ length: 4 }, () => ({ op: "drain", wait_ms: undefined })),
  ]);
});

Deno.test("drain() says so when somebody takes it back", async () => {
  await using f = new Fixture();
  f.agent("announcing", "none");
  await assertRejects(() => f.drain(), Error, "Cannot drain node: somebody took it back");
});

Deno.test("drain() names the addresses whose routes stay", async () => {
  await using f = new Fixture();
  f.agent("withdrawing");
  await assertRejects(
    () => f.drain({ routesMs: 300 }),
    Error,
    "Cannot drain node: still routed after 0.3 s: 203.0.113.200;",
  );
});

Deno.test("drain() waits for an agent that starts again", async () => {
  await using f = new Fixture();
  f.agent("announcing", "away", "announcing", "withdrawn");
  assertEquals(await f.drain(), 0);
  assertEquals(f.said.map((line) => line.split(":")[0]), [
    "Announcing",
    "The agent does not answer at the moment",
    "Announcing",
    "Withdrawn",
  ]);
});

Deno.test("drain() asks again when the agent ends before it has answered", async () => {
  await using f = new Fixture();
  f.agent("away", "announcing", "withdrawn");
  assertEquals(await f.drain(), 0);
  assertEquals(f.requests.map(({ wait_ms }) => wait_ms), [30_000, 30_000, undefined]);
});

Deno.test("undrain() asks for it and tells what is announced again", async () => {
  await using f = new Fixture();
  f.agent("none");
  const said: string[] = [];
  assertEquals(await undrain({ socket: f.socket, say: (line) => void said.push(line) }), 0);
  assertEquals(f.requests, [{ op: "undrain", wait_ms: undefined }]);
  assertEquals(said, ["Not drained: 1 anycast address is announced while its pod is ready"]);
});

async function requestOf(conn: Deno.Conn): Promise<AgentRequest> {
  const bytes = new Uint8Array(1024);
  const n = await conn.read(bytes);
  return JSON.parse(new TextDecoder().decode(bytes.subarray(0, n ?? 0)));
}

function lineOf(value: unknown): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(`${JSON.stringify(value)}\n`);
}
