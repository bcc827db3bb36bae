/**
 * Files that must survive a power cut (temporary file in the same directory, fsync, rename, fsync of
 * the directory), a few reads, and watching a directory. Imported by the CNI path: nothing from npm.
 *
 * @module
 */

import { makeTemp } from "./temp_files.ts";

/**
 * Replaces a file so that a reader sees the old content or the new, and the new is on the disk when
 * this resolves. On failure the old content is untouched and nothing is left behind.
 *
 * @param options.mode permission bits of the file, whatever the umask; 0600 unless told
 * @param options.apart write in a directory of its own below the file's: for a directory whose reader
 * looks at all of it at each write
 * @throws {Error} `Cannot write file "…"` with the cause
 */
export async function writeFileDurable(
  path: string,
  content: string | Uint8Array,
  options: { readonly mode?: number; readonly apart?: boolean } = {},
): Promise<void> {
  const { mode = 0o600, apart = false } = options;
  const dir = parentOf(path);
  const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
  try {
    {
      await using temp = await makeTemp(dir, apart ? "directory" : "file");
      const file = apart ? `${temp.path}/content` : temp.path;
      await writeAll(file, bytes);
      // The umask applies to open and not to chmod.
      if (mode !== 0o600) await Deno.chmod(file, mode);
      await Deno.rename(file, path);
    }
    await syncDir(dir);
  } catch (cause) {
    throw new Error(`Cannot write file "${path}": ${reasonOf(cause)}`, { cause });
  }
}

/**
 * A regular file's text; undefined when there is none.
 *
 * @throws {SyntaxError} when it is not UTF-8
 * @throws {Error} `Cannot read file "…"` with the cause
 */
export async function readTextIfPresent(path: string): Promise<string | undefined> {
  return (await readTextAndInfo(path))?.text;
}

/**
 * A regular file's text, and what the system says of the very file that was read: its path may lead to another
 * one before and after.
 *
 * @param options.maxBytes a larger file is refused; no limit unless told
 * @throws {SyntaxError} when it is not UTF-8
 * @throws {Error} `Cannot read file "…"` with the cause
 */
export async function readTextAndInfo(
  path: string,
  options: { readonly maxBytes?: number } = {},
): Promise<{ readonly text: string; readonly info: Deno.FileInfo } | undefined> {
  let bytes: Uint8Array;
  let info: Deno.FileInfo;
  try {
    // Opening a pipe would wait for somebody who writes to it.
    if (!(await Deno.stat(path)).isFile) throw new TypeError("it is not a regular file");
    using file = await Deno.open(path);
    info = await file.stat();
    if (info.size > (options.maxBytes ?? Infinity)) {
      throw new RangeError(`it is larger than ${options.maxBytes} bytes`);
    }
    bytes = new Uint8Array(info.size);
    let length = 0;
    for (let n: number | null = 0; n !== null && length < bytes.length; length += n ?? 0) {
      n = await file.read(bytes.subarray(length));
    }
    bytes = bytes.subarray(0, length);
  } catch (cause) {
    if (cause instanceof Deno.errors.NotFound) return undefined;
    throw new Error(`Cannot read file "${path}": ${reasonOf(cause)}`, { cause });
  }
  try {
    return { text: new TextDecoder("utf-8", { fatal: true }).decode(bytes), info };
  } catch (cause) {
    throw new SyntaxError(`Cannot read file "${path}": it is not UTF-8`, { cause });
  }
}

/**
 * Makes a directory, and those above it, unless they exist. What was made is on the disk when this
 * resolves.
 *
 * @param mode permission bits of what is made; a directory that was there may be shared, and keeps its own
 * @throws {Error} `Cannot make directory "…"` with the cause
 */
export async function ensureDir(path: string, mode = 0o755): Promise<void> {
  try {
    if (!await isDir(path)) await makeDir(path, mode);
  } catch (cause) {
    throw new Error(`Cannot make directory "${path}": ${reasonOf(cause)}`, { cause });
  }
}

/** True for a text that says nothing: what some file systems make of a file by a power cut. */
export function isBlank(text: string): boolean {
  return /^[\0\s]*$/.test(text);
}

/** Removes a file durably. False when there was none. */
export async function removeFileDurable(path: string): Promise<boolean> {
  try {
    await Deno.remove(path);
  } catch (cause) {
    if (cause instanceof Deno.errors.NotFound) return false;
    throw new Error(`Cannot remove file "${path}": ${reasonOf(cause)}`, { cause });
  }
  await syncDir(parentOf(path));
  return true;
}

/**
 * Yields at once, then whenever something in a directory (not below it) may have changed, and every
 * `pollMs` in any case; changes that come while the consumer works are one further yield. What is
 * yielded are the names of the entries that may have changed; undefined: any. The directory may be
 * missing, come, go and come again. Ends when the signal aborts.
 *
 * inotify is only a hint: a watch ends with the directory it was made for, and may be refused
 * (`fs.inotify.max_user_watches`). What is read in the directory decides.
 */
