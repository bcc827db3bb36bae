/**
 * Network namespaces by their paths. Those below /proc are for a process of its own to look at: flock may
 * not read there.
 *
 * @module
 */
import { type RunCommand, runCommand } from "./command.ts";

/** Questions about paths. */
export interface NetworkNamespaces {
  /** True when two paths lead to the same network namespace, and it is there. */
  isSame(a: string, b: string): Promise<boolean>;
  /** Those of these paths where nothing is. One that cannot be looked at counts as there. */
  gone(paths: readonly string[]): Promise<ReadonlySet<string>>;
}

const SAME_SCRIPT = '[ "$1" -ef "$2" ] && echo same; exit 0';
/** Prints the paths where nothing is. */
const GONE_SCRIPT = `for netns; do [ -e "$netns" ] || printf '%s\\n' "$netns"; done`;

/** The real ones. */
export function createNetns(run: RunCommand = runCommand): NetworkNamespaces {
  const sh = async (script: string, args: readonly string[]): Promise<string> =>
    (await run("sh", ["-c", script, "flock", ...args])).stdout;
  return {
    isSame: async (a, b) => a === b || await sh(SAME_SCRIPT, [a, b]) !== "",
    gone: async (paths) => {
      const looks = paths.map((path) => [path, look(path)] as const);
      const hidden = looks.filter(([, is]) => is === "hidden").map(([path]) => path);
      const text = hidden.length === 0 ? "" : await sh(GONE_SCRIPT, hidden);
      return new Set([
        ...looks.filter(([, is]) => is === "gone").map(([path]) => path),
        ...text.split("\n").filter((path) => path !== ""),
      ]);
    },
  };
}

/** Hidden: below /proc, of which only a process of its own can tell. */
function look(path: string): "there" | "gone" | "hidden" {
  try {
    Deno.lstatSync(path);
    return "there";
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) return "hidden";
    return error instanceof Deno.errors.NotFound ? "gone" : "there";
  }
}
