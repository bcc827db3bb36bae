import { assert, assertEquals, assertRejects } from "@std/assert";
import type { Attachment } from "../../core/attachment.ts";
import { parsePrefix } from "../../core/cidr.ts";
import { CniError } from "../../core/errors.ts";
import type { OwnObject } from "../../core/own_objects.ts";
import type { PolicyWorld } from "../../core/policy.ts";
import type { LinkCounter } from "../../core/policy_counters.ts";
import type { AgentHandler } from "../../io/socket.ts";
import type { BirdLook } from "../bird_look.ts";
import type { GaugeSources } from "./gauges.ts";
import { AgentMetrics } from "./metrics.ts";
import { Turns } from "../turns.ts";

/** The values served, by name and labels; histograms by their `_count` and `_sum`. */
async function values(metrics: AgentMetrics): Promise<Readonly<Record<string, string>>> {
  const lines = (await metrics.render()).split("\n")
    .filter((line) => line !== "" && !line.startsWith("#") && !line.includes("_bucket{"));
  return Object.fromEntries(lines.map((line) => {
    const end = line.lastIndexOf(" ");
    return [line.slice(0, end), line.slice(end + 1)];
  }));
}

async function ask(handler: AgentHandler, op: string): Promise<unknown> {
  return await handler({ version: 1, op }, new AbortController().signal);
}

Deno.test("AgentMetrics counts requests by verb and code, and those under way", async () => {
  const metrics = new AgentMetrics();
  const gate = Promise.withResolvers<void>();
  const handler = metrics.instruments.counting(async ({ op }) => {
    await gate.promise;
    if (op === "ADD") throw new CniError(100, "Cannot allocate");
    if (op === "CHECK") throw new Error("who knows");
    return "done";
  });
  const calls = ["ADD", "DEL", "CHECK", "status", "toString"].map((op) =>
    ask(handler, op).catch(() => {})
  );
  const inflight = (await values(metrics)).flock_cni_inflight;
  gate.resolve();
  await Promise.all(calls);
  const after = await values(metrics);
  assertEquals([inflight, after.flock_cni_inflight], ["3", "0"]);
  const count = (labels: string): string | undefined =>
    after[`flock_cni_requests_total{${labels}}`];
  assertEquals(count('command="ADD",code="100"'), "1");
  assertEquals(count('command="ADD",code="0"'), "0");
  assertEquals(count('command="DEL",code="0"'), "1");
  assertEquals(count('command="CHECK",code="999"'), "1");
  assertEquals(after['flock_cni_request_duration_seconds_count{command="ADD"}'], "1");
  // What operators ask, and what nobody knows, makes no series.
  assert(!Object.keys(after).some((key) => /status|toString/.test(key)));
});

Deno.test("AgentMetrics hands on what a handler answers and throws", async () => {
  const { instruments } = new AgentMetrics();
  const failure = new CniError(7, "no");
  assertEquals(await ask(instruments.counting(() => Promise.resolve(5)), "ADD"), 5);
  const counting = instruments.counting(() => Promise.reject(failure));
  assertEquals(await assertRejects(() => ask(counting, "ADD")), failure);
});

Deno.test("AgentMetrics shows what was told to its instruments", async () => {
  const metrics = new AgentMetrics();
  const { instruments } = metrics;
  instruments.leak("api");
  instruments.reload("refused", 0.02);
  instruments.transitions(["ready_to_announced", "ready_to_announced"], 0.003);
  instruments.turn("routes", 0.01);
  instruments.gap();
  instruments.policyApply("success", 0.02);
  const after = await values(metrics);
  assertEquals(after['flock_ipam_leaks_total{source="api"}'], "1");
  assertEquals(after['flock_ipam_leaks_total{source="cni_gc"}'], "0");
  assertEquals(after['flock_bird_reloads_total{result="refused"}'], "1");
  assertEquals(after.flock_bird_reload_duration_seconds_sum, "0.02");
  assertEquals(
    after['flock_anycast_transition_seconds_count{transition="ready_to_announced"}'],
    "2",
  );
  assertEquals(
    after['flock_anycast_transition_seconds_count{transition="unready_to_withdrawn"}'],
    "0",
  );
  assertEquals(after['flock_reconcile_duration_seconds_count{loop="routes"}'], "1");
  assertEquals(after.flock_kernel_monitor_gaps_total, "1");
  assertEquals(after['flock_netpol_apply_duration_seconds_count{result="success"}'], "1");
  assertEquals(after['flock_netpol_apply_duration_seconds_count{result="failure"}'], "0");
});

