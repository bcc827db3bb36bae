/**
 * The cluster as a directory of manifests: Pods, NodeConfigs, NetworkPolicies and Namespaces as the API
 * serves them, in `*.yaml`, `*.yml` and `*.json` files. For hosts without Kubernetes, the demo and the tests.
 *
 *     directory ──watch──▶ files (stat) ──changed──▶ objects per file ──merge──▶ pods, NodeConfigs, …
 *
 * A file that cannot be read or parsed keeps the objects it had, and so does a directory that cannot be
 * listed; a file or a directory that is gone takes its objects with it. Files should be renamed into
 * place: one that is written in place is read when it has rested for a moment.
 *
 * @module
 */
import { checkSize, parseObjects } from "../core/manifest.ts";
import { entryOf, type ManifestEntry, namespacesOf } from "../core/manifest_entries.ts";
import { messageOf } from "../core/errors.ts";
import { claimsOf, type NodeClaim } from "../core/node_claims.ts";
import type { NetworkPolicy } from "../core/network_policy.ts";
import type { ClusterSource, Namespace, NodeConfigObject, PeerPod, Pod } from "../core/objects.ts";
import { log } from "../log.ts";
import { parseYamlDocuments } from "../std.ts";
import { readTextAndInfo, watchDir } from "./fs.ts";

export interface ManifestOptions {
  /** Milliseconds between comparisons that no event asked for; 5,000 unless told. */
  readonly pollMs?: number;
}

/** Larger files are refused: thousands of pods fit. */
const MAX_BYTES = 16 * 1024 * 1024;
/** A file written in place is read when it has not changed for this long; also the grain of mtime. */
const SETTLE_MS = 50;

interface FileState {
  readonly inode: string;
  /** Inode, size and time of the last change. */
  readonly stamp: string;
  /** Read so soon after its change that a further one may have left the stamp as it was. */
  readonly racy: boolean;
  readonly objects: readonly ManifestEntry[];
  /** Why the file could not be read; `objects` are then those of an earlier content. */
  readonly problem?: string;
}

/** What is worth a warning, by a text that is the same as long as it is the same warning. */
type Warnings = Map<string, () => void>;

/** Reads a directory of manifests. Nothing is read before `run` or `fetchPod`. */
export function createManifestSource(
  dir: string,
  options: ManifestOptions = {},
): ClusterSource & AsyncDisposable {
  return new ManifestSource(dir, options);
}

class ManifestSource implements ClusterSource, AsyncDisposable {
  synced = false;

  readonly #dir: string;
  readonly #options: ManifestOptions;
  readonly #listeners = new Set<() => void>();
  readonly #stop = new AbortController();
  #files = new Map<string, FileState>();
  /** What is cached, by (kind, namespace, name). */
  #entries = new Map<string, ManifestEntry>();
  #nodeConfigs = new Map<string, NodeConfigObject>();
  #namespaces: ReadonlyMap<string, Namespace> = new Map();
  #policiesSynced = false;
  /** Generations of NodeConfigs that have none of their own: how often the content has changed. */
  readonly #generations = new Map<string, { readonly text: string; readonly count: number }>();
  /** The directory was there, and was not at the last comparison. */
  #missing = false;
  #warned = new Set<string>();
  #scanning: Promise<boolean> = Promise.resolve(false);
  #queued: Promise<boolean> | undefined;
  /** What the next comparison is about: names of entries; undefined: all. */
  #asked: ReadonlySet<string> | undefined = new Set();
  #running: Promise<void> = Promise.resolve();

  constructor(dir: string, options: ManifestOptions) {
    this.#dir = dir;
    this.#options = options;
  }

