/**
 * A way to a server on loopback that can go dead: connections that are open then stay open and deliver
 * nothing any more, in either direction, while new ones work. As when a router on the path forgot them.
 *
 * @module
 */
export class TcpProxy implements AsyncDisposable {
  readonly #listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  readonly #target: number;
  readonly #connections = new Set<Deno.TcpConn>();
  /** One per generation: set when its connections are dead. */
  #generation = { dead: false };
  readonly #accepting: Promise<void>;
  /** Connections that were made. */
  accepted = 0;

  constructor(target: number) {
    this.#target = target;
    this.#accepting = this.#accept();
  }

  get port(): number {
    return this.#listener.addr.port;
  }

  /** The connections that are open now go dead. */
  stall(): void {
    this.#generation.dead = true;
    this.#generation = { dead: false };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    for (const connection of this.#connections) close(connection);
    await this.#accepting;
  }

  async #accept(): Promise<void> {
    for await (const inside of this.#listener) {
      this.accepted++;
      const generation = this.#generation;
      this.#connections.add(inside);
      Deno.connect({ hostname: "127.0.0.1", port: this.#target }).then((outside) => {
        this.#connections.add(outside);
        pipe(inside, outside, generation);
        pipe(outside, inside, generation);
      }).catch(() => close(inside));
    }
  }
}

async function pipe(
  from: Deno.TcpConn,
  to: Deno.TcpConn,
  generation: { readonly dead: boolean },
): Promise<void> {
  const buffer = new Uint8Array(64 * 1024);
  try {
    for (let n = await from.read(buffer); n !== null; n = await from.read(buffer)) {
      if (generation.dead) continue;
      for (let at = 0; at < n;) at += await to.write(buffer.subarray(at, n));
    }
  } catch { /* one end is gone */ }
  if (generation.dead) return;
  close(from);
  close(to);
}

function close(connection: Deno.TcpConn): void {
  try {
    connection.close();
  } catch { /* it was closed already */ }
}
