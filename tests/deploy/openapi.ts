/**
 * What an API server asks of a CustomResourceDefinition's schema before it takes it ("structural", bounded,
 * mergeable), and how it validates objects by it. Rules in CEL are in `cel.ts`.
 *
 * @module
 */

/** The part of OpenAPI 3.0 that a structural schema is made of. */
export interface OpenApi {
  readonly type?: string;
  readonly description?: string;
  readonly format?: string;
  readonly properties?: Readonly<Record<string, OpenApi>>;
  readonly items?: OpenApi;
  readonly required?: readonly string[];
  readonly enum?: readonly unknown[];
  readonly pattern?: string;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly minItems?: number;
  readonly maxItems?: number;
  readonly "x-kubernetes-validations"?: readonly {
    readonly rule: string;
    readonly message: string;
  }[];
  readonly "x-kubernetes-list-type"?: string;
  readonly "x-kubernetes-list-map-keys"?: readonly string[];
}

/** A node of a schema: where it is, and how many there can be of it in one object. */
export interface SchemaNode {
  readonly path: string;
  readonly schema: OpenApi;
  readonly cardinality: number;
}

const KEYWORDS: ReadonlySet<string> = new Set([
  ...["type", "description", "format", "properties", "items", "required", "enum", "pattern"],
  ...["minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems"],
  ...["validations", "list-type", "list-map-keys"].map((k) => `x-kubernetes-${k}`),
]);
/** Formats the API server knows for these types; others mean nothing. */
const FORMATS: Readonly<Record<string, readonly string[]>> = {
  string: ["date-time"],
  integer: ["int32", "int64"],
};

/** Every node, the root first. */
export function* nodesOf(schema: OpenApi, path = "", cardinality = 1): Iterable<SchemaNode> {
  yield { path, schema, cardinality };
  for (const [name, property] of Object.entries(schema.properties ?? {})) {
    yield* nodesOf(property, path === "" ? name : `${path}.${name}`, cardinality);
  }
  const { items, maxItems = Infinity } = schema;
  if (items !== undefined) yield* nodesOf(items, `${path}[]`, cardinality * maxItems);
}

/** Why the API server would refuse a schema. */
export function schemaProblems(root: OpenApi): string[] {
  return [...nodesOf(root)].flatMap(({ path, schema }) =>
    problemsOf(schema).map((problem) => `${path || "the root"}: ${problem}`)
  );
}

function problemsOf(schema: OpenApi): string[] {
  const { type, properties, items, required, format } = schema;
  const problems = Object.keys(schema).filter((key) => !KEYWORDS.has(key))
    .map((key) => `"${key}" is not a word of structural schemas that we use`);
  const say = (problem: string, when: boolean): void => {
    if (when) problems.push(problem);
  };
  say("no type", type === undefined);
  say(`unknown type ${type}`, !/^(object|array|string|integer|boolean)$/.test(type ?? "object"));
  say("an array without items", type === "array" && items === undefined);
  say("items of what is not an array", type !== "array" && items !== undefined);
  say("properties of what is not an object", type !== "object" && properties !== undefined);
  say("a string without bound", type === "string" && !(schema.maxLength! > 0) && !schema.enum);
  say("an array without bound", type === "array" && !(schema.maxItems! > 0));
  say(`format ${format}`, format !== undefined && !FORMATS[type ?? ""]?.includes(format));
  for (const name of required ?? []) {
    say(`requires "${name}", which is no property`, properties?.[name] === undefined);
  }
  const keys = schema["x-kubernetes-list-map-keys"];
  say("a map list without keys", (schema["x-kubernetes-list-type"] === "map") !== !!keys);
  for (const key of keys ?? []) {
    say(`key "${key}" is not required`, !items?.required?.includes(key));
    say(
      `key "${key}" is no scalar`,
      !/^(string|integer)$/.test(items?.properties?.[key]?.type ?? ""),
    );
  }
  return problems;
}

/** Problems of a value by its schema alone, without its rules. Unknown fields are pruned, not refused. */
export function valueProblems(schema: OpenApi, value: unknown, path: string): string[] {
  if (typeOf(value, schema.type) !== schema.type) return [`${path}: not of type ${schema.type}`];
  const problems: string[] = [];
  const say = (problem: string, when: boolean): void => {
    if (when) problems.push(`${path}: ${problem}`);
  };
  say("not one of the values", schema.enum !== undefined && !schema.enum.includes(value));
  if (typeof value === "string") {
    const length = [...value].length;
    say("too long", length > (schema.maxLength ?? Infinity));
    say("too short", length < (schema.minLength ?? 0));
    say("pattern", schema.pattern !== undefined && !new RegExp(schema.pattern).test(value));
  } else if (typeof value === "number") {
    say("too large", value > (schema.maximum ?? Infinity));
    say("too small", value < (schema.minimum ?? -Infinity));
  } else if (Array.isArray(value)) {
    say("too many items", value.length > (schema.maxItems ?? Infinity));
    say("too few items", value.length < (schema.minItems ?? 0));
    value.forEach((item, i) =>
      problems.push(...valueProblems(schema.items!, item, `${path}[${i}]`))
    );
  } else if (typeof value === "object" && value !== null) {
    for (const name of schema.required ?? []) {
      say(`${name} is missing`, !Object.hasOwn(value, name));
    }
    for (const [name, property] of Object.entries(schema.properties ?? {})) {
      const field: unknown = Reflect.get(value, name);
      if (field !== undefined) problems.push(...valueProblems(property, field, `${path}.${name}`));
    }
  }
  return problems;
}

function typeOf(value: unknown, wanted: string | undefined): string {
  if (Array.isArray(value)) return "array";
  if (Number.isInteger(value) && wanted === "integer") return "integer";
  return value === null ? "null" : typeof value;
}
