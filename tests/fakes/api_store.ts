/**
 * The objects behind a test's API server: each change has a version, and what changed since a version is
 * known until it is compacted, as etcd does it.
 *
 * @module
 */
import { withDefaults } from "./api_defaults.ts";
import {
  type JsonObject,
  type Managers,
  recordUpdate,
  serverSideApply,
} from "./server_side_apply.ts";

/** A kind of object. */
export interface Resource {
  /** Empty for the core group. */
  readonly group: string;
  readonly version: string;
  readonly resource: string;
  readonly kind: string;
  readonly namespaced: boolean;
  /** Fields that a selector may name, besides name and namespace. */
  readonly selectable?: readonly string[];
}

export const RESOURCES: readonly Resource[] = [
  core("pods", "Pod", true, ["spec.nodeName", "status.phase"]),
  core("nodes", "Node", false),
  core("namespaces", "Namespace", false),
  core("secrets", "Secret", true, ["type"]),
  core("events", "Event", true, ["involvedObject.name", "reason"]),
  {
    group: "networking.k8s.io",
    version: "v1",
    resource: "networkpolicies",
    kind: "NetworkPolicy",
    namespaced: true,
  },
  {
    group: "flock.fritzlab.net",
    version: "v1alpha1",
    resource: "nodeconfigs",
    kind: "NodeConfig",
    namespaced: false,
  },
];

/** One object as it is stored. */
export interface Stored {
  readonly resource: string;
  readonly key: string;
  readonly object: JsonObject;
}

/** One change. `before` and `after` are undefined where the object was not there. */
export interface Change {
  readonly version: number;
  readonly resource: string;
  readonly before?: JsonObject;
  readonly after?: JsonObject;
}

/** Objects with versions. */
export class ApiStore {
  version = 1_000;
  /** What happened until this version is forgotten. */
  compacted = 1_000;
  readonly #objects = new Map<string, Stored>();
  readonly #managers = new Map<string, Managers>();
  readonly #snapshots = new Map<number, readonly Stored[]>();
  readonly #listeners = new Set<(change: Change) => void>();
  #history: Change[] = [];

  /** Creates or replaces an object, as `manager`. */
  put(resource: string, object: JsonObject, manager = "test"): JsonObject {
    const { key, before } = this.#find(resource, object);
    recordUpdate(before, object, { manager, managers: this.managersOf(resource, key) });
    return this.#store(resource, key, object);
  }

  /** Server-side apply. An object that is not there is made of what is applied. */
  apply(
    resource: string,
    object: JsonObject,
    options: { readonly manager: string; readonly force: boolean },
  ): JsonObject {
    const { key, before } = this.#find(resource, object);
    const managers = this.managersOf(resource, key);
    return this.#store(
      resource,
      key,
      serverSideApply(before ?? object, object, { ...options, managers }),
    );
  }

  delete(resource: string, key: string): boolean {
    const stored = this.#objects.get(`${resource}/${key}`);
    if (stored === undefined) return false;
    this.#objects.delete(`${resource}/${key}`);
    this.#managers.delete(`${resource}/${key}`);
    this.#tell({ version: ++this.version, resource, before: stored.object });
    return true;
  }

  get(resource: string, key: string): JsonObject | undefined {
    return this.#objects.get(`${resource}/${key}`)?.object;
  }

  /** Owners of an object's fields. */
  managersOf(resource: string, key: string): Managers {
    const id = `${resource}/${key}`;
    const managers = this.#managers.get(id) ?? new Map();
    this.#managers.set(id, managers);
    return managers;
  }

  /** The objects of a kind as they were at a version; undefined when nobody knows any more. */
  list(resource: string, version: number): readonly Stored[] | undefined {
    if (version === this.version) {
      this.#snapshots.set(
        version,
        [...this.#objects.values()].sort((a, b) => a.key < b.key ? -1 : 1),
      );
    }
    return this.#snapshots.get(version)?.filter((stored) => stored.resource === resource);
  }

  /** What changed after a version. */
  since(version: number): readonly Change[] {
    return this.#history.filter((change) => change.version > version);
  }

  /** Forgets everything that was. */
  compact(): void {
    this.compacted = ++this.version;
    this.#history = [];
    this.#snapshots.clear();
  }

  follow(listener: (change: Change) => void): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) };
  }

  #find(resource: string, object: JsonObject): { key: string; before?: JsonObject } {
    const { namespace, name } = object.metadata as JsonObject;
    const key = namespace === undefined ? `${name}` : `${namespace}/${name}`;
    return { key, before: this.get(resource, key) };
  }

  #store(resource: string, key: string, written: JsonObject): JsonObject {
    const object = withDefaults(resource, written);
    const before = this.get(resource, key);
    const version = ++this.version;
    const metadata = (object.metadata ?? {}) as JsonObject;
    const old = (before?.metadata ?? {}) as JsonObject;
    const changedSpec = JSON.stringify(before?.spec) !== JSON.stringify(object.spec);
    const after: JsonObject = {
      ...object,
      metadata: {
        ...metadata,
        uid: metadata.uid ?? old.uid ?? crypto.randomUUID(),
        generation: Number(old.generation ?? 0) + (changedSpec ? 1 : 0),
        resourceVersion: String(version),
      },
    };
    this.#objects.set(`${resource}/${key}`, { resource, key, object: after });
    this.#tell({ version, resource, before, after });
    return after;
  }

  #tell(change: Change): void {
    this.#history.push(change);
    for (const listener of [...this.#listeners]) listener(change);
  }
}

function core(
  resource: string,
  kind: string,
  namespaced: boolean,
  selectable: readonly string[] = [],
): Resource {
  return { group: "", version: "v1", resource, kind, namespaced, selectable };
}
