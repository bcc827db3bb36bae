/**
 * The agent's settings: flags, their variables and their defaults, in one table. A flag beats its
 * variable.
 *
 * @module
 */
import {
  DEFAULT_BIRD_CONFIG,
  DEFAULT_BIRD_SOCKET,
  DEFAULT_METRICS_ADDRESS,
  DEFAULT_SOCKET,
  DEFAULT_STATE_DIR,
} from "./config.ts";
import { parseDuration } from "./duration.ts";

/** Bounds of the time between two periodic passes, in milliseconds. */
const MIN_INTERVAL_MS = 100;
const MAX_INTERVAL_MS = 24 * 3_600_000;

/** What the agent was told. */
export interface AgentSettings {
  readonly node: string;
  readonly source:
    | { readonly kind: "manifests"; readonly dir: string }
    | { readonly kind: "kubernetes"; readonly kubeconfig?: string };
  readonly socket: string;
  readonly stateDir: string;
  readonly birdConfig: string;
  readonly birdSocket: string;
  /** Milliseconds between two periodic passes; 0: none. */
  readonly routeReconcileIntervalMs: number;
  /** Undefined: off. */
  readonly metricsAddress?: { readonly hostname: string; readonly port: number };
  /** Where to write the conflist when in sync; undefined: nowhere. */
  readonly conflist?: string;
  /** Write the node's sysctls. */
  readonly sysctls: boolean;
  readonly logLevel: "debug" | "info" | "warn" | "error";
  readonly logFormat: "json" | "text";
}

/** A setting as text, and who said so. */
export interface SettingOrigin {
  readonly name: string;
  readonly value: string;
  /** `flag`, `variable FLOCK_SOCKET`, `host name` or `built-in default`. */
  readonly from: string;
}

/** One flag: its name, variable, default and what `--help` says. Without `value` it is a switch. */
export interface AgentFlag {
  readonly name: string;
  readonly variable: string;
  readonly value?: string;
  readonly fallback?: string;
  readonly help: string;
}

/** Every flag of `flock agent`. */
export const AGENT_FLAGS: readonly AgentFlag[] = [
  flag("node", "NAME", undefined, "name of this node (NODE_NAME, else the host name)"),
  flag("manifests", "DIR", undefined, "read Pods and NodeConfigs from this directory"),
  flag("kubeconfig", "FILE", undefined, "credentials for the API server, outside a cluster"),
  flag("socket", "PATH", DEFAULT_SOCKET, "the agent's socket"),
  flag("state-dir", "DIR", DEFAULT_STATE_DIR, "what survives a reboot"),
  flag("bird-config", "FILE", DEFAULT_BIRD_CONFIG, "BIRD's configuration, written by the agent"),
  flag("bird-socket", "PATH", DEFAULT_BIRD_SOCKET, "BIRD's control socket"),
  flag(
    "route-reconcile-interval",
    "DURATION",
    "30s",
    "time between two periodic passes over the routes; 0 switches them off",
  ),
  flag("metrics-address", "ADDRESS", DEFAULT_METRICS_ADDRESS, "host:port or [v6]:port; empty: off"),
  flag("conflist", "FILE", "", "network configuration list to write when in sync; empty: none"),
  flag("no-sysctls", undefined, undefined, "look at sysctls and write none"),
  flag("log-level", "LEVEL", "info", "debug, info, warn or error"),
  flag("log-format", "FORMAT", "json", "json, or text for people"),
];

/**
 * Settings from flags and variables. Every problem is named, not only the first.
 *
 * @param flags what the command line gave, by flag name
 * @param env reads a variable
 * @param hostname the name of this host
 * @throws {SyntaxError}
 */
