/**
 * A client inside a network namespace that holds many connections and talks on each all the time; run by
 * `flows.ts`, which asks it as the plugin asks the agent.
 *
 *     flow_client.ts SOCKET
 *
 * @module
 */
import { serveAgent } from "../../src/io/socket.ts";
import { type Flow, FLOW_PORT, type FlowRequest, type HeldFlow } from "./flow_wire.ts";

/** Pause between two exchanges of a connection, in milliseconds. */
const PAUSE_MS = 100;
/** How long an exchange may take before the connection counts as broken, in milliseconds. */
const EXCHANGE_MS = 2_000;

type Writable<T> = { -readonly [K in keyof T]: T[K] };

class Held {
  readonly flow: Writable<HeldFlow>;
  /** When the last exchange that succeeded began (`performance.now`). */
  #exchanged = -1;
  #released = false;

  constructor(id: number, address: string) {
    this.flow = { id, address };
  }

  /** Exchanges until it breaks or is released. */
  async run(): Promise<void> {
    const { flow } = this;
    let conn: Deno.TcpConn | undefined;
    try {
      conn = await connect(flow.address, EXCHANGE_MS);
      while (!this.#released) {
        const began = performance.now();
        await exchange(conn, flow, 0, EXCHANGE_MS);
        this.#exchanged = began;
        await delay(PAUSE_MS);
      }
    } catch (error) {
      flow.broken = reason(error);
    } finally {
      conn?.close();
    }
  }

  release(): void {
    this.#released = true;
  }

  /** Resolves after an exchange that began after a time, or when there will be none. */
  async exchangedSince(time: number): Promise<HeldFlow> {
    const { flow } = this;
    while (flow.broken === undefined && !this.#released && this.#exchanged < time) await delay(20);
    return flow;
  }
}

const held = new Map<number, Held>();
let lastId = 0;

async function serve(request: FlowRequest): Promise<unknown> {
  switch (request.op) {
    case "hold": {
      const opened = Array.from(
        { length: request.count },
        () => new Held(++lastId, request.address),
      );
      for (const flow of opened) {
        held.set(flow.flow.id, flow);
        flow.run();
      }
      return await Promise.all(opened.map((flow) => flow.exchangedSince(0)));
    }
    case "look": {
      const now = performance.now();
      return await Promise.all(Array.from(held.values(), (flow) => flow.exchangedSince(now)));
    }
    case "release":
      for (const id of request.ids) {
        held.get(id)?.release();
        held.delete(id);
      }
      return [];
    case "fetch":
      return await Promise.all(Array.from({ length: request.count }, () => fetchOnce(request)));
    case "datagrams":
      return await askByDatagrams(request.address, request.count);
    default:
      return request satisfies never;
  }
}

async function fetchOnce(
  { address, bytes, timeoutMs }: FlowRequest & { readonly op: "fetch" },
): Promise<Flow> {
  const flow: Writable<Flow> = { address };
  const began = performance.now();
  let conn: Deno.TcpConn | undefined;
  try {
    conn = await connect(address, timeoutMs);
    await exchange(conn, flow, bytes, timeoutMs - (performance.now() - began));
  } catch (error) {
    flow.broken = reason(error);
  } finally {
    conn?.close();
  }
  return flow;
}

async function askByDatagrams(address: string, count: number): Promise<readonly Flow[]> {
  const flows: Flow[] = [];
  for (let i = 0; i < count; i++) {
    const flow: Writable<Flow> = { address };
    flows.push(flow);
    const hostname = address.includes(":") ? "::" : "0.0.0.0";
    const socket = Deno.listenDatagram({ transport: "udp", hostname, port: 0 });
    try {
      await socket.send(new Uint8Array(1), {
        transport: "udp",
        hostname: address,
        port: FLOW_PORT,
      });
      const [bytes, from] = await within(socket.receive(), EXCHANGE_MS);
      introduce(flow, new TextDecoder().decode(bytes).trim());
      const { hostname: answerer } = from as Deno.NetAddr;
      if (answerer !== address) flow.broken = `answered from ${answerer}`;
    } catch (error) {
      flow.broken = reason(error);
    } finally {
      socket.close();
    }
  }
  return flows;
}

async function connect(address: string, timeoutMs: number): Promise<Deno.TcpConn> {
  const connecting = Deno.connect({ hostname: address, port: FLOW_PORT });
  try {
    return await within(connecting, timeoutMs);
  } catch (error) {
    connecting.then((late) => late.close(), () => {});
    throw error;
  }
}

/** Asks for some bytes, notes who answers, and reads the answer to its end. */
async function exchange(
  conn: Deno.TcpConn,
  flow: Writable<Flow>,
  bytes: number,
  timeoutMs: number,
): Promise<void> {
  const talk = async (): Promise<void> => {
    await conn.write(new TextEncoder().encode(`${bytes}\n`));
    const buffer = new Uint8Array(bytes > 0 ? 65_536 : 128);
    let text = "";
    // Until its line is there nobody knows how long the answer is.
    for (let missing = Infinity; missing > 0;) {
      const read = await conn.read(buffer);
      if (read === null) throw new Error("closed by the server");
      if (missing !== Infinity) {
        missing -= read;
        continue;
      }
      text += new TextDecoder().decode(buffer.subarray(0, read));
      const end = text.indexOf("\n");
      if (end < 0) continue;
      introduce(flow, text.slice(0, end));
      missing = end + 1 + bytes - text.length;
    }
  };
  await within(talk(), timeoutMs);
}

function introduce(flow: Writable<Flow>, line: string): void {
  const [server, source] = line.split(" ");
  if (flow.server !== undefined && flow.server !== server) {
    throw new Error(`answered by ${server}`);
  }
  Object.assign(flow, { server, source });
}

async function within<T>(promise: Promise<T>, timeoutMs: number): Promise<T> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new Error("timeout")), timeoutMs);
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
    // What loses the race may fail later: nobody asks.
    promise.catch(() => {});
  }
}

function delay(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function reason(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

await serveAgent(
  Deno.args[0] ?? "",
  ({ args = "" }) => serve(JSON.parse(args)),
  (error) => {
    throw error;
  },
);
