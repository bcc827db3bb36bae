/**
 * Asking other CNI plugins what they are. The shell starts them: where they are is the host's choice, and no
 * permission names them.
 *
 * @module
 */
import { parseVersions, type PluginAnswer } from "../core/cni_plugin.ts";
import { CommandError, runCommand } from "./command.ts";

/** Seconds that a plugin may take; it answers in milliseconds. */
const TIMEOUT_S = 5;
/** The file system that the node's init process has, and so the runtime; a container has another one. */
const HOST_ROOT = "/proc/1/root";

/**
 * `timeout` runs the plugin in a process group of its own and kills all of it: a script that hangs would
 * leave its child behind, with our pipe open.
 */
const RUN = 'exec timeout -s KILL "$2" "$1"';
/** Exit statuses of `timeout` and the shell: it could not start anything, it cannot run, it is not there. */
const NOT_TRIED = 125;
const CANNOT_RUN = 126;
const NOT_FOUND = 127;

/** What came of asking. */
export type AskedPlugin = PluginAnswer | { readonly problem: string };

/**
 * Asks a plugin by VERSION. What is wrong with the plugin is an answer too.
 *
 * @throws {Error} when it could not be asked, which says nothing of it
 */
export async function askPlugin(path: string, timeoutS = TIMEOUT_S): Promise<AskedPlugin> {
  let answer: string;
  try {
    const args = ["-c", `export CNI_COMMAND=VERSION; ${RUN}`, "flock", path, `${timeoutS}`];
    ({ stdout: answer } = await runCommand("sh", args, { stdin: '{"cniVersion":"1.0.0"}' }));
  } catch (error) {
    if (!(error instanceof CommandError) || error.exitCode === NOT_TRIED) throw error;
    return { problem: problemOf(error, timeoutS) };
  }
  try {
    return { versions: parseVersions(answer) };
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    return { problem: error.message };
  }
}

/** What a plugin prints when nobody asks it anything; empty when it says nothing. */
export async function readAbout(path: string): Promise<string> {
  try {
    const args = ["-c", RUN, "flock", path, `${TIMEOUT_S}`];
    const { stdout, stderr } = await runCommand("sh", args);
    return stdout + stderr;
  } catch (error) {
    if (!(error instanceof CommandError) || error.exitCode === NOT_TRIED) throw error;
    return "";
  }
}

/**
 * Whether the host has a program, by its name, where programs of the system are. Where the host cannot be
 * seen, this file system is looked at.
 */
export async function hasHostProgram(name: string): Promise<boolean> {
  const script = `root=${HOST_ROOT}; [ -d "$root/usr" ] || root=
for dir in /usr/local/sbin /usr/local/bin /usr/sbin /usr/bin /sbin /bin; do
  file=$root$dir/$1; if [ -f "$file" ] || [ -L "$file" ]; then echo yes; break; fi
done`;
  return (await runCommand("sh", ["-c", script, "flock", name])).stdout !== "";
}

function problemOf(
  { exitCode, signal, stdout, stderr }: CommandError,
  timeoutS: number,
): string {
  if (signal !== undefined) return `it did not answer VERSION within ${timeoutS} s`;
  if (exitCode === CANNOT_RUN) return "it cannot be executed";
  const said = (stderr.trim() || stdout.trim()).split("\n")[0]!.slice(0, 200);
  if (exitCode === NOT_FOUND) return `it cannot be executed: ${said}`;
  return `it answered VERSION with exit status ${exitCode}${said && `: ${said}`}`;
}
