/**
 * What an API server puts into an object before it stores it, where flock looks at it.
 *
 * @module
 */
import type { JsonObject } from "./server_side_apply.ts";

/** The object of a resource with its defaults. */
export function withDefaults(resource: string, object: JsonObject): JsonObject {
  switch (resource) {
    case "namespaces": {
      const metadata = object.metadata as JsonObject;
      const labels = {
        ...metadata.labels as JsonObject,
        "kubernetes.io/metadata.name": `${metadata.name}`,
      };
      return { ...object, metadata: { ...metadata, labels } };
    }
    case "networkpolicies":
      return { ...object, spec: policySpec((object.spec ?? {}) as JsonObject) };
    case "pods": {
      const { spec } = object as { readonly spec?: JsonObject };
      if (spec === undefined) return object;
      const kinds = ["containers", "initContainers"].filter((kind) => Array.isArray(spec[kind]));
      const containers = kinds.map((kind) => [kind, (spec[kind] as JsonObject[]).map(withTcp)]);
      return { ...object, spec: { ...spec, ...Object.fromEntries(containers) } };
    }
    default:
      return object;
  }
}

function policySpec(spec: JsonObject): JsonObject {
  const { policyTypes, ingress, egress } = spec as Readonly<Record<string, readonly JsonObject[]>>;
  const types = policyTypes?.length
    ? policyTypes
    : egress?.length
    ? ["Ingress", "Egress"]
    : ["Ingress"];
  return {
    podSelector: {},
    ...spec,
    policyTypes: types,
    ...(ingress ? { ingress: ingress.map(withTcp) } : {}),
    ...(egress ? { egress: egress.map(withTcp) } : {}),
  } as JsonObject;
}

/** Of anything that has ports: those without a protocol are TCP's. */
function withTcp(object: JsonObject): JsonObject {
  const { ports } = object;
  if (!Array.isArray(ports)) return object;
  return { ...object, ports: ports.map((port) => ({ protocol: "TCP", ...port as JsonObject })) };
}
