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
  const text = await readTextIfPresent(path);
  if (text === undefined) return false;
  try {
    const list: unknown = JSON.parse(text);
    return fieldOf(fieldOf(fieldOf(list, "plugins"), "0"), "type") === PLUGIN_NAME;
  } catch {
    return false;
  }
}

/** Sets aside every configuration that is not flock's. Returns their names. */
export async function setOthersAside(dir: string): Promise<readonly string[]> {
  const names: string[] = [];
  for (const name of await namesIn(dir)) {
    if (!/\.(conf|conflist|json)$/.test(name) || await isOwnConflist(`${dir}/${name}`)) continue;
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
