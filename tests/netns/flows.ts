/**
 * Real connections in a lab: servers that say their name, and clients that hold hundreds of connections,
 * talk on each all the time and tell what became of them. One process for each host.
 *
 * ```
 *   test ──Unix socket──▶ flow_client.ts ──TCP, UDP──▶ flow_server.ts
 *                         in a namespace               in another
 * ```
 *
 * @module
 */
import { callAgent } from "../../src/io/socket.ts";
import type { Background } from "../../src/lab/background.ts";
import type { Host } from "../../src/lab/host.ts";
import { until } from "../../src/lab/wait.ts";
import type { Flow, FlowRequest, HeldFlow } from "./flow_wire.ts";

export type { Flow, HeldFlow } from "./flow_wire.ts";

/**
 * Starts a server on a host; it ends with the lab.
 *
 * @param name what it answers
 * @param addresses those on which it answers datagrams; TCP it answers on all
 */
export async function serveFlows(
  host: Host,
  name: string,
  addresses: readonly string[] = [],
): Promise<void> {
  const server = await spawnScript(host, "flow_server", [name, ...addresses]);
  await until(`server of ${host.name}`, async () => {
    await server.assertRunning();
    return await server.tail(1) === "serving";
  });
}

/** A client on a host; it ends with the lab. */
export class FlowClient {
  readonly #host: Host;
  readonly #socket: string;

  private constructor(host: Host) {
    this.#host = host;
    this.#socket = `${host.dir}/flows/client.sock`;
  }

  static async start(host: Host): Promise<FlowClient> {
    const client = new FlowClient(host);
    const process = await spawnScript(host, "flow_client", [client.#socket]);
    await until(`client of ${host.name}`, async () => {
      await process.assertRunning();
      return await client.look();
    });
    return client;
  }

  /**
   * Opens connections that talk from now on.
   *
   * @throws {Error} when one of them gets no answer
   */
  async hold(address: string, count: number): Promise<readonly HeldFlow[]> {
    const flows = await this.#ask({ op: "hold", address, count }) as HeldFlow[];
    assertNoneBroken(flows, `${count} new connections of ${this.#host.name} to ${address}`);
    return flows;
  }

  /** All connections that are held, each after an exchange that began after this call. */
  async look(): Promise<readonly HeldFlow[]> {
    return await this.#ask({ op: "look" }) as HeldFlow[];
  }

  /** Ends connections that are held; all unless told. */
  async release(flows?: readonly HeldFlow[]): Promise<void> {
    const ids = (flows ?? await this.look()).map(({ id }) => id);
    await this.#ask({ op: "release", ids });
  }

  /**
   * Opens connections at once, each for one answer.
   *
   * @param options.bytes length of each answer, besides the name
   * @param options.timeoutMs milliseconds each may take; 2,000 unless told
   */
  async fetch(
    address: string,
    count: number,
    options: { readonly bytes?: number; readonly timeoutMs?: number } = {},
  ): Promise<readonly Flow[]> {
    const { bytes = 0, timeoutMs = 2_000 } = options;
    return await this.#ask({ op: "fetch", address, count, bytes, timeoutMs }) as Flow[];
  }

  /** Sends datagrams, each from a port of its own, and waits for each answer. */
  async datagrams(address: string, count: number): Promise<readonly Flow[]> {
    return await this.#ask({ op: "datagrams", address, count }) as Flow[];
  }

  async #ask(request: FlowRequest): Promise<unknown> {
    return await callAgent(
      this.#socket,
      { op: request.op, args: JSON.stringify(request) },
      { connectMs: 0, timeoutMs: 60_000 },
    );
  }
}

/** How many of them each server has. */
export function countByServer(flows: readonly Flow[]): Readonly<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (const { server = "nobody" } of flows) counts[server] = (counts[server] ?? 0) + 1;
  return counts;
}

/** Names of the servers that answered, sorted. */
export function serversOf(flows: readonly Flow[]): readonly string[] {
  return Object.keys(countByServer(flows)).sort();
}

/** Those that broke. */
export function brokenOf<F extends Flow>(flows: readonly F[]): readonly F[] {
  return flows.filter(({ broken }) => broken !== undefined);
}

/** @throws {Error} when one broke, with how many of whose, and why */
export function assertNoneBroken(flows: readonly Flow[], what: string): void {
  const broken = brokenOf(flows);
  if (broken.length === 0) return;
  const reasons = new Set(broken.map(({ broken }) => broken));
  throw new Error(
    `Cannot keep ${what}: ${broken.length} of ${flows.length} broke (${
      [...reasons].join("; ")
    }), by server ${JSON.stringify(countByServer(broken))}`,
  );
}

function spawnScript(host: Host, name: string, args: readonly string[]): Promise<Background> {
  return host.spawn(name, [
    ...[Deno.execPath(), "run", "--quiet", "--allow-all", "--unstable-net"],
    ...[new URL(`${name}.ts`, import.meta.url).pathname, ...args],
  ]);
}
