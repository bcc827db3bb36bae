/**
 * An attachment: one (container id, ifname) joined to the network, as flock remembers it. Here are its
 * type and its form on disk; `io/store.ts` does the files.
 *
 * @module
 */

import { parseAddress } from "./cidr.ts";
import { isHostIfname } from "./wiring.ts";

/** What is remembered of an attachment. Addresses are canonical texts without a length. */
export interface Attachment {
  readonly containerId: string;
  readonly ifname: string;
  /** Namespace, name and UID of the pod; empty texts for a container without one. */
  readonly namespace: string;
  readonly podName: string;
  readonly podUid: string;
  /** UID of the pod's controlling owner. */
  readonly ownerUid?: string;
  readonly hostIfname: string;
  /** Path of the sandbox. */
  readonly netns: string;
  /** The pod's primary addresses. */
  readonly ip6?: string;
  readonly ip4?: string;
  readonly anycast?: readonly string[];
  /** Further addresses on the container interface. */
  readonly addresses?: readonly string[];
  /** Those of its addresses that an annotation asked for; the others were given from the node's pools. */
  readonly asked?: readonly string[];
  /** Name of the CNI network; unknown after a loss of state. */
  readonly network?: string;
  /** Pending: being wired, torn down when the agent starts. Committed: in use. */
  readonly state: "pending" | "committed";
  /** RFC 3339. */
  readonly allocatedAt: string;
  /** The CNI result that was given, for an ADD that is repeated and for CHECK. */
  readonly result?: unknown;
}

/** Everything in the file of allocations. */
export interface StoredState {
  readonly node: string;
  /** The kernel's `boot_id` when the file was written. */
  readonly bootId: string;
  /** Per pool (its CIDR), the IPv4 address given last: the next search begins after it. */
  readonly lastGiven: Readonly<Record<string, string>>;
  readonly attachments: readonly Attachment[];
}

/** Key of an attachment: `containerId/ifname`. Neither part may contain a slash. */
export function attachmentKey(
  { containerId, ifname }: Pick<Attachment, "containerId" | "ifname">,
): string {
  return `${containerId}/${ifname}`;
}

/** Version of the file that is written and read. */
const VERSION = 1;

const TEXT_FIELDS = [
  ["container_id", "containerId"],
  ["ifname", "ifname"],
  ["namespace", "namespace"],
  ["pod_name", "podName"],
  ["pod_uid", "podUid"],
  ["host_ifname", "hostIfname"],
  ["netns", "netns"],
  ["allocated_at", "allocatedAt"],
] as const;
const OPTIONAL_TEXT_FIELDS = [
  ["owner_uid", "ownerUid"],
  ["ip6", "ip6"],
  ["ip4", "ip4"],
  ["network", "network"],
] as const;
const LIST_FIELDS = [
  ["anycast", "anycast"],
  ["addresses", "addresses"],
  ["asked", "asked"],
] as const;

/** Renders the file of allocations: one attachment per line, sorted, so that it can be read and compared. */
export function renderState(state: StoredState): string {
  const head = { version: VERSION, node: state.node, boot_id: state.bootId };
  const lastGiven = Object.entries(state.lastGiven).sort(([a], [b]) => a < b ? -1 : 1);
  const entries = state.attachments
    .map((attachment) => [attachmentKey(attachment), lineOf(attachment)] as const)
    .sort(([a], [b]) => a < b ? -1 : 1)
    .map(([, line]) => `  ${line}`);
  const list = entries.length === 0 ? "[]" : `[\n${entries.join(",\n")}\n ]`;
  return `${JSON.stringify(head, undefined, 1).slice(0, -2)},\n` +
    ` "last_given": ${JSON.stringify(Object.fromEntries(lastGiven))},\n` +
    ` "allocations": ${list}\n}\n`;
}

/**
 * Parses the file of allocations. Unknown fields are ignored, unknown versions are not.
 *
 * @throws {SyntaxError} when it is not JSON; the message says where
 * @throws {TypeError} when a field has the wrong type; the message names its path
 */
export function parseState(text: string): StoredState {
  const raw = asRecord(parseJson(text), "the file");
  if (raw.version !== VERSION) {
    throw new TypeError(`version is ${show(raw.version)}, not ${VERSION}`);
  }
  if (!Array.isArray(raw.allocations)) throw wrongType("allocations", "a list", raw.allocations);
  const attachments = raw.allocations.map((item, n) => fromWire(item, `allocations[${n}]`));
  const seen = new Set<string>();
  for (const [n, attachment] of attachments.entries()) {
    const key = attachmentKey(attachment);
    if (seen.has(key)) throw new TypeError(`allocations[${n}] is a second "${key}"`);
    seen.add(key);
    for (const address of unicastOf(attachment)) {
      if (seen.has(address)) {
        throw new TypeError(`allocations[${n}] is a second one with ${address}`);
      }
      seen.add(address);
    }
  }
  const lastGiven = asRecord(raw.last_given ?? {}, "last_given");
  return {
    node: asText(raw.node, "node"),
    bootId: asText(raw.boot_id, "boot_id"),
    lastGiven: Object.fromEntries(
      Object.entries(lastGiven).map(([pool, ip]) => [pool, asText(ip, `last_given["${pool}"]`)]),
    ),
    attachments,
  };
}

