/**
 * What operators read. Compared whole: the words and the columns are what people know.
 *
 * @module
 */
import { assertEquals, assertStringIncludes } from "@std/assert";
import type {
  AllocationList,
  AnycastList,
  Config,
  Inspection,
  PeerItem,
  PeerList,
  RouteItem,
  RouteList,
  Status,
} from "../core/inspection.ts";
import { since, viewInspection } from "./inspect_views.ts";
import { isHealthy } from "./status_view.ts";

const NOW = new Date("2026-01-02T00:00:00Z");
const PEER = "2001:db8:25::1";

function view(answer: Inspection, wide = false, colour = false): string {
  return viewInspection(answer, { wide, colour, now: NOW });
}

/** Lines without what indents them here. */
function lines(text: string): string {
  return text.replace(/^\n/, "").replaceAll(/^ {4}/gm, "").replace(/ *$/, "");
}

function route(dst: string, change: Partial<RouteItem> = {}): RouteItem {
  const here = { text: `${dst} dev x`, protocol: 143, metric: 16, nextHops: [] };
  return {
    family: dst.includes(":") ? "ipv6" : "ipv4",
    dst,
    purpose: "pod",
    pods: ["default/web"],
    desired: here,
    kernel: here,
    announce: false,
    exportedTo: [],
    differences: [],
    ...change,
  };
}

const ROUTES: RouteList = {
  kind: "RouteList",
  items: [
    route("2001:db8::1/128", {
      kernel: undefined,
      differences: ["the kernel does not have it"],
    }),
    route("2001:db8::/64", { desired: undefined, purpose: "unknown", pods: [] }),
    route("10.0.0.1/32", {
      announce: true,
      bird: { protocol: "flock_kernel4", preference: 210, best: true },
      exportedTo: ["198.51.100.1"],
    }),
    route("10.0.0.2/32", { announce: true }),
  ],
  objects: ['link flock1: the kernel lacks "link set flock1 up"'],
  computed: true,
  birdRunning: true,
  omitted: 3,
};

Deno.test("routes show where a route stops", () => {
  assertEquals(
    view(ROUTES),
    lines(`
    OTHER DIFFERENCES
    link flock1: the kernel lacks "link set flock1 up"

    DESTINATION      FOR      WANTED  KERNEL  BIRD  EXPORTED TO   PODS         DIFFERENCE
    2001:db8::1/128  pod      yes     NO      -     -             default/web  the kernel does not have it
    2001:db8::/64    unknown  -       YES     -     -             -
    10.0.0.1/32      pod      yes     yes     yes   198.51.100.1  default/web
    10.0.0.2/32      pod      yes     yes     NO    none          default/web
    … and 3 more, which are not shown
    `),
  );
  assertStringIncludes(view({ ...ROUTES, birdRunning: false }), "BIRD does not answer: ");
  assertStringIncludes(view({ ...ROUTES, computed: false }), "What is wanted is not known: ");
  assertStringIncludes(view(ROUTES, true), "ROUTE");
  assertStringIncludes(view(ROUTES, false, true), "\x1b[31mNO\x1b[0m");
});

function peer(change: Partial<PeerItem> = {}): PeerItem {
  return {
    peer: PEER,
    asn: 65000,
    family: "ipv6",
    protocol: "flock_bgp6_2001_db8_25__1",
    state: "Established",
    since: "2026-01-01T23:57:55Z",
    routes: { imported: 1, exported: 2, preferred: 1, received: 5, filtered: 3 },
    holdTime: 9,
    bfd: { configured: true, state: "Up" },
    gracefulRestart: { configured: true, negotiated: true },
    ...change,
  };
}

