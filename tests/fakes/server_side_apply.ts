/**
 * Server-side apply as the API server does it, as far as flock's objects need: fields have owners, some
 * lists are merged by a key of their items, every other list is one value.
 *
 * @module
 */

export type Json = null | boolean | number | string | readonly Json[] | JsonObject;
export interface JsonObject {
  readonly [name: string]: Json;
}

/** Which fields a manager owns, by their paths. */
export type Managers = Map<string, Set<string>>;

/** A field's way through an object: names, and the keys of list items. */
type Path = readonly (string | { readonly key: string })[];

/** Lists that are maps (`x-kubernetes-list-type`), by their names, and the keys of their items. */
const LIST_KEYS: Readonly<Record<string, string>> = {
  conditions: "type",
  bgp: "peer",
  anycast: "address",
};

/** Somebody else owns fields that should change. */
export class ApplyConflict extends Error {
  override readonly name = "ApplyConflict";
}

/**
 * Applies a configuration; returns the new object and changes the managers.
 *
 * @throws {ApplyConflict} when a field is somebody else's, without `force`
 */
export function serverSideApply(
  live: JsonObject,
  config: JsonObject,
  options: { readonly manager: string; readonly force: boolean; readonly managers: Managers },
): JsonObject {
  const { manager, force, managers } = options;
  const wanted = leaves(config);
  const present = leaves(live);
  for (const [key, value] of wanted) {
    for (const [other, fields] of managers) {
      if (other === manager || !fields.has(key) || same(present.get(key), value)) continue;
      if (!force) throw new ApplyConflict(`conflict with "${other}": ${key}`);
      fields.delete(key);
    }
  }
  const given = managers.get(manager) ?? new Set();
  managers.set(manager, new Set(wanted.keys()));
  const ownedBySomebody = (key: string): boolean =>
    [...managers.values()].some((fields) => fields.has(key));
  const kept = [...present].filter(([key]) => !given.has(key) || ownedBySomebody(key));
  return build(new Map([...kept, ...wanted]));
}

/** Somebody writes an object whole: what it changes is its own from then on. */
export function recordUpdate(
  before: JsonObject | undefined,
  after: JsonObject,
  options: { readonly manager: string; readonly managers: Managers },
): void {
  const { manager, managers } = options;
  const old = leaves(before ?? {});
  const now = leaves(after);
  const own = managers.get(manager) ?? new Set();
  for (const [key, value] of now) {
    if (same(old.get(key), value)) continue;
    for (const fields of managers.values()) fields.delete(key);
    own.add(key);
  }
  for (const fields of managers.values()) {
    for (const key of fields) if (!now.has(key)) fields.delete(key);
  }
  managers.set(manager, own);
}

/** Every value of an object with its path, as text. */
function leaves(object: JsonObject): Map<string, Json> {
  const found = new Map<string, Json>();
  function visit(value: Json, path: Path): void {
    if (isObject(value) && Object.keys(value).length > 0) {
      for (const [name, field] of Object.entries(value)) visit(field, [...path, name]);
    } else if (Array.isArray(value) && listKey(path) !== undefined) {
      if (value.length === 0) found.set(JSON.stringify(path), []);
      for (const item of value as readonly JsonObject[]) {
        const key = String(item[listKey(path)!]);
        for (const [name, field] of Object.entries(item)) visit(field, [...path, { key }, name]);
      }
    } else found.set(JSON.stringify(path), value);
  }
  visit(object, []);
  return found;
}

/** The object of these values. */
function build(values: ReadonlyMap<string, Json>): JsonObject {
  const root: Record<string, Json> = {};
  for (const [key, value] of values) {
    let at: Record<string, Json> = root;
    const path = JSON.parse(key) as Path;
    for (const [n, step] of path.entries()) {
      if (typeof step !== "string") continue; // taken together with the list before it
      const next = path[n + 1];
      if (next === undefined && listKey(path) !== undefined) at[step] ??= [];
      else if (next === undefined) at[step] = value;
      else if (typeof next === "string") at = (at[step] ??= {}) as Record<string, Json>;
      else {
        const list = (at[step] ??= []) as Record<string, Json>[];
        const name = LIST_KEYS[step]!;
        let item = list.find((one) => one[name] === next.key);
        if (item === undefined) list.push(item = { [name]: next.key });
        at = item;
      }
    }
  }
  return root;
}

/** The key of the items of the list at a path, where it has one. `spec.bgp` is an object. */
function listKey(path: Path): string | undefined {
  const name = path.at(-1);
  return typeof name === "string" ? LIST_KEYS[name] : undefined;
}

function isObject(value: Json): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function same(a: Json | undefined, b: Json): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
