/**
 * Sysctls as shell text: Deno refuses every path below /proc, so a child process reads and writes them.
 * A sysctl is named by its path below /proc/sys: a link's name may hold a dot.
 *
 * @module
 */

/**
 * POSIX shell: writes the pairs `path value` of `$@`, all that can be; a path that does not exist is skipped.
 * Ends the shell with status 1 when one could not be written.
 */
export const WRITE_SYSCTLS = `failed=
while [ $# -gt 1 ]; do
  [ ! -e "/proc/sys/$1" ] || echo "$2" >"/proc/sys/$1" || failed=1
  shift 2
done
[ -z "$failed" ] || exit 1`;

/**
 * Shell: prints `path:value` for each path of `$@` that exists. Not the shell's own `read`: it reads a
 * byte at a time, and the kernel gives a sysctl's first byte only.
 */
export const READ_SYSCTLS = '[ $# = 0 ] || (cd /proc/sys && grep -sH "" "$@")';

/** Parses what `READ_SYSCTLS` printed: path → value. */
export function parseSysctls(text: string): Record<string, string> {
  return Object.fromEntries(
    text.split("\n").filter((line) => line !== "").map((line) => {
      const at = line.indexOf(":");
      return [line.slice(0, at), line.slice(at + 1)];
    }),
  );
}
