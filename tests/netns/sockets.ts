/**
 * Sockets in other network namespaces, from the test's own process: a socket belongs to the namespace
 * that its thread was in when it was made (setns(2)), so hundreds of hosts need no process of their own.
 * Also those that Deno has not: raw ones. Through the C library; Linux on little-endian machines.
 *
 * @module
 */
import { type Family, formatAddress, parseAddress } from "../../src/core/cidr.ts";

/** What a socket speaks. `sctp` and `icmp` are raw: whole packets of the protocol, one's own to make. */
export type SocketKind = "tcp" | "udp" | "sctp" | "icmp" | "conntrack";

/** Where a packet came from, or which end of a connection. */
export interface SocketAddress {
  readonly address: string;
  /** 0 on raw sockets. */
  readonly port: number;
}

/** Bits of `poll`. */
export const POLLIN = 1, POLLOUT = 4;

const O_CLOEXEC = 0o2000000, O_NONBLOCK = 0o4000;
const AF_INET = 2, AF_INET6 = 10, AF_NETLINK = 16, NETLINK_NETFILTER = 12;
const STREAM = 1, DGRAM = 2, RAW = 3;
const CLONE_NEWNET = 0x40000000;
const SOL_SOCKET = 1, SO_ERROR = 4, SO_LINGER = 13, SO_RCVBUFFORCE = 33;
const IPPROTO_IP = 0, IP_TRANSPARENT = 19;
const IPPROTO_IPV6 = 41, IPV6_V6ONLY = 26, IPV6_TRANSPARENT = 75;
/** Protocol numbers (IANA "Assigned Internet Protocol Numbers"). */
const SCTP = 132, ICMP = 1, ICMPV6 = 58;
/** Bytes that a raw socket may have waiting: all probes of a round at once. */
const RECEIVE_BUFFER = 8 << 20;
const SOCKADDR_SIZE = 28;

// Opened by the first who needs it: a test that is skipped needs no C library.
let opened: ReturnType<typeof openLibrary> | undefined;

function openLibrary() {
  return Deno.dlopen("libc.so.6", {
    open: { parameters: ["buffer", "i32"], result: "i32" },
    close: { parameters: ["i32"], result: "i32" },
    setns: { parameters: ["i32", "i32"], result: "i32" },
    socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
    bind: { parameters: ["i32", "buffer", "u32"], result: "i32" },
    listen: { parameters: ["i32", "i32"], result: "i32" },
    connect: { parameters: ["i32", "buffer", "u32"], result: "i32" },
    accept4: { parameters: ["i32", "buffer", "buffer", "i32"], result: "i32" },
    getsockname: { parameters: ["i32", "buffer", "buffer"], result: "i32" },
    getsockopt: { parameters: ["i32", "i32", "i32", "buffer", "buffer"], result: "i32" },
    setsockopt: { parameters: ["i32", "i32", "i32", "buffer", "u32"], result: "i32" },
    sendto: { parameters: ["i32", "buffer", "usize", "i32", "buffer", "u32"], result: "isize" },
    recvfrom: {
      parameters: ["i32", "buffer", "usize", "i32", "buffer", "buffer"],
      result: "isize",
    },
    poll: { parameters: ["buffer", "usize", "i32"], result: "i32" },
    pollAside: {
      name: "poll",
      parameters: ["buffer", "usize", "i32"],
      result: "i32",
      nonblocking: true,
    },
    __errno_location: { parameters: [], result: "pointer" },
  });
}

function c() {
  return (opened ??= openLibrary()).symbols;
}

/** The last failure's number (errno(3)), for messages: the runtime may have had one of its own since. */
function errno(): number {
  const at = c().__errno_location();
  return at === null ? 0 : new Deno.UnsafePointerView(at).getInt32();
}

function demand(result: number, doing: string): number {
  if (result < 0) throw new Error(`Cannot ${doing}: errno ${errno()}`);
  return result;
}

/**
 * Does something with the thread in another network namespace.
 *
 * @param path the namespace, as in /run/netns
 * @param make synchronous: nothing else of this process may run meanwhile
 */
