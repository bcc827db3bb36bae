/**
 * Metrics of the real agent: what is served, by `promtool`, against docs/metrics.md, and that the numbers are
 * the kernel's and BIRD's.
 *
 * @module
 */
import { assert, assertEquals, equal } from "@std/assert";
import { UNREACHABLE_METRIC } from "../../src/core/config.ts";
import { runCommand } from "../../src/io/command.ts";
import type { Node } from "../../src/lab/node.ts";
import { testWith } from "../support.ts";
import { until } from "./bird_host.ts";
import { createNodeLab } from "./node_probe.ts";
import { METRICS_ADDRESS, parseScrape, scrape } from "./scrape.ts";

const ANYCAST = "flock.fritzlab.net/anycast";
const ADDRESSES = ["2001:db8:ffff::1", "203.0.113.200"];

testWith("netns: an agent's metrics are the kernel's and BIRD's", ["root", "bird"], async (t) => {
  const { lab, node } = await createNodeLab({
    // What of a route somebody changed the kernel's events do not tell: the periodic pass finds it.
    agentArgs: ["--metrics-address", METRICS_ADDRESS, "--route-reconcile-interval", "1s"],
    spec: ({ asn }) => ({
      bgp: {
        asn,
        peers: [
          { address: "2001:db8:25::1", asn: 65000, bfd: { interval: 300, multiplier: 3 } },
          { address: "198.51.100.1", asn: 65000 },
        ],
      },
    }),
  });
  await using _lab = lab;
  const values = async (): Promise<Readonly<Record<string, number>>> =>
    parseScrape(await scrape(node));
  /** Waits until values are as told; a look at BIRD is good for five seconds. */
  const become = async (expected: Readonly<Record<string, number | undefined>>): Promise<void> => {
    let now: Readonly<Record<string, number | undefined>> = {};
    await until("the values of metrics", async () => {
      const all = await values();
      now = Object.fromEntries(Object.keys(expected).map((key) => [key, all[key]]));
      return equal(now, expected);
    }).catch(() => assertEquals(now, expected));
  };
  await lab.start();

  await t.step("nothing is missing and nothing is in the way at the start", async () => {
    await become({
      flock_node_ready: 1,
      flock_source_synced: 1,
      flock_nodeconfig_in_force: 1,
      flock_nodeconfig_refused: 0,
      flock_bird_up: 1,
      flock_bird_config_applied: 1,
      'flock_bgp_session_state{peer="2001:db8:25::1",family="ipv6"}': 1,
      'flock_bgp_session_state{peer="198.51.100.1",family="ipv4"}': 1,
      'flock_bgp_prefixes{peer="198.51.100.1",family="ipv4",direction="exported"}': 1,
      'flock_bgp_session_flaps_total{peer="198.51.100.1"}': 0,
      // The router of the lab has no BFD.
      'flock_bfd_session_up{peer="2001:db8:25::1"}': 0,
      'flock_bfd_session_up{peer="198.51.100.1"}': undefined,
      'flock_route_bird{family="ipv6"}': 1,
      'flock_route_announced{family="ipv6"}': 1,
    });
    const now = await values();
    assert(now['flock_bird_reloads_total{result="ok"}']! >= 1);
    assert(now.flock_bird_config_last_good_timestamp_seconds! <= Date.now() / 1000);
    assert(now.process_resident_memory_bytes! > 20e6);
    assert(now.process_cpu_seconds_total! > 0);
  });

  await t.step("an attached pod is counted, and how long its announcement took", async () => {
    const before = await values();
    const pod = await node.createPod({
      name: "web",
      ready: false,
      annotations: { [ANYCAST]: ADDRESSES.join(",") },
    });
    await node.add(pod);
    await node.updatePod(pod, { ready: true });
    const free = 'flock_ipam_addresses{family="ipv4",state="free"}';
    await become({
      [free]: before[free]! - 1,
      'flock_ipam_addresses{family="ipv6",state="committed"}': 1,
      'flock_ipam_addresses{family="ipv6",state="pending"}': 0,
      'flock_cni_requests_total{command="ADD",code="0"}': 1,
      'flock_cni_request_duration_seconds_count{command="ADD"}': 1,
      flock_cni_inflight: 0,
      'flock_anycast_routes{family="ipv6"}': 1,
      'flock_anycast_routes{family="ipv4"}': 1,
      'flock_anycast_transition_seconds_count{transition="ready_to_announced"}': 2,
      'flock_route_announced{family="ipv6"}': 2,
      'flock_route_bird{family="ipv6"}': 2,
      'flock_bgp_prefixes{peer="2001:db8:25::1",family="ipv6",direction="exported"}': 2,
    });
    const now = await values();
    for (const [family, option] of [["ipv6", "-6"], ["ipv4", "-4"]] as const) {
      const routes = await Promise.all(
        ["143", "144"].map((protocol) =>
          node.ip("-o", option, "route", "show", "table", "main", "proto", protocol)
        ),
      );
      const lines = routes.join("").split("\n").filter((line) => line !== "");
      assertEquals(now[`flock_route_kernel{family="${family}"}`], lines.length);
      assertEquals(now[`flock_route_intended{family="${family}"}`], lines.length);
    }

    await node.updatePod(pod, { ready: false });
    await become({
      'flock_anycast_routes{family="ipv6"}': 0,
      'flock_anycast_transition_seconds_count{transition="unready_to_withdrawn"}': 2,
    });
    await node.updatePod(pod, { ready: true });
    await become({
      'flock_anycast_transition_seconds_count{transition="ready_to_announced"}': 4,
    });
    await node.del(pod);
    await become({
      'flock_anycast_transition_seconds_count{transition="detached_to_withdrawn"}': 2,
      'flock_cni_requests_total{command="DEL",code="0"}': 1,
      [free]: before[free],
    });
    // From the file's rename to the kernel: milliseconds, and never nothing.
    const took = (await values())[
      'flock_anycast_transition_seconds_sum{transition="unready_to_withdrawn"}'
    ]!;
    assert(took > 0 && took < 5, String(took));
  });

  await t.step("a refused request is counted by its code", async () => {
    const stranger = await node.createPod({ name: "stranger" });
    await node.writeManifest(`pod-${stranger.name}.json`, []);
    assertEquals((await node.cni("ADD", stranger)).code, 1);
    assertEquals((await values())['flock_cni_requests_total{command="ADD",code="3"}'], 1);
  });

  await t.step(
    "a route that somebody else deleted or changed is counted by what was done",
    async () => {
      const prefix = lab.plan.nodes[0]!.prefixes.ipv4!;
      await node.ip("route", "del", "unreachable", prefix);
      await become({ 'flock_route_reinstalls_total{reason="deleted"}': 1 });
      const metric = String(UNREACHABLE_METRIC.ipv4);
      await node.ip("route", "replace", "blackhole", prefix, "proto", "143", "metric", metric);
      await become({ 'flock_route_reinstalls_total{reason="changed"}': 1 });
    },
  );

  await t.step(
    "BIRD that hangs hangs no scrape, and BIRD that is away is told from one that is well",
    async () => {
      const birds = await birdsOf(node);
      assertEquals(birds.length, 1);
      const session = 'flock_bgp_session_state{peer="198.51.100.1",family="ipv4"}';
      const flaps = 'flock_bgp_session_flaps_total{peer="198.51.100.1"}';
      for (const bird of birds) Deno.kill(bird, "SIGSTOP");
      try {
        await become({ flock_bird_up: 0, flock_node_ready: 0 });
        const began = performance.now();
        await scrape(node);
        assert(performance.now() - began < 4_000);
      } finally {
        for (const bird of birds) Deno.kill(bird, "SIGCONT");
      }
      // The time that BIRD was stopped may have cost the session.
      await become({ flock_bird_up: 1, flock_node_ready: 1, [session]: 1 });
      const before = (await values())[flaps]!;
      await node.stopBird();
      await become({ flock_bird_up: 0, [session]: undefined });
      await node.startBird();
      await become({ flock_bird_up: 1, [session]: 1, [flaps]: before + 1 });
    },
  );

  await t.step("a NodeConfig that is refused shows", async () => {
    await node.writeManifest("nodeconfig-n1.json", [{
      apiVersion: "flock.fritzlab.net/v1alpha1",
      kind: "NodeConfig",
      metadata: { name: "n1" },
      spec: { cidr6: ["nonsense"] },
    }]);
    await become({ flock_nodeconfig_refused: 1, flock_nodeconfig_in_force: 1 });
  });

  await t.step("what is served is what is documented", async () => {
    const served = [...(await scrape(node)).matchAll(/^# TYPE (\S+) (\S+)$/gm)]
      .map(([, name, type]) => `${name} ${type}`);
    const doc = await Deno.readTextFile(new URL("../../docs/metrics.md", import.meta.url));
    const documented = [...doc.matchAll(/^\| `([a-z_]+)`\s*\| (gauge|counter|histogram)\s*\|/gm)]
      .map(([, name, type]) => `${name} ${type}`);
    assertEquals(served.sort(), documented.sort());
  });
});

testWith("netns: promtool finds nothing to say of an agent's metrics", [
  "root",
  "bird",
  "promtool",
], async () => {
  const { lab, node } = await createNodeLab({
    agentArgs: ["--metrics-address", METRICS_ADDRESS],
  });
  await using _lab = lab;
  await lab.start();
  const text = await scrape(node);
  const child = new Deno.Command("promtool", {
    args: ["check", "metrics"],
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(text));
  await writer.close();
  const { code, stdout, stderr } = await child.output();
  const said = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
  assertEquals([code, said], [0, ""]);
});

/** The BIRDs in a node's network namespace. */
async function birdsOf(node: Node): Promise<readonly number[]> {
  const { stdout } = await runCommand("ip", ["netns", "pids", node.netns]);
  const found: number[] = [];
  for (const pid of stdout.trim().split("\n").map(Number)) {
    const command = await Deno.readTextFile(`/proc/${pid}/comm`).catch(() => "");
    if (command.trim() === "bird") found.push(pid);
  }
  return found;
}
