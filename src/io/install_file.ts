/**
 * Putting a program in place while it may run: a new file beside the old one, on the disk, renamed over it. A
 * process that runs the old one keeps it; whoever starts it sees the old one or the new one, whole.
 *
 * Programs are large (a compiled executable has about 100 MB), so both are read in pieces.
 *
 * @module
 */
import { messageOf } from "../core/errors.ts";
import { parentOf, syncDir } from "./fs.ts";
import { makeTemp, removeTemps } from "./temp_files.ts";

const PIECE = 1 << 20;
const MODE = 0o755;

/**
 * Makes `target` a copy of `source`, mode 0755. Nothing is written when it is one already: a runtime that
 * starts the plugin at that moment would find it busy (ETXTBSY), and disks of small nodes are slow.
 *
 * @returns whether anything was written
 * @throws {Error} `Cannot install "…"`; then the target is as it was, and nothing is left beside it
 */
export async function installFile(source: string, target: string): Promise<boolean> {
  const dir = parentOf(target);
  try {
    await removeTemps(dir);
    if (await isCopy(source, target)) return false;
    {
      await using temp = await makeTemp(dir);
      await copy(source, temp.path);
      await Deno.rename(temp.path, target);
    }
    await syncDir(dir);
    return true;
  } catch (cause) {
    throw new Error(`Cannot install "${target}": ${messageOf(cause)}`, { cause });
  }
}

async function copy(source: string, temp: string): Promise<void> {
  using from = await Deno.open(source);
  using to = await Deno.open(temp, { write: true });
  for await (const piece of piecesOf(from)) {
    for (let n = 0; n < piece.length;) n += await to.write(piece.subarray(n));
  }
  // The umask applies to open and not to chmod.
  await Deno.chmod(temp, MODE);
  await to.sync();
}

/** True when both are regular files of the same content, and the target may be executed. */
async function isCopy(source: string, target: string): Promise<boolean> {
  const [have, want] = await Promise.all([infoOf(target), Deno.stat(source)]);
  if (have === undefined || !have.isFile || have.size !== want.size) return false;
  if (have.mode !== null && (have.mode & 0o7777) !== MODE) return false;
  using a = await Deno.open(source);
  using b = await Deno.open(target);
  const other = piecesOf(b);
  for await (const piece of piecesOf(a)) {
    const { value } = await other.next();
    if (value === undefined || !sameBytes(piece, value)) return false;
  }
  return true;
}

/** A file in pieces of the same lengths, whatever a read returns; each is good until the next. */
async function* piecesOf(file: Deno.FsFile): AsyncGenerator<Uint8Array, void, void> {
  const buffer = new Uint8Array(PIECE);
  for (let atEnd = false; !atEnd;) {
    let length = 0;
    while (length < PIECE && !atEnd) {
      const n = await file.read(buffer.subarray(length));
      if (n === null) atEnd = true;
      else length += n;
    }
    if (length > 0) yield buffer.subarray(0, length);
  }
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

/** Of the path itself: a link is replaced, not followed. */
async function infoOf(path: string): Promise<Deno.FileInfo | undefined> {
  try {
    return await Deno.lstat(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}
