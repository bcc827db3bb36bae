/**
 * One BGP session as the values of BIRD's configuration. Everything an operator supplies about a peer is
 * checked here before it gets near the text.
 *
 * @module
 */
import { type Address, type Family, formatAddress, scopeOf } from "./cidr.ts";
import type { BgpPeer } from "./node_config.ts";

/** One BGP session. */
export interface BirdPeer {
  readonly peer: BgpPeer;
  /** The node's own address of the session: the next hop of what it announces. */
  readonly localAddress: Address;
  /** TCP MD5 password (RFC 2385), as the Secret holds it. */
  readonly password?: string;
}

/** The largest AS number, MED and community part. */
export const MAX_U32 = 4_294_967_295;
/** Linux's TCP_MD5SIG_MAXKEYLEN, in bytes. */
const MAX_PASSWORD_BYTES = 80;
const REDACTED = "redacted";

/** Beginning of the names of peers' protocols. */
export const PEER_PREFIX = "flock_bgp";

/** Name of a peer's protocol. From its address, so that another peer coming or going restarts nothing. */
export function birdPeerName(address: Address): string {
  const v = address.family === "ipv6" ? 6 : 4;
  return `${PEER_PREFIX}${v}_${formatAddress(address).replace(/[.:]/g, "_")}`;
}

/** A family, as BIRD spells it. */
export interface ChannelView {
  readonly v: number;
  readonly channel: Family;
  /** The default route. */
  readonly any: string;
}

/** A family, as BIRD spells it. */
export function channelView(family: Family): ChannelView {
  return family === "ipv6"
    ? { v: 6, channel: "ipv6", any: "::/0" }
    : { v: 4, channel: "ipv4", any: "0.0.0.0/0" };
}

/** What the template needs of a peer. */
export interface PeerView {
  readonly name: string;
  readonly address: string;
  readonly localAddress: string;
  readonly asn: number;
  readonly port: number;
  readonly channel: ChannelView;
  readonly importLimit: number;
  readonly importDefaultRoute: boolean;
  readonly multihop: boolean;
  readonly bfd: boolean;
  /** It is in the node's AS. */
  readonly internal: boolean;
  /** Statements of the protocol, without their semicolons. */
  readonly options: readonly string[];
  /** Statements that every route passes on its way to the peer. */
  readonly changes: readonly string[];
}

/**
 * A peer as the template needs it.
 *
 * @param asn the node's AS number
 * @param redact hides the password
 * @throws {RangeError} when an address or a number cannot be a session's
 * @throws {SyntaxError} when a community or the password cannot be written in BIRD's language
 */
export function peerView(
  { peer, localAddress, password }: BirdPeer,
  asn: number,
  redact: boolean,
): PeerView {
  const address = formatAddress(peer.address);
  const local = formatAddress(localAddress);
  const fail = (why: string): never => {
    throw new RangeError(`Cannot render peer "${address}": ${why}`);
  };
  if (scopeOf(peer.address) !== "unicast") fail(`it is a ${scopeOf(peer.address)} address`);
  if (localAddress.family !== peer.address.family) {
    fail(`local address "${local}" is of another family`);
  }
  if (scopeOf(localAddress) !== "unicast") {
    fail(`local address "${local}" is ${scopeOf(localAddress)}`);
  }
  if (localAddress.value === peer.address.value) fail("it is its own local address");
  const { multihop, bfd, gracefulRestart: restart } = peer;
  const hold = integer("hold time", peer.holdTime, 0, 65_535);
  if (hold === 1 || hold === 2) fail(`its hold time is ${hold}, neither 0 nor at least 3`);
  const options = [
    // For internal peers BIRD would take several hops for granted and resolve next hops recursively.
    multihop === undefined ? "direct" : `multihop ${integer("multihop", multihop, 1, 255)}`,
    `hold time ${hold}`,
    // Hold time 0 means no keepalives at all (RFC 4271, section 4.4).
    ...(hold === 0
      ? []
      : [`keepalive time ${integer("keepalive time", peer.keepaliveTime, 1, hold)}`]),
    `graceful restart ${restart.enabled ? "on" : "off"}`,
    `graceful restart time ${integer("graceful restart time", restart.restartTime, 0, 4_095)}`,
    ...(peer.passive ? ["passive on"] : []),
    ...(peer.ttlSecurity ? ["ttl security on"] : []),
    ...(bfd ? [bfdText(bfd)] : []),
    ...(password === undefined ? [] : [`password ${passwordText(password, address, redact)}`]),
  ];
  return {
    name: birdPeerName(peer.address),
    address,
    localAddress: local,
    asn: integer("AS number", peer.asn, 1, MAX_U32),
    port: integer("port", peer.port, 1, 65_535),
    channel: channelView(peer.address.family),
    importLimit: integer("import limit", peer.importLimit, 1, MAX_U32),
    importDefaultRoute: peer.importDefaultRoute,
    multihop: multihop !== undefined,
    bfd: bfd !== undefined,
    internal: peer.asn === asn,
    options,
    changes: exportChanges(peer, asn),
  };
}

