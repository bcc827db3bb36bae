/**
 * Bundles the program: the CNI plugin and the fast way of operators' commands each by itself, the rest split
 * into chunks that are loaded when asked for. Those two are kept apart because a shared chunk pulls in the
 * bundler's CommonJS helpers and with them `node:module`, which doubles their start-up.
 *
 * Minified, because an agent with 250 pods then takes 87 MB and not 95. But the esbuild that Deno 2.9.6 has
 * (0.25.5) folds a `using` whose name is read once, in the next statement, into that statement, and
 * nothing is disposed of (evanw/esbuild#4482). `deno bundle` has no minifying without that, so such a pair
 * is written with try and finally, and tests/architecture_test.ts counts what survives.
 *
 * @module
 */
import { mustRun, ROOT } from "./run.ts";

/** How main.ts names what is bundled by itself, and what the name becomes in the output. */
const ALONE: readonly { readonly source: string; readonly built: string }[] = [
  { source: "./src/cni/main.ts", built: "./plugin.js" },
  { source: "./src/cli/quick.ts", built: "./quick.js" },
];

/**
 * Writes `main.js`, its chunks, `plugin.js` and `quick.js` to a directory.
 *
 * @param options.minify true unless told
 * @throws {Error} when the bundler fails, or main.js does not name what is alone exactly once
 */
export async function bundle(
  outDir: string,
  options: { readonly minify?: boolean } = {},
): Promise<void> {
  const minify = options.minify ?? true ? ["--minify"] : [];
  const deno = [Deno.execPath(), "bundle", "--quiet", ...minify];
  for (const { source, built } of ALONE) {
    await mustRun([...deno, "--output", `${outDir}/${built.slice(2)}`, source]);
  }
  await mustRun([
    ...deno,
    "--code-splitting",
    ...ALONE.map(({ source }) => `--external=${source}`),
    "--outdir",
    outDir,
    "main.ts",
  ]);
  await renameAlone(`${outDir}/main.js`);
}

/** `--external` leaves the source's specifier in the output: it becomes that of the built file. */
async function renameAlone(main: string): Promise<void> {
  let text = await Deno.readTextFile(main);
  for (const { source, built } of ALONE) {
    const pieces = text.split(`"${source}"`);
    if (pieces.length !== 2) {
      throw new Error(
        `Cannot bundle "${ROOT}/main.ts": it names ${source} ${pieces.length - 1} times`,
      );
    }
    text = pieces.join(`"${built}"`);
  }
  await Deno.writeTextFile(main, text);
}
