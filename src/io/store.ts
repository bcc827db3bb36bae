/**
 * The attachments on disk, `<stateDir>/allocations.json`: what the agent knows after it was killed. It
 * is written whole, durably, and changes that come while a write is under way share the next one.
 *
 * A lock in the state directory keeps a second agent out. The file's form is in `core/attachment.ts`.
 *
 * @module
 */
import { type Attachment, attachmentKey, parseState, renderState } from "../core/attachment.ts";
import { messageOf, TerminalError } from "../core/errors.ts";
import { log } from "../log.ts";
import { ensureDir, isBlank, readTextIfPresent, writeFileDurable } from "./fs.ts";
import { removeTemps } from "./temp_files.ts";

export interface StoreOptions {
  /** This node's name: a file of another node's is refused. */
  readonly node: string;
  /** The kernel's `boot_id`: it tells whether what the file names may still be alive. */
  readonly bootId: string;
  /** Writes the file; the seam of the tests. */
  readonly write?: (path: string, text: string) => Promise<void>;
}

/** The IPv4 address that was given last from a pool (its CIDR). */
export interface LastGiven {
  readonly pool: string;
  readonly address: string;
}

/** Pools whose last address is remembered, as many as in memory: annotations can name any number. */
const MAX_REMEMBERED_POOLS = 1024;

interface State {
  readonly attachments: Map<string, Attachment>;
  readonly lastGiven: Map<string, string>;
}

interface Change {
  readonly key: string;
  /** Undefined: removed. */
  readonly attachment: Attachment | undefined;
  readonly lastGiven: readonly LastGiven[];
  readonly done: PromiseWithResolvers<void>;
}

/**
 * Opens the store of a state directory (made when missing) and locks it.
 *
 * @throws {TerminalError} when another agent holds it, or its file is damaged, of an unknown version or
 * another node's; the file is left as it is
 */
export async function openStore(stateDir: string, options: StoreOptions): Promise<Store> {
  await ensureDir(stateDir);
  await using undo = new AsyncDisposableStack();
  const lock = undo.use(await takeLock(stateDir, options.node));
  await removeTemps(stateDir);
  const path = `${stateDir}/allocations.json`;
  const stored = await readState(path);
  if (stored !== undefined && stored.node !== options.node) {
    throw new TerminalError(
      `Cannot use state file "${path}": it belongs to node "${stored.node}", not "${options.node}"`,
    );
  }
  undo.move();
  return new Store(path, lock, stored, options);
}

/** This node's attachments. Reads see a change at once; its promise tells when it is durable. */
export class Store implements AsyncDisposable {
  /** True when the file is of an earlier boot: nothing that it names is alive. */
  readonly rebooted: boolean;
  /** What the file of an earlier boot holds. Not live, and gone from the disk with the first change. */
  readonly previous: readonly Attachment[];

  readonly #path: string;
  readonly #lock: Disposable;
  readonly #options: StoreOptions;
  /** What is on the disk. */
  #durable: State;
  /** What is on the disk and every change under way or waiting. */
  #live: State;
  #underWay: Change[] = [];
  #waiting: Change[] = [];
  #writer: Promise<void> | undefined;
  #closed = false;

