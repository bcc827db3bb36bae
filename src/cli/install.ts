/**
 * `flock install`: puts the plugin where the runtime looks for it. The plugin is this very executable. The
 * network configuration list is not written here but by the agent, once pods can be attached.
 *
 * @module
 */
import { PLUGIN_NAME } from "../core/config.ts";
import { setOthersAside } from "../io/conflists.ts";
import { installFile } from "../io/install_file.ts";
import { log } from "../log.ts";

export interface InstallOptions {
  /** The file to copy. */
  readonly executable: string;
  readonly pluginDir: string;
  /** The runtime's directory of network configurations, where all but flock's are set aside; none when undefined. */
  readonly exclusive?: string;
}

/**
 * Installs the plugin, or leaves it alone when it is the same already.
 *
 * @returns exit status 0
 * @throws {Error} `Cannot install "…"`
 */
export async function install(options: InstallOptions): Promise<number> {
  const target = `${options.pluginDir}/${PLUGIN_NAME}`;
  const written = await installFile(options.executable, target);
  log.info(written ? "Installed plugin" : "Plugin was installed already", { path: target });
  if (options.exclusive !== undefined) {
    for (const name of await setOthersAside(options.exclusive)) {
      log.info("Set network configuration aside", { path: `${options.exclusive}/${name}` });
    }
  }
  return 0;
}
