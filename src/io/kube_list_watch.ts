/**
 * A cache of the objects at one path of the API server: read in pages, then kept up to date by a watch,
 * and over again for as long as it takes.
 *
 * ```
 *        ┌──────── 410 Gone: what came since is forgotten ────────┐
 *        ▼                                                        │
 *   list, in pages ──resourceVersion──▶ watch ──events, bookmarks─┤
 *                                         ▲                       │
 *                                         └── ended, broken, silent (from where it was)
 * ```
 *
 * The field selector goes with the list and with the watch. While the server is away the cache stays as
 * it is. A watch is ended by the server before a silent one is given up: only a connection that is dead
 * stays silent longer than that.
 *
 * @module
 */
import { messageOf } from "../core/errors.ts";
import { isFields } from "../core/node_config_problems.ts";
import { quote } from "../core/quote.ts";
import { Trouble } from "../core/trouble.ts";
import { isNews, log } from "../log.ts";
import { sleep } from "../sleep.ts";
import { type KubeClient, KubeError } from "./kube_client.ts";
import { listPages } from "./kube_list.ts";

/** What differs from one kind of object to another. */
export interface ListWatchOptions<T> {
  readonly client: KubeClient;
  /** Of the collection: `/api/v1/pods`. */
  readonly path: string;
  readonly fieldSelector?: string;
  /** Objects in one page of a list; 500 unless told. */
  readonly pageSize?: number;
  /** Makes of an object what is cached of it. Throws when it is none. */
  readonly parse: (raw: unknown) => T;
  /** True when two objects are the same to whoever uses them: the first one stays. Never, unless told. */
  readonly isSame?: (a: T, b: T) => boolean;
  /** With each object that is new or another than before. */
  readonly onTaken?: (item: T) => void;
  /** After each change of the cache. */
  readonly onChange: () => void;
  readonly timing?: Partial<ListWatchTiming>;
}

/** Times in milliseconds. */
export interface ListWatchTiming {
  /** How long the server keeps a watch open: between this and a fifth less, so that nodes spread. */
  readonly watchMs: number;
  /** After how long a silence a watch is given up. More than `watchMs`. */
  readonly silenceMs: number;
  /** Until a failure is tried again: at first, and at most. Half to all of it, so that nodes spread. */
  readonly retryMinMs: number;
  readonly retryMaxMs: number;
  /** After how long a trouble is told of: what is over sooner is everyday life. */
  readonly troubleMs: number;
}

const TIMING: ListWatchTiming = {
  watchMs: 50_000,
  silenceMs: 55_000,
  retryMinMs: 1_000,
  retryMaxMs: 30_000,
  troubleMs: 30_000,
};
/** What ends sooner than this, without a word, was no watch: do not hurry to ask again. */
const SHORT_WATCH_MS = 1_000;

/** The server no longer knows what came after the last object that was seen. */
const GONE = 410;

/** An object as the API serves it, as far as each has it. */
interface Served {
  readonly key: string;
  readonly version: string;
  readonly raw: unknown;
}

/** The objects at one path, by `namespace/name`, or by name where there are no namespaces. */
export class ListWatch<T> {
  readonly #o: ListWatchOptions<T>;
  readonly #timing: ListWatchTiming;
  #items = new Map<string, T>();
  #synced = false;
  /** From where the next watch goes on; undefined: a list comes first. */
  #version: string | undefined;
  #failures = 0;
  #warned = false;
  /** Since when nothing but failures has come. */
  readonly #trouble = new Trouble();
  /** Since when the server has had a watch open. */
  #watchedSince: number | undefined;

  constructor(options: ListWatchOptions<T>) {
    this.#o = options;
    this.#timing = { ...TIMING, ...options.timing };
  }

  /** True once everything was read at least once. */
  get synced(): boolean {
    return this.#synced;
  }

  /** Why nothing was read so far, or no changes are heard of for a while; undefined when that is not so. */
  get trouble(): string | undefined {
    if (this.#isWatched) return undefined;
    return this.#trouble.reason(performance.now(), this.#synced ? this.#timing.troubleMs : 0);
  }

  /** A watch is open that was not ended at once. There may be nothing to hear. */
  get #isWatched(): boolean {
    return this.#watchedSince !== undefined &&
      performance.now() - this.#watchedSince >= SHORT_WATCH_MS;
  }

  get items(): ReadonlyMap<string, T> {
    return this.#items;
  }

