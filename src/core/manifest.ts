/**
 * Kubernetes objects as the API serves them, or as somebody wrote them by hand, to flock's own types.
 * Which fields are used is decided here and nowhere else; values of annotations and of a NodeConfig's
 * spec are judged later.
 *
 * An object written by hand has no UID: its pod gets an empty one, and "created again under the same
 * name" can then not be told from "the same".
 *
 * @module
 */
import { API_GROUP, API_VERSION } from "./config.ts";
import type { ClusterNode, KnownCondition, NodeConfigObject, Pod } from "./objects.ts";

/** `apiVersion` of our own objects. */
const NODE_CONFIG_API = `${API_GROUP}/${API_VERSION}`;

/** What is made of one object. */
export type ManifestObject =
  | { readonly kind: "Pod"; readonly pod: Pod }
  | { readonly kind: "NodeConfig"; readonly nodeConfig: NodeConfigObject }
  | {
    readonly kind: "Ignored";
    /** `apiVersion` and `kind` as they were written. */
    readonly what: string;
    /** True for kinds that belong beside ours and are not used. */
    readonly known: boolean;
  };

const KNOWN = ["v1 Namespace", "networking.k8s.io/v1 NetworkPolicy"];

type Fields = Readonly<Record<string, unknown>>;

/**
 * Parses one document: an object, or a list of objects (`List`, `PodList`, …).
 *
 * @throws {TypeError} naming the field that is missing or has the wrong type
 */
export function parseObjects(raw: unknown): readonly ManifestObject[] {
  const object = fieldsOf(raw, "the document");
  const kind = textOf(object.kind, "kind");
  if (!kind.endsWith("List") || object.items === undefined) return [parseObject(object)];
  const apiVersion = textOf(object.apiVersion, "apiVersion");
  // Items of a `PodList` do not repeat what they are. A list in a list is an object of no known kind.
  return listOf(object.items, "items").map((item, n) => {
    const path = `items[${n}]`;
    const implied = kind === "List" ? {} : { apiVersion, kind: kind.slice(0, -"List".length) };
    return parseObject({ ...implied, ...fieldsOf(item, path) }, `${path}.`);
  });
}

/**
 * Parses one object.
 *
 * @param at where it is in its document, for messages
 * @throws {TypeError} naming the field that is missing or has the wrong type
 */
export function parseObject(raw: unknown, at = ""): ManifestObject {
  const object = fieldsOf(raw, at === "" ? "the document" : at.slice(0, -1));
  const apiVersion = textOf(object.apiVersion, `${at}apiVersion`);
  const what = `${apiVersion} ${textOf(object.kind, `${at}kind`)}`;
  if (what === "v1 Pod") return { kind: "Pod", pod: parsePod(object, at) };
  if (what === `${NODE_CONFIG_API} NodeConfig`) {
    return { kind: "NodeConfig", nodeConfig: parseNodeConfigObject(object, at) };
  }
  return { kind: "Ignored", what, known: KNOWN.includes(what) };
}

/**
 * Parses a Pod. Without a namespace it is in `default`, as for every client.
 *
 * @throws {TypeError} naming the field
 */
export function parsePod(raw: unknown, at = ""): Pod {
  const object = fieldsOf(raw, `${at}pod`);
  const metadata = fieldsOf(object.metadata, `${at}metadata`);
  const spec = fieldsOf(object.spec ?? {}, `${at}spec`);
  const labels = fieldsOf(metadata.labels ?? {}, `${at}metadata.labels`);
  const containers = listOf(spec.containers ?? [], `${at}spec.containers`);
  const container = fieldsOf(containers[0] ?? {}, `${at}spec.containers[0]`);
  const hash = labels["pod-template-hash"];
  const owner = parseOwner(metadata, at);
  return {
    namespace: nameOf(metadata.namespace ?? "default", `${at}metadata.namespace`),
    name: nameOf(metadata.name, `${at}metadata.name`),
    uid: uidOf(metadata.uid ?? "", `${at}metadata.uid`),
    ...optional("nodeName", spec.nodeName, `${at}spec.nodeName`),
    annotations: parseAnnotations(metadata, at),
    ...(owner === undefined ? {} : { owner }),
    ...optional("templateHash", hash, `${at}metadata.labels["pod-template-hash"]`),
    ...optional("image", container.image, `${at}spec.containers[0].image`),
    ready: isReady(object, at),
    terminating: isGiven(metadata.deletionTimestamp),
  };
}

/**
 * Parses a NodeConfig, all but its spec.
 *
 * @throws {TypeError} naming the field
 */
export function parseNodeConfigObject(raw: unknown, at = ""): NodeConfigObject {
  const object = fieldsOf(raw, `${at}NodeConfig`);
  const metadata = fieldsOf(object.metadata, `${at}metadata`);
  const { generation } = metadata;
  if (isGiven(generation) && !Number.isSafeInteger(generation)) {
    throw wrongType(`${at}metadata.generation`, "a whole number", generation);
  }
  return {
    name: nameOf(metadata.name, `${at}metadata.name`),
    ...optional("uid", metadata.uid, `${at}metadata.uid`),
    ...(isGiven(generation) ? { generation: generation as number } : {}),
    annotations: parseAnnotations(metadata, at),
    spec: object.spec ?? {},
    ...(isGiven(object.status) ? { conditions: parseConditions(object, at) } : {}),
  };
}

/**
 * Parses a Node.
 *
 * @throws {TypeError} naming the field
 */
