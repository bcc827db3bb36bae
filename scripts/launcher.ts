/**
 * The launcher: a shell script that runs the bundle with the permissions the executable would have, for
 * machines where `deno compile` cannot get its runtime stub. All paths in it are absolute, so a copy of
 * it works anywhere on this machine.
 *
 * @module
 */

export interface LauncherInput {
  /** Absolute path of Deno. */
  readonly deno: string;
  /** Absolute path of the directory that holds main.js and plugin.js. */
  readonly bundle: string;
  /** Directory for Deno's caches: never the home directory of whoever starts the plugin. */
  readonly denoDir: string;
  /** What `deno compile` would bake into the executable. */
  readonly flags: readonly string[];
}

/**
 * Renders the script. It decides as main.ts does, in the shell's own words (no command is started
 * before Deno), so that the plugin's file is loaded directly. A script cannot see argv[0], only the
 * path it was started by: a link named flock-agent works.
 *
 * @throws {TypeError} when a path cannot be quoted
 */
export function renderLauncher(input: LauncherInput): string {
  const flags = ["--no-config", "--no-lock", "--no-remote", "--no-npm", "--no-code-cache"];
  const words = [input.deno, "run", "--quiet", ...flags, ...input.flags];
  const deno = words.map(quote).join(" ");
  return `#!/bin/sh
# flock, as a launcher of its bundle ("deno task build" wrote it: "deno compile" had no runtime stub).
export DENO_DIR=${quote(input.denoDir)} DENO_NO_UPDATE_CHECK=1 FLOCK_EXECUTABLE="$0"
entry=main.js
if [ $# = 0 ]; then
  if [ -n "\${CNI_COMMAND-}" ]; then
    entry=plugin.js
  else
    case \${0##*/} in
      flock-agent) set -- agent ;;
      flock-installer) set -- install ;;
    esac
  fi
fi
exec ${deno} ${quote(input.bundle)}/$entry "$@"
`;
}

function quote(word: string): string {
  if (/[\0\n']/.test(word)) {
    throw new TypeError(`Cannot quote "${word}": it holds a quote or newline`);
  }
  return /^[\w./,:=-]+$/.test(word) ? word : `'${word}'`;
}
