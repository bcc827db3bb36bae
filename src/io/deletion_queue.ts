/**
 * DELs that arrived while the agent was away: one file each in `<stateDir>/deletions/`, written by the
 * plugin, replayed and removed by the agent. Imported by the CNI path: nothing from npm.
 *
 * No clock says which of an ADD and a DEL came first. An ADD makes the DEL of its container true that it
 * finds in the queue, and takes it out, before it begins: what is queued is later than what is attached.
 *
 * @module
 */
import {
  ensureDir,
  readTextIfPresent,
  removeFileDurable,
  watchDir,
  writeFileDurable,
} from "./fs.ts";
import { removeTemps } from "./temp_files.ts";

/** A DEL that was acknowledged and is still to be done. */
export interface Deletion {
  readonly containerId: string;
  readonly ifname: string;
  /** RFC 3339, for people: clocks can be set back. */
  readonly queuedAt: string;
}

/** A file of the queue that is not a deletion, moved aside. */
export interface DamagedDeletion {
  /** Where the file is now. */
  readonly path: string;
  readonly error: Error;
}

/** Permission bits of the queue: only root reads and writes it. */
const DIR_MODE = 0o700;
const SUFFIX = ".json";
/** Longer file names are hashed: NAME_MAX is 255 bytes, and a container id has no limit. */
const MAX_NAME = 200;

/** Which DEL it is. */
type DeletionId = Pick<Deletion, "containerId" | "ifname">;

/**
 * Queues a DEL. It is on the disk when this resolves; queued again, the later one replaces the earlier.
 *
 * @throws {Error} when it cannot be written; then nothing is queued
 */
export async function enqueueDeletion(stateDir: string, deletion: Deletion): Promise<void> {
  const dir = dirOf(stateDir);
  await ensureDir(dir, DIR_MODE);
  const { containerId, ifname, queuedAt } = deletion;
  const text = JSON.stringify({
    version: 1,
    container_id: containerId,
    ifname,
    queued_at: queuedAt,
  });
  await writeFileDurable(`${dir}/${await nameOf(deletion)}`, `${text}\n`);
}

/**
 * What is queued, one for each container and interface, as their times say: of no consequence. A file that cannot be understood is moved aside (`….damaged`) and
 * reported, so that it is neither lost nor reported again.
 */
export async function listDeletions(
  stateDir: string,
): Promise<
  { readonly deletions: readonly Deletion[]; readonly damaged: readonly DamagedDeletion[] }
> {
  const dir = dirOf(stateDir);
  const deletions: Deletion[] = [];
  const damaged: DamagedDeletion[] = [];
  for (const name of await namesIn(dir)) {
    const path = `${dir}/${name}`;
    try {
      const text = await readTextIfPresent(path);
      if (text === undefined) continue;
      const deletion = parseDeletion(text, path);
      if (await nameOf(deletion) !== name) {
        throw new TypeError(`Cannot read queued deletion "${path}": its name is another's`);
      }
      deletions.push(deletion);
    } catch (error) {
      // A disk that cannot be read is not a damaged file.
      if (!(error instanceof SyntaxError || error instanceof TypeError)) throw error;
      await Deno.rename(path, `${path}.damaged`);
      damaged.push({ path: `${path}.damaged`, error });
    }
  }
  deletions.sort((a, b) => Date.parse(a.queuedAt) - Date.parse(b.queuedAt));
  return { deletions, damaged };
}

/** True when a DEL of a container is queued. */
export async function isQueued(stateDir: string, id: DeletionId): Promise<boolean> {
  try {
    await Deno.lstat(`${dirOf(stateDir)}/${await nameOf(id)}`);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/**
 * Removes a DEL that was done. With `queuedAt`, one that was queued again meanwhile (another `queuedAt`)
 * stays.
 */
export async function removeDeletion(
  stateDir: string,
  id: DeletionId & Partial<Deletion>,
): Promise<void> {
  const path = `${dirOf(stateDir)}/${await nameOf(id)}`;
  if (id.queuedAt !== undefined) {
    const text = await readTextIfPresent(path);
    if (text === undefined || parseDeletion(text, path).queuedAt !== id.queuedAt) return;
  }
  await removeFileDurable(path);
}

/**
 * Yields at once and whenever something is or may be queued, until the signal aborts. The consumer
 * lists; what it leaves in the queue is offered again with the next poll.
 *
 * @param options.pollMs 5,000 unless told
 */
export async function* watchDeletions(
  stateDir: string,
  signal: AbortSignal,
  options: { readonly pollMs?: number } = {},
): AsyncGenerator<void, void, void> {
  const dir = dirOf(stateDir);
  await ensureDir(dir, DIR_MODE);
  await removeTemps(dir);
  for await (const _ of watchDir(dir, { signal, ...options })) {
    if ((await namesIn(dir)).length > 0) yield;
  }
}

function dirOf(stateDir: string): string {
  return `${stateDir}/deletions`;
}

/** `<container id>@<ifname>.json`: neither `@` nor `/` is in an encoded part, so names are unique. */
async function nameOf({ containerId, ifname }: DeletionId): Promise<string> {
  const name = `${encodeURIComponent(containerId)}@${encodeURIComponent(ifname)}`;
  if (name.length <= MAX_NAME) return name + SUFFIX;
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(name));
  return new Uint8Array(digest).toHex() + SUFFIX;
}

async function namesIn(dir: string): Promise<string[]> {
  try {
    const entries = await Array.fromAsync(Deno.readDir(dir));
    return entries
      .filter(({ name, isFile }) => isFile && name.endsWith(SUFFIX) && !name.startsWith("."))
      .map(({ name }) => name)
      .sort();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}

function parseDeletion(text: string, path: string): Deletion {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new SyntaxError(`Cannot read queued deletion "${path}": it is not JSON`, { cause });
  }
  const { version, container_id: containerId, ifname, queued_at: queuedAt } = (value ??
    {}) as Record<string, unknown>;
  function fail(field: string): never {
    throw new TypeError(
      `Cannot read queued deletion "${path}": field "${field}" is missing or wrong`,
    );
  }
  if (version !== 1) fail("version");
  if (typeof containerId !== "string" || containerId === "") fail("container_id");
  if (typeof ifname !== "string" || ifname === "") fail("ifname");
  if (typeof queuedAt !== "string" || Number.isNaN(Date.parse(queuedAt))) fail("queued_at");
  return { containerId, ifname, queuedAt };
}
