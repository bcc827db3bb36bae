/**
 * The CustomResourceDefinition of NodeConfig, made from the schemas that the agent validates with, so
 * that API server and agent cannot disagree on what a field is. `deno task generate` writes it to
 * deploy/crd.yaml.
 *
 * @module
 */
import { z } from "zod";
import { ANNOTATION_PREFIX } from "./config.ts";
import { nodeConfigSpecSchema } from "./node_config_schema.ts";
import { nodeConfigStatusSchema } from "./node_config_status_schema.ts";

const API_GROUP = ANNOTATION_PREFIX.slice(0, -1);
const API_VERSION = "v1alpha1";

/** A JSON value. */
export type JsonValue = string | number | boolean | readonly JsonValue[] | JsonObject;
/** A JSON object. */
export interface JsonObject {
  readonly [name: string]: JsonValue;
}

/** The CustomResourceDefinition as an object. */
export function nodeConfigCrd(): JsonObject {
  return {
    apiVersion: "apiextensions.k8s.io/v1",
    kind: "CustomResourceDefinition",
    metadata: { name: `nodeconfigs.${API_GROUP}` },
    spec: {
      group: API_GROUP,
      scope: "Cluster",
      names: {
        kind: "NodeConfig",
        listKind: "NodeConfigList",
        plural: "nodeconfigs",
        singular: "nodeconfig",
      },
      versions: [{
        name: API_VERSION,
        served: true,
        storage: true,
        subresources: { status: {} },
        additionalPrinterColumns: [
          { name: "ASN", type: "integer", jsonPath: ".spec.bgp.asn" },
          // The reason says more than the status: AllDown, SomeDown, NoPeers.
          condition("Peers", "PeersEstablished", "reason"),
          { name: "IPv6", type: "string", jsonPath: ".spec.cidr6" },
          { name: "IPv4", type: "string", jsonPath: ".spec.cidr4" },
          condition("Accepted", "Accepted"),
          condition("Established", "PeersEstablished"),
          { ...condition("Programmed", "Programmed"), priority: 1 },
          { name: "Age", type: "date", jsonPath: ".metadata.creationTimestamp" },
        ],
        schema: {
          openAPIV3Schema: {
            type: "object",
            description: "What a node's agent does. Its name is the node's, or default: that one " +
              "supplies what the others leave out.",
            properties: {
              apiVersion: { type: "string" },
              kind: { type: "string" },
              metadata: { type: "object" },
              spec: openApiOf(nodeConfigSpecSchema),
              status: openApiOf(nodeConfigStatusSchema),
            },
          },
        },
      }],
    },
  };
}

function condition(name: string, type: string, field = "status"): JsonObject {
  const jsonPath = `.status.conditions[?(@.type=="${type}")].${field}`;
  return { name, type: "string", jsonPath };
}

/** A structural schema: OpenAPI 3.0 with a type at every node and no references. */
function openApiOf(schema: z.ZodType): JsonObject {
  return z.toJSONSchema(schema, {
    target: "openapi-3.0",
    io: "input",
    reused: "inline",
    override: ({ jsonSchema }) => {
      // Without the bounds of JavaScript's numbers, which say nothing about the field.
      if (jsonSchema.maximum === Number.MAX_SAFE_INTEGER) delete jsonSchema.maximum;
      if (jsonSchema.minimum === Number.MIN_SAFE_INTEGER) delete jsonSchema.minimum;
      // Numbers of 32 bits without a sign do not fit in int32, which some clients take for granted.
      if ((jsonSchema.maximum ?? 0) > 2_147_483_647) jsonSchema.format = "int64";
    },
  }) as JsonObject;
}
