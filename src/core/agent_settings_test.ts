import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import {
  AGENT_FLAGS,
  type AgentSettings,
  parseAgentSettings,
  settingOrigins,
} from "./agent_settings.ts";
import { DEFAULT_SOCKET, DEFAULT_STATE_DIR } from "./config.ts";

type Flags = Readonly<Record<string, string | boolean>>;
type Env = Readonly<Record<string, string>>;

function parse(flags: Flags, env: Env = {}): AgentSettings {
  const all: Env = { KUBERNETES_SERVICE_HOST: "10.96.0.1", ...env };
  return parseAgentSettings(flags, (name) => all[name], () => "Host001.Example.ORG");
}

Deno.test("parseAgentSettings() fills in the defaults", () => {
  assertEquals(parse({ manifests: "/etc/flock/manifests" }), {
    node: "host001.example.org",
    source: { kind: "manifests", dir: "/etc/flock/manifests" },
    socket: DEFAULT_SOCKET,
    stateDir: DEFAULT_STATE_DIR,
    birdConfig: "/run/flock/bird/bird.conf",
    birdSocket: "/run/flock/bird/bird.ctl",
    routeReconcileIntervalMs: 30_000,
    metricsAddress: { hostname: "127.0.0.1", port: 9474 },
    conflist: undefined,
    sysctls: true,
    logLevel: "info",
    logFormat: "json",
  });
});

Deno.test("parseAgentSettings() takes each flag from its variable, and the flag first", () => {
  const cases: readonly (readonly [
    flag: string,
    value: string,
    other: string,
    (s: AgentSettings) => unknown,
  ])[] = [
    ["node", "a", "b", (s) => s.node],
    ["manifests", "/a", "/b", (s) => (s.source as { dir: string }).dir],
    ["socket", "/a", "/b", (s) => s.socket],
    ["state-dir", "/a", "/b", (s) => s.stateDir],
    ["bird-config", "/a", "/b", (s) => s.birdConfig],
    ["bird-socket", "/a", "/b", (s) => s.birdSocket],
    ["route-reconcile-interval", "100ms", "200ms", (s) => `${s.routeReconcileIntervalMs}ms`],
    ["metrics-address", "a:1", "b:1", (s) => `${s.metricsAddress?.hostname}:1`],
    ["conflist", "/a", "/b", (s) => s.conflist],
    ["log-level", "debug", "error", (s) => s.logLevel],
    ["log-format", "json", "text", (s) => s.logFormat],
  ];
  for (const [flag, value, other, read] of cases) {
    const { variable } = AGENT_FLAGS.find(({ name }) => name === flag)!;
    assertEquals(variable, `FLOCK_${flag.toUpperCase().replaceAll("-", "_")}`);
    assertEquals(read(parse({}, { [variable]: value })), value, variable);
    assertEquals(read(parse({ [flag]: value }, { [variable]: other })), value, flag);
  }
  const untested = AGENT_FLAGS.map(({ name }) => name).filter((name) =>
    !cases.some(([flag]) => flag === name)
  );
  assertEquals(untested, ["kubeconfig", "no-sysctls"]);
});

Deno.test("parseAgentSettings() names the node by flag, FLOCK_NODE, NODE_NAME, host name", () => {
  const env = { FLOCK_NODE: "two", NODE_NAME: "three" };
  assertEquals(parse({ node: "one" }, env).node, "one");
  assertEquals(parse({}, env).node, "two");
  assertEquals(parse({}, { NODE_NAME: "Three" }).node, "three");
  assertEquals(parse({}, { FLOCK_NODE: "", NODE_NAME: "" }).node, "host001.example.org");
});

Deno.test("parseAgentSettings() reads from the API server unless told otherwise", () => {
  assertEquals(parse({}).source, { kind: "kubernetes", kubeconfig: undefined });
  assertEquals(parse({ kubeconfig: "/root/config" }).source, {
    kind: "kubernetes",
    kubeconfig: "/root/config",
  });
});

Deno.test("parseAgentSettings() says what is missing where there is no cluster around", () => {
  const env = { KUBERNETES_SERVICE_HOST: "" };
  const { message } = assertThrows(() => parse({}, env), SyntaxError);
  assertStringIncludes(message, "KUBERNETES_SERVICE_HOST is not set); give --manifests or");
  assertEquals(parse({ manifests: "/m" }, env).source.kind, "manifests");
  assertEquals(parse({ kubeconfig: "/k" }, env).source.kind, "kubernetes");
});

