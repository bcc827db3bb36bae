/**
 * Which packets come through between the hosts of a lab: real sockets in their network namespaces, on
 * one side the servers, on the other as many first packets at once as a test likes to ask about.
 *
 *     tcp    a connection that is established; the server has accepted it
 *     udp    a datagram that the server read and sent back
 *     sctp   an INIT that the server read and answered with an INIT ACK
 *     icmp   an echo request that the kernel at the other end answered
 *
 * Each probe is a flow of its own: one that was seen before would be let through as established.
 *
 * @module
 */
import { type Family, parseAddress } from "../../src/core/cidr.ts";
import {
  echoPacket,
  type RawProbe,
  readEcho,
  readSctp,
  sctpPacket,
  withoutIpHeader,
} from "./raw_packets.ts";
import {
  poll,
  type Polled,
  POLLIN,
  POLLOUT,
  Socket,
  type SocketAddress,
  withinNetwork,
} from "./sockets.ts";

export type ProbeProtocol = "tcp" | "udp" | "sctp" | "icmp";

/** A host whose sockets take part. */
export interface ProbeHost {
  readonly name: string;
  readonly netnsPath: string;
  /** Its own, canonical, that it serves and sends from. */
  readonly addresses: readonly string[];
  /** They are not its own: it only sends from them. */
  readonly foreign?: boolean;
}

/** One question. */
export interface Probe {
  /** Name of the host that sends. */
  readonly host: string;
  /** One of its addresses. */
  readonly from: string;
  readonly to: string;
  readonly protocol: ProbeProtocol;
  /** Of the destination; 0 for `icmp`. */
  readonly port: number;
  /** Whether it should come through: such are waited for, and sent again once. */
  readonly expected?: boolean;
}

/** What became of it. */
export interface Outcome<P extends Probe = Probe> {
  readonly probe: P;
  /** Name of the host that it came to. */
  readonly arrived?: string;
  /** The answer came back. */
  readonly answered: boolean;
  /** Why it could not be sent, or was refused. */
  readonly error?: string;
}

/**
 * When so many polls in a row have found nothing, the rest counts as dropped. In a lab a packet is at its
 * end before `send` returns, unless the kernel leaves it to a thread of its own. (Polls, not time: a
 * process that was not run has not looked.)
 */
const SILENT_POLLS = 2, POLL_MS = 25;
/** How long what should come through may take, in milliseconds. */
const EXPECTED_MS = 3_000;
/** So many are sent before what has come is read: queues are bounded. */
const BURST = 100;

type Writable<T> = { -readonly [K in keyof T]: T[K] };

type Pending<P extends Probe> = Writable<Outcome<P>>;

/** The sockets of one host. */
interface HostSockets {
  readonly host: ProbeHost;
  /** By address. */
  readonly raw: ReadonlyMap<string, Readonly<Record<"sctp" | "icmp", Socket>>>;
}

/** Numbers probes, so that what is late is nobody else's. */
let lastId = 0;
/** Source ports: below those that the kernel gives, and each a long time unused. */
const FIRST_PORT = 10_000, PORTS = 20_000;
let lastPort = 0;

/** Servers on all hosts, and what was asked between them. */
export class PolicyProber implements Disposable {
  readonly #sockets = new DisposableStack();
  readonly #hosts = new Map<string, HostSockets>();
  readonly #served: Polled[] = [];
  /** Probes that are under way: by number, and by both ends of a connection. */
  readonly #pending = new Map<number | string, Pending<Probe>>();
  /** Connections of this round, both ends. */
  #connections = new DisposableStack();
  #connecting: Polled[] = [];

