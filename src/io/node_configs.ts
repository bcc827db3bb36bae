/**
 * The NodeConfigs in a directory of manifests, all of them and once: for comparing. What follows the
 * directory as it changes is `manifests.ts`.
 *
 * @module
 */
import { messageOf } from "../core/errors.ts";
import { parseObjects } from "../core/manifest.ts";
import type { NodeConfigObject } from "../core/objects.ts";
import { parseYamlDocuments } from "../std.ts";
import { readTextIfPresent } from "./fs.ts";

/** What was read. */
export interface ReadNodeConfigs {
  readonly objects: readonly NodeConfigObject[];
  /** A sentence for each file that cannot be read. */
  readonly problems: readonly string[];
}

/** Reads every `*.yaml`, `*.yml` and `*.json`. @throws {Error} when the directory cannot be listed */
export async function readNodeConfigs(dir: string): Promise<ReadNodeConfigs> {
  let names;
  try {
    names = await Array.fromAsync(Deno.readDir(dir), ({ name }) => name);
  } catch (cause) {
    throw new Error(`Cannot list manifests "${dir}": ${messageOf(cause)}`, { cause });
  }
  const objects = new Map<string, NodeConfigObject>();
  const problems: string[] = [];
  for (const name of names.filter((name) => /^[^.].*\.(yaml|yml|json)$/s.test(name)).sort()) {
    try {
      const text = await readTextIfPresent(`${dir}/${name}`) ?? "";
      for (const document of parseYamlDocuments(text)) {
        for (const object of document === null ? [] : parseObjects(document)) {
          if (object.kind !== "NodeConfig") continue;
          const { nodeConfig } = object;
          // As the agent has it: the first file by name wins.
          if (!objects.has(nodeConfig.name)) objects.set(nodeConfig.name, nodeConfig);
        }
      }
    } catch (error) {
      problems.push(`Cannot read manifest "${dir}/${name}": ${messageOf(error)}`);
    }
  }
  return { objects: [...objects.values()], problems };
}
