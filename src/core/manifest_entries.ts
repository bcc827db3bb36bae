/**
 * Objects of manifests by their names, and told apart by what they say.
 *
 * @module
 */
import { bareNamespace, type ManifestObject } from "./manifest.ts";
import type { Namespace } from "./objects.ts";

/** One object. */
export interface ManifestEntry {
  /** `Kind namespace/name`, or `Kind name` where there are no namespaces. */
  readonly key: string;
  /** The object as text: equal for equal objects. */
  readonly text: string;
  readonly object: ManifestObject;
}

/** An object with its name. */
export function entryOf(object: ManifestObject): ManifestEntry {
  return { key: keyOf(object), text: objectText(object), object };
}

function keyOf(object: ManifestObject): string {
  switch (object.kind) {
    case "Pod":
      return `Pod ${object.pod.namespace}/${object.pod.name}`;
    case "NetworkPolicy":
      return `NetworkPolicy ${object.policy.namespace}/${object.policy.name}`;
    case "Namespace":
      return `Namespace ${object.namespace.name}`;
    case "NodeConfig":
      return `NodeConfig ${object.nodeConfig.name}`;
    case "Ignored":
      return object.what;
  }
}

/** An object as text, to be compared: equal for equal objects of one parser. */
export function objectText(object: unknown): string {
  // Addresses are numbers that JSON has no notation for.
  return JSON.stringify(object, (_key, value) => typeof value === "bigint" ? `${value}` : value);
}

/**
 * The namespaces among objects, also those of which no more is known than that something is in them.
 *
 * @param known what this said before: a namespace without an object stays the same one
 */
export function namespacesOf(
  entries: Iterable<ManifestEntry>,
  known: ReadonlyMap<string, Namespace>,
): ReadonlyMap<string, Namespace> {
  const named = new Map<string, Namespace>();
  const implied = new Set<string>();
  for (const { object } of entries) {
    if (object.kind === "Namespace") named.set(object.namespace.name, object.namespace);
    else if (object.kind === "Pod") implied.add(object.pod.namespace);
    else if (object.kind === "NetworkPolicy") implied.add(object.policy.namespace);
  }
  for (const name of implied.difference(named)) {
    const before = known.get(name);
    const bare = bareNamespace(name);
    named.set(name, before && objectText(before) === objectText(bare) ? before : bare);
  }
  return named;
}