  *pods(): Iterable<Pod> {
    for (const { object } of this.#entries.values()) if (object.kind === "Pod") yield object.pod;
  }

  pod(namespace: string, name: string): Pod | undefined {
    const object = this.#entries.get(`Pod ${namespace}/${name}`)?.object;
    return object?.kind === "Pod" ? object.pod : undefined;
  }

  async fetchPod(namespace: string, name: string, signal: AbortSignal): Promise<Pod | undefined> {
    while (true) {
      signal.throwIfAborted();
      const settling = await this.#scan();
      const pod = this.pod(namespace, name);
      if (pod !== undefined || !settling) return pod;
      await rest(signal);
    }
  }

  /** What cannot be read at the start may hold policies: without it pods would be let loose. */
  get policiesSynced(): boolean {
    return this.#policiesSynced ||= this.synced && !this.damaged;
  }

  get policiesProblem(): string | undefined {
    const damaged = this.#files.entries().find(([, file]) => isDamaged(file));
    return damaged && `manifest "${damaged[0]}" cannot be read: ${damaged[1].problem}`;
  }

  *policies(): Iterable<NetworkPolicy> {
    for (const { object } of this.#entries.values()) {
      if (object.kind === "NetworkPolicy") yield object.policy;
    }
  }

  namespaces(): Iterable<Namespace> {
    return this.#namespaces.values();
  }

  peers(): Iterable<PeerPod> {
    return this.pods();
  }

  get damaged(): boolean {
    return this.#files.values().some(isDamaged);
  }

  nodeConfig(name: string): NodeConfigObject | undefined {
    return this.#nodeConfigs.get(name);
  }

  /** Manifests say nothing of Nodes. */
  node(): undefined {}

  claims(signal: AbortSignal): Promise<readonly NodeClaim[]> {
    signal.throwIfAborted();
    return Promise.resolve(claimsOf({ nodeConfigs: this.#nodeConfigs.values(), nodes: [] }));
  }

  onChange(listener: () => void): Disposable {
    const own = (): void => listener();
    this.#listeners.add(own);
    return { [Symbol.dispose]: () => this.#listeners.delete(own) };
  }

  run(signal: AbortSignal): Promise<void> {
    return this.#running = this.#follow(AbortSignal.any([signal, this.#stop.signal]));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#running;
    await (this.#queued ?? this.#scanning);
  }

  async #follow(signal: AbortSignal): Promise<void> {
    const { pollMs } = this.#options;
    for await (const names of watchDir(this.#dir, { signal, pollMs })) {
      // The way a ConfigMap is mounted, all files are links by way of one that is exchanged.
      const some = names?.values().some((name) => name.startsWith("..")) ? undefined : names;
      while (await this.#scan(some) && !signal.aborted) await rest(signal).catch(() => {});
    }
  }

  /**
   * Compares the directory with what is known, beginning after this was asked; who asks while another
   * comparison is under way shares the next. True when a file is settling.
   *
   * @param names the entries that may have changed; undefined: any
   */
  #scan(names?: ReadonlySet<string>): Promise<boolean> {
    this.#asked = names && this.#asked?.union(names);
    return this.#queued ??= this.#scanning.catch(() => false).then(() => {
      const asked = this.#asked;
      this.#asked = new Set();
      this.#queued = undefined;
      return this.#scanning = this.#scanOnce(asked);
    });
  }

  async #scanOnce(asked: ReadonlySet<string> | undefined): Promise<boolean> {
    const warnings: Warnings = new Map();
    let settling = false;
    try {
      const { ino } = await Deno.stat(this.#dir);
      const files = new Map<string, FileState>();
      // A file that is replaced while the directory is listed may be missing in the list.
      const listed = asked === undefined
        ? await manifestsIn(this.#dir)
        : [...asked].filter(isManifest);
      const names = new Set([...listed, ...this.#files.keys()]);
      for (const name of [...names].sort()) {
        const known = this.#files.get(name);
        if (known !== undefined && asked?.has(name) === false) {
          files.set(name, known);
          continue;
        }
        const file = await readFile(`${this.#dir}/${name}`, known);
        if (file === "settling") settling = true;
        const state = file === "settling" ? known : file;
        if (state !== undefined) files.set(name, state);
      }
      // Exchanged while it was read: half of this is of the one, half of the other.
      if ((await Deno.stat(this.#dir)).ino !== ino) return true;
      const isSame = files.size === this.#files.size &&
        files.entries().every(([name, state]) => this.#files.get(name) === state);
      // Mostly: what they hold, and what there is to say of it, is as it was.
      if (isSame && this.synced && !this.#missing) return settling;
      this.#files = files;
      this.#missing = false;
    } catch (error) {
      const gone = this.synced && error instanceof Deno.errors.NotFound;
      // A directory may be exchanged for another one: it is gone when it is gone a moment later too.
      if (gone && !this.#missing) return this.#missing = true;
      warn(warnings, "Could not list manifests", { dir: this.#dir, err: messageOf(error) });
      if (!gone) {
        // Keep what is known, as when an API server is away.
        this.#tell(warnings);
        return false;
      }
      this.#files = new Map();
    }
    const changed = this.#merge(warnings);
    this.#tell(warnings);
    const first = !this.synced;
    this.synced = true;
    if (first || changed) { for (const listener of [...this.#listeners]) listener(); }
    return settling;
  }

  /** Takes over what the files hold; the first file by name wins. True when something changed. */
  #merge(warnings: Warnings): boolean {
    const merged = new Map<string, ManifestEntry>();
    const owners = new Map<string, string>();
    for (const [file, { objects, problem }] of this.#files) {
      if (problem !== undefined) {
        const kept = objects.length;
        warn(warnings, "Could not read manifest", {
          file: `${this.#dir}/${file}`,
          err: problem,
          kept,
        });
      }
      for (const entry of objects) {
        const owner = owners.get(entry.key);
        if (entry.object.kind === "Ignored") {
          warn(warnings, "Ignored object", { file, object: entry.object.what });
        } else if (owner !== undefined) {
          warn(warnings, "Ignored second object", { file, object: entry.key, first: owner });
        } else {
          owners.set(entry.key, file);
          const known = this.#entries.get(entry.key);
          // Who compares objects by what they are should not find another one that says the same.
          merged.set(entry.key, known?.text === entry.text ? known : entry);
          if (entry.object.kind === "NetworkPolicy" && entry.object.policy.problems.length > 0) {
            const { problems } = entry.object.policy;
            warn(warnings, "Refused parts of policy", { file, object: entry.key, problems });
          }
        }
      }
    }
    const changed = merged.size !== this.#entries.size ||
      [...merged].some(([key, entry]) => this.#entries.get(key) !== entry);
    this.#entries = merged;
    if (changed) {
      this.#nodeConfigs = this.#numbered();
      this.#namespaces = namespacesOf(merged.values(), this.#namespaces);
    }
    return changed;
  }

  /** The NodeConfigs, each with a generation. */
  #numbered(): Map<string, NodeConfigObject> {
    const numbered = new Map<string, NodeConfigObject>();
    for (const { text, object } of this.#entries.values()) {
      if (object.kind !== "NodeConfig") continue;
      const { nodeConfig } = object;
      const last = this.#generations.get(nodeConfig.name);
      const count = (last?.count ?? 0) + (last?.text === text ? 0 : 1);
      this.#generations.set(nodeConfig.name, { text, count });
      numbered.set(nodeConfig.name, { generation: count, ...nodeConfig });
    }
    return numbered;
  }

  /** Logs the warnings that are new since the last scan. */
  #tell(warnings: Warnings): void {
    for (const [key, write] of warnings) if (!this.#warned.has(key)) write();
    this.#warned = new Set(warnings.keys());
  }
}

/** It cannot be read, and never could. */
function isDamaged({ problem, objects }: FileState): boolean {
  return problem !== undefined && objects.length === 0;
}

function warn(warnings: Warnings, msg: string, fields: Record<string, unknown>): void {
  warnings.set(JSON.stringify([msg, fields]), () => log.warn(msg, fields));
}

/** Names of the manifests in a directory. A link to a file counts: ConfigMaps are mounted so. */
async function manifestsIn(dir: string): Promise<string[]> {
  const names: string[] = [];
  for await (const { name, isDirectory } of Deno.readDir(dir)) {
    if (!isDirectory && isManifest(name)) names.push(name);
  }
  return names;
}

function isManifest(name: string): boolean {
  return /^[^.].*\.(yaml|yml|json)$/s.test(name);
}

/** One file now: what was known, when it has not changed; undefined when it is gone or no file. */
async function readFile(
  path: string,
  known: FileState | undefined,
): Promise<FileState | "settling" | undefined> {
  let identity = { inode: "", stamp: "", racy: true };
  try {
    // At once: a directory of hundreds is compared every few seconds, and waiting for each costs more.
    const info = Deno.statSync(path);
    if (!info.isFile) return undefined;
    identity = identify(info);
    if (known?.stamp === identity.stamp && !known.racy) return known;
    // Where the clock was set back a file would not settle for hours.
    const settling = identity.racy && (info.mtime?.getTime() ?? 0) <= Date.now();
    if (settling && known?.inode === identity.inode && known.stamp !== identity.stamp) {
      return "settling";
    }
    const file = await readTextAndInfo(path, { maxBytes: MAX_BYTES });
    if (file === undefined) return undefined;
    identity = identify(file.info);
    // `> file` empties a file long before its new content comes.
    if (file.text.trim() === "" && known?.objects.length) throw new SyntaxError("it is empty");
    return { ...identity, objects: parseText(path, file.text) };
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    return { ...identity, objects: known?.objects ?? [], problem: messageOf(error) };
  }
}

function identify(info: Deno.FileInfo): Pick<FileState, "inode" | "stamp" | "racy"> {
  const inode = `${info.dev}:${info.ino}`;
  const changedAt = info.mtime?.getTime() ?? 0;
  const racy = Date.now() - changedAt < SETTLE_MS;
  return { inode, stamp: `${inode}:${info.size}:${changedAt}`, racy };
}

function parseText(path: string, text: string): readonly ManifestEntry[] {
  const documents: unknown[] = path.endsWith(".json")
    ? [text.trim() === "" ? null : JSON.parse(text)]
    : parseYamlDocuments(text);
  checkSize(documents);
  return documents.flatMap((document, n) => {
    try {
      return document === null ? [] : parseObjects(document).map(entryOf);
    } catch (cause) {
      if (documents.length === 1) throw cause;
      throw new TypeError(`document ${n + 1}: ${messageOf(cause)}`, { cause });
    }
  });
}

/** Until a file that is being written may have settled. Rejects when the signal aborts. */
function rest(signal: AbortSignal): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const abort = (): void => reject(signal.reason);
  const timer = setTimeout(resolve, SETTLE_MS);
  signal.addEventListener("abort", abort);
  if (signal.aborted) abort();
  return promise.finally(() => {
    clearTimeout(timer);
    signal.removeEventListener("abort", abort);
  });
}