  /** @param ports those that are served, of TCP and UDP; of SCTP all are */
  constructor(hosts: readonly ProbeHost[], ports: readonly number[]) {
    try {
      for (const host of hosts) withinNetwork(host.netnsPath, () => this.#serve(host, ports));
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
  }

  [Symbol.dispose](): void {
    this.#connections.dispose();
    this.#sockets.dispose();
  }

  /** Sends all, waits, and says what became of each, in their order. */
  async run<P extends Probe>(probes: readonly P[]): Promise<readonly Outcome<P>[]> {
    const all: Pending<P>[] = probes.map((probe) => ({ probe, answered: false }));
    await this.#round(all, EXPECTED_MS / 10);
    const missing = all.filter(({ probe, answered }) => probe.expected && !answered);
    // Lost, or a machine that had other things to do.
    if (missing.length > 0) await this.#round(missing, EXPECTED_MS);
    return all;
  }

  async #round(all: readonly Pending<Probe>[], expectedMs: number): Promise<void> {
    using _ = this.#connections = new DisposableStack();
    this.#connecting = [];
    const clients = new Map<string, Socket>();
    for (let i = 0; i < all.length; i += BURST) {
      for (const [name, burst] of Map.groupBy(all.slice(i, i + BURST), (one) => one.probe.host)) {
        const host = this.#hosts.get(name);
        if (host === undefined) throw new RangeError(`Cannot probe from "${name}": no such host`);
        withinNetwork(host.host.netnsPath, () => {
          for (const one of burst) this.#send(host, one, clients);
        });
      }
      while (await this.#hear(0) > 0);
    }
    const began = performance.now();
    const isMissing = ({ probe, answered }: Pending<Probe>): boolean =>
      probe.expected === true && !answered;
    for (
      let silent = 0;
      silent < SILENT_POLLS || performance.now() - began < expectedMs && all.some(isMissing);
    ) silent = await this.#hear(POLL_MS) > 0 ? 0 : silent + 1;
    this.#pending.clear();
    this.#connecting = [];
  }

  #hear(timeoutMs: number): Promise<number> {
    return poll([...this.#served, ...this.#connecting], timeoutMs);
  }

  #send(host: HostSockets, one: Pending<Probe>, clients: Map<string, Socket>): void {
    const { probe: { from, to, protocol, port } } = one;
    delete one.error;
    if (protocol === "tcp") return this.#connect(one, host.host.foreign);
    const id = ++lastId;
    this.#pending.set(id, one);
    const raw = host.raw.get(from);
    if (raw === undefined) throw new RangeError(`Cannot probe from "${from}": no such address`);
    const { family } = parseAddress(from);
    switch (protocol) {
      case "udp": {
        const key = `${host.host.name} ${from}`;
        const client = clients.get(key) ?? this.#connections.use(
          Socket.open("udp", family, host.host.foreign).bind(from, nextPort()),
        );
        if (!clients.has(key)) {
          clients.set(key, client);
          this.#connecting.push(this.#reader(client, ({ bytes }) => this.#answered(idOf(bytes))));
        }
        return noteSent(one, client.send(datagram(id), { address: to, port }));
      }
      case "sctp": {
        const packet = sctpPacket({ kind: "request", id, sourcePort: nextPort(), port });
        return noteSent(one, raw.sctp.send(packet, { address: to, port: 0 }));
      }
      case "icmp":
        return noteSent(one, raw.icmp.send(echoPacket(family, id), { address: to, port: 0 }));
      default:
        return protocol satisfies never;
    }
  }

  #connect(one: Pending<Probe>, foreign?: boolean): void {
    const { from, to, port } = one.probe;
    const socket = this.#connections.use(Socket.open("tcp", parseAddress(from).family, foreign));
    socket.bind(from);
    const key = ends(socket.local(), { address: to, port });
    this.#pending.set(key, one);
    socket.connect(to, port);
    const connecting: Polled = {
      socket,
      events: POLLOUT,
      ready: () => {
        this.#connecting.splice(this.#connecting.indexOf(connecting), 1);
        const error = socket.error();
        if (error === 0) this.#answered(key);
        else noteSent(one, false, error);
      },
    };
    this.#connecting.push(connecting);
  }

