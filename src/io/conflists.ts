/**
 * Network configurations of a runtime's directory: which is ours, and setting the others aside. A runtime
 * reads files that end in .conf, .conflist or .json, the first by name.
 *
 * @module
 */
import { PLUGIN_NAME } from "../core/config.ts";
import { readTextIfPresent, syncDir } from "./fs.ts";

/** Ending of a configuration that was set aside: runtimes do not read it. */
const ASIDE = ".flock-aside";

/** True for a list whose first plugin is flock, whatever else is chained. */
export async function isOwnConflist(path: string): Promise<boolean> {
  return (await pluginTypesIn(path))[0] === PLUGIN_NAME;
}

/** A network configuration of a runtime's directory. */
export interface ListedConfig {
  readonly name: string;
  /** flock is its first plugin. */
  readonly own: boolean;
  /** Types of its plugins, in order; none when it cannot be parsed. */
  readonly plugins: readonly string[];
}

/** The configurations in a directory that a runtime reads, sorted by name; none without a directory. */
export async function listConfigs(dir: string): Promise<readonly ListedConfig[]> {
  const names = (await namesIn(dir)).filter(isRead);
  return await Promise.all(names.map(async (name) => {
    const plugins = await pluginTypesIn(`${dir}/${name}`);
    return { name, own: name.endsWith(".conflist") && plugins[0] === PLUGIN_NAME, plugins };
  }));
}

/** Sets aside every configuration that is not flock's. Returns their names. */
export async function setOthersAside(dir: string): Promise<readonly string[]> {
  const names: string[] = [];
  for (const name of await namesIn(dir)) {
    if (!isRead(name) || await isOwnConflist(`${dir}/${name}`)) continue;
    await Deno.rename(`${dir}/${name}`, `${dir}/${name}${ASIDE}`);
    names.push(name);
  }
  if (names.length > 0) await syncDir(dir);
  return names;
}

/** Names of the configurations that were set aside and can come back: nobody has written them anew. */
export async function listAside(dir: string): Promise<readonly string[]> {
  const names = await namesIn(dir);
  return names.filter((name) => name.endsWith(ASIDE)).map((name) => name.slice(0, -ASIDE.length))
    .filter((name) => !names.includes(name));
}

/** Puts a configuration back that was set aside. */
export async function putBack(dir: string, name: string): Promise<void> {
  await Deno.rename(`${dir}/${name}${ASIDE}`, `${dir}/${name}`);
  await syncDir(dir);
}

/** True for the names of files that a runtime reads. */
function isRead(name: string): boolean {
  return /\.(conf|conflist|json)$/.test(name);
}

/** Types of the plugins of a list, in order; none when it is absent or is no list. */
async function pluginTypesIn(path: string): Promise<readonly string[]> {
  const text = await readTextIfPresent(path);
  try {
    const config: unknown = JSON.parse(text ?? "{}");
    const plugins = fieldOf(config, "plugins") ?? [config];
    return Array.isArray(plugins)
      ? plugins.map((plugin) => fieldOf(plugin, "type")).filter((type) => typeof type === "string")
      : [];
  } catch {
    return [];
  }
}

async function namesIn(dir: string): Promise<string[]> {
  try {
    return (await Array.fromAsync(Deno.readDir(dir), ({ name }) => name)).sort();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}

function fieldOf(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null ? Reflect.get(value, name) : undefined;
}