  /** @internal Use `openStore`. */
  constructor(
    path: string,
    lock: Disposable,
    stored: ReturnType<typeof parseState> | undefined,
    options: StoreOptions,
  ) {
    this.#path = path;
    this.#lock = lock;
    this.#options = options;
    this.rebooted = stored !== undefined && stored.bootId !== options.bootId;
    this.previous = this.rebooted ? stored?.attachments ?? [] : [];
    const attachments = this.rebooted ? [] : stored?.attachments ?? [];
    this.#durable = {
      attachments: new Map(attachments.map((a) => [attachmentKey(a), a])),
      lastGiven: new Map(Object.entries(stored?.lastGiven ?? {})),
    };
    this.#live = replay(this.#durable, []);
  }

  /** One attachment, by its key (`containerId/ifname`). */
  get(key: string): Attachment | undefined {
    return this.#live.attachments.get(key);
  }

  /** All attachments, in no order. */
  list(): readonly Attachment[] {
    return [...this.#live.attachments.values()];
  }

  /** Per pool (its CIDR), the address that was given last. */
  lastGiven(): Readonly<Record<string, string>> {
    return Object.fromEntries(this.#live.lastGiven);
  }

  /**
   * Adds or replaces an attachment; durable when it resolves.
   *
   * @throws {Error} when it cannot be written; then memory and disk are as if it had not been asked
   */
  put(attachment: Attachment, ...lastGiven: readonly LastGiven[]): Promise<void> {
    return this.#change(attachmentKey(attachment), attachment, lastGiven);
  }

  /**
   * Removes an attachment, if there is one; durable when it resolves.
   *
   * @throws {Error} when it cannot be written; then the attachment is still there
   */
  async remove(key: string): Promise<void> {
    if (this.#live.attachments.has(key) || this.#durable.attachments.has(key)) {
      await this.#change(key, undefined, []);
    }
  }

  /** Waits for the changes under way and unlocks the state directory. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#writer;
    this.#lock[Symbol.dispose]();
  }

  #change(key: string, attachment: Change["attachment"], lastGiven: Change["lastGiven"]) {
    const change = { key, attachment, lastGiven, done: Promise.withResolvers<void>() };
    if (this.#closed) {
      change.done.reject(new Error(`Cannot store attachment "${key}": the store is closed`));
    } else {
      apply(this.#live, change);
      this.#waiting.push(change);
      this.#writer ??= this.#writeWaiting();
    }
    return change.done.promise;
  }

  async #writeWaiting(): Promise<void> {
    while (this.#waiting.length > 0) {
      // What is asked in the same turn goes into the same write.
      await Promise.resolve();
      this.#underWay = this.#waiting.splice(0);
      if (this.#underWay.length > 1 && await this.#write(this.#underWay) === undefined) {
        this.#underWay.splice(0).forEach((change) => change.done.resolve());
      }
      // One at a time, so that a change fails for itself only: on a full disk a removal may still fit.
      while (this.#underWay.length > 0) await this.#writeOne();
    }
    this.#writer = undefined;
  }

  async #writeOne(): Promise<void> {
    const [change] = this.#underWay as [Change];
    const cause = await this.#write([change]);
    this.#underWay.shift();
    if (cause === undefined) return change.done.resolve();
    this.#live = replay(this.#durable, [...this.#underWay, ...this.#waiting]);
    const what = `Cannot store attachment "${change.key}"`;
    change.done.reject(new Error(`${what}: ${messageOf(cause)}`, { cause }));
  }

  /** Writes the durable state with some changes. Returns what went wrong. */
  async #write(changes: readonly Change[]): Promise<unknown> {
    try {
      const next = replay(this.#durable, changes);
      const text = renderState({
        node: this.#options.node,
        bootId: this.#options.bootId,
        lastGiven: Object.fromEntries(next.lastGiven),
        attachments: [...next.attachments.values()],
      });
      await (this.#options.write ?? writeFileDurable)(this.#path, text);
      this.#durable = next;
    } catch (cause) {
      return cause;
    }
  }
}

function replay(state: State, changes: readonly Change[]): State {
  const next = {
    attachments: new Map(state.attachments),
    lastGiven: new Map(state.lastGiven),
  };
  for (const change of changes) apply(next, change);
  return next;
}

function apply(state: State, { key, attachment, lastGiven }: Change): void {
  if (attachment === undefined) state.attachments.delete(key);
  else state.attachments.set(key, attachment);
  for (const { pool, address } of lastGiven) {
    state.lastGiven.delete(pool);
    state.lastGiven.set(pool, address);
  }
  for (const oldest of state.lastGiven.keys()) {
    if (state.lastGiven.size <= MAX_REMEMBERED_POOLS) break;
    state.lastGiven.delete(oldest);
  }
}

async function readState(path: string): Promise<ReturnType<typeof parseState> | undefined> {
  try {
    const text = await readTextIfPresent(path);
    if (text === undefined) return undefined;
    // Nothing in it can be lost by going on.
    if (isBlank(text)) {
      log.warn("Found empty state file", { path });
      return undefined;
    }
    return parseState(text);
  } catch (cause) {
    throw new TerminalError(`Cannot read state file "${path}": ${messageOf(cause)}`, { cause });
  }
}

/** An flock(2) lock: the kernel takes it from a process that ends, however it ends. */
async function takeLock(stateDir: string, node: string): Promise<Disposable> {
  const path = `${stateDir}/lock`;
  using undo = new DisposableStack();
  const file = undo.use(
    await Deno.open(path, { read: true, write: true, create: true, mode: 0o600 }),
  );
  if (!await file.tryLock(true)) {
    const holder = (await readTextIfPresent(path))?.trim() || "another agent";
    throw new TerminalError(`Cannot lock state directory "${stateDir}": it is held by ${holder}`);
  }
  await file.truncate();
  const text = `pid ${Deno.pid}, node ${node}, since ${new Date().toISOString()}\n`;
  await file.write(new TextEncoder().encode(text));
  undo.move();
  return file;
}
