/**
 * Reading fields of Kubernetes objects: each function takes a value and the path it was found at, and
 * throws a `TypeError` that names both when the value is of another type.
 *
 * @module
 */

import { isUid } from "./pod_identity.ts";

/** An object whose fields nobody has looked at. */
export type Fields = Readonly<Record<string, unknown>>;

/** An object. */
export function fieldsOf(value: unknown, path: string): Fields {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) {
    return value as Fields;
  }
  throw wrongType(path, "an object", value);
}

/** A list. */
export function listOf(value: unknown, path: string): readonly unknown[] {
  if (Array.isArray(value)) return value;
  throw wrongType(path, "a list", value);
}

/** A text. */
export function textOf(value: unknown, path: string): string {
  if (typeof value === "string") return value;
  throw wrongType(path, "a text", value);
}

/** True or false; false when absent. */
export function flagOf(value: unknown, path: string): boolean {
  if (!isGiven(value)) return false;
  if (typeof value === "boolean") return value;
  throw wrongType(path, "true or false", value);
}

/** Texts by name, as labels and annotations are; none when absent. */
export function textsOf(value: unknown, path: string): Readonly<Record<string, string>> {
  const entries = Object.entries(fieldsOf(value ?? {}, path));
  return Object.fromEntries(entries.map(([key, text]) => [key, textOf(text, `${path}["${key}"]`)]));
}

/** A field that may be absent, to be spread into an object. */
export function optional<K extends string>(
  key: K,
  value: unknown,
  path: string,
): { [P in K]?: string } {
  return isGiven(value) ? { [key]: textOf(value, path) } as { [P in K]: string } : {};
}

/** Names of Kubernetes objects (RFC 1123 subdomain): they become parts of keys, aliases and file names. */
export function nameOf(value: unknown, path: string): string {
  const name = textOf(value, path);
  if (name.length <= 253 && /^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/.test(name)) return name;
  throw wrongType(path, "a name (RFC 1123)", name);
}

/** A UUID from an API server, a hash for a static pod; it becomes a part of the link's alias. */
export function uidOf(value: unknown, path: string): string {
  const uid = textOf(value, path);
  if (isUid(uid)) return uid;
  throw wrongType(path, "a UID", uid);
}

/** `status.conditions` of an object that is at `at` of its document. */
export function conditionsOf(object: Fields, at: string): readonly Fields[] {
  const status = fieldsOf(object.status ?? {}, `${at}status`);
  const path = `${at}status.conditions`;
  return listOf(status.conditions ?? [], path).map((item, n) => fieldsOf(item, `${path}[${n}]`));
}

/** True unless a field is missing, or null, which is the same to an API server. */
export function isGiven(value: unknown): boolean {
  return value !== undefined && value !== null;
}

/** The error for a value that is not what was wanted: `path is "x", not a list`. */
export function wrongType(path: string, wanted: string, value: unknown): TypeError {
  return new TypeError(`${path} is ${show(value)}, not ${wanted}`);
}

function show(value: unknown): string {
  if (value === undefined) return "missing";
  if (Array.isArray(value)) return "a list";
  if (typeof value === "object" && value !== null) return "an object";
  return typeof value === "string" ? JSON.stringify(value.slice(0, 60)) : String(value);
}
