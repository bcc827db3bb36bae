/**
 * BIRD's configuration as text: the values of one node in, `bird.conf` out. Sorted: equal input gives
 * equal bytes. Every value is a number, a parsed address or one of the strings checked here, so nothing
 * that an operator wrote can end a statement. The text around the values is `templates/bird.conf`;
 * the language is that of the BIRD 2 manual.
 *
 * @module
 */
import { Eta, type TemplateFunction } from "eta";
import template from "../../templates/bird.conf" with { type: "text" };
import {
  type BirdPeer,
  channelView,
  integer,
  MAX_U32,
  type PeerView,
  peerView,
  unique,
} from "./bird_peer.ts";
import {
  bitsOf,
  comparePrefixes,
  FAMILIES,
  type Family,
  FAMILY_NAMES,
  formatAddress,
  formatPrefix,
  hostPrefix,
  parseAddress,
  type Prefix,
  SCOPE_PREFIXES,
} from "./cidr.ts";
import { BIRD_METRIC, PROTO_ANNOUNCED, PROTO_LOCAL } from "./config.ts";
import type { ImportRule } from "./node_config.ts";

/** What a node's `bird.conf` is made of. Order and repetitions do not matter. */
export interface BirdInput {
  /** Four parts, as an IPv4 address; not 0.0.0.0. */
  readonly routerId: string;
  /** The node's AS number; without it no peer is rendered. */
  readonly asn?: number;
  readonly allowLocalAs: boolean;
  readonly nodePrefixes: readonly Prefix[];
  /**
   * What is taken from the peers; empty: everything but default routes. A rule without `ge` and `le`
   * means exactly its prefix, as in a router's prefix list.
   */
  readonly import: readonly ImportRule[];
  /** Subnets of the node's links: never taken from a peer. */
  readonly connected: readonly Prefix[];
  /** Where no host route is ever announced. */
  readonly reserved: readonly Prefix[];
  /**
   * Where host routes may be announced; undefined: anywhere. An address that a pod kept after the node's
   * prefixes changed must be in it, as its host prefix.
   */
  readonly announceAllowed?: readonly Prefix[];
  /**
   * Host prefixes that are announced with GRACEFUL_SHUTDOWN: the anycast addresses of a node that is being
   * drained.
   */
  readonly gracefulShutdown?: readonly Prefix[];
  readonly peers: readonly BirdPeer[];
}

const eta = new Eta({ autoEscape: false, autoTrim: false });
let compilation: TemplateFunction | undefined;

/** The template is rendered at each pass, and compiled once. */
function compiled(): TemplateFunction {
  return compilation ??= eta.compile(template);
}

/**
 * Renders a node's `bird.conf`. Without an AS number or peers it holds no BGP.
 *
 * @param options.redact hides passwords: for people, not for BIRD
 * @throws {RangeError} when a value is outside what BIRD or the session allows
 * @throws {SyntaxError} when a router id, community or password cannot be written in BIRD's language
 */
export function renderBirdConfig(input: BirdInput, options: { redact?: boolean } = {}): string {
  const { asn } = input;
  const peers = asn === undefined ? [] : [...input.peers]
    .sort((a, b) => comparePrefixes(hostPrefix(a.peer.address), hostPrefix(b.peer.address)))
    .map((peer) => peerView(peer, asn, options.redact ?? false));
  refuseTwice(peers);
  return eta.render(compiled(), {
    routerId: routerIdText(input.routerId),
    protoAnnounced: PROTO_ANNOUNCED,
    protoLocal: PROTO_LOCAL,
    metric: BIRD_METRIC,
    asn: asn === undefined ? undefined : integer("AS number", asn, 1, MAX_U32),
    allowLocalAs: input.allowLocalAs,
    families: FAMILIES.map((family) => familyView(family, input)),
    multihop: peers.some((peer) => peer.multihop),
    bfd: peers.some((peer) => peer.bfd),
    peers,
  });
}

/**
 * Renders what BIRD runs until the agent has written its configuration: no routes, no peer.
 *
 * @throws {SyntaxError} when the router id is not one
 */
export function renderMinimalBirdConfig(routerId: string): string {
  return eta.render(compiled(), {
    routerId: routerIdText(routerId),
    families: [],
    peers: [],
  });
}

function familyView(family: Family, input: BirdInput): Record<string, unknown> {
  const bits = bitsOf(family);
  const of = (prefixes: readonly Prefix[]): Prefix[] => prefixes.filter((p) => p.family === family);
  const never = of(SCOPE_PREFIXES.map(([, prefix]) => prefix));
  const hosts = (prefixes: readonly Prefix[]): string[] => patterns(prefixes, `{${bits},${bits}}`);
  return {
    ...channelView(family),
    title: FAMILY_NAMES[family],
    bits,
    nodePrefixes: patterns(of(input.nodePrefixes), ""),
    neverImported: patterns([...never, ...of(input.connected), ...of(input.nodePrefixes)], "+"),
    imported: input.import.length === 0 ? undefined : unique(
      input.import.filter((rule) => rule.prefix.family === family)
        .sort((a, b) => comparePrefixes(a.prefix, b.prefix) || (a.ge ?? 0) - (b.ge ?? 0))
        .map(ruleText),
    ),
    neverAnnounced: patterns([...never, ...of(input.reserved)], "+"),
    announced: input.announceAllowed && hosts(of(input.announceAllowed)),
    gracefulShutdown: patterns(of(input.gracefulShutdown ?? []), ""),
  };
}

function ruleText({ prefix, ge, le }: ImportRule): string {
  const text = formatPrefix(prefix);
  if (ge === undefined && le === undefined) return text;
  const bits = bitsOf(prefix.family);
  const low = integer(`ge of import rule "${text}"`, ge ?? prefix.length, prefix.length, bits);
  const high = integer(`le of import rule "${text}"`, le ?? bits, low, bits);
  return `${text}{${low},${high}}`;
}

/** Prefixes as BIRD's patterns, each once, sorted. */
function patterns(prefixes: readonly Prefix[], suffix: string): string[] {
  return unique([...prefixes].sort(comparePrefixes).map((p) => formatPrefix(p) + suffix));
}

function routerIdText(text: string): string {
  const address = parseAddress(text);
  if (address.family !== "ipv4" || address.value === 0n) {
    throw new SyntaxError(
      `Cannot render router id "${text}": it is not an IPv4 address above 0.0.0.0`,
    );
  }
  return formatAddress(address);
}

function refuseTwice(peers: readonly PeerView[]): void {
  peers.forEach((peer, i) => {
    if (peer.name === peers[i - 1]?.name) {
      throw new RangeError(`Cannot render peer "${peer.address}": it is in the list twice`);
    }
  });
}