  /** In the host's namespace. */
  #serve(host: ProbeHost, ports: readonly number[]): void {
    for (const family of new Set(host.addresses.map((address) => parseAddress(address).family))) {
      for (const port of ports) this.#accept(host, family, port);
    }
    const raw = new Map<string, Record<"sctp" | "icmp", Socket>>();
    for (const address of host.addresses) {
      const { family } = parseAddress(address);
      const open = (kind: "udp" | "sctp" | "icmp", port = 0): Socket =>
        this.#sockets.use(Socket.open(kind, family, host.foreign)).bind(address, port);
      // One for each address: what is bound to none answers from the host's first.
      for (const port of ports) this.#echo(host, open("udp", port));
      const sockets = { sctp: open("sctp"), icmp: open("icmp") };
      raw.set(address, sockets);
      this.#hearRaw(host, family, sockets);
    }
    this.#hosts.set(host.name, { host, raw });
  }

  #accept(host: ProbeHost, family: Family, port: number): void {
    const listener = this.#sockets.use(Socket.open("tcp", family));
    listener.bind(family === "ipv6" ? "::" : "0.0.0.0", port).listen();
    const ready = (): void => {
      for (let accepted; (accepted = listener.accept()) !== undefined;) {
        const { socket, from } = accepted;
        // Open until the round is over: it must not be reset before the other end has seen it.
        this.#connections.use(socket);
        this.#arrived(ends(from, socket.local()), host);
      }
    };
    this.#served.push({ socket: listener, events: POLLIN, ready });
  }

  #echo(host: ProbeHost, socket: Socket): void {
    this.#served.push(this.#reader(socket, ({ bytes, from }) => {
      this.#arrived(idOf(bytes), host);
      socket.send(bytes, from);
    }));
  }

  #hearRaw(host: ProbeHost, family: Family, sockets: Record<"sctp" | "icmp", Socket>): void {
    const { sctp, icmp } = sockets;
    const packetOf = (bytes: Uint8Array<ArrayBuffer>) =>
      family === "ipv4" ? withoutIpHeader(bytes) : bytes;
    const hear = (read: RawProbe | undefined): void => {
      if (read?.kind === "request") this.#arrived(read.id, host);
      else if (read?.kind === "answer") this.#answered(read.id);
    };
    this.#served.push(this.#reader(sctp, ({ bytes, from }) => {
      const read = readSctp(packetOf(bytes));
      hear(read);
      if (read?.kind !== "request") return;
      const { id, port, sourcePort } = read;
      sctp.send(sctpPacket({ kind: "answer", id, sourcePort: port, port: sourcePort }), from);
    }));
    this.#served.push(this.#reader(icmp, ({ bytes }) => hear(readEcho(family, packetOf(bytes)))));
  }

  /** Reads all that waits, whenever something does. */
  #reader(
    socket: Socket,
    take: (read: NonNullable<ReturnType<Socket["receive"]>>) => void,
  ): Polled {
    const ready = (): void => {
      let read;
      while ((read = socket.receive()) !== undefined) take(read);
    };
    return { socket, events: POLLIN, ready };
  }

  #arrived(key: number | string, host: ProbeHost): void {
    const one = this.#pending.get(key);
    if (one !== undefined) one.arrived = host.name;
  }

  #answered(key: number | string): void {
    const one = this.#pending.get(key);
    if (one !== undefined) one.answered = true;
  }
}

function noteSent(one: Pending<Probe>, sent: boolean, error?: number): void {
  if (!sent) one.error = error === undefined ? "not sent" : `error ${error}`;
}

function nextPort(): number {
  return FIRST_PORT + ++lastPort % PORTS;
}

function datagram(id: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, id);
  return bytes;
}

function idOf(bytes: Uint8Array<ArrayBuffer>): number {
  return bytes.length < 4 ? 0 : new DataView(bytes.buffer, bytes.byteOffset).getUint32(0);
}

function ends(from: SocketAddress, to: SocketAddress): string {
  return `${from.address} ${from.port} ${to.address} ${to.port}`;
}
