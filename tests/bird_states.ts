/**
 * States of a node's BGP, by name: the inputs of the golden files in `tests/golden/bird/`.
 *
 * @module
 */
import type { BirdInput } from "../src/core/bird_config.ts";
import type { BirdPeer } from "../src/core/bird_peer.ts";
import { parseAddress, parsePrefix } from "../src/core/cidr.ts";
import type { BgpPeer } from "../src/core/node_config.ts";

/** A peer with every default of the schema, but for what is told. */
export function birdPeer(
  address: string,
  localAddress: string,
  options: Partial<BgpPeer> & { readonly password?: string } = {},
): BirdPeer {
  const { password, ...peer } = options;
  return {
    localAddress: parseAddress(localAddress),
    password,
    peer: {
      address: parseAddress(address),
      asn: 65000,
      port: 179,
      passive: false,
      ttlSecurity: false,
      holdTime: 9,
      keepaliveTime: 3,
      gracefulRestart: { enabled: true, restartTime: 30 },
      prepend: 0,
      communities: [],
      importDefaultRoute: false,
      importLimit: 20000,
      ...peer,
    },
  };
}

const NODE: BirdInput = {
  routerId: "198.51.100.11",
  asn: 65001,
  allowLocalAs: false,
  nodePrefixes: ["2001:db8:f001::/64", "10.244.1.0/24"].map(parsePrefix),
  import: [],
  connected: ["2001:db8:25::/64", "198.51.100.0/24"].map(parsePrefix),
  reserved: [parsePrefix("10.96.0.0/12")],
  announceAllowed: ["2001:db8:ffff::/48", "203.0.113.192/26"].map(parsePrefix),
  peers: [
    birdPeer("2001:db8:25::1", "2001:db8:25::11"),
    birdPeer("198.51.100.1", "198.51.100.11"),
  ],
};

/** The states, by the names of their golden files. */
export const BIRD_STATES: Readonly<Record<string, BirdInput>> = {
  two_peers: NODE,
  no_peers: { ...NODE, peers: [] },
  no_prefixes: { ...NODE, asn: undefined, nodePrefixes: [], announceAllowed: undefined },
  ipv6_only: {
    ...NODE,
    nodePrefixes: [parsePrefix("2001:db8:f001::/64")],
    connected: [parsePrefix("2001:db8:25::/64")],
    reserved: [],
    announceAllowed: undefined,
    peers: [birdPeer("2001:db8:25::1", "2001:db8:25::11")],
  },
  one_asn: { ...NODE, allowLocalAs: true },
  route_reflector: {
    ...NODE,
    asn: 65000,
    peers: [
      birdPeer("2001:db8:25::1", "2001:db8:25::11", { localPreference: 200 }),
      birdPeer("198.51.100.1", "198.51.100.11", { localPreference: 200 }),
    ],
  },
  draining: {
    ...NODE,
    gracefulShutdown: ["2001:db8:ffff::53/128", "203.0.113.200/32", "2001:db8:ffff::7/128"]
      .map(parsePrefix),
    peers: [
      birdPeer("2001:db8:25::1", "2001:db8:25::11", { communities: ["65001:100"] }),
      birdPeer("198.51.100.1", "198.51.100.11", { asn: 65001, localPreference: 200 }),
    ],
  },
  every_option: {
    ...NODE,
    asn: 4_200_000_001,
    allowLocalAs: true,
    import: [
      { prefix: parsePrefix("2001:db8::/32"), ge: 32, le: 128 },
      { prefix: parsePrefix("2001:db8:a::/48") },
      { prefix: parsePrefix("2001:db8:b::/48"), ge: 64 },
      { prefix: parsePrefix("2001:db8:c::/48"), le: 56 },
    ],
    announceAllowed: [parsePrefix("2001:db8:ffff::/48")],
    peers: [
      birdPeer("2001:db8:25::1", "2001:db8:25::11", {
        port: 1179,
        passive: true,
        ttlSecurity: true,
        holdTime: 90,
        keepaliveTime: 30,
        gracefulRestart: { enabled: false, restartTime: 30 },
        bfd: { interval: 300, multiplier: 3 },
        localPreference: 100,
        med: 0,
        prepend: 2,
        communities: ["65001:100", "65001:1:2", "65001:100"],
        importDefaultRoute: true,
        importLimit: 50,
        password: "not so; secret } # it is in a repository \\",
      }),
      birdPeer("203.0.113.7", "198.51.100.11", { multihop: 2, holdTime: 0, keepaliveTime: 0 }),
    ],
  },
};
