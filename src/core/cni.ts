/**
 * The CNI specification 1.1.0's inputs: environment, network configuration, CNI_ARGS. Outputs are in
 * `cni_result.ts`. On the CNI path: no npm, no node, no input or output here.
 *
 * @module
 */
import { CniCode, CniError } from "./errors.ts";
import { type CniDns, decodeDns, isObject } from "./cni_result.ts";
import { isUid } from "./pod_identity.ts";
import { DEFAULT_SOCKET, DEFAULT_STATE_DIR } from "./config.ts";

/** Released versions of the specification, all of which are spoken. */
export const CNI_VERSIONS = [
  "0.1.0",
  "0.2.0",
  "0.3.0",
  "0.3.1",
  "0.4.0",
  "1.0.0",
  "1.1.0",
] as const;
export type CniVersion = typeof CNI_VERSIONS[number];
export const NEWEST: CniVersion = "1.1.0";

/** The verbs of CNI_COMMAND. */
export const CNI_VERBS = ["ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION"] as const;
export type CniVerb = typeof CNI_VERBS[number];

/** The parameters of one call, from the environment. */
export interface CniEnvironment {
  readonly verb: CniVerb;
  /** Empty for GC, STATUS and VERSION. */
  readonly containerId: string;
  readonly ifname: string;
  readonly netns: string;
  readonly args: string;
  readonly path: string;
}

/** The network configuration on stdin, our keys with their defaults. */
export interface NetConf {
  readonly cniVersion: CniVersion;
  /** Empty for DEL and CHECK, which need none. */
  readonly name: string;
  readonly socket: string;
  readonly stateDir: string;
  readonly mtu?: number;
  /** False: a call without `K8S_POD_*` gets a pod without annotations. */
  readonly requirePod: boolean;
  readonly dns?: CniDns;
  /** As it came, in whatever version's shape. */
  readonly prevResult?: unknown;
  /** Value of `cni.dev/valid-attachments` (GC): undefined when there is no such key. */
  readonly validAttachments?: readonly AttachmentId[] | null;
}

/** CNI's identity of an attachment. */
export interface AttachmentId {
  readonly containerId: string;
  readonly ifname: string;
}

/** What CNI_ARGS says of the pod. */
export interface PodReference {
  readonly namespace: string;
  readonly name: string;
  /** Empty when the runtime does not send it. */
  readonly uid: string;
}

const REQUIRED: Readonly<Record<CniVerb, readonly string[]>> = {
  ADD: ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"],
  CHECK: ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"],
  DEL: ["CNI_CONTAINERID", "CNI_IFNAME"],
  GC: ["CNI_PATH"],
  STATUS: [],
  VERSION: [],
};

/** The first version of the specification that has a verb; the others were there from the start. */
const SINCE: Readonly<Partial<Record<CniVerb, CniVersion>>> = {
  CHECK: "0.4.0",
  GC: "1.1.0",
  STATUS: "1.1.0",
};

/** The pattern of container ids and network names. */
const NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/;

/**
 * Reads the parameters from the environment. Every missing and every malformed variable is named.
 *
 * @throws {CniError} code 4
 */
export function parseEnvironment(get: (name: string) => string | undefined): CniEnvironment {
  const value = (name: string): string => get(name) ?? "";
  const command = value("CNI_COMMAND");
  const verb = CNI_VERBS.find((known) => known === command);
  if (verb === undefined) {
    throw environmentError(`CNI_COMMAND ${quote(command)}: it is none of ${CNI_VERBS.join(", ")}`);
  }
  const required = REQUIRED[verb];
  const missing = required.filter((name) => value(name) === "");
  if (missing.length > 0) throw environmentError(`${missing.join(", ")}: missing`);

  const bad: string[] = [];
  const containerId = value("CNI_CONTAINERID");
  const ifname = value("CNI_IFNAME");
  const netns = value("CNI_NETNS");
  if (
    required.includes("CNI_CONTAINERID") && (!NAME.test(containerId) || containerId.length > 255)
  ) {
    bad.push(`CNI_CONTAINERID ${quote(containerId)}`);
  }
  if (required.includes("CNI_IFNAME") && !isIfname(ifname)) bad.push(`CNI_IFNAME ${quote(ifname)}`);
  if (required.includes("CNI_NETNS") && !isNetnsPath(netns)) bad.push(`CNI_NETNS ${quote(netns)}`);
  if (bad.length > 0) throw environmentError(`${bad.join(", ")}: malformed`);
  return { verb, containerId, ifname, netns, args: value("CNI_ARGS"), path: value("CNI_PATH") };
}