/** What is done to every route on its way to a peer. */
function exportChanges(peer: BgpPeer, asn: number): string[] {
  return [
    ...unique(peer.communities.map(communityText).sort()),
    ...(peer.localPreference === undefined
      ? []
      : [`bgp_local_pref = ${integer("local preference", peer.localPreference, 0, MAX_U32)}`]),
    ...(peer.med === undefined ? [] : [`bgp_med = ${integer("MED", peer.med, 0, MAX_U32)}`]),
    ...Array<string>(integer("prepend", peer.prepend, 0, 255)).fill(`bgp_path.prepend(${asn})`),
  ];
}

function bfdText(bfd: { interval: number; multiplier: number }): string {
  const interval = integer("BFD interval", bfd.interval, 1, 3_600_000);
  return `bfd { interval ${interval} ms; multiplier ${
    integer("BFD multiplier", bfd.multiplier, 1, 255)
  }; }`;
}

/** A standard (RFC 1997) or large (RFC 8092) community as the statement that adds it. */
function communityText(text: string): string {
  const parts = /^\d{1,10}(:\d{1,10}){1,2}$/.test(text) ? text.split(":").map(Number) : [];
  const limit = parts.length === 2 ? 65_535 : MAX_U32;
  if (parts.length === 0 || parts.some((part) => part > limit)) {
    throw new SyntaxError(
      `Cannot render community ${JSON.stringify(text.slice(0, 80))}: ` +
        "it is neither two numbers up to 65535 nor three up to 4294967295, separated by colons",
    );
  }
  return `${parts.length === 2 ? "bgp_community" : "bgp_large_community"}.add((${
    parts.join(", ")
  }))`;
}

/** BIRD's strings have no escapes: what would end one cannot be in it. */
function passwordText(password: string, address: string, redact: boolean): string {
  const bytes = new TextEncoder().encode(password).length;
  const why = password === ""
    ? "it is empty"
    : bytes > MAX_PASSWORD_BYTES
    ? `it has ${bytes} bytes and TCP takes at most ${MAX_PASSWORD_BYTES}`
    : password.includes('"')
    ? "it holds a double quote"
    // deno-lint-ignore no-control-regex
    : /[\x00-\x1f\x7f]/.test(password)
    ? "it holds a line break or another control character"
    : !password.isWellFormed()
    ? "it is not valid Unicode"
    : undefined;
  if (why !== undefined) {
    throw new SyntaxError(`Cannot render password of peer "${address}": ${why}`);
  }
  return `"${redact ? REDACTED : password}"`;
}

/**
 * The number itself.
 *
 * @throws {RangeError} when it is not an integer in the range
 */
export function integer(what: string, value: number, min: number, max: number): number {
  if (Number.isInteger(value) && value >= min && value <= max) return value;
  throw new RangeError(
    `Cannot render ${what} "${value}": it is not an integer from ${min} to ${max}`,
  );
}

/** The texts, each once, in the order of their first appearance. */
export function unique(texts: readonly string[]): string[] {
  return [...new Set(texts)];
}
