/**
 * Writes the conflist once pods can be attached: written earlier, a runtime without STATUS would start
 * pods that cannot come up. It stays when the agent stops.
 *
 * @module
 */
import { renderConflist } from "../core/conflist.ts";
import { DEFAULT_PLUGIN_DIR } from "../core/config.ts";
import { readTextIfPresent, writeFileDurable } from "../io/fs.ts";
import { log } from "../log.ts";

/** Writes the list unless it is there as it should be. */
export async function writeConflist(
  file: string,
  paths: { readonly socket: string; readonly stateDir: string },
): Promise<void> {
  const text = renderConflist({ ...paths, portmap: await exists(`${DEFAULT_PLUGIN_DIR}/portmap`) });
  if (await readTextIfPresent(file) === text) return;
  // The temporary file is in the same directory: containerd overlooks one renamed in from elsewhere.
  await writeFileDurable(file, text, { mode: 0o644 });
  log.info("Wrote network configuration list", { file });
}

async function exists(path: string): Promise<boolean> {
  try {
    await Deno.stat(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}
