/**
 * The local addresses that BGP sessions were last established with, kept in the state directory: also after a reboot a
 * session begins where its router knows it.
 *
 * @module
 */
import { type Address, formatAddress, parseAddress } from "../core/cidr.ts";
import { readTextIfPresent, writeFileDurable } from "../io/fs.ts";
import { log } from "../log.ts";

/** Peers that are remembered, those that were established last: some are configured no more. */
const MAX_PEERS = 128;

/** One address of the node's for each peer. */
export class SessionAddresses {
  readonly #file: string;
  readonly #byPeer: Map<string, Address>;
  /** What is in the file; undefined when that is not known. */
  #written: string | undefined;

  private constructor(file: string, byPeer: Map<string, Address>, written: string | undefined) {
    this.#file = file;
    this.#byPeer = byPeer;
    this.#written = written;
  }

  /** Reads what was kept. A file that cannot be understood is as good as none: sessions will write it anew. */
  static async open(stateDir: string): Promise<SessionAddresses> {
    const file = `${stateDir}/session_addresses.json`;
    const text = await readTextIfPresent(file);
    try {
      return new SessionAddresses(file, parse(text ?? "{}"), text);
    } catch (error) {
      log.warn("Could not read addresses of BGP sessions", { path: file, err: error });
      return new SessionAddresses(file, new Map(), undefined);
    }
  }

  /** The address that the session with a peer was last established with. */
  get(peer: string): Address | undefined {
    return this.#byPeer.get(peer);
  }

  /** Nothing is known: it is the first agent here that keeps addresses. */
  get isEmpty(): boolean {
    return this.#byPeer.size === 0;
  }

  /** Notes sessions that are established. Does not throw: what cannot be written now is tried the next time. */
  async note(
    established: readonly { readonly peer: string; readonly localAddress: Address }[],
  ): Promise<void> {
    for (const { peer, localAddress } of established) {
      this.#byPeer.delete(peer);
      this.#byPeer.set(peer, localAddress);
    }
    for (const peer of this.#byPeer.keys()) {
      if (this.#byPeer.size > MAX_PEERS) this.#byPeer.delete(peer);
    }
    const text = render(this.#byPeer);
    if (text === (this.#written ?? render(new Map()))) return;
    try {
      await writeFileDurable(this.#file, text);
      this.#written = text;
    } catch (error) {
      log.warn("Could not keep addresses of BGP sessions", { path: this.#file, err: error });
    }
  }
}

function render(byPeer: ReadonlyMap<string, Address>): string {
  const entries = [...byPeer].map(([peer, address]) => [peer, formatAddress(address)]).sort();
  return `${JSON.stringify(Object.fromEntries(entries), undefined, 1)}\n`;
}

function parse(text: string): Map<string, Address> {
  const raw: unknown = JSON.parse(text);
  if (typeof raw !== "object" || raw === null) throw new TypeError("it is not an object");
  return new Map(
    Object.entries(raw).map(([peer, address]) => [
      formatAddress(parseAddress(peer)),
      parseAddress(String(address)),
    ]),
  );
}
