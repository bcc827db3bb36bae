/**
 * Network configurations of a runtime's directory: which is ours, and setting the others aside. A runtime
 * reads what ends in .conf, .conflist or .json and is no directory, the first by name; what is no regular
 * file there (a pipe, a link that leads nowhere) stops it.
 *
 * @module
 */
import { PLUGIN_NAME } from "../core/config.ts";
import { readTextIfPresent, syncDir } from "./fs.ts";

/** Ending of a configuration that was set aside: runtimes do not read it. */
const ASIDE = ".flock-aside";

/** True for a list whose first plugin is flock, whatever else is chained. */
export async function isOwnConflist(path: string): Promise<boolean> {
  return (await readConfig(path)).plugins[0] === PLUGIN_NAME;
}

/** What is known of a network configuration. */
interface Config {
  /** Types of its plugins, in order; none when it cannot be read or parsed. */
  readonly plugins: readonly string[];
  /** Versions of the specification that runtimes use it with: its `cniVersion`, the highest it offers. */
  readonly versions: readonly string[];
}

/** A network configuration of a runtime's directory. */
export interface ListedConfig extends Config {
  readonly name: string;
  /** flock is its first plugin. */
  readonly own: boolean;
}

/** The configurations in a directory that a runtime reads, sorted by name; none without a directory. */
export async function listConfigs(dir: string): Promise<readonly ListedConfig[]> {
  return await Promise.all((await configNamesIn(dir)).map(async (name) => {
    const config = await readConfig(`${dir}/${name}`);
    return {
      name,
      own: name.endsWith(".conflist") && config.plugins[0] === PLUGIN_NAME,
      ...config,
    };
  }));
}

/** Sets aside every configuration that is not flock's. Returns their names. */
export async function setOthersAside(dir: string): Promise<readonly string[]> {
  const names: string[] = [];
  for (const name of await configNamesIn(dir)) {
    if (await isOwnConflist(`${dir}/${name}`)) continue;
    await Deno.rename(`${dir}/${name}`, `${dir}/${name}${ASIDE}`);
    names.push(name);
  }
  if (names.length > 0) await syncDir(dir);
  return names;
}

/** Names of the configurations that were set aside and can come back: nobody has written them anew. */
export async function listAside(dir: string): Promise<readonly string[]> {
  const names = (await entriesOf(dir)).map(({ name }) => name).sort();
  return names.filter((name) => name.endsWith(ASIDE)).map((name) => name.slice(0, -ASIDE.length))
    .filter((name) => !names.includes(name));
}

/** Puts a configuration back that was set aside. */
export async function putBack(dir: string, name: string): Promise<void> {
  await Deno.rename(`${dir}/${name}${ASIDE}`, `${dir}/${name}`);
  await syncDir(dir);
}

/** Names of what a runtime reads, sorted. */
async function configNamesIn(dir: string): Promise<string[]> {
  return (await entriesOf(dir))
    .filter(({ name, isDirectory }) => /\.(conf|conflist|json)$/.test(name) && !isDirectory)
    .map(({ name }) => name).sort();
}

async function readConfig(path: string): Promise<Config> {
  try {
    const config: unknown = JSON.parse(await readTextIfPresent(path) ?? "{}");
    const plugins = fieldOf(config, "plugins") ?? [config];
    if (!Array.isArray(plugins)) return { plugins: [], versions: [] };
    return {
      plugins: textsOf(plugins.map((plugin) => fieldOf(plugin, "type"))),
      versions: versionsOf(config),
    };
  } catch {
    return { plugins: [], versions: [] };
  }
}

/** Older runtimes know only `cniVersion`; newer ones take the highest of all. */
function versionsOf(config: unknown): readonly string[] {
  const one = textsOf([fieldOf(config, "cniVersion")]);
  const offered = fieldOf(config, "cniVersions");
  const all = [...one, ...textsOf(Array.isArray(offered) ? offered : [])]
    .sort(new Intl.Collator("en", { numeric: true }).compare);
  return [...new Set([...one, ...all.slice(-1)])];
}

function textsOf(values: readonly unknown[]): readonly string[] {
  return values.filter((value) => typeof value === "string");
}

async function entriesOf(dir: string): Promise<readonly Deno.DirEntry[]> {
  try {
    return await Array.fromAsync(Deno.readDir(dir));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}

function fieldOf(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null ? Reflect.get(value, name) : undefined;
}
