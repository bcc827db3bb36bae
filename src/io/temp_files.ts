/**
 * Temporary files beside what they are to replace. Who makes one holds a lock on it (flock(2)) that ends
 * with its process: so what a killed writer left is told from what another process writes at this moment,
 * whatever the clock says. Imported by the CNI path: nothing from npm.
 *
 * @module
 */

/** Beginning and end of a temporary file's name: hidden, and never taken for a manifest or a conflist. */
const PREFIX = ".flock-";
const SUFFIX = ".tmp";

/** Directories that this process has looked through. */
const swept = new Set<string>();

/** A temporary file, or a directory for one; removed when it is disposed of, unless it was renamed. */
export interface Temp extends AsyncDisposable {
  readonly path: string;
}

/**
 * Makes an empty temporary file, mode 0600, or a directory, 0700, and removes what killed writers left in
 * that directory before.
 */
export async function makeTemp(dir: string, kind: "file" | "directory" = "file"): Promise<Temp> {
  if (!swept.has(dir)) {
    // What is wrong with the directory is said when it is written.
    await removeTemps(dir).catch(() => {});
    swept.add(dir);
  }
  for (;;) {
    const path = `${dir}/${PREFIX}${crypto.randomUUID()}${SUFFIX}`;
    if (kind === "directory") await Deno.mkdir(path, { mode: 0o700 });
    else (await Deno.open(path, { write: true, createNew: true, mode: 0o600 })).close();
    const held = await hold(path);
    if (held === undefined) continue;
    return {
      path,
      [Symbol.asyncDispose]: async () => {
        await remove(path).catch(() => {});
        held.close();
      },
    };
  }
}

/** Removes the temporary files of a directory that nobody holds; there need not be a directory. */
export async function removeTemps(dir: string): Promise<void> {
  let entries: readonly Deno.DirEntry[];
  try {
    entries = await Array.fromAsync(Deno.readDir(dir));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return;
    throw error;
  }
  for (const { name, isFile, isDirectory } of entries) {
    if (!isTempName(name) || !(isFile || isDirectory)) continue;
    const path = `${dir}/${name}`;
    const handle = await openIfThere(path);
    try {
      if (await handle?.tryLock(true)) await remove(path);
    } finally {
      handle?.close();
    }
  }
}

/** True for the name of a temporary file. */
export function isTempName(name: string): boolean {
  return name.startsWith(PREFIX) && name.endsWith(SUFFIX);
}

/** Locks what was just made; undefined when a sweeper was faster and has removed it. */
async function hold(path: string): Promise<Deno.FsFile | undefined> {
  const handle = await openIfThere(path);
  if (handle === undefined) return undefined;
  try {
    await handle.lock(true);
    await Deno.lstat(path);
    return handle;
  } catch (error) {
    handle.close();
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

async function openIfThere(path: string): Promise<Deno.FsFile | undefined> {
  try {
    return await Deno.open(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

async function remove(path: string): Promise<void> {
  try {
    await Deno.remove(path, { recursive: true });
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}