export async function* watchDir(
  dir: string,
  options: { readonly signal: AbortSignal; readonly pollMs?: number },
): AsyncGenerator<ReadonlySet<string> | undefined, void, void> {
  const { signal, pollMs = 5_000 } = options;
  let names: Set<string> | undefined;
  let lookedAt = -Infinity;
  let wake = Promise.withResolvers<void>();
  const abort = (): void => wake.resolve();
  signal.addEventListener("abort", abort);
  let watch: { id: string; watcher: Deno.FsWatcher } | undefined;
  async function follow(watcher: Deno.FsWatcher): Promise<void> {
    for await (const event of watcher) {
      // Reading is an event too, also our own.
      if (event.kind === "access") continue;
      // A directory made again may get the same inode.
      if (event.kind === "remove" && event.paths.includes(dir)) watch = close(watch);
      if (event.flag === "rescan" || event.paths.includes(dir)) names = undefined;
      for (const path of event.paths) names?.add(path.slice(path.lastIndexOf("/") + 1));
      wake.resolve();
    }
  }
  try {
    while (!signal.aborted) {
      const id = await identityOf(dir);
      if (id !== watch?.id) {
        watch = close(watch);
        const watcher = id === undefined ? undefined : openWatcher(dir);
        if (watcher !== undefined && id !== undefined) {
          watch = { id, watcher };
          names = undefined;
          follow(watcher).catch(() => watch = close(watch));
        }
      }
      if (watch === undefined || lookedAt + pollMs <= performance.now()) names = undefined;
      if (names === undefined) lookedAt = performance.now();
      const changed = names;
      names = new Set();
      wake = Promise.withResolvers();
      yield changed;
      if (signal.aborted) return;
      const timer = setTimeout(
        () => wake.resolve(),
        Math.max(0, lookedAt + pollMs - performance.now()),
      );
      await wake.promise;
      clearTimeout(timer);
    }
  } finally {
    signal.removeEventListener("abort", abort);
    close(watch);
  }
}

/** Puts a directory's entries on the disk: a rename is durable only after this (fsync(2)). */
export async function syncDir(dir: string): Promise<void> {
  // Not "using": Deno 2.9's bundler folds this pair of lines into one, and forgets to close.
  const handle = await Deno.open(dir, { read: true });
  try {
    await handle.sync();
  } finally {
    handle.close();
  }
}

async function identityOf(dir: string): Promise<string | undefined> {
  try {
    const { dev, ino, isDirectory } = await Deno.stat(dir);
    return isDirectory ? `${dev}:${ino}` : undefined;
  } catch {
    return undefined; // whoever reads the directory says why it cannot be read
  }
}

function openWatcher(dir: string): Deno.FsWatcher | undefined {
  try {
    return Deno.watchFs(dir, { recursive: false });
  } catch {
    return undefined; // polling does without
  }
}

function close(watch: { readonly watcher: Deno.FsWatcher } | undefined): undefined {
  try {
    watch?.watcher.close();
  } catch (error) {
    if (!(error instanceof Deno.errors.BadResource)) throw error; // it has ended by itself
  }
}

async function writeAll(path: string, bytes: Uint8Array): Promise<void> {
  using file = await Deno.open(path, { write: true, create: true, mode: 0o600 });
  for (let n = 0; n < bytes.length;) n += await file.write(bytes.subarray(n));
  await file.sync();
}

async function isDir(path: string): Promise<boolean> {
  try {
    if ((await Deno.stat(path)).isDirectory) return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
  throw new Deno.errors.NotADirectory("it is not a directory");
}

async function makeDir(path: string, mode: number): Promise<void> {
  const parent = parentOf(path);
  try {
    await Deno.mkdir(path, { mode });
  } catch (error) {
    if (error instanceof Deno.errors.AlreadyExists) return; // somebody else has just made it
    if (!(error instanceof Deno.errors.NotFound) || parent === path) throw error;
    await ensureDir(parent, mode);
    return await makeDir(path, mode);
  }
  try {
    await syncDir(parent);
  } catch (error) {
    // The executable may read its own directories, not those above them. The topmost directory of
    // ours is then as durable as the system makes it, and at that moment holds nothing yet.
    if (!(error instanceof Deno.errors.NotCapable)) throw error;
  }
}

/** The directory that a path is in: `/` at the top, `.` for a bare name. */
export function parentOf(path: string): string {
  const end = path.replace(/\/+$/, "").lastIndexOf("/");
  if (end < 0) return ".";
  return end === 0 ? "/" : path.slice(0, end);
}

/** What the system said, without its number and path: the message around it names the path. */
function reasonOf(cause: unknown): string {
  const text = cause instanceof Error ? cause.message : String(cause);
  const said = text.replace(/ \(os error \d+\).*$/s, "");
  return said.charAt(0).toLowerCase() + said.slice(1);
}
