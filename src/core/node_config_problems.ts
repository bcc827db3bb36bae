/**
 * What is wrong with a NodeConfig's spec, in sentences that name path and value.
 *
 * @module
 */
import type { z } from "zod";
import { quote } from "./quote.ts";

const MAX_PATH = 120;

const TYPES: Readonly<Record<string, string>> = {
  string: "a string",
  number: "a number",
  int: "a whole number",
  boolean: "true or false",
  array: "a list",
  object: "an object",
};

/** An object with named fields, of any content. */
export function isFields(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** One problem: `spec.bgp.peers[1].address "x": it is neither IPv4 nor IPv6`. */
export function problemText(issue: z.core.$ZodIssue, spec: unknown): string {
  const value = issue.path.reduce<unknown>(
    (at, key) => typeof at === "object" && at !== null ? Reflect.get(at, key) : undefined,
    spec,
  );
  const shown = value === undefined ? "" : ` ${quote(value)}`;
  return `${pathText(issue.path)}${shown}: ${problemOf(issue, value)}`;
}

/** Paths of the fields of `spec` that are not in `known`, which the schema made of it. */
export function unknownFields(
  spec: unknown,
  known: unknown,
  path: readonly PropertyKey[] = [],
): readonly string[] {
  if (Array.isArray(spec) && Array.isArray(known)) {
    return spec.flatMap((item, i) => unknownFields(item, known[i], [...path, i]));
  }
  if (!isFields(spec) || !isFields(known)) return [];
  return Object.keys(spec).flatMap((key) =>
    Object.hasOwn(known, key)
      ? unknownFields(spec[key], known[key], [...path, key])
      : [pathText([...path, key])]
  );
}

function pathText(path: readonly PropertyKey[]): string {
  const text = path.reduce<string>(
    (before, key) => before + (typeof key === "number" ? `[${key}]` : `.${String(key)}`),
    "spec",
  );
  return text.length > MAX_PATH ? `${text.slice(0, MAX_PATH)}…` : text;
}

function problemOf(issue: z.core.$ZodIssue, value: unknown): string {
  switch (issue.code) {
    case "invalid_type":
      return value === undefined
        ? "it is missing"
        : `it is not ${TYPES[issue.expected] ?? issue.expected}`;
    case "invalid_format":
      return `it does not match ${issue.pattern}`;
    case "too_small":
      return typeof value === "number" ? `it is under ${issue.minimum}` : "it is empty";
    case "too_big":
      if (typeof value === "string") return `it is longer than ${issue.maximum} characters`;
      return Array.isArray(value)
        ? `it has more than ${issue.maximum} items`
        : `it is over ${issue.maximum}`;
    default:
      return issue.message;
  }
}
