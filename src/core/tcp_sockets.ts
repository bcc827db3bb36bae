/**
 * TCP sockets as the kernel lists them in `/proc/net/tcp` and `/proc/net/tcp6` (Linux,
 * Documentation/networking/proc_net_tcp.rst), and who speaks BGP by them.
 *
 * @module
 */
import { formatAddress } from "./cidr.ts";

/** A socket that listens, or is connected. */
export interface TcpSocket {
  readonly state: "listening" | "established";
  /** `::` and `0.0.0.0` for any. */
  readonly localAddress: string;
  readonly localPort: number;
  readonly peerAddress: string;
  readonly peerPort: number;
  /** Names the socket in `/proc/PID/fd`. */
  readonly inode: string;
}

/** A program with sockets of BGP. */
export interface Speaker {
  readonly pid: number;
  readonly name: string;
  readonly sockets: readonly TcpSocket[];
}

const STATES: Readonly<Record<string, TcpSocket["state"]>> = {
  "01": "established",
  "0A": "listening",
};

/** Parses either list. Sockets in other states are left out, and calls that nobody has accepted yet. */
export function parseTcpSockets(text: string): readonly TcpSocket[] {
  return text.split("\n").flatMap((line) => {
    const [n = "", local = "", peer = "", code = "", , , , , , inode = ""] = line.trim().split(
      /\s+/,
    );
    const state = STATES[code];
    if (!/^\d+:$/.test(n) || state === undefined || inode === "0") return [];
    const [localAddress, localPort] = endpoint(local);
    const [peerAddress, peerPort] = endpoint(peer);
    return [{ state, localAddress, localPort, peerAddress, peerPort, inode }];
  });
}

/** True for a socket of BGP: one end has one of the ports. */
export function isBgpSocket(socket: TcpSocket, ports: readonly number[]): boolean {
  return ports.includes(socket.localPort) ||
    socket.state === "established" && ports.includes(socket.peerPort);
}

/** `0100007F:00B3`: 32-bit words in the byte order of the machine, which is little-endian here. */
function endpoint(text: string): [address: string, port: number] {
  const [hex = "", port = ""] = text.split(":");
  const bytes = (hex.match(/.{8}/g) ?? []).flatMap((word) => (word.match(/../g) ?? []).reverse());
  const value = BigInt(`0x${bytes.join("") || "0"}`);
  // An IPv4 peer of an IPv6 socket (RFC 4291, section 2.5.5.2).
  const mapped = bytes.length === 16 && value >> 32n === 0xffffn;
  const address = bytes.length === 4 || mapped
    ? formatAddress({ family: "ipv4", value: value & 0xffffffffn })
    : formatAddress({ family: "ipv6", value });
  return [address, parseInt(port, 16)];
}
