import { assert, assertEquals } from "@std/assert";
import { z } from "zod";
import { nodeConfigSpecSchema } from "./node_config_schema.ts";

interface OpenApi {
  readonly type?: string;
  readonly properties?: Readonly<Record<string, OpenApi>>;
  readonly items?: OpenApi;
  readonly maxLength?: number;
  readonly maxItems?: number;
  readonly additionalProperties?: unknown;
  readonly default?: unknown;
  readonly minimum?: number;
  readonly maximum?: number;
}

function* nodesOf(schema: OpenApi, path: string): Iterable<readonly [string, OpenApi]> {
  yield [path, schema];
  for (const [name, property] of Object.entries(schema.properties ?? {})) {
    yield* nodesOf(property, `${path}.${name}`);
  }
  if (schema.items) yield* nodesOf(schema.items, `${path}[]`);
}

Deno.test("nodeConfigSpecSchema gives an OpenAPI schema that an API server takes", () => {
  const schema = z.toJSONSchema(nodeConfigSpecSchema, {
    target: "openapi-3.0",
    io: "input",
  }) as OpenApi;
  const paths: string[] = [];
  for (const [path, node] of nodesOf(schema, "spec")) {
    paths.push(path);
    assert(node.type !== undefined, `${path} has no type`);
    assertEquals([node.additionalProperties, node.default], [undefined, undefined], path);
    if (node.type === "string") assert((node.maxLength ?? 0) > 0, `${path} has no maxLength`);
    if (node.type === "array") assert((node.maxItems ?? 0) > 0, `${path} has no maxItems`);
    if (node.type === "integer") {
      assert(node.minimum !== undefined && node.maximum !== undefined, `${path} has no bounds`);
    }
  }
  for (
    const path of [
      "spec.cidr6[]",
      "spec.bgp.peers[].gracefulRestart.restartTime",
      "spec.announce.allowed[].namespaces[]",
    ]
  ) {
    assert(paths.includes(path), path);
  }
});
