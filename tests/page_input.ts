/**
 * What a node's page is made of, for its tests: two peers of which one is down, two anycast addresses, three
 * pods that share them and two that do not.
 *
 * @module
 */
import type { Allocation, AnycastItem, PeerItem } from "../src/core/inspection.ts";
import type { PageInput } from "../src/core/page.ts";

/** A node, most of which works. */
export function pageInput(change: Partial<PageInput> = {}): PageInput {
  return {
    at: "2026-01-02T03:04:05.000Z",
    status: {
      kind: "Status",
      node: "n1",
      version: "0.1.0",
      startedAt: "2026-01-01T00:00:00.000Z",
      ready: true,
      settled: true,
      source: {
        kind: "manifests",
        directory: "/etc/flock/manifests",
        inSync: true,
        damaged: false,
      },
      nodeConfig: { name: "n1", accepted: true, inForce: true, generation: 3 },
      prefixes: [
        {
          prefix: "2001:db8:f001::/64",
          family: "ipv6",
          allocated: 5,
          capacity: "18446744073709551360",
        },
        { prefix: "10.244.1.0/24", family: "ipv4", allocated: 5, capacity: "253" },
      ],
      pods: 5,
      bird: { running: true, version: "2.0.12", routerId: "198.51.100.11", applied: true },
      peers: { total: 2, established: 1 },
      anycast: { total: 2, announced: 1 },
      drain: { phase: "none" },
      differences: {
        computed: true,
        count: 1,
        first: ["2001:db8:f001::c/128: the kernel does not have it"],
      },
      problems: [],
    },
    peers: {
      kind: "PeerList",
      asn: 65001,
      routerId: "198.51.100.11",
      items: [
        peer("2001:db8:25::1", "ipv6", { state: "Established" }),
        peer("198.51.100.1", "ipv4", { state: "Active", lastError: "Socket: Connection refused" }),
      ],
    },
    anycast: {
      kind: "AnycastList",
      drain: { phase: "none" },
      items: [
        {
          ...address("2001:db8:ffff::53"),
          routed: true,
          announced: true,
          exportedTo: ["2001:db8:25::1"],
          nextHops: [
            { pod: "web/a", via: "2001:db8:f001::a", dev: "flock0000000a", weight: 1 },
            { pod: "web/b", via: "2001:db8:f001::b", dev: "flock0000000b", weight: 3 },
          ],
          pods: [{ pod: "web/a", weight: 1 }, { pod: "web/b", weight: 3 }],
        },
        {
          ...address("2001:db8:ffff::80"),
          pods: [{ pod: "web/c", weight: 1, heldBack: "it is not Ready" }],
        },
      ],
    },
    allocations: {
      kind: "AllocationList",
      items: [
        pod("web/a", 0xa, { anycast: ["2001:db8:ffff::53"] }),
        pod("web/b", 0xb, { anycast: ["2001:db8:ffff::53"] }),
        pod("web/c", 0xc, { anycast: ["2001:db8:ffff::80"], podState: "notReady" }),
        pod("default/d", 0xd),
        pod("default/e", 0xe, { podState: "unknown" }),
      ],
    },
    routes: {
      kind: "RouteList",
      computed: true,
      birdRunning: true,
      objects: [],
      items: [
        {
          family: "ipv6",
          dst: "2001:db8:f001::c/128",
          purpose: "pod",
          pods: ["web/c"],
          desired: {
            text: "2001:db8:f001::c/128 dev flock0000000c proto 143 metric 16",
            protocol: 143,
            metric: 16,
            nextHops: [],
          },
          announce: false,
          exportedTo: [],
          differences: ["the kernel does not have it"],
        },
        {
          family: "ipv6",
          dst: "2001:db8:f001::/64",
          purpose: "prefix",
          pods: [],
          announce: true,
          exportedTo: ["2001:db8:25::1"],
          differences: [],
        },
        {
          family: "ipv6",
          dst: "2001:db8:ffff::53/128",
          purpose: "anycast",
          pods: ["web/a", "web/b"],
          announce: true,
          exportedTo: ["2001:db8:25::1"],
          differences: [],
        },
      ],
    },
    ...change,
  };
}

/** An attached pod. */
export function pod(name: string, n: number, change: Partial<Allocation> = {}): Allocation {
  const hex = n.toString(16);
  return {
    pod: name,
    podUid: `u${n}`,
    containerId: `${hex}`.repeat(64).slice(0, 64),
    ifname: "eth0",
    hostIfname: `flock${hex.padStart(8, "0")}`,
    netns: `/run/netns/${n}`,
    ipv6: `2001:db8:f001::${hex}`,
    ipv4: `10.244.1.${n}`,
    addresses: [],
    anycast: [],
    asked: [],
    state: "committed",
    podState: "ready",
    allocatedAt: "2026-01-01T00:00:00.000Z",
    ...change,
  };
}

function peer(peer: string, family: PeerItem["family"], change: Partial<PeerItem>): PeerItem {
  return {
    peer,
    asn: 65000,
    family,
    protocol: `flock_bgp_${family}`,
    state: "Unknown",
    since: "2026-01-01T00:00:07.000Z",
    bfd: { configured: false },
    gracefulRestart: { configured: true },
    ...change,
  };
}

function address(text: string): AnycastItem {
  return {
    address: text,
    family: "ipv6",
    routed: false,
    announced: false,
    exportedTo: [],
    nextHops: [],
    pods: [],
  };
}
