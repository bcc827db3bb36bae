/**
 * Addresses and prefixes as values; the only user of ipaddr.js. Text is parsed strictly (no octal, no
 * zone, no IPv4-mapped IPv6) and rendered canonically (RFC 5952), as `ip -j` prints it, so texts of
 * addresses can be compared.
 *
 * @module
 */
import ipaddr from "ipaddr.js";

export type Family = "ipv4" | "ipv6";

/** Both families, IPv6 first. */
export const FAMILIES: readonly Family[] = ["ipv6", "ipv4"];

/** The families' names for people. */
export const FAMILY_NAMES: Readonly<Record<Family, string>> = { ipv6: "IPv6", ipv4: "IPv4" };

/** One IP address, no length. */
export interface Address {
  readonly family: Family;
  /** The address as a number: 32 or 128 bits, most significant first. */
  readonly value: bigint;
}

/** A network and its length. The bits after the length are zero. */
export interface Prefix {
  readonly family: Family;
  readonly value: bigint;
  readonly length: number;
}

/** What an address is for, by its range (RFC 6890, RFC 4291). */
export type Scope = "unicast" | "loopback" | "link-local" | "multicast" | "unspecified";

/** The family of an address, as its text shows it. Nothing is parsed. */
export function familyOf(text: string): Family {
  return text.includes(":") ? "ipv6" : "ipv4";
}

/** Number of bits of an address: 32 or 128. */
export function bitsOf(family: Family): number {
  return family === "ipv6" ? 128 : 32;
}

/**
 * Parses an address.
 *
 * @throws {SyntaxError} when the text is not an IPv4 or IPv6 address
 */
export function parseAddress(text: string): Address {
  const fail = (why: string): never => {
    throw new SyntaxError(`Cannot parse address ${JSON.stringify(text.slice(0, 80))}: ${why}`);
  };
  // Asking whether it is IPv4 is slow for what is not: the library throws and catches.
  if (!text.includes(":") && ipaddr.IPv4.isValidFourPartDecimal(text)) {
    if (!/^(0|[1-9]\d*)(\.(0|[1-9]\d*)){3}$/.test(text)) fail("an octet has a leading zero");
    return { family: "ipv4", value: fromBytes(ipaddr.IPv4.parse(text).toByteArray()) };
  }
  if (!/^[0-9a-fA-F:.]{2,45}$/.test(text) || !ipaddr.IPv6.isValid(text)) {
    fail("it is neither IPv4 nor IPv6");
  }
  const parsed = ipaddr.IPv6.parse(text);
  if (parsed.isIPv4MappedAddress()) fail("it is an IPv4-mapped IPv6 address");
  return { family: "ipv6", value: fromBytes(parsed.toByteArray()) };
}

/** Renders an address canonically (RFC 5952). */
export function formatAddress(address: { family: Family; value: bigint }): string {
  if (address.family === "ipv4") {
    const n = Number(address.value);
    return `${n >>> 24}.${(n >>> 16) & 255}.${(n >>> 8) & 255}.${n & 255}`;
  }
  const parts = Array.from(
    { length: 8 },
    (_, i) => Number((address.value >> BigInt(112 - 16 * i)) & 0xffffn),
  );
  return new ipaddr.IPv6(parts).toRFC5952String();
}

/**
 * Parses a prefix in CIDR notation. Host bits are cleared.
 *
 * @throws {SyntaxError} when the text is not `address/length`
 */
export function parsePrefix(text: string): Prefix {
  const match = /^([^/]+)\/(0|[1-9]\d{0,2})$/.exec(text);
  const shown = JSON.stringify(text.slice(0, 80));
  if (!match) throw new SyntaxError(`Cannot parse prefix ${shown}: it is not address/length`);
  let address: Address;
  try {
    address = parseAddress(match[1]!);
  } catch (cause) {
    throw new SyntaxError(`Cannot parse prefix ${shown}: its address is not valid`, { cause });
  }
  const length = Number(match[2]);
  if (length > bitsOf(address.family)) {
    throw new SyntaxError(
      `Cannot parse prefix ${shown}: its length is over ${bitsOf(address.family)}`,
    );
  }
  return prefixOf(address, length);
}

/** The prefix of a length that holds an address. */
export function prefixOf(address: Address, length: number): Prefix {
  const hostBits = BigInt(bitsOf(address.family) - length);
  return { family: address.family, value: (address.value >> hostBits) << hostBits, length };
}

/** The /128 or /32 of an address. */
export function hostPrefix(address: Address): Prefix {
  return prefixOf(address, bitsOf(address.family));
}

/** Renders a prefix in CIDR notation. */
export function formatPrefix(prefix: Prefix): string {
  return `${formatAddress(prefix)}/${prefix.length}`;
}

/** Number of addresses in a prefix. */
export function sizeOf(prefix: Prefix): bigint {
  return 1n << BigInt(bitsOf(prefix.family) - prefix.length);
}

/** True when `inner` (an address, or all of a prefix) is inside `outer`. */
export function contains(outer: Prefix, inner: Address | Prefix): boolean {
  if (outer.family !== inner.family) return false;
  if ("length" in inner && inner.length < outer.length) return false;
  return prefixOf(inner, outer.length).value === outer.value;
}

/** True when two prefixes share an address. */
export function overlaps(a: Prefix, b: Prefix): boolean {
  return contains(a, b) || contains(b, a);
}

/** What an address is for, by its range. */
export function scopeOf(address: Address): Scope {
  for (const [scope, prefix] of SCOPE_PREFIXES) if (contains(prefix, address)) return scope;
  return "unicast";
}

/** True when a prefix is unicast throughout: no range of another scope is inside or around it. */
export function isUnicast(prefix: Prefix): boolean {
  return SCOPE_PREFIXES.every(([, other]) => !overlaps(prefix, other));
}

/** Orders prefixes: IPv4 first, then by address, then by length. */
export function comparePrefixes(a: Prefix, b: Prefix): number {
  if (a.family !== b.family) return a.family === "ipv4" ? -1 : 1;
  if (a.value !== b.value) return a.value < b.value ? -1 : 1;
  return a.length - b.length;
}

function fromBytes(bytes: number[]): bigint {
  return bytes.reduce((value, byte) => (value << 8n) | BigInt(byte), 0n);
}

/** The ranges that are not unicast, with what they are for; the first that fits decides. */
export const SCOPE_PREFIXES: readonly (readonly [Scope, Prefix])[] = ([
  ["unspecified", "0.0.0.0/8"],
  ["unspecified", "::/128"],
  ["loopback", "127.0.0.0/8"],
  ["loopback", "::1/128"],
  ["link-local", "169.254.0.0/16"],
  ["link-local", "fe80::/10"],
  ["multicast", "224.0.0.0/4"],
  ["multicast", "255.255.255.255/32"],
  ["multicast", "ff00::/8"],
] as const).map(([scope, text]) => [scope, parsePrefix(text)]);