Deno.test("bgp shows sessions, and what hinders them", () => {
  const list: PeerList = {
    kind: "PeerList",
    asn: 65001,
    items: [
      peer(),
      peer({
        peer: "198.51.100.1",
        state: "Active",
        since: undefined,
        routes: undefined,
        lastError: "Socket: Connection refused",
        bfd: { configured: true },
        gracefulRestart: { configured: true },
      }),
      peer({
        peer: "198.51.100.2",
        state: "LeftOut",
        leftOut: "no route leads to it",
        bfd: { configured: false },
        gracefulRestart: { configured: false },
      }),
    ],
  };
  assertEquals(
    view(list),
    lines(`
    PEER            ASN    STATE        SINCE  IMPORTED  EXPORTED  BFD         RESTART     LAST ERROR
    2001:db8:25::1  65000  Established  2m5s   1         2         Up          negotiated  -
    198.51.100.1    65000  Active       -      -         -         no session  configured  Socket: Connection refused
    198.51.100.2    65000  LeftOut      2m5s   1         2         -           off         no route leads to it
    `),
  );
  assertStringIncludes(view(list, true), "5/3");
  assertEquals(
    view({ kind: "PeerList", birdError: "Cannot reach BIRD", items: [] }),
    "BIRD does not answer: Cannot reach BIRD\n\nNo peer is configured.\n",
  );
});

Deno.test("anycast shows each pod under its address", () => {
  const list: AnycastList = {
    kind: "AnycastList",
    drain: { phase: "withdrawn" },
    items: [{
      address: "2001:db8:ffff::1",
      family: "ipv6",
      routed: true,
      announced: false,
      exportedTo: [],
      nextHops: [{ pod: "default/a", via: "2001:db8::a", dev: "flock1", weight: 3 }],
      pods: [
        { pod: "default/a", weight: 3 },
        { pod: "default/b", weight: 1, heldBack: "it is not Ready" },
      ],
    }],
  };
  assertEquals(
    view(list),
    lines(`
    This node is drained: no anycast address is announced.

    ADDRESS           ANNOUNCED   POD        SERVES  WEIGHT  WHY NOT
    2001:db8:ffff::1  to no peer  default/a  yes     3
                                  default/b  no      1       it is not Ready
    `),
  );
  assertStringIncludes(view(list, true), "via 2001:db8::a dev flock1");
  const none = { ...list, items: [], drain: { phase: "none" } } as const;
  assertEquals(view(none), "No pod of this node has an anycast address.\n");
});

Deno.test("allocations and config show what there is, and config hides what nobody set", () => {
  const list: AllocationList = {
    kind: "AllocationList",
    items: [{
      pod: "default/web",
      podUid: "u",
      containerId: "c1",
      ifname: "eth0",
      hostIfname: "flock1",
      netns: "/run/netns/x",
      ipv6: "2001:db8::1",
      addresses: [],
      anycast: ["2001:db8:ffff::1", "203.0.113.1"],
      asked: [],
      state: "committed",
      podState: "notReady",
      allocatedAt: "2026-01-01T00:00:00Z",
    }],
  };
  assertEquals(
    view(list),
    lines(`
    POD          STATE      IPV6         IPV4  MORE  ANYCAST                       AGE
    default/web  not Ready  2001:db8::1  -     -     2001:db8:ffff::1,203.0.113.1  1d
    `),
  );
  const config: Config = {
    kind: "Config",
    node: "n1",
    refused: "spec.mtu 7",
    items: [
      { name: "spec.cidr4", value: [], from: "built-in default" },
      { name: "spec.mtu", value: 1500, from: "NodeConfig n1" },
      { name: "spec.bgp.peers[x].med", value: null, from: "built-in default" },
      { name: "--state-dir", value: "/var/lib/flock", from: "built-in default" },
    ],
  };
  assertEquals(
    view(config),
    lines(`
    The NodeConfig that is there is refused, the last good one is in force:
      spec.mtu 7

    NAME        VALUE  FROM
    spec.cidr4  none   built-in default
    spec.mtu    1500   NodeConfig n1
    `),
  );
  assertEquals(view(config, true).split("\n").length, 9);
});