export function withinNetwork<T>(path: string, make: () => T): T {
  const [here, there] = ["/proc/thread-self/ns/net", path].map((path) =>
    demand(c().open(cString(path), O_CLOEXEC), `open network namespace "${path}"`)
  ) as [number, number];
  try {
    demand(c().setns(there, CLONE_NEWNET), `enter network namespace "${path}"`);
    try {
      return make();
    } finally {
      demand(c().setns(here, CLONE_NEWNET), `return from network namespace "${path}"`);
    }
  } finally {
    c().close(here);
    c().close(there);
  }
}

/** A socket that never waits. */
export class Socket implements Disposable {
  private constructor(readonly fd: number) {}

  /**
   * A new socket in the namespace that the thread is in.
   *
   * @param transparent it may have an address that is not the host's (ip(7))
   */
  static open(kind: SocketKind, family: Family = "ipv4", transparent = false): Socket {
    const v6 = family === "ipv6";
    const [domain, type, protocol] = {
      tcp: [v6 ? AF_INET6 : AF_INET, STREAM, 0],
      udp: [v6 ? AF_INET6 : AF_INET, DGRAM, 0],
      sctp: [v6 ? AF_INET6 : AF_INET, RAW, SCTP],
      icmp: [v6 ? AF_INET6 : AF_INET, RAW, v6 ? ICMPV6 : ICMP],
      conntrack: [AF_NETLINK, RAW, NETLINK_NETFILTER],
    }[kind] as [number, number, number];
    const fd = c().socket(domain, type | O_NONBLOCK | O_CLOEXEC, protocol);
    const socket = new Socket(demand(fd, `open ${kind} socket`));
    if (kind === "conntrack") return socket;
    if (v6 && type !== RAW) socket.#set(IPPROTO_IPV6, IPV6_V6ONLY, [1]);
    if (transparent && v6) socket.#set(IPPROTO_IPV6, IPV6_TRANSPARENT, [1]);
    if (transparent && !v6) socket.#set(IPPROTO_IP, IP_TRANSPARENT, [1]);
    // Closing resets: no connection lingers with ports that the next round may use.
    if (kind === "tcp") socket.#set(SOL_SOCKET, SO_LINGER, [1, 0]);
    else socket.#set(SOL_SOCKET, SO_RCVBUFFORCE, [RECEIVE_BUFFER]);
    return socket;
  }

  /** @param port 0: any that is free */
  bind(address: string, port = 0): this {
    const name = socketAddress(address, port);
    demand(c().bind(this.fd, name, name.length), `bind socket to "${address}" port ${port}`);
    return this;
  }

  listen(): this {
    demand(c().listen(this.fd, 4_096), "listen");
    return this;
  }

  /** Begins to connect; `poll` tells of the end, `error` how it ended. */
  connect(address: string, port: number): void {
    const name = socketAddress(address, port);
    // EINPROGRESS, or a failure that SO_ERROR tells of as well.
    c().connect(this.fd, name, name.length);
  }

  /** A connection that waits to be accepted; undefined when there is none. */
  accept(): { readonly socket: Socket; readonly from: SocketAddress } | undefined {
    const name = new Uint8Array(SOCKADDR_SIZE);
    const fd = c().accept4(this.fd, name, sizeBuffer(), O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) return undefined;
    const socket = new Socket(fd);
    socket.#set(SOL_SOCKET, SO_LINGER, [1, 0]);
    return { socket, from: readSocketAddress(name) };
  }

  /** The own end. */
  local(): SocketAddress {
    const name = new Uint8Array(SOCKADDR_SIZE);
    demand(c().getsockname(this.fd, name, sizeBuffer()), "ask for the name of a socket");
    return readSocketAddress(name);
  }

  /** The number of the error that waits (`SO_ERROR`); 0: none. */
  error(): number {
    const value = new Int32Array(1);
    const size = new Uint32Array([4]);
    const result = c().getsockopt(this.fd, SOL_SOCKET, SO_ERROR, bytesOf(value), bytesOf(size));
    demand(result, "ask for the error of a socket");
    return value[0]!;
  }

  /** Sends; with an address a packet to there. @returns whether the kernel took it */
  send(bytes: Uint8Array<ArrayBuffer>, to?: SocketAddress): boolean {
    const name = to === undefined ? null : socketAddress(to.address, to.port);
    const { fd } = this;
    return c().sendto(fd, bytes, BigInt(bytes.length), 0, name, name?.length ?? 0) >= 0;
  }