  /** Keeps the cache up to date until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        if (this.#version === undefined) await this.#list(signal);
        await this.#watch(signal);
        this.#recovered();
      } catch (error) {
        if (signal.aborted) return;
        await this.#failed(error, signal);
      }
    }
  }

  async #list(signal: AbortSignal): Promise<void> {
    const { client, path, fieldSelector, pageSize } = this.#o;
    const items = new Map<string, T>();
    let version = "";
    for await (const page of listPages(client, { path, fieldSelector, pageSize, signal })) {
      for (const raw of page.items) this.#take(servedOf(raw, path), items, this.#items);
      ({ version } = page);
    }
    this.#items = items;
    this.#version = version;
    this.#synced = true;
    log.debug("Listed objects", { path, fieldSelector, count: items.size, version });
    this.#recovered();
    this.#o.onChange();
  }

  async #watch(signal: AbortSignal): Promise<void> {
    const { client, path, fieldSelector } = this.#o;
    const { watchMs, silenceMs } = this.#timing;
    const started = performance.now();
    let events = 0;
    const lines = client.lines({
      path,
      query: {
        watch: "true",
        fieldSelector,
        resourceVersion: this.#version,
        allowWatchBookmarks: "true",
        timeoutSeconds: String(Math.max(1, Math.round(spread(watchMs, 0.8) / 1000))),
      },
      signal,
      timeoutMs: silenceMs,
      onOpen: () => this.#watchedSince = performance.now(),
    });
    for await (const line of lines) {
      this.#event(JSON.parse(line), path);
      events++;
      this.#recovered();
    }
    if (events === 0 && performance.now() - started < SHORT_WATCH_MS) {
      throw new Error(`Cannot watch "${path}": the server ended the watch at once`);
    }
  }

  #event(event: unknown, path: string): void {
    if (!isFields(event)) throw new TypeError(`Cannot watch "${path}": an event is no object`);
    const { type, object } = event;
    if (type === "ERROR") throw errorOf(object, path);
    const served = servedOf(object, path);
    this.#version = served.version;
    if (type === "BOOKMARK") return;
    const before = this.#items.get(served.key);
    if (type === "DELETED") this.#items.delete(served.key);
    else if (type === "ADDED" || type === "MODIFIED") {
      this.#take(served, this.#items, this.#items);
    } else return; // of a server to come
    // One that nobody can read, or that is the same, is as it was.
    if (this.#items.get(served.key) !== before) this.#o.onChange();
  }

  /** Puts an object in place; of one that makes no sense, what was known before stays. */
  #take({ key, raw }: Served, items: Map<string, T>, known: ReadonlyMap<string, T>): void {
    const { path, parse, isSame = () => false, onTaken = () => {} } = this.#o;
    const before = known.get(key);
    let item = before;
    try {
      const parsed = parse(raw);
      if (before === undefined || !isSame(before, parsed)) onTaken(item = parsed);
    } catch (error) {
      log.warn("Could not read object", { path, object: key, err: error });
    }
    if (item !== undefined) items.set(key, item);
  }

  #recovered(): void {
    const { path, fieldSelector } = this.#o;
    if (this.#warned) {
      log.info("Reached API server again", { path, fieldSelector, failures: this.#failures });
    }
    this.#warned = false;
    this.#failures = 0;
    this.#trouble.end();
  }

  async #failed(error: unknown, signal: AbortSignal): Promise<void> {
    const { retryMinMs, retryMaxMs } = this.#timing;
    if (this.#isWatched) this.#trouble.end();
    this.#trouble.note(messageOf(error), performance.now());
    this.#watchedSince = undefined;
    const { path, fieldSelector } = this.#o;
    const fields = { path, fieldSelector, err: error };
    const isGone = error instanceof KubeError && error.status === GONE;
    if (isGone) this.#version = undefined;
    const backOff = Math.min(retryMinMs * 2 ** Math.min(this.#failures, 16), retryMaxMs);
    const asked = error instanceof KubeError ? error.retryAfterMs ?? 0 : 0;
    // Not sooner than a busy server asks for, and not all at the same time.
    const least = Math.min(asked, retryMaxMs);
    const retryInMs = Math.round(least + spread(backOff, 0.5));
    if (isGone && this.#failures === 0) log.debug("Lost track of objects", fields);
    else if (isNews(this.#failures)) {
      // At first, and then at each doubling.
      log.warn("Could not follow objects", { ...fields, retryInMs });
      this.#warned = true;
    }
    this.#failures++;
    await sleep(retryInMs, signal);
  }
}

/** A time between a part of `ms` and all of it. */
function spread(ms: number, least: number): number {
  return ms * (least + Math.random() * (1 - least));
}

function servedOf(raw: unknown, path: string): Served {
  const metadata = isFields(raw) && isFields(raw.metadata) ? raw.metadata : {};
  const { namespace, name = "", resourceVersion } = metadata;
  if (typeof resourceVersion !== "string") {
    throw new TypeError(`Cannot follow "${path}": an object has no resourceVersion`);
  }
  return { key: namespace ? `${namespace}/${name}` : String(name), version: resourceVersion, raw };
}

/** The error of a watch's error event: a `metav1.Status`. */
function errorOf(status: unknown, path: string): KubeError {
  const { code, message } = isFields(status) ? status : {};
  return new KubeError(
    `Cannot watch "${path}": ${typeof message === "string" ? message : quote(status)}`,
    typeof code === "number" ? code : 500,
  );
}