Deno.test("parseAgentSettings() switches sysctls, metrics and the periodic pass off", () => {
  assertEquals(parse({ "no-sysctls": true }).sysctls, false);
  for (const [text, sysctls] of [["1", false], ["true", false], ["0", true], ["", true]] as const) {
    assertEquals(parse({}, { FLOCK_NO_SYSCTLS: text }).sysctls, sysctls, text);
  }
  assertEquals(parse({ "metrics-address": "" }).metricsAddress, undefined);
  assertEquals(parse({ "route-reconcile-interval": "0" }).routeReconcileIntervalMs, 0);
});

Deno.test("parseAgentSettings() reads addresses to listen on", () => {
  const cases = {
    "127.0.0.1:9474": { hostname: "127.0.0.1", port: 9474 },
    "[::1]:80": { hostname: "::1", port: 80 },
    ":9474": { hostname: "::", port: 9474 },
    "localhost:0": { hostname: "localhost", port: 0 },
  };
  for (const [text, address] of Object.entries(cases)) {
    assertEquals(parse({ "metrics-address": text }).metricsAddress, address, text);
  }
});

Deno.test("parseAgentSettings() names flag and value of what it refuses", () => {
  const cases: readonly (readonly [Flags, string])[] = [
    [{ node: "no_name" }, '--node: Cannot use node name "no_name": it is not a DNS name'],
    [{ node: "-a" }, "--node: "],
    [{ node: "a".repeat(254) }, "--node: "],
    [{ socket: "flock.sock" }, '--socket: Cannot use path "flock.sock": it is not absolute'],
    [{ "state-dir": "/a\nb" }, "--state-dir: "],
    [{ "bird-config": "" }, "--bird-config: "],
    [{ conflist: "x" }, "--conflist: "],
    [
      { "route-reconcile-interval": "-1s" },
      '--route-reconcile-interval: Cannot use duration "-1s": it is negative',
    ],
    [{ "route-reconcile-interval": "1ns" }, "it is neither 0 nor from 100ms to 24h"],
    [{ "route-reconcile-interval": "99999h" }, "it is neither 0 nor from 100ms to 24h"],
    [{ "route-reconcile-interval": "30" }, "--route-reconcile-interval: Cannot parse duration"],
    [{ "metrics-address": "9474" }, '--metrics-address: Cannot use address "9474"'],
    [{ "metrics-address": "::1:80" }, "--metrics-address: "],
    [{ "metrics-address": "a:65536" }, "--metrics-address: "],
    [{ "log-level": "trace" }, '--log-level: Cannot use "trace": it is none of debug, info'],
    [{ "log-format": "xml" }, "--log-format: "],
    [{ manifests: "/m", kubeconfig: "/k" }, "--manifests and --kubeconfig exclude each other"],
  ];
  for (const [flags, message] of cases) {
    const error = assertThrows(() => parse(flags), SyntaxError);
    assertStringIncludes(error.message, message);
  }
});

Deno.test("parseAgentSettings() names every problem at once", () => {
  const { message } = assertThrows(
    () => parse({ socket: "a", "state-dir": "b", "log-level": "c" }),
    SyntaxError,
  );
  for (const name of ["--socket", "--state-dir", "--log-level"]) assert(message.includes(name));
});

Deno.test("settingOrigins() says of each setting who said it", () => {
  const env: Env = { FLOCK_SOCKET: "/a/b.sock", FLOCK_LOG_LEVEL: "debug", NODE_NAME: "n7" };
  const origins = settingOrigins(
    { "log-level": "warn", "metrics-address": "", "no-sysctls": true },
    (name) => env[name] || undefined,
    () => "host",
  );
  assertEquals(origins.map(({ name }) => name), AGENT_FLAGS.map(({ name }) => `--${name}`));
  const of = (name: string): unknown[] => {
    const { value, from } = origins.find((one) => one.name === name)!;
    return [value, from];
  };
  assertEquals(of("--socket"), ["/a/b.sock", "variable FLOCK_SOCKET"]);
  assertEquals(of("--log-level"), ["warn", "flag"]);
  assertEquals(of("--metrics-address"), ["", "flag"]);
  assertEquals(of("--no-sysctls"), ["true", "flag"]);
  assertEquals(of("--state-dir"), [DEFAULT_STATE_DIR, "built-in default"]);
  assertEquals(of("--node"), ["n7", "variable NODE_NAME"]);
  assertEquals(settingOrigins({}, () => undefined, () => "host")[0], {
    name: "--node",
    value: "host",
    from: "host name",
  });
});
