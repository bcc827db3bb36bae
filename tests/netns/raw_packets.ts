/**
 * Packets that the kernel has no sockets for here: the opening of an SCTP association (RFC 9260) and its
 * answer, and echo requests (RFC 792, RFC 4443), each with the number of a probe in it.
 *
 * @module
 */
import type { Family } from "../../src/core/cidr.ts";

/** What a packet is to a prober. */
export interface RawProbe {
  readonly kind: "request" | "answer";
  readonly id: number;
  /** Source and destination; 0 without ports. */
  readonly sourcePort: number;
  readonly port: number;
}

/** Chunk types (RFC 9260, section 3.2). */
const INIT = 1, INIT_ACK = 2;
const SCTP_HEADER = 12, INIT_LENGTH = 20;
/** Parameter of an INIT ACK that must be there (RFC 9260, section 3.3.3.1). */
const STATE_COOKIE = 7;

/** An INIT, with the probe's number as initiate tag; or the INIT ACK to it. */
export function sctpPacket(
  { kind, id, sourcePort, port }: RawProbe,
): Uint8Array<ArrayBuffer> {
  const answer = kind === "answer";
  const chunk = INIT_LENGTH + (answer ? 8 : 0);
  const packet = new Uint8Array(SCTP_HEADER + chunk);
  const view = new DataView(packet.buffer);
  view.setUint16(0, sourcePort);
  view.setUint16(2, port);
  // Verification tag: 0 in an INIT; in its answer what the INIT said.
  view.setUint32(4, answer ? id : 0);
  view.setUint8(SCTP_HEADER, answer ? INIT_ACK : INIT);
  view.setUint16(SCTP_HEADER + 2, chunk);
  view.setUint32(SCTP_HEADER + 4, id);
  // Window, streams out and in, first sequence number.
  view.setUint32(SCTP_HEADER + 8, 65_536);
  view.setUint16(SCTP_HEADER + 12, 1);
  view.setUint16(SCTP_HEADER + 14, 1);
  view.setUint32(SCTP_HEADER + 16, 1);
  if (answer) {
    view.setUint16(SCTP_HEADER + 20, STATE_COOKIE);
    view.setUint16(SCTP_HEADER + 22, 8);
  }
  view.setUint32(8, crc32c(packet), true);
  return packet;
}

/** Reads what `sctpPacket` made; undefined for any other. */
export function readSctp(packet: Uint8Array<ArrayBuffer>): RawProbe | undefined {
  if (packet.length < SCTP_HEADER + INIT_LENGTH) return undefined;
  const view = new DataView(packet.buffer, packet.byteOffset);
  const chunk = view.getUint8(SCTP_HEADER);
  if (chunk !== INIT && chunk !== INIT_ACK) return undefined;
  return {
    kind: chunk === INIT ? "request" : "answer",
    id: view.getUint32(SCTP_HEADER + 4),
    sourcePort: view.getUint16(0),
    port: view.getUint16(2),
  };
}

/** Echo request and reply. */
const ECHO: Readonly<Record<Family, readonly [number, number]>> = {
  ipv4: [8, 0],
  ipv6: [128, 129],
};
/** Marks the requests that are the prober's. */
const ECHO_IDENTIFIER = 0xf10c;

/** An echo request, with the probe's number as its data. */
export function echoPacket(family: Family, id: number): Uint8Array<ArrayBuffer> {
  const packet = new Uint8Array(12);
  const view = new DataView(packet.buffer);
  view.setUint8(0, ECHO[family][0]);
  view.setUint16(4, ECHO_IDENTIFIER);
  view.setUint16(6, id & 0xffff);
  view.setUint32(8, id);
  // The kernel sums ICMPv6, which is over addresses too.
  if (family === "ipv4") view.setUint16(2, internetChecksum(view));
  return packet;
}

/** Reads what `echoPacket` made, and the reply to it; undefined for any other. */
export function readEcho(
  family: Family,
  packet: Uint8Array<ArrayBuffer>,
): RawProbe | undefined {
  const view = new DataView(packet.buffer, packet.byteOffset, packet.length);
  if (packet.length !== 12 || view.getUint16(4) !== ECHO_IDENTIFIER) return undefined;
  const [request, reply] = ECHO[family];
  const type = view.getUint8(0);
  if (type !== request && type !== reply) return undefined;
  const kind = type === request ? "request" : "answer";
  return { kind, id: view.getUint32(8), sourcePort: 0, port: 0 };
}

/** What a raw IPv4 socket reads begins with the header (raw(7)); its length is in it. */
export function withoutIpHeader(packet: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  return packet.subarray((packet[0]! & 0xf) * 4);
}

/** RFC 1071, of an even number of bytes. */
function internetChecksum(view: DataView): number {
  let sum = 0;
  for (let i = 0; i < view.byteLength; i += 2) sum += view.getUint16(i);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

/** CRC32c (RFC 9260, appendix A), of a packet whose checksum field is zero. */
function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc >>> 1 ^ (crc & 1 ? 0x82f63b78 : 0);
  }
  return ~crc >>> 0;
}
