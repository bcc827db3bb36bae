/**
 * deploy/monitoring: rules and dashboard use metrics that exist, as Prometheus' own tool reads them; each alert
 * fires for what it is about, and none on a node that is well.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { ROOT, run } from "../../scripts/run.ts";
import { parseYamlDocuments } from "../../src/std.ts";
import { testWith } from "../support.ts";
import { type DaemonSet, readDaemonSet, readManifest, readObjects } from "./manifests.ts";

interface Rule {
  readonly alert: string;
  readonly expr: string;
  readonly for?: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<"summary" | "description", string>>;
}

interface Panel {
  readonly id: number;
  readonly type: string;
  readonly title: string;
  readonly gridPos: Readonly<Record<"x" | "y" | "w" | "h", number>>;
  readonly targets?: readonly { readonly expr: string; readonly legendFormat: string }[];
}

interface Dashboard {
  readonly uid: string;
  readonly panels: readonly Panel[];
  readonly annotations: { readonly list: readonly { readonly expr: string }[] };
  readonly templating: { readonly list: readonly { readonly name: string }[] };
}

const [ruleObject] = await readObjects<{ spec: { groups: readonly { rules: readonly Rule[] }[] } }>(
  "monitoring/prometheus-rule.yaml",
);
const rules = ruleObject!.spec.groups.flatMap((group) => group.rules);
const dashboard: Dashboard = JSON.parse(await readManifest("monitoring/dashboard.json"));
const queries = [
  ...dashboard.panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr)),
  ...dashboard.annotations.list.map(({ expr }) => expr),
];

/** What docs/metrics.md lists, which is what the agent serves; histograms by their series' names. */
async function knownSeries(): Promise<ReadonlySet<string>> {
  const doc = await Deno.readTextFile(`${ROOT}/docs/metrics.md`);
  const rows = [...doc.matchAll(/^\| `([a-z_]+)`\s*\| (gauge|counter|histogram)\s*\|/gm)];
  assert(rows.length > 30);
  return new Set(
    rows.flatMap(([, name = "", type]) =>
      type === "histogram" ? ["_bucket", "_sum", "_count"].map((end) => name + end) : [name]
    ),
  );
}