  /** What waits to be read; undefined when there is nothing. */
  receive(): { readonly bytes: Uint8Array<ArrayBuffer>; readonly from: SocketAddress } | undefined {
    const buffer = new Uint8Array(2_048);
    const name = new Uint8Array(SOCKADDR_SIZE);
    const { fd } = this;
    const read = c().recvfrom(fd, buffer, BigInt(buffer.length), 0, name, sizeBuffer());
    if (read < 0) return undefined;
    return { bytes: buffer.subarray(0, Number(read)), from: readSocketAddress(name) };
  }

  [Symbol.dispose](): void {
    c().close(this.fd);
  }

  #set(level: number, option: number, value: readonly number[]): void {
    const bytes = bytesOf(new Int32Array(value));
    const result = c().setsockopt(this.fd, level, option, bytes, bytes.length);
    demand(result, `set option ${option} of a socket`);
  }
}

/** What `poll` looks at. */
export interface Polled {
  readonly socket: Socket;
  readonly events: number;
  ready(revents: number): void;
}

/**
 * Waits until something is ready, and tells each that is.
 *
 * @param timeoutMs 0: only looks
 * @returns how many were ready
 */
export async function poll(polled: readonly Polled[], timeoutMs: number): Promise<number> {
  // struct pollfd: int fd; short events; short revents
  const list = new Int32Array(polled.length * 2);
  polled.forEach(({ socket, events }, i) => list.set([socket.fd, events], i * 2));
  const [bytes, count] = [bytesOf(list), BigInt(polled.length)];
  const ready = timeoutMs === 0
    ? c().poll(bytes, count, 0)
    : await c().pollAside(bytes, count, timeoutMs);
  if (ready <= 0) return 0;
  polled.forEach((one, i) => {
    const revents = list[i * 2 + 1]! >>> 16;
    if (revents !== 0) one.ready(revents);
  });
  return ready;
}

/** Makes the namespace forget every flow: the next packet of each is a first one again. */
export function forgetFlows(netnsPath: string): void {
  using socket = withinNetwork(netnsPath, () => Socket.open("conntrack"));
  // nlmsghdr: length, type (NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_DELETE), flags (REQUEST, ACK),
  // sequence, port; nfgenmsg: family (any), version, resource. Linux: uapi/linux/netfilter/nfnetlink.h.
  const message = new Uint8Array(20);
  const view = new DataView(message.buffer);
  view.setUint32(0, message.length, true);
  view.setUint16(4, 1 << 8 | 2, true);
  view.setUint16(6, 1 | 4, true);
  const answer = socket.send(message) ? socket.receive() : undefined;
  // nlmsgerr: its number after the header; 0 is the acknowledgement.
  const error = answer && new DataView(answer.bytes.buffer).getInt32(16, true);
  if (error !== 0) throw new Error(`Cannot forget flows of "${netnsPath}": error ${error}`);
}

/** The bytes of an address, most significant first. */
export function addressBytes(address: string): Uint8Array<ArrayBuffer> {
  const { family, value } = parseAddress(address);
  return Uint8Array.fromHex(value.toString(16).padStart(family === "ipv6" ? 32 : 8, "0"));
}

/** struct sockaddr_in, sockaddr_in6 */
function socketAddress(address: string, port: number): Uint8Array<ArrayBuffer> {
  const ip = addressBytes(address);
  const v6 = ip.length === 16;
  const name = new Uint8Array(v6 ? SOCKADDR_SIZE : 16);
  const view = new DataView(name.buffer);
  view.setUint16(0, v6 ? AF_INET6 : AF_INET, true);
  view.setUint16(2, port);
  name.set(ip, v6 ? 8 : 4);
  return name;
}

function readSocketAddress(name: Uint8Array<ArrayBuffer>): SocketAddress {
  const view = new DataView(name.buffer);
  const v6 = view.getUint16(0, true) === AF_INET6;
  const value = BigInt(`0x${name.subarray(v6 ? 8 : 4, v6 ? 24 : 8).toHex()}`);
  return {
    address: formatAddress({ family: v6 ? "ipv6" : "ipv4", value }),
    port: view.getUint16(2),
  };
}

function sizeBuffer(): Uint8Array<ArrayBuffer> {
  return bytesOf(new Uint32Array([SOCKADDR_SIZE]));
}

function bytesOf(numbers: Int32Array<ArrayBuffer> | Uint32Array<ArrayBuffer>) {
  return new Uint8Array(numbers.buffer);
}

function cString(text: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(`${text}\0`);
}
