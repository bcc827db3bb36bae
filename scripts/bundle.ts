/**
 * Bundles the program: the CNI plugin by itself, the rest split into chunks that are loaded when asked
 * for. The plugin is kept apart because a shared chunk pulls in the bundler's CommonJS helpers and with
 * them `node:module`, which doubles the plugin's start-up.
 *
 * @module
 */
import { mustRun, ROOT } from "./run.ts";

/** How main.ts names the plugin, and what the name becomes in the output. */
const PLUGIN_SOURCE = "./src/cni/main.ts";
const PLUGIN_BUILT = "./plugin.js";

/**
 * Writes `main.js`, its chunks and `plugin.js` to a directory.
 *
 * @throws {Error} when the bundler fails, or main.js does not name the plugin exactly once
 */
export async function bundle(outDir: string): Promise<void> {
  const deno = [Deno.execPath(), "bundle", "--quiet", "--minify"];
  await mustRun([...deno, "--output", `${outDir}/${PLUGIN_BUILT.slice(2)}`, PLUGIN_SOURCE]);
  await mustRun([
    ...deno,
    "--code-splitting",
    `--external=${PLUGIN_SOURCE}`,
    "--outdir",
    outDir,
    "main.ts",
  ]);
  await renamePlugin(`${outDir}/main.js`);
}

/** `--external` leaves the source's specifier in the output: it becomes that of the built file. */
async function renamePlugin(main: string): Promise<void> {
  const pieces = (await Deno.readTextFile(main)).split(`"${PLUGIN_SOURCE}"`);
  if (pieces.length !== 2) {
    throw new Error(
      `Cannot bundle "${ROOT}/main.ts": it names ${PLUGIN_SOURCE} ${pieces.length - 1} times`,
    );
  }
  await Deno.writeTextFile(main, pieces.join(`"${PLUGIN_BUILT}"`));
}
