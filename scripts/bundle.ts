/**
 * Bundles the program: the CNI plugin by itself, the rest split into chunks that are loaded when asked
 * for. The plugin is kept apart because a shared chunk pulls in the bundler's CommonJS helpers and with
 * them `node:module`, which doubles the plugin's start-up.
 *
 * Minified, because an agent with 250 pods then takes 87 MB and not 95. But the esbuild that Deno 2.9.6 has
 * (0.25.5) folds a `using` whose name is read once, in the next statement, into that statement, and
 * nothing is disposed of (evanw/esbuild#4482). `deno bundle` has no minifying without that, so such a pair
 * is written with try and finally, and tests/architecture_test.ts counts what survives.
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
 * @param options.minify true unless told
 * @throws {Error} when the bundler fails, or main.js does not name the plugin exactly once
 */
export async function bundle(
  outDir: string,
  options: { readonly minify?: boolean } = {},
): Promise<void> {
  const minify = options.minify ?? true ? ["--minify"] : [];
  const deno = [Deno.execPath(), "bundle", "--quiet", ...minify];
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
