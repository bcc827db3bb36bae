/**
 * TCP servers that tell who they are, and clients that tell who answers: programs that tests run in pods
 * and on clients, and what they print.
 *
 *     tcp_echo.ts serve NAME             answers each connection with its name, then echoes
 *     tcp_echo.ts try ADDRESS COUNT      connections one after the other: a line with the name for each
 *     tcp_echo.ts hold ADDRESS COUNT     keeps connections busy: `open NAME`, and `lost NAME` if one ends
 *
 * @module
 */
import type { Background } from "../../src/lab/background.ts";
import type { Host } from "../../src/lab/host.ts";
import { until } from "../../src/lab/wait.ts";

const PORT = 7000;
/** Milliseconds without an answer after which a connection counts as lost. */
const DEADLINE_MS = 3_000;
/** Milliseconds between two messages on a connection that is held. */
const PAUSE_MS = 50;

/** Starts a server in a pod; resolves when it listens. */
export async function serveTcp(host: Host, name: string): Promise<Background> {
  const process = await host.spawn("tcp", program("serve", name));
  await until(`server of ${name}`, async () => {
    await process.assertRunning();
    return (await process.tail(1)) === "listening";
  });
  return process;
}

/** Who answers new connections to an address; one that fails is `failed: …`. */
export async function tryTcp(
  host: Host,
  address: string,
  count: number,
): Promise<readonly string[]> {
  const { stdout } = await host.exec(program("try", address, String(count)), {
    env: { HOME: Deno.env.get("HOME") ?? "/root" },
    timeoutMs: 60_000,
  });
  return stdout.trim().split("\n");
}

/** Holds connections open; resolves when all are. */
export async function holdTcp(
  host: Host,
  address: string,
  count: number,
): Promise<{ readonly process: Background; lines(): Promise<readonly string[]> }> {
  const process = await host.spawn(`hold-${address}`, program("hold", address, String(count)));
  const lines = async (): Promise<readonly string[]> =>
    (await Deno.readTextFile(process.log).catch(() => "")).split("\n").filter((line) =>
      /^(open|lost) /.test(line)
    );
  await until(`${count} connections to ${address}`, async () => {
    await process.assertRunning();
    return (await lines()).length >= count;
  });
  return { process, lines };
}

function program(...args: readonly string[]): readonly string[] {
  const path = new URL(import.meta.url).pathname;
  return [Deno.execPath(), "run", "--quiet", "--no-check", "--allow-net", path, ...args];
}

async function serve(name: string): Promise<void> {
  const listener = Deno.listen({ hostname: "::", port: PORT });
  say("listening");
  for await (const conn of listener) {
    (async () => {
      await conn.write(new TextEncoder().encode(name));
      const buffer = new Uint8Array(64);
      for (let n = await conn.read(buffer); n !== null; n = await conn.read(buffer)) {
        await conn.write(buffer.subarray(0, n));
      }
      conn.close();
    })().catch(() => {}); // the client went away
  }
}

/** One answer, within the deadline. */
async function answer(conn: Deno.Conn): Promise<string> {
  const timer = setTimeout(() => conn.close(), DEADLINE_MS);
  try {
    const buffer = new Uint8Array(64);
    const n = await conn.read(buffer);
    if (n === null) throw new Error("it ended");
    return new TextDecoder().decode(buffer.subarray(0, n));
  } finally {
    clearTimeout(timer);
  }
}

async function connect(address: string): Promise<{ conn: Deno.Conn; name: string }> {
  const signal = AbortSignal.timeout(DEADLINE_MS);
  const conn = await Deno.connect({ hostname: address, port: PORT, signal });
  return { conn, name: await answer(conn) };
}

async function tryMany(address: string, count: number): Promise<void> {
  for (let n = 0; n < count; n++) {
    try {
      const { conn, name } = await connect(address);
      say(name);
      conn.close();
    } catch (error) {
      say(`failed: ${error}`);
    }
  }
}

async function hold(address: string): Promise<void> {
  const { conn, name } = await connect(address);
  say(`open ${name}`);
  try {
    while (true) {
      await conn.write(Uint8Array.of(46));
      await answer(conn);
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    }
  } catch {
    say(`lost ${name}`);
  }
}

function say(line: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`${line}\n`));
}

if (import.meta.main) {
  const [role, what = "", count = "0"] = Deno.args;
  if (role === "serve") await serve(what);
  else if (role === "try") await tryMany(what, Number(count));
  else await Promise.all(Array.from({ length: Number(count) }, () => hold(what)));
}
