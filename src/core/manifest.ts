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
import { API_GROUP, API_VERSION, NODE_LABEL } from "./config.ts";
import {
  conditionsOf,
  type Fields,
  fieldsOf,
  isGiven,
  listOf,
  nameOf,
  optional,
  textOf,
  textsOf,
  wrongType,
} from "./manifest_fields.ts";
import type { NetworkPolicy } from "./network_policy.ts";
import { parseNetworkPolicy } from "./network_policy_manifest.ts";
import type { ClusterNode, KnownCondition, Namespace, NodeConfigObject, Pod } from "./objects.ts";
import { parsePod } from "./pod_manifest.ts";

/** `apiVersion` of our own objects. */
const NODE_CONFIG_API = `${API_GROUP}/${API_VERSION}`;

/** What is made of one object. */
export type ManifestObject =
  | { readonly kind: "Pod"; readonly pod: Pod }
  | { readonly kind: "NodeConfig"; readonly nodeConfig: NodeConfigObject }
  | { readonly kind: "Namespace"; readonly namespace: Namespace }
  | { readonly kind: "NetworkPolicy"; readonly policy: NetworkPolicy }
  | {
    readonly kind: "Ignored";
    /** `apiVersion` and `kind` as they were written. */
    readonly what: string;
  };

/** The label that every namespace has, so that it can be selected by its name. */
const NAME_LABEL = "kubernetes.io/metadata.name";

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
  if (what === "v1 Namespace") return { kind: "Namespace", namespace: parseNamespace(object, at) };
  if (what === "networking.k8s.io/v1 NetworkPolicy") {
    return { kind: "NetworkPolicy", policy: parseNetworkPolicy(object, at) };
  }
  return { kind: "Ignored", what };
}

/**
 * Parses a Namespace.
 *
 * @param at where it is in its document, for messages
 * @throws {TypeError} naming the field
 */
export function parseNamespace(raw: unknown, at = ""): Namespace {
  const metadata = fieldsOf(fieldsOf(raw, `${at}namespace`).metadata, `${at}metadata`);
  const name = nameOf(metadata.name, `${at}metadata.name`);
  const labels = textsOf(metadata.labels, `${at}metadata.labels`);
  const annotations = textsOf(metadata.annotations, `${at}metadata.annotations`);
  return { ...bareNamespace(name, labels), annotations };
}

/** A namespace of which nothing is known but that it exists; an API server labels it the same way. */
export function bareNamespace(name: string, labels: Namespace["labels"] = {}): Namespace {
  return { name, labels: { ...labels, [NAME_LABEL]: name }, annotations: {} };
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
    annotations: textsOf(metadata.annotations, `${at}metadata.annotations`),
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
    ...(textsOf(metadata.labels, "metadata.labels")[NODE_LABEL] === undefined
      ? {}
      : { optedIn: true }),
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