/** True for a name the kernel takes for a link (dev_valid_name) and `ip -batch` takes as a word. */
function isIfname(name: string): boolean {
  // deno-lint-ignore no-control-regex
  return /^[^\s/:"'#\\\x00-\x1f]{1,15}$/.test(name) && name !== "." && name !== ".." &&
    new TextEncoder().encode(name).length <= 15;
}

/** True for an absolute path that `ip -batch` takes as a word. */
function isNetnsPath(path: string): boolean {
  // deno-lint-ignore no-control-regex
  return /^\/[^\s"'#\\\x00-\x1f]{1,4095}$/.test(path);
}

/**
 * Parses the network configuration for a verb. What makes or promises attachments has every key judged:
 * unknown ones are refused, except those the specification and the conventions give a meaning that is not
 * ours. The other verbs are for attachments that are there, and the configuration may have been edited
 * since: of each only what it uses is judged, and a DEL uses nothing that has no default.
 *
 * @throws {CniError} code 6 (not JSON), 7 (invalid), 1 (version), 2 (key or value refused)
 */
export function parseNetConf(stdin: string, verb: CniVerb = "ADD"): NetConf {
  const conf = parseJsonObject(stdin);
  const cniVersion = verb === "DEL" ? versionOf(conf) ?? NEWEST : parseVersion(conf);
  const name = verb === "DEL" || verb === "CHECK" ? "" : parseName(conf);
  if (verb === "ADD" || verb === "STATUS") judgeKeys(conf, name);
  return {
    cniVersion,
    name,
    socket: isPath(conf.socket) ? conf.socket : DEFAULT_SOCKET,
    stateDir: isPath(conf.stateDir) ? conf.stateDir : DEFAULT_STATE_DIR,
    mtu: typeof conf.mtu === "number" && conf.mtu !== 0 ? conf.mtu : undefined,
    requirePod: conf.requirePod !== false,
    dns: decodeDns(conf.dns),
    prevResult: conf.prevResult ?? undefined,
    validAttachments: verb === "DEL" || verb === "CHECK" ? undefined : parseValidAttachments(conf),
  };
}

function parseName({ name }: Record<string, unknown>): string {
  if (name === undefined) throw confError('Cannot accept network configuration: "name" is missing');
  if (typeof name === "string" && NAME.test(name)) return name;
  throw confError(`Cannot accept network configuration: "name" is ${quote(name)}`);
}

function judgeKeys(conf: Record<string, unknown>, name: string): void {
  for (const [key, value] of Object.entries(conf)) {
    const accepts = Object.hasOwn(KEYS, key) ? KEYS[key] : undefined;
    if (accepts === true || key.startsWith("cni.dev/")) continue;
    if (accepts === undefined || !accepts(value)) {
      throw new CniError(
        CniCode.unsupportedField,
        `Cannot accept network configuration ${quote(name)}: ${quote(key)} is ${quote(value)}`,
        {
          details: accepts === undefined ? `flock's keys are ${OUR_KEYS.join(", ")}` : undefined,
        },
      );
    }
  }
}

/** The caller's version, for the answer to a call that is refused; undefined where it cannot be told. */
export function callerVersion(stdin: string): CniVersion | undefined {
  try {
    return versionOf(parseJsonObject(stdin));
  } catch {
    return undefined;
  }
}

/**
 * The version that a VERSION call carries, to be echoed; any string, known or not.
 *
 * @throws {CniError} code 6 when stdin is neither empty nor a JSON object
 */
export function parseVersionInput(stdin: string): string | undefined {
  if (stdin.trim() === "") return undefined;
  const version = parseJsonObject(stdin).cniVersion;
  return typeof version === "string" ? version : undefined;
}

/**
 * Refuses a verb that the configuration's version does not have.
 *
 * @throws {CniError} code 1
 */
export function requireVerb(verb: CniVerb, version: CniVersion): void {
  const since = SINCE[verb];
  if (since === undefined || CNI_VERSIONS.indexOf(version) >= CNI_VERSIONS.indexOf(since)) return;
  throw new CniError(
    CniCode.incompatibleVersion,
    `Cannot run ${verb} for cniVersion "${version}": config version does not allow ${verb}`,
    { details: `${verb} exists since ${since}` },
  );
}

/**
 * Parses CNI_ARGS (`K=V;K=V`) for the pod it names; undefined when no `K8S_POD_*` is there. Unknown keys
 * are refused unless `IgnoreUnknown` is 1 or true, as the reference library does.
 *
 * @throws {CniError} code 4
 */
export function parseCniArgs(args: string): PodReference | undefined {
  const values = new Map<string, string>();
  for (const pair of args.split(";")) {
    if (pair === "") continue;
    const at = pair.indexOf("=");
    if (at <= 0 || pair.indexOf("=", at + 1) >= 0) {
      throw environmentError(`CNI_ARGS: ${quote(pair)} is not KEY=VALUE`);
    }
    values.set(pair.slice(0, at), pair.slice(at + 1));
  }
  const ignoreUnknown = /^(1|t|true)$/i.test(values.get("IgnoreUnknown") ?? "");
  const unknown = [...values.keys()].filter((key) => !ARGS.includes(key));
  if (unknown.length > 0 && !ignoreUnknown) {
    throw environmentError(
      `CNI_ARGS: ${unknown.map(quote).join(", ")} unknown, no IgnoreUnknown=1`,
    );
  }
  const namespace = values.get("K8S_POD_NAMESPACE") ?? "";
  const name = values.get("K8S_POD_NAME") ?? "";
  const uid = values.get("K8S_POD_UID") ?? "";
  if (namespace === "" && name === "" && uid === "") return undefined;
  const bad = [
    ...(isDnsName(namespace, 63) ? [] : [`K8S_POD_NAMESPACE ${quote(namespace)}`]),
    ...(isDnsName(name, 253) ? [] : [`K8S_POD_NAME ${quote(name)}`]),
    ...(isUid(uid) ? [] : [`K8S_POD_UID ${quote(uid)}`]),
  ];
  if (bad.length > 0) throw environmentError(`CNI_ARGS: ${bad.join(", ")} malformed`);
  return { namespace, name, uid };
}

/** A value as it appears in a message: JSON, cut to a readable length. */
export function quote(value: unknown): string {
  const text = JSON.stringify(value) ?? "undefined";
  return text.length <= 120 ? text : `${text.slice(0, 120)}…`;
}

const ARGS: readonly string[] = [
  "IgnoreUnknown",
  "K8S_POD_NAMESPACE",
  "K8S_POD_NAME",
  "K8S_POD_INFRA_CONTAINER_ID",
  "K8S_POD_UID",
];

const OUR_KEYS = ["socket", "stateDir", "mtu", "requirePod"] as const;

/** Per key: true when it is not ours to judge, or whether a value is acceptable. */
const KEYS: Readonly<Record<string, true | ((value: unknown) => boolean)>> = {
  cniVersion: true,
  cniVersions: true,
  name: true,
  type: true,
  args: true,
  runtimeConfig: true,
  capabilities: true,
  prevResult: true,
  dns: true,
  // What libcni keeps in the list; a runtime that passes them on means no harm.
  disableCheck: true,
  disableGC: true,
  // flock allocates addresses itself and never translates them.
  ipam: (value) => value === null || (isObject(value) && Object.keys(value).length === 0),
  ipMasq: (value) => value === false || value === null,
  socket: isPath,
  stateDir: isPath,
  mtu: (value) =>
    Number.isInteger(value) &&
    (value === 0 || (Number(value) >= 1280 && Number(value) <= 65535)),
  requirePod: (value) => typeof value === "boolean",
};

function isPath(value: unknown): value is string {
  // deno-lint-ignore no-control-regex
  return typeof value === "string" && /^\/[^\x00-\x1f]{1,4095}$/.test(value);
}

function isDnsName(text: string, maxLength: number): boolean {
  return text.length <= maxLength && /^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/.test(text);
}

function parseJsonObject(text: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new CniError(CniCode.decode, "Cannot decode network configuration: it is not JSON", {
      cause,
    });
  }
  if (!isObject(value)) {
    throw new CniError(
      CniCode.decode,
      `Cannot decode network configuration: it is ${quote(value)}, not an object`,
    );
  }
  return value;
}

/** The version of a configuration; undefined when it is none of ours. */
function versionOf({ cniVersion }: Record<string, unknown>): CniVersion | undefined {
  const given = cniVersion ?? "";
  // Absent means 0.1.0, as the reference library has it.
  return CNI_VERSIONS.find((known) => known === (given === "" ? "0.1.0" : given));
}

function parseVersion(conf: Record<string, unknown>): CniVersion {
  const version = versionOf(conf);
  if (version !== undefined) return version;
  const given = conf.cniVersion;
  throw new CniError(
    CniCode.incompatibleVersion,
    `Cannot speak cniVersion ${quote(given)}: incompatible CNI versions`,
    { details: `supported: ${CNI_VERSIONS.join(", ")}` },
  );
}

/**
 * The valid attachments of GC, under the specification's key or the one early libcni releases used
 * (containernetworking/cni#1101).
 */
function parseValidAttachments(
  conf: Record<string, unknown>,
): readonly AttachmentId[] | null | undefined {
  const key = ["cni.dev/valid-attachments", "cni.dev/attachments"].find((k) => k in conf);
  if (key === undefined) return undefined;
  const value = conf[key];
  if (value === null) return null;
  if (!Array.isArray(value)) {
    throw confError(`Cannot accept network configuration: ${quote(key)} is not a list`);
  }
  return value.map((item: unknown, i) => {
    const { containerID, ifname } = isObject(item) ? item : {};
    if (typeof containerID !== "string" || typeof ifname !== "string") {
      throw confError(`Cannot accept network configuration: ${quote(key)}[${i}] is ${quote(item)}`);
    }
    return { containerId: containerID, ifname };
  });
}

function environmentError(what: string): CniError {
  return new CniError(CniCode.invalidEnvironment, `Cannot accept environment: ${what}`);
}

function confError(message: string): CniError {
  return new CniError(CniCode.invalidConfig, message);
}
