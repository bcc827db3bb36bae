/**
 * What runs on the host and how it is configured: names and command lines of processes, and texts of
 * files. Through a shell, because Deno refuses paths below /proc, and by way of process 1's root, because
 * in a container that shares the host's processes this is where the host's files are.
 *
 * @module
 */
import { type RunCommand, runCommand } from "./command.ts";

/** A process. */
export interface SeenProcess {
  /** As in `/proc/PID/comm`: at most 15 characters. */
  readonly name: string;
  readonly commandLine: string;
}

/** What was seen. */
export interface HostView {
  readonly processes: readonly SeenProcess[];
  /** Their paths are the host's. */
  readonly files: readonly { readonly path: string; readonly text: string }[];
}

/** Between records: no file that is read here has it. */
const SEPARATOR = "\x1e";

/**
 * `$1` names of processes between blanks; then patterns of files, which the shell expands. Prints records
 * `p NAME COMMAND-LINE` and `f PATH`, a line feed and the text.
 */
const SCRIPT = `
wanted=" $1 "; shift
root=/proc/1/root
[ -e "$root/proc" ] || root=
for dir in /proc/[0-9]*; do
  { read -r name <"$dir/comm"; } 2>/dev/null || continue
  case $wanted in *" $name "*) ;; *) continue ;; esac
  printf '\\036p %s\\n' "$name"
  tr '\\000' ' ' <"$dir/cmdline" 2>/dev/null
done
for pattern; do
  for file in "$root"$pattern; do
    [ -f "$file" ] || [ -c "$file" ] || continue
    printf '\\036f %s\\n' "\${file#"$root"}"
    [ -c "$file" ] || cat "$file" || exit
  done
done`;

/**
 * Looks at the host.
 *
 * @param names of processes to look for
 * @param patterns of files to read; a path that is a device (as a link to /dev/null) counts as empty
 */
export async function viewHost(
  names: readonly string[],
  patterns: readonly string[],
  run: RunCommand = runCommand,
): Promise<HostView> {
  const { stdout } = await run("sh", ["-c", SCRIPT, "flock", names.join(" "), ...patterns]);
  const processes: SeenProcess[] = [];
  const files: { path: string; text: string }[] = [];
  for (const record of stdout.split(SEPARATOR).slice(1)) {
    const end = record.indexOf("\n");
    const [kind, subject, text] = [record[0], record.slice(2, end), record.slice(end + 1)];
    if (kind === "f") files.push({ path: subject, text });
    else processes.push({ name: subject, commandLine: text.trim() });
  }
  return { processes, files };
}