export function parseAgentSettings(
  flags: Readonly<Record<string, string | boolean | undefined>>,
  env: (name: string) => string | undefined,
  hostname: () => string,
): AgentSettings {
  const problems: string[] = [];
  const text = (name: string): string => {
    const { variable, fallback = "" } = AGENT_FLAGS.find((known) => known.name === name)!;
    const given = flags[name];
    return typeof given === "string" ? given : env(variable) ?? fallback;
  };
  const checked = <T>(name: string, parse: (value: string) => T): T | undefined => {
    try {
      return parse(text(name));
    } catch (error) {
      problems.push(`--${name}: ${(error as Error).message}`);
      return undefined;
    }
  };
  const path = (name: string): string => checked(name, parsePath) ?? "";

  const manifests = text("manifests");
  const kubeconfig = text("kubeconfig");
  if (manifests !== "" && kubeconfig !== "") {
    problems.push("--manifests and --kubeconfig exclude each other");
  }
  if (manifests === "" && kubeconfig === "" && !env("KUBERNETES_SERVICE_HOST")) {
    problems.push(
      "Cannot find the cluster's objects: this is not a pod (KUBERNETES_SERVICE_HOST is not set); " +
        "give --manifests or --kubeconfig",
    );
  }
  const settings: AgentSettings = {
    node: checked("node", (value) => parseNodeName(value || env("NODE_NAME") || hostname())) ?? "",
    source: manifests !== ""
      ? { kind: "manifests", dir: path("manifests") }
      : { kind: "kubernetes", kubeconfig: kubeconfig === "" ? undefined : path("kubeconfig") },
    socket: path("socket"),
    stateDir: path("state-dir"),
    birdConfig: path("bird-config"),
    birdSocket: path("bird-socket"),
    routeReconcileIntervalMs: checked("route-reconcile-interval", parseInterval) ?? 0,
    metricsAddress: checked("metrics-address", parseHostPort),
    conflist: text("conflist") === "" ? undefined : path("conflist"),
    sysctls: !(flags["no-sysctls"] ??
      checked("no-sysctls", () => parseSwitch(env("FLOCK_NO_SYSCTLS")))),
    logLevel: checked("log-level", oneOf("debug", "info", "warn", "error")) ?? "info",
    logFormat: checked("log-format", oneOf("json", "text")) ?? "json",
  };
  if (problems.length > 0) throw new SyntaxError(problems.join("; "));
  return settings;
}

/** Where each setting comes from; for settings that {@linkcode parseAgentSettings} took. */
export function settingOrigins(
  flags: Readonly<Record<string, string | boolean | undefined>>,
  env: (name: string) => string | undefined,
  hostname: () => string,
): readonly SettingOrigin[] {
  return AGENT_FLAGS.map(({ name, variable, value, fallback = "" }) => {
    const given = flags[name];
    const said = env(variable);
    const origin = (text: string, from: string): SettingOrigin => ({
      name: `--${name}`,
      value: text,
      from,
    });
    if (given !== undefined && given !== "" || (given === "" && name !== "node")) {
      return origin(String(given), "flag");
    }
    if (said !== undefined) return origin(said, `variable ${variable}`);
    if (name === "node") {
      const named = env("NODE_NAME");
      return named ? origin(named, "variable NODE_NAME") : origin(hostname(), "host name");
    }
    return origin(value === undefined ? "false" : fallback, "built-in default");
  });
}

function flag(
  name: string,
  value: string | undefined,
  fallback: string | undefined,
  help: string,
): AgentFlag {
  const variable = `FLOCK_${name.toUpperCase().replaceAll("-", "_")}`;
  return { name, variable, value, fallback, help };
}

/**
 * A path that means the same in every working directory.
 *
 * @throws {SyntaxError} when it is not absolute, or holds what no path of ours may
 */
export function parsePath(value: string): string {
  if (value.startsWith("/") && !/[\0\n]/.test(value)) return value;
  throw new SyntaxError(`Cannot use path ${JSON.stringify(value)}: it is not absolute`);
}

function parseNodeName(value: string): string {
  const name = value.toLowerCase();
  if (name.length <= 253 && /^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/.test(name)) return name;
  throw new SyntaxError(`Cannot use node name ${JSON.stringify(value)}: it is not a DNS name`);
}

function parseInterval(value: string): number {
  const ms = parseDuration(value);
  if (ms === 0 || (ms >= MIN_INTERVAL_MS && ms <= MAX_INTERVAL_MS)) return ms;
  const why = ms < 0 ? "negative" : "neither 0 nor from 100ms to 24h";
  throw new SyntaxError(`Cannot use duration "${value}": it is ${why}`);
}

function parseHostPort(value: string): { hostname: string; port: number } | undefined {
  if (value === "") return undefined;
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]]*)):(\d{1,5})$/.exec(value);
  const port = Number(match?.[3]);
  if (!match || port > 65535) {
    throw new SyntaxError(`Cannot use address ${JSON.stringify(value)}: it is not host:port`);
  }
  return { hostname: match[1] ?? (match[2] || "::"), port };
}

function oneOf<T extends string>(...values: readonly T[]): (value: string) => T {
  return (value) => {
    const found = values.find((known) => known === value);
    if (found !== undefined) return found;
    throw new SyntaxError(
      `Cannot use ${JSON.stringify(value)}: it is none of ${values.join(", ")}`,
    );
  };
}

function parseSwitch(value = ""): boolean {
  if (/^(1|t|true)$/i.test(value)) return true;
  if (/^(0|f|false|)$/i.test(value)) return false;
  throw new SyntaxError(`Cannot use ${JSON.stringify(value)}: it is neither true nor false`);
}