Deno.test("monitoring: alerts and dashboard use metrics that exist", async () => {
  const known = await knownSeries();
  const used = [...rules.map(({ expr }) => expr), ...queries].flatMap((expr) =>
    // Label values and the names of labels are not metrics.
    [...expr.replaceAll(/"[^"]*"|by \([^)]*\)/g, "").matchAll(/\b(?:flock|process)_[a-z_]+/g)]
      .map(([name]) => name)
  );
  assert(used.length > 50);
  assertEquals(used.filter((name) => !known.has(name)), []);
});

Deno.test("monitoring: every metric of BIRD and BGP is in an alert or the dashboard", async () => {
  const text = JSON.stringify([rules, queries]);
  const bgp = [...await knownSeries()].filter((name) => /^flock_(bgp|bfd|bird_up)/.test(name));
  assertEquals(bgp.filter((name) => !text.includes(name)), []);
});

Deno.test("monitoring: the dashboard's panels are each in a place of their own", () => {
  const { panels } = dashboard;
  assertEquals(new Set(panels.map(({ id }) => id)).size, panels.length);
  for (const { title, gridPos: { x, y, w, h } } of panels) {
    assert(title !== "" && x >= 0 && x + w <= 24, title);
    const overlapping = panels.filter(({ title: other, gridPos: at }) =>
      other !== title && at.x < x + w && x < at.x + at.w && at.y < y + h && y < at.y + at.h
    );
    assertEquals(overlapping, [], title);
  }
  assertEquals(dashboard.templating.list.map(({ name }) => name), ["datasource", "node"]);
});

Deno.test("monitoring: the patch has the agent serve metrics where the PodMonitor asks, and the probes still", async () => {
  interface Operation {
    readonly op: "test" | "replace" | "add";
    readonly path: string;
    readonly value: unknown;
  }
  const [patch] = await readObjects<readonly Operation[]>("monitoring/agent-patch.yaml");
  const daemonSet = await readDaemonSet("agent.yaml");
  for (const { op, path, value } of patch!) apply(daemonSet, op, path, value);
  const [agent] = daemonSet.spec.template.spec.containers;
  assertEquals(
    agent!.args.filter((arg) => arg.startsWith("--metrics-address")),
    ["--metrics-address=[::]:9474"],
  );
  const [monitor] = await readObjects<{
    spec: {
      selector: { matchLabels: unknown };
      podMetricsEndpoints: readonly { port: string; path: string }[];
    };
  }>("monitoring/pod-monitor.yaml");
  const [endpoint] = monitor!.spec.podMetricsEndpoints;
  const { ports } = agent as unknown as { ports: readonly Record<string, unknown>[] };
  assertEquals(ports, [{ name: endpoint!.port, containerPort: 9474, protocol: "TCP" }]);
  assertEquals(endpoint!.path, "/metrics");
  assertEquals(monitor!.spec.selector.matchLabels, daemonSet.spec.selector.matchLabels);
});

testWith("monitoring: the component can be added to the manifests", ["kubectl"], async (t) => {
  const version = JSON.parse((await run(["kubectl", "version", "--client", "-o", "json"])).stdout);
  const minor = Number.parseInt(version.clientVersion.minor);
  await t.step({
    name: `kubectl kustomize renders it${minor < 21 ? " [kubectl is older than 1.21]" : ""}`,
    ignore: minor < 21,
    async fn() {
      const dir = await Deno.makeTempDir({ prefix: "flock-kustomize-" });
      try {
        await Deno.mkdir(`${dir}/flock`);
        await run(["cp", "-r", `${ROOT}/deploy`, `${dir}/flock/deploy`]);
        await Deno.writeTextFile(
          `${dir}/kustomization.yaml`,
          "resources: [flock/deploy]\ncomponents: [flock/deploy/monitoring]\n",
        );
        const { code, stdout, stderr } = await run(["kubectl", "kustomize", dir]);
        assertEquals([code, stderr], [0, ""]);
        const objects = parseYamlDocuments(stdout) as {
          kind: string;
          metadata: { name: string; namespace?: string; labels?: Record<string, string> };
          data?: Record<string, string>;
        }[];
        const of = (kind: string) => objects.filter((object) => object.kind === kind);
        for (const kind of ["PodMonitor", "PrometheusRule", "ConfigMap"]) {
          assertEquals(of(kind).map(({ metadata }) => metadata.namespace), ["kube-system"], kind);
        }
        const [config] = of("ConfigMap");
        assertEquals(config!.metadata.labels?.grafana_dashboard, "1");
        assertEquals(JSON.parse(config!.data!["flock.json"]!).uid, dashboard.uid);
        assert(stdout.includes("--metrics-address=[::]:9474"));
      } finally {
        await Deno.remove(dir, { recursive: true });
      }
    },
  });
});

testWith("monitoring: promtool takes the rules, and every query of the dashboard", [
  "promtool",
], async () => {
  await using dir = await scratch();
  const asRules = queries.map((expr, n) => ({
    record: `query:${n}`,
    expr: expr.replaceAll("$__rate_interval", "5m").replaceAll("$node", ".*"),
  }));
  await dir.write("rules.yaml", ruleObject!.spec);
  await dir.write("queries.yaml", { groups: [{ name: "queries", rules: asRules }] });
  const { code, stdout, stderr } = await dir.promtool(
    "check",
    "rules",
    "rules.yaml",
    "queries.yaml",
  );
  assertEquals([code, stderr], [0, ""], stdout);
  assert(stdout.includes(`${rules.length} rules found`), stdout);
});

/** A node that is well, for an hour: series, and their values in promtool's notation. */
const WELL: Readonly<Record<string, string>> = {
  'up{job="kube-system/flock-agent",node="n1"}': "1x60",
  'flock_node_ready{node="n1"}': "1x60",
  'flock_bird_up{node="n1"}': "1x60",
  'flock_bgp_session_state{node="n1",peer="a",family="ipv6"}': "1x60",
  'flock_bgp_session_state{node="n1",peer="b",family="ipv4"}': "1x60",
  'flock_bgp_session_flaps_total{node="n1",peer="a"}': "0x30 1x30",
  'flock_bfd_session_up{node="n1",peer="a"}': "1x60",
  'flock_nodeconfig_refused{node="n1"}': "0x60",
  'flock_nodeconfig_in_force{node="n1"}': "1x60",
  'flock_bird_config_applied{node="n1"}': "1x60",
  'flock_netpol_in_force{node="n1"}': "1x60",
  'flock_route_intended{node="n1",family="ipv6"}': "7x60",
  'flock_route_kernel{node="n1",family="ipv6"}': "7x60",
  'flock_route_announced{node="n1",family="ipv6"}': "3x60",
  'flock_route_bird{node="n1",family="ipv6"}': "3x60",
  'flock_route_reinstalls_total{node="n1",reason="deleted"}': "0x30 2x30",
  'flock_route_install_failures_total{node="n1"}': "4x60",
  'flock_ipam_addresses{node="n1",family="ipv4",state="free"}': "60x60",
  'flock_ipam_addresses{node="n1",family="ipv4",state="committed"}': "40x60",
  'flock_ipam_addresses{node="n1",family="ipv4",state="pending"}': "0x60",
  // No prefix of this family.
  'flock_ipam_addresses{node="n1",family="ipv6",state="free"}': "0x60",
  'flock_ipam_addresses{node="n1",family="ipv6",state="committed"}': "0x60",
  'flock_cni_requests_total{node="n1",command="ADD",code="0"}': "0+2x60",
  'flock_cni_requests_total{node="n1",command="ADD",code="11"}': "0x30 1x30",
  'flock_cni_requests_total{node="n1",command="DEL",code="0"}': "0+2x60",
  'flock_cni_request_duration_seconds_bucket{node="n1",command="ADD",le="0.02"}': "0+2x60",
  'flock_cni_request_duration_seconds_bucket{node="n1",command="ADD",le="5"}': "0+2x60",
  'flock_cni_request_duration_seconds_bucket{node="n1",command="ADD",le="+Inf"}': "0+2x60",
  'flock_anycast_transition_seconds_bucket{node="n1",transition="t",le="0.01"}': "0+2x60",
  'flock_anycast_transition_seconds_bucket{node="n1",transition="t",le="5"}': "0+2x60",
  'flock_anycast_transition_seconds_bucket{node="n1",transition="t",le="+Inf"}': "0+2x60",
  // Samples are a minute apart, and promtool's clock begins at 0.
  'flock_reconcile_last_success_timestamp_seconds{node="n1",loop="routes"}': "0+60x60",
};

/** For each alert what is different from a node that is well, and the labels it then has. */
const ILL: Readonly<Record<string, readonly [Readonly<Record<string, string>>, ...string[]]>> = {
  FlockAgentDown: [{ 'up{job="kube-system/flock-agent",node="n1"}': "0x60" }, "job"],
  FlockNodeNotReady: [{ 'flock_node_ready{node="n1"}': "0x60" }],
  FlockBirdDown: [{ 'flock_bird_up{node="n1"}': "0x60" }],
  FlockNoBgpSession: [{
    'flock_bgp_session_state{node="n1",peer="a",family="ipv6"}': "0x60",
    'flock_bgp_session_state{node="n1",peer="b",family="ipv4"}': "0x60",
  }],
  FlockBgpSessionDown: [
    { 'flock_bgp_session_state{node="n1",peer="a",family="ipv6"}': "0x60" },
    ...["peer", "family"],
  ],
  FlockBgpSessionFlapping: [
    { 'flock_bgp_session_flaps_total{node="n1",peer="a"}': "0+0.5x60" },
    "peer",
  ],
  FlockBgpImportLimitReached: [
    { 'flock_bgp_import_limit_reached{node="n1",peer="a"}': "1x60" },
    "peer",
  ],
  FlockBgpFamilyUnheard: [
    { 'flock_bgp_family_unheard{node="n1",family="ipv6"}': "1x60" },
    "family",
  ],
  FlockBfdSessionDown: [{ 'flock_bfd_session_up{node="n1",peer="a"}': "0x60" }, "peer"],
  FlockNodeConfigRefused: [{ 'flock_nodeconfig_refused{node="n1"}': "1x60" }],
  FlockBirdConfigNotApplied: [{ 'flock_bird_config_applied{node="n1"}': "0x60" }],
  FlockPoliciesNotInForce: [{ 'flock_netpol_in_force{node="n1"}': "0x60" }],
  FlockRoutesDiffer: [
    { 'flock_route_kernel{node="n1",family="ipv6"}': "8x60" },
    "family",
  ],
  FlockRoutesNotAnnounced: [{ 'flock_route_bird{node="n1",family="ipv6"}': "2x60" }, "family"],
  FlockRoutesTakenAway: [
    { 'flock_route_reinstalls_total{node="n1",reason="deleted"}': "0+2x60" },
  ],
  FlockRouteInstallFailing: [{ 'flock_route_install_failures_total{node="n1"}': "0+1x60" }],
  FlockAddressesRunningOut: [
    { 'flock_ipam_addresses{node="n1",family="ipv4",state="free"}': "4x60" },
    ...["family", "state"],
  ],
  FlockPodsNotAttached: [
    { 'flock_cni_requests_total{node="n1",command="ADD",code="11"}': "0+3x60" },
  ],
  FlockAddSlow: [{
    'flock_cni_request_duration_seconds_bucket{node="n1",command="ADD",le="0.02"}': "0x60",
  }],
  FlockAnycastSlow: [
    { 'flock_anycast_transition_seconds_bucket{node="n1",transition="t",le="0.01"}': "0x60" },
    "transition",
  ],
  FlockReconcileFailing: [
    {
      'flock_reconcile_last_success_timestamp_seconds{node="n1",loop="routes"}': "0+60x40 2400x20",
    },
    "loop",
  ],
};

/** Values of the labels in the series above. */
const VALUES: Readonly<Record<string, string>> = {
  node: "n1",
  job: "kube-system/flock-agent",
  peer: "a",
  family: "ipv6",
  state: "free",
  transition: "t",
  loop: "routes",
};

Deno.test("monitoring: docs/deploy.md lists every alert", async () => {
  const doc = await Deno.readTextFile(`${ROOT}/docs/deploy.md`);
  const listed = [...doc.matchAll(/^\| `(Flock\w+)`/gm)].map(([, alert]) => alert);
  assertEquals(listed, rules.map(({ alert }) => alert));
});

Deno.test("monitoring: each alert has its case, a severity, and words with labels that it has", () => {
  assertEquals(Object.keys(ILL).sort(), rules.map(({ alert }) => alert).sort());
  for (const { alert, labels, annotations } of rules) {
    assert(["warning", "critical"].includes(labels.severity ?? ""), alert);
    const has = ["node", ...ILL[alert]!.slice(1)];
    const used = [...JSON.stringify(annotations).matchAll(/\$labels\.(\w+)/g)].map(([, l]) => l!);
    assertEquals(used.filter((label) => !has.includes(label)), [], alert);
    assert(used.includes("node"), `${alert} names no node`);
  }
});

testWith("monitoring: each alert fires for what it is about, and none on a node that is well", [
  "promtool",
], async () => {
  await using dir = await scratch();
  // What annotations say is not compared: it holds values as Prometheus prints them.
  const bare = rules.map(({ annotations: _, ...rule }) => rule);
  await dir.write("rules.yaml", { groups: [{ name: "flock", rules: bare }] });
  const series = (values: Readonly<Record<string, string>>): unknown =>
    Object.entries(values).map(([series, values]) => ({ series, values }));
  const expecting = (alertname: string, exp_alerts: readonly unknown[]): unknown => ({
    eval_time: "55m",
    alertname,
    exp_alerts,
  });
  const wellTest = {
    name: "well",
    interval: "1m",
    input_series: series(WELL),
    alert_rule_test: rules.map(({ alert }) => expecting(alert, [])),
  };
  const illTests = rules.map(({ alert, labels }) => {
    const [change, ...names] = ILL[alert]!;
    const family = alert === "FlockAddressesRunningOut" ? "ipv4" : VALUES.family;
    const values: Readonly<Record<string, string | undefined>> = { ...VALUES, family };
    const exp_labels = {
      severity: labels.severity,
      ...Object.fromEntries(["node", ...names].map((name) => [name, values[name]])),
    };
    return {
      name: alert,
      interval: "1m",
      input_series: series({ ...WELL, ...change }),
      alert_rule_test: [
        expecting(alert, [{ exp_labels }]),
        // Of what is wrong with one thing no other alert tells, but those that must.
        ...rules.filter((other) => other.alert !== alert && !ALONG.has(`${alert} ${other.alert}`))
          .map((other) => expecting(other.alert, [])),
      ],
    };
  });
  await dir.write("tests.yaml", {
    rule_files: ["rules.yaml"],
    evaluation_interval: "1m",
    tests: [wellTest, ...illTests],
  });
  const { code, stdout, stderr } = await dir.promtool("test", "rules", "tests.yaml");
  assertEquals(code, 0, stdout + stderr);
});

/** Alerts that fire with another one. */
const ALONG: ReadonlySet<string> = new Set(["FlockNoBgpSession FlockBgpSessionDown"]);

/** A directory of files that are JSON, which YAML is a superset of. */
async function scratch(): Promise<
  AsyncDisposable & {
    write(name: string, value: unknown): Promise<void>;
    promtool(...args: readonly string[]): ReturnType<typeof run>;
  }
> {
  const dir = await Deno.makeTempDir({ prefix: "flock-promtool-" });
  return {
    write: (name, value) => Deno.writeTextFile(`${dir}/${name}`, JSON.stringify(value)),
    promtool: (...args) => run(["sh", "-c", 'cd "$0" && exec promtool "$@"', dir, ...args]),
    [Symbol.asyncDispose]: () => Deno.remove(dir, { recursive: true }),
  };
}

/** One operation of a JSON patch (RFC 6902). */
function apply(object: DaemonSet, op: string, path: string, value: unknown): void {
  const steps = path.split("/").slice(1);
  const last = steps.pop()!;
  const parent = steps.reduce<unknown>(
    (at, step) => (at as Record<string, unknown>)[step],
    object,
  ) as Record<string, unknown>;
  if (op === "test") assertEquals(parent[last], value);
  else {
    assertEquals(Object.hasOwn(parent, last), op === "replace", path);
    parent[last] = value;
  }
}
