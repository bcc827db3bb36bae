/**
 * Datagrams that are sent all the time, and a count of what came, by the kernel of the host that they are
 * for: also before it has an address, and whether or not anybody reads them.
 *
 * @module
 */
import { parseAddress } from "../../src/core/cidr.ts";
import type { Host } from "../../src/lab/host.ts";
import { delay } from "../../src/lab/wait.ts";
import { Socket, withinNetwork } from "./sockets.ts";

/** Pause between two datagrams to each address, in milliseconds. */
const PAUSE_MS = 1;

/** Sends until it is stopped, to each address by turns. */
export class Hammer implements AsyncDisposable {
  readonly #netnsPath: string;
  readonly #port: number;
  readonly #sending: Promise<void>;
  #stopped = false;
  /** Datagrams that the kernel took. */
  sent = 0;

  /** @param port of the destination */
  constructor(from: Host, addresses: readonly string[], port: number) {
    this.#netnsPath = from.netnsPath;
    this.#port = port;
    this.#sending = this.#send(addresses);
  }

  /** Resolves when some more have been sent, each after this was asked. */
  async more(count: number): Promise<void> {
    const enough = this.sent + count;
    while (this.sent < enough) await Promise.race([delay(PAUSE_MS), this.#sending]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopped = true;
    await this.#sending;
  }

  async #send(addresses: readonly string[]): Promise<void> {
    while (!this.#stopped) {
      for (const address of addresses) {
        // A port of its own each time: a flow of its own.
        using socket = withinNetwork(
          this.#netnsPath,
          () => Socket.open("udp", parseAddress(address).family),
        );
        if (socket.send(new Uint8Array(4), { address, port: this.#port })) this.sent++;
      }
      await delay(PAUSE_MS);
    }
  }
}

/** Has a host count the datagrams that come to it, from now on. */
export async function countDatagrams(host: Host): Promise<void> {
  await host.exec(["nft", "-f", "-"], {
    stdin: `table inet counting {
      counter heard { }
      chain first {
        type filter hook prerouting priority raw
        meta l4proto udp counter name heard
      }
    }`,
  });
}

/** How many came since it counts. */
export async function countedDatagrams(host: Host): Promise<number> {
  const { stdout } = await host.exec(["nft", "-j", "list", "counter", "inet", "counting", "heard"]);
  const { nftables } = JSON.parse(stdout) as {
    readonly nftables: readonly { readonly counter?: { readonly packets: number } }[];
  };
  const counter = nftables.flatMap(({ counter }) => counter ?? [])[0];
  if (counter === undefined) throw new Error(`Cannot find counter of ${host.name}: ${stdout}`);
  return counter.packets;
}