const STATUS: Status = {
  kind: "Status",
  node: "n1",
  version: "0.1.0",
  startedAt: "2026-01-01T00:00:00Z",
  ready: true,
  settled: true,
  source: { kind: "kubernetes", inSync: true, damaged: false },
  nodeConfig: { name: "n1", accepted: true, inForce: true, generation: 2 },
  prefixes: [{ prefix: "10.0.0.0/30", family: "ipv4", allocated: 1, capacity: "1" }],
  pods: 1,
  bird: { running: true, version: "2.0.12", routerId: "198.51.100.11", applied: true },
  peers: { total: 1, established: 1 },
  anycast: { total: 0, announced: 0 },
  drain: { phase: "none" },
  policies: { total: 2, selectedPods: 3, inForce: true },
  differences: { computed: true, count: 0, first: [] },
  problems: [],
};

Deno.test("status is short where all is well, and tells what is not", () => {
  assertEquals(
    view(STATUS),
    lines(`
    Node         n1
    Agent        0.1.0, up 1d
    Ready        yes: pods can be attached
    NodeConfig   n1, generation 2: accepted
    Source       Kubernetes API: in sync
    Prefixes     10.0.0.0/30: 1 of 1 in use, full
    Pods         1
    BIRD         2.0.12, router id 198.51.100.11
    Peers        1 of 1 established
    Anycast      0 of 0 announced
    Policies     2, about 3 of the pods: in force
    Drained      no
    Differences  none
    `),
  );
  assertEquals(isHealthy(STATUS), true);
  const cases: readonly (readonly [Partial<Status>, string])[] = [
    [{ ready: false, notReady: "it waits" }, "Ready        no: it waits"],
    [
      { nodeConfig: { name: "n1", accepted: false, inForce: true, refused: "bad" } },
      "NodeConfig   n1: refused: bad; the last good one is in force",
    ],
    [{ bird: { running: false, error: "absent", applied: false } }, "does not answer: absent"],
    [{ peers: { total: 2 } }, "Peers        2, of unknown state"],
    [
      { bird: { ...STATUS.bird, applied: false, applyError: "syntax error" } },
      "configuration not applied: syntax error",
    ],
    [{ peers: { total: 2, established: 1 } }, "1 of 2 established (flock bgp)"],
    [
      { differences: { computed: true, count: 1, first: ["x: the kernel does not have it"] } },
      "Differences  1 (flock routes)\n             x: the kernel does not have it\n",
    ],
    [{ differences: { computed: false, count: 0, first: [] } }, "Differences  not known: "],
    [
      { policies: { total: 2, selectedPods: 3, inForce: false, error: "nft is away" } },
      "Policies     2, about 3 of the pods: not in force: nft is away (flock policies)",
    ],
  ];
  for (const [change, words] of cases) {
    const status = { ...STATUS, ...change };
    assertStringIncludes(view(status), words);
    assertEquals(isHealthy(status), false, words);
  }
  assertStringIncludes(view({ ...STATUS, policies: undefined }), "Policies     not known\n");
  const at = "2026-01-01T23:59:00Z";
  const logged = { ...STATUS, problems: [{ at, level: "warn", message: "Could not" }] } as const;
  assertStringIncludes(view(logged), "Last in the log\n  1m ago: Could not\n");
  const drain = { phase: "announcing", since: at, withdrawsAt: "2026-01-02T00:00:30Z" } as const;
  assertStringIncludes(view({ ...STATUS, drain }), "draining, for 1m: ");
});

Deno.test("since() has at most two units", () => {
  const cases = { 0: "0s", 59: "59s", 60: "1m", 125: "2m5s", 3_600: "1h", 90_061: "1d1h" };
  for (const [seconds, text] of Object.entries(cases)) {
    assertEquals(since(new Date(NOW.getTime() - Number(seconds) * 1000).toISOString(), NOW), text);
  }
  assertEquals(since("2026-01-03T00:00:00Z", NOW), "0s");
  assertEquals(since("nonsense", NOW), "-");
});

Deno.test("what is told above a table cannot steer the terminal", () => {
  const refused = 'address "\x1b[2J\x9b31m"';
  const config = view({ kind: "Config", node: "n1", items: [], refused } as Config);
  assertStringIncludes(config, 'in force:\n  address "�[2J�31m"\n');
  const peers = view({ kind: "PeerList", items: [], birdError: "\x9b31m" } as unknown as PeerList);
  assertStringIncludes(peers, "BIRD does not answer: �31m\n");
});