/** The whole file is written at each change, and nearly all of its lines are the same each time. */
const lines = new WeakMap<Attachment, string>();

function lineOf(attachment: Attachment): string {
  const known = lines.get(attachment);
  if (known !== undefined) return known;
  const wire: Record<string, unknown> = {};
  for (const [key, field] of [...TEXT_FIELDS, ...OPTIONAL_TEXT_FIELDS, ...LIST_FIELDS]) {
    wire[key] = attachment[field];
  }
  const line = JSON.stringify({ ...wire, state: attachment.state, result: attachment.result });
  lines.set(attachment, line);
  return line;
}

function fromWire(value: unknown, path: string): Attachment {
  const raw = asRecord(value, path);
  const { state } = raw;
  if (state !== "pending" && state !== "committed") {
    throw wrongType(`${path}.state`, '"pending" or "committed"', state);
  }
  const texts = TEXT_FIELDS.map(([key, field]) => [field, asText(raw[key], `${path}.${key}`)]);
  const optional = OPTIONAL_TEXT_FIELDS.filter(([key]) => isGiven(raw[key]))
    .map(([key, field]) => [field, asText(raw[key], `${path}.${key}`)]);
  const lists = LIST_FIELDS.filter(([key]) => isGiven(raw[key]))
    .map(([key, field]) => [field, asTexts(raw[key], `${path}.${key}`)]);
  const attachment: Attachment = {
    ...Object.fromEntries([...texts, ...optional, ...lists]) as Omit<Attachment, "state">,
    state,
    ...(isGiven(raw.result) ? { result: raw.result } : {}),
  };
  if (!isHostIfname(attachment.hostIfname)) {
    throw wrongType(`${path}.host_ifname`, "the name of a link of ours", raw.host_ifname);
  }
  for (const address of [...unicastOf(attachment), ...attachment.anycast ?? []]) {
    try {
      parseAddress(address);
    } catch {
      throw wrongType(path, "a holder of addresses", address);
    }
  }
  if (state === "committed") asRecord(raw.result, `${path}.result`);
  return attachment;
}

/** The addresses that nobody else may have. */
function unicastOf({ ip6, ip4, addresses = [] }: Attachment): readonly string[] {
  return [ip6, ip4, ...addresses].filter((address) => address !== undefined);
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    const before = text.slice(0, validLength(text));
    const line = before.split("\n").length;
    const column = before.length - before.lastIndexOf("\n");
    throw new SyntaxError(`it is not JSON at line ${line} column ${column}`, { cause });
  }
}

/** Length of the longest beginning that could still become JSON; V8 names the place only sometimes. */
function validLength(text: string): number {
  let [valid, invalid] = [0, text.length + 1];
  while (invalid - valid > 1) {
    const middle = (valid + invalid) >> 1;
    if (isBeginning(text.slice(0, middle))) valid = middle;
    else invalid = middle;
  }
  return valid;
}

function isBeginning(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch (error) {
    const message = error instanceof Error ? error.message : "";
    const place = /at position (\d+)/.exec(message);
    return place ? Number(place[1]) === text.length : message.startsWith("Unexpected end");
  }
}

function asRecord(value: unknown, path: string): Record<string, unknown> {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) {
    return value as Record<string, unknown>;
  }
  throw wrongType(path, "an object", value);
}

function asText(value: unknown, path: string): string {
  if (typeof value === "string") return value;
  throw wrongType(path, "a text", value);
}

function asTexts(value: unknown, path: string): readonly string[] {
  if (!Array.isArray(value)) throw wrongType(path, "a list", value);
  return value.map((item, n) => asText(item, `${path}[${n}]`));
}

function isGiven(value: unknown): boolean {
  return value !== undefined && value !== null;
}

function wrongType(path: string, wanted: string, value: unknown): TypeError {
  return new TypeError(`${path} is ${show(value)}, not ${wanted}`);
}

/** The beginning of a value, for a message. */
function show(value: unknown): string {
  return value === undefined ? "missing" : JSON.stringify(value).slice(0, 60);
}
