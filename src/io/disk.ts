/**
 * A directory and what is left on its file system. Through a shell: Deno does not tell.
 *
 * @module
 */
import { type RunCommand, runCommand } from "./command.ts";

/** A directory. */
export interface DirState {
  /** Permission bits. */
  readonly mode: number;
  readonly uid: number;
  /** False on a file system that is read-only, too. */
  readonly writable: boolean;
  readonly freeBytes: number;
  /** Undefined where the file system has no fixed number. */
  readonly freeInodes?: number;
}

/** The last lines of df: blocks of 1024 bytes, then inodes (POSIX, df -P). */
const SCRIPT = `
if [ -w "$1" ]; then echo yes; else echo no; fi
df -Pk -- "$1" | tail -n 1 && df -Pi -- "$1" | tail -n 1`;

/** Reads a directory's state; undefined when there is none. */
export async function readDirState(
  path: string,
  run: RunCommand = runCommand,
): Promise<DirState | undefined> {
  let info;
  try {
    info = await Deno.stat(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
  const { stdout } = await run("sh", ["-c", SCRIPT, "flock", path]);
  const [writable, blocks = "", inodes = ""] = stdout.split("\n");
  // From the right: the device's name may hold blanks.
  const column = (line: string, n: number): number => Number(line.trim().split(/\s+/).at(-n));
  const total = column(inodes, 5);
  return {
    mode: (info.mode ?? 0) & 0o7777,
    uid: info.uid ?? 0,
    writable: writable === "yes",
    freeBytes: column(blocks, 3) * 1024,
    freeInodes: total > 0 ? column(inodes, 3) : undefined,
  };
}