Deno.test("AgentMetrics reads the agent's parts as they are when it is asked", async () => {
  const { metrics, sources } = read();
  const first = await values(metrics);
  const expected = {
    'flock_ipam_addresses{family="ipv6",state="committed"}': "1",
    'flock_ipam_addresses{family="ipv6",state="pending"}': "1",
    'flock_ipam_addresses{family="ipv4",state="committed"}': "1",
    'flock_ipam_addresses{family="ipv4",state="pending"}': "0",
    // .2 to .6, less the one that is reserved and the one that is given.
    'flock_ipam_addresses{family="ipv4",state="free"}': "3",
    'flock_route_intended{family="ipv6"}': "2",
    'flock_route_intended{family="ipv4"}': "1",
    'flock_route_kernel{family="ipv6"}': "1",
    'flock_route_kernel{family="ipv4"}': "0",
    'flock_route_announced{family="ipv6"}': "2",
    'flock_route_announced{family="ipv4"}': "0",
    'flock_route_bird{family="ipv6"}': "2",
    'flock_anycast_routes{family="ipv6"}': "1",
    'flock_anycast_routes{family="ipv4"}': "0",
    'flock_route_reinstalls_total{reason="deleted"}': "2",
    'flock_route_reinstalls_total{reason="changed"}': "1",
    flock_route_install_failures_total: "4",
    flock_link_repairs_total: "5",
    flock_sysctl_repairs_total: "6",
    flock_bird_up: "1",
    flock_bird_config_applied: "1",
    flock_bird_config_last_good_timestamp_seconds: "1.5",
    'flock_bgp_session_state{peer="2001:db8::1",family="ipv6"}': "1",
    'flock_bgp_session_flaps_total{peer="2001:db8::1"}': "3",
    'flock_bgp_import_limit_reached{peer="2001:db8::1"}': "1",
    'flock_bgp_family_unheard{family="ipv6"}': "0",
    'flock_bgp_family_unheard{family="ipv4"}': "1",
    'flock_bgp_prefixes{peer="2001:db8::1",family="ipv6",direction="imported"}': "7",
    'flock_bgp_prefixes{peer="2001:db8::1",family="ipv6",direction="exported"}': "2",
    'flock_bfd_session_up{peer="2001:db8::1"}': "0",
    flock_node_ready: "1",
    flock_node_drained: "1",
    flock_source_synced: "1",
    flock_nodeconfig_in_force: "0",
    flock_nodeconfig_refused: "0",
    flock_netpol_in_force: "1",
    flock_netpol_policies: "3",
    flock_netpol_selected_pods: "1",
    flock_netpol_rules: "17",
    flock_netpol_restores_total: "1",
  };
  for (const [key, value] of Object.entries(expected)) assertEquals(first[key], value, key);
  assert(Number(first['flock_reconcile_last_success_timestamp_seconds{loop="routes"}']) > 1.6e9);

  sources.look = undefined;
  sources.reason = "its caches are not in sync yet";
  const away = await values(metrics);
  assertEquals([away.flock_bird_up, away.flock_node_ready], ["0", "0"]);
  // What only BIRD knows is absent, not 0; counters do not grow by being read.
  assertEquals(
    Object.keys(away).filter((key) =>
      /^flock_(bgp_session_state|bgp_prefixes|bfd|route_bird)/.test(key)
    ),
    [],
  );
  assertEquals(away['flock_route_reinstalls_total{reason="deleted"}'], "2");
});

Deno.test("AgentMetrics has what was denied by pod, and nothing where it cannot be read", async () => {
  const { metrics, sources } = read();
  const perPod = async (): Promise<Readonly<Record<string, string>>> =>
    Object.fromEntries(
      Object.entries(await values(metrics)).filter(([key]) => key.includes("namespace=")),
    );
  assertEquals(await perPod(), {
    'flock_netpol_denied_packets_total{namespace="web",pod="a",direction="ingress",mode="enforce"}':
      "7",
    'flock_netpol_denied_packets_total{namespace="web",pod="a",direction="egress",mode="audit"}':
      "1",
    'flock_spoofed_packets_total{namespace="web",pod="a"}': "0",
    'flock_spoofed_packets_total{namespace="web",pod="b"}': "4",
  });
  sources.counters = [];
  assertEquals(await perPod(), {
    'flock_netpol_denied_packets_total{namespace="web",pod="a",direction="ingress",mode="enforce"}':
      "0",
    'flock_spoofed_packets_total{namespace="web",pod="a"}': "0",
    'flock_spoofed_packets_total{namespace="web",pod="b"}': "0",
  });
  sources.counters = undefined;
  assertEquals(await perPod(), {});
});

Deno.test("AgentMetrics mixes no two scrapes at a time", async () => {
  const { metrics } = read();
  const scrapes = await Promise.all([values(metrics), values(metrics), values(metrics)]);
  for (const scrape of scrapes) {
    assertEquals(scrape['flock_bgp_session_flaps_total{peer="2001:db8::1"}'], "3");
    assertEquals(scrape.flock_bird_up, "1");
  }
});