export function parseNode(raw: unknown): ClusterNode {
  const object = fieldsOf(raw, "node");
  const metadata = fieldsOf(object.metadata, "metadata");
  const spec = fieldsOf(object.spec ?? {}, "spec");
  const condition = conditionsOf(object, "").find(({ type }) => type === "NetworkUnavailable");
  // `podCIDR` is the first of `podCIDRs`, and all that an old cluster sets.
  const podCidrs = spec.podCIDRs ?? (isGiven(spec.podCIDR) ? [spec.podCIDR] : []);
  const path = "status.conditions[NetworkUnavailable]";
  const status = fieldsOf(object.status ?? {}, "status");
  return {
    name: nameOf(metadata.name, "metadata.name"),
    podCidrs: listOf(podCidrs, "spec.podCIDRs").map((cidr, n) =>
      textOf(cidr, `spec.podCIDRs[${n}]`)
    ),
    addresses: listOf(status.addresses ?? [], "status.addresses").flatMap((item, n) => {
      const { type, address } = fieldsOf(item, `status.addresses[${n}]`);
      const isIp = type === "InternalIP" || type === "ExternalIP";
      return isIp ? [textOf(address, `status.addresses[${n}].address`)] : [];
    }),
    ...(condition === undefined ? {} : {
      networkUnavailable: {
        status: textOf(condition.status, `${path}.status`),
        reason: textOf(condition.reason ?? "", `${path}.reason`),
        ...optional(
          "lastTransitionTime",
          condition.lastTransitionTime,
          `${path}.lastTransitionTime`,
        ),
      },
    }),
  };
}

/**
 * Refuses a document that is small as text and huge, or endless, as a value: YAML aliases repeat what
 * they name, also themselves.
 *
 * @throws {TypeError} when it is nested too deep or has too many values
 */
export function checkSize(raw: unknown, limits = { values: 1_000_000, depth: 100 }): void {
  let values = 0;
  function visit(value: unknown, depth: number): void {
    if (++values > limits.values) {
      throw new TypeError(`the document has more than ${limits.values} values`);
    }
    if (typeof value !== "object" || value === null) return;
    if (depth >= limits.depth) {
      throw new TypeError(`the document is nested more than ${limits.depth} deep`);
    }
    for (const child of Object.values(value)) visit(child, depth + 1);
  }
  visit(raw, 0);
}

function parseAnnotations(metadata: Fields, at: string): Readonly<Record<string, string>> {
  const path = `${at}metadata.annotations`;
  const entries = Object.entries(fieldsOf(metadata.annotations ?? {}, path));
  return Object.fromEntries(
    entries.map(([key, value]) => [key, textOf(value, `${path}["${key}"]`)]),
  );
}

function parseOwner(metadata: Fields, at: string): Pod["owner"] {
  const path = `${at}metadata.ownerReferences`;
  for (const [n, item] of listOf(metadata.ownerReferences ?? [], path).entries()) {
    const reference = fieldsOf(item, `${path}[${n}]`);
    if (reference.controller !== true) continue;
    return {
      kind: textOf(reference.kind, `${path}[${n}].kind`),
      name: textOf(reference.name, `${path}[${n}].name`),
      uid: textOf(reference.uid ?? "", `${path}[${n}].uid`),
    };
  }
  return undefined;
}

function isReady(object: Fields, at: string): boolean {
  return conditionsOf(object, at)
    .some((condition) => condition.type === "Ready" && condition.status === "True");
}

function parseConditions(object: Fields, at: string): readonly KnownCondition[] {
  return conditionsOf(object, at).map(({ type, status, lastTransitionTime }, n) => {
    const path = `${at}status.conditions[${n}]`;
    return {
      type: textOf(type, `${path}.type`),
      status: textOf(status, `${path}.status`),
      lastTransitionTime: textOf(lastTransitionTime ?? "", `${path}.lastTransitionTime`),
    };
  });
}

function conditionsOf(object: Fields, at: string): readonly Fields[] {
  const status = fieldsOf(object.status ?? {}, `${at}status`);
  const path = `${at}status.conditions`;
  return listOf(status.conditions ?? [], path).map((item, n) => fieldsOf(item, `${path}[${n}]`));
}

function optional<K extends string>(key: K, value: unknown, path: string): { [P in K]?: string } {
  return isGiven(value) ? { [key]: textOf(value, path) } as { [P in K]: string } : {};
}

/** Names of Kubernetes objects (RFC 1123 subdomain): they become parts of keys, aliases and file names. */
function nameOf(value: unknown, path: string): string {
  const name = textOf(value, path);
  if (name.length <= 253 && /^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/.test(name)) return name;
  throw wrongType(path, "a name (RFC 1123)", name);
}

/** A UUID from an API server, a hash for a static pod; it becomes a part of the link's alias. */
function uidOf(value: unknown, path: string): string {
  const uid = textOf(value, path);
  if (/^[A-Za-z0-9._-]{0,64}$/.test(uid)) return uid;
  throw wrongType(path, "a UID", uid);
}

function fieldsOf(value: unknown, path: string): Fields {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) {
    return value as Fields;
  }
  throw wrongType(path, "an object", value);
}

function listOf(value: unknown, path: string): readonly unknown[] {
  if (Array.isArray(value)) return value;
  throw wrongType(path, "a list", value);
}

function textOf(value: unknown, path: string): string {
  if (typeof value === "string") return value;
  throw wrongType(path, "a text", value);
}

function isGiven(value: unknown): boolean {
  return value !== undefined && value !== null;
}

function wrongType(path: string, wanted: string, value: unknown): TypeError {
  return new TypeError(`${path} is ${show(value)}, not ${wanted}`);
}

function show(value: unknown): string {
  if (value === undefined) return "missing";
  if (Array.isArray(value)) return "a list";
  if (typeof value === "object" && value !== null) return "an object";
  return typeof value === "string" ? JSON.stringify(value.slice(0, 60)) : String(value);
}
