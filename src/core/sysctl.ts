/**
 * Sysctls as shell text: Deno refuses every path below /proc, so a child process reads and writes them.
 * A sysctl is named by its path below /proc/sys: a link's name may hold a dot.
 *
 * @module
 */

/** POSIX shell: writes the pairs `path value` of `$@`; a path that does not exist is skipped. */
export const WRITE_SYSCTLS =
  'while [ $# -gt 1 ]; do [ ! -e "/proc/sys/$1" ] || echo "$2" >"/proc/sys/$1" || exit 1; shift 2; done';

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