Deno.test("AgentMetrics tells of the process what Deno tells", async () => {
  const after = await values(new AgentMetrics());
  assert(Number(after.process_resident_memory_bytes) > 10e6);
  assert(Number(after.process_heap_bytes) > 1e6);
  assert(Number(after.process_cpu_seconds_total) > 0);
  assert(Math.abs(Number(after.process_start_time_seconds) - Date.now() / 1000) < 3_600);
  assert(Number(after.flock_event_loop_lag_seconds) < 60);
  assert(Object.keys(after).some((key) => /^flock_build_info{version="\d/.test(key)));
});

function read(): {
  readonly metrics: AgentMetrics;
  readonly sources: {
    look: BirdLook | undefined;
    reason?: string;
    counters: readonly LinkCounter[] | undefined;
  };
} {
  const attachment = { state: "committed", ip6: "2001:db8:1::2" } as Attachment;
  const route = (key: string, over: Partial<OwnObject["route"]>): [string, OwnObject] => [key, {
    kind: "route",
    subject: key,
    text: key,
    devs: [],
    route: {
      ...{ type: "unicast", family: "ipv6", protocol: "143", metric: 16, shared: false },
      ...over,
    } as OwnObject["route"],
  }];
  const sources = {
    look: {
      peers: [{
        ...{ peer: "2001:db8::1", family: "ipv6", established: true, bfdUp: false },
        ...{ imported: 7, exported: 2 },
      }],
      own: { ipv6: 2, ipv4: 0 },
    } as BirdLook | undefined,
    reason: undefined as string | undefined,
    counters: [
      { set: "dropped-ingress", hostIfname: "flock1", packets: 5, bytes: 300 },
      { set: "dropped-ingress", hostIfname: "flock2", packets: 2, bytes: 120 },
      { set: "audited-egress", hostIfname: "flock1", packets: 1, bytes: 60 },
      { set: "spoofed", hostIfname: "flock3", packets: 4, bytes: 240 },
    ] as readonly LinkCounter[] | undefined,
  };
  const link = { namespace: "web", podName: "a", mode: "enforce", ingress: [] } as const;
  const turns = new Turns();
  turns.heard("routes");
  const gauges: GaugeSources = {
    node: {
      config: undefined,
      error: undefined,
      nodePrefixes: ["2001:db8:1::/64", "10.0.0.0/29"].map(parsePrefix),
      reserved: [parsePrefix("10.0.0.4/32")],
    },
    attachments: () => [
      { ...attachment, ip4: "10.0.0.2" },
      { ...attachment, state: "pending" },
    ],
    source: { synced: true },
    kernel: {
      counters: { reinstalls: 3, changed: 1, installFailures: 4, repairs: 5 },
      wanted: new Map([
        route("2001:db8:ffff::1/128", { protocol: "144", shared: true }),
        route("2001:db8:1::/64", { type: "unreachable" }),
        route("10.0.0.2/32", { family: "ipv4" }),
      ]),
      known: new Map([route("2001:db8:1::/64", { type: "unreachable" })]),
    },
    sysctls: { counters: { repairs: 6 } },
    reconciler: {
      settled: true,
      anycast: [
        { address: "2001:db8:ffff::1", legs: [{ via: "x", dev: "y", weight: 1 }], pods: [] },
        { address: "203.0.113.1", legs: [], pods: [] },
      ],
    },
    speaker: { state: { applied: true, reloads: 1, failures: 0, lastAppliedAt: 1_500 } },
    bird: {
      look: async () => {
        await new Promise((resolve) => setTimeout(resolve, 1));
        return sources.look;
      },
    },
    sessions: {
      peers: [{ peer: "2001:db8::1", family: "ipv6", state: "Established", takes: true }],
      flaps: new Map([["2001:db8::1", 3]]),
      limited: ["2001:db8::1"],
      unheard: ["ipv4"],
    },
    drain: { active: true },
    turns,
    notReady: () => sources.reason,
    policies: {
      world: { policies: [{}, {}, {}] } as unknown as PolicyWorld,
      selections: [
        // Two links of one pod, one that no policy is about, and a container without a pod.
        { ...link, hostIfname: "flock1" },
        { ...link, hostIfname: "flock2" },
        { ...link, hostIfname: "flock3", podName: "b", ingress: undefined },
        { ...link, hostIfname: "flock4", namespace: "", ingress: undefined },
      ],
      inForce: true,
      error: undefined,
      rules: 17,
      restored: 1,
    },
    policyCounters: { look: () => Promise.resolve(sources.counters) },
  };
  const metrics = new AgentMetrics();
  metrics.read(gauges);
  return { metrics, sources };
}
