/**
 * Facts of a healthy node, for the tests of `flock doctor`'s judges: each test changes what it is about.
 *
 * @module
 */
import type { BirdSession } from "../src/core/bird_session.ts";
import { parseAddress } from "../src/core/cidr.ts";
import type { Facts, NetworkFacts, PeerPath } from "../src/core/doctor/facts.ts";
import { sysctlPaths } from "../src/core/doctor/kernel.ts";
import { CONNTRACK_MAX } from "../src/core/doctor/policies.ts";
import type { IpAddress, IpLink, IpRoute } from "../src/core/ip_state.ts";
import { type NodeConfig, parseNodeConfig } from "../src/core/node_config.ts";
import { hostMacOf } from "../src/core/wiring.ts";

/** A pod's link. */
export const POD_LINK = "flock0123abcd";

export function link(ifname: string, change: Partial<IpLink> = {}): IpLink {
  const mac = "02:00:00:00:00:07";
  return { ifname, up: true, carrier: true, mtu: 1500, mac, addresses: [], ...change };
}

export function address(text: string): IpAddress {
  const [address = "", length] = text.split("/");
  return {
    family: parseAddress(address).family,
    address,
    prefixLength: Number(length),
    scope: address.startsWith("fe80") ? "link" : "global",
    temporary: false,
    deprecated: false,
    tentative: false,
  };
}

export function route(dst: string, change: Partial<IpRoute> = {}): IpRoute {
  return {
    family: dst.includes(":") ? "ipv6" : "ipv4",
    dst,
    type: "unicast",
    table: "main",
    protocol: "static",
    metric: 0,
    nextHops: [],
    flags: [],
    ...change,
  };
}

export function network(change: Partial<NetworkFacts> = {}): NetworkFacts {
  return {
    links: [
      link("lo", { mtu: 65536 }),
      link("eth0", {
        addresses: ["198.51.100.11/24", "2001:db8:25::11/64", "fe80::7/64"].map(address),
      }),
      link(POD_LINK, { mac: hostMacOf(POD_LINK) }),
    ],
    routes: [
      route("0.0.0.0/0", { dev: "eth0", gateway: "198.51.100.1" }),
      route("::/0", { dev: "eth0", gateway: "2001:db8:25::1" }),
    ],
    neighbors: { ipv4: 3, ipv6: 5 },
    ...change,
  };
}

/** Every sysctl with the value that is wanted. */
export function sysctls(change: Readonly<Record<string, string>> = {}): Record<string, string> {
  const values = sysctlPaths(network().links).map((path): [string, string] => {
    if (path === "kernel/osrelease") return [path, "6.18.1"];
    if (path === CONNTRACK_MAX) return [path, "262144"];
    const threshold = /gc_thresh(\d)$/.exec(path)?.[1];
    if (threshold !== undefined) return [path, ["128", "512", "1024"][Number(threshold) - 1]!];
    return [path, path.endsWith("rp_filter") ? "0" : "1"];
  });
  return { ...Object.fromEntries(values), ...change };
}

/** The NodeConfig of a spec, over one with two peers of another AS. */
export function nodeConfig(spec: Readonly<Record<string, unknown>> = {}, name = "n1"): NodeConfig {
  const bgp = {
    asn: 65001,
    peers: [
      { address: "2001:db8:25::1", asn: 65000 },
      { address: "198.51.100.1", asn: 65000 },
    ],
  };
  return parseNodeConfig({
    name,
    annotations: {},
    spec: {
      cidr6: ["2001:db8:f001::/64"],
      cidr4: ["10.244.1.0/24"],
      ...spec,
      bgp: { ...bgp, ...spec.bgp as Record<string, unknown> },
    },
  }).config;
}

export function peers(config: NodeConfig = nodeConfig()): readonly PeerPath[] {
  return config.bgp.peers.map((peer) => ({
    peer,
    route: peer.address.family === "ipv6"
      ? route("2001:db8:25::1/128", { dev: "eth0", prefsrc: "2001:db8:25::11" })
      : route("198.51.100.1/32", { dev: "eth0", prefsrc: "198.51.100.11" }),
  }));
}

export function session(peer: string, change: Partial<BirdSession> = {}): BirdSession {
  const capabilities = ["Multiprotocol", "Graceful restart"];
  return {
    name: "flock_bgp",
    peer,
    state: "Established",
    info: "Established",
    peerId: "198.51.100.1",
    localCapabilities: capabilities,
    peerCapabilities: capabilities,
    ...change,
  };
}

/** Everything is known, and well. */
export function healthyFacts(change: Partial<Facts> = {}): Facts {
  const configs = [
    nodeConfig(),
    nodeConfig(
      { cidr6: ["2001:db8:f002::/64"], cidr4: ["10.244.2.0/24"], bgp: { asn: 65002 } },
      "n2",
    ),
  ];
  return {
    network: { known: network() },
    sysctls: { known: sysctls() },
    host: { known: { processes: [], files: [] } },
    features: { known: [{ name: "next-hop objects" }] },
    tools: {
      known: [
        { tool: "bird", version: "2.0.12" },
        { tool: "ip", version: "6.1.0" },
        { tool: "nft", version: "1.0.6" },
        { tool: "conntrack", version: "1.4.7" },
      ],
    },
    config: { known: configs[0]! },
    cluster: { known: { dir: "/m", configs, refused: [] } },
    peers: { known: peers() },
    bird: {
      known: {
        routerId: "198.51.100.11",
        sessions: [session("2001:db8:25::1"), session("198.51.100.1")],
        bfd: [],
      },
    },
    speakers: { known: [] },
    tcp: { known: {} },
    clock: { known: { now: 1_000_000, chrony: "Normal" } },
    stateDir: {
      known: { path: "/s", mode: 0o755, uid: 0, writable: true, freeBytes: 1e9, freeInodes: 1e6 },
    },
    runtime: {
      known: {
        dir: "/c",
        configs: [
          { name: "01-flock.conflist", own: true, plugins: ["flock"], versions: ["1.0.0"] },
        ],
        pluginDir: "/p",
        plugins: { flock: { versions: ["1.0.0"] } },
      },
    },
    agent: { known: "" },
    policies: { known: { inForce: true, hasTable: true } },
    nodeName: { known: "n1" },
    ...change,
  };
}

/** The ids of problems, sorted. */
export function idsOf(problems: readonly { readonly id: string }[] | string): readonly string[] {
  return typeof problems === "string" ? [problems] : problems.map(({ id }) => id).sort();
}
