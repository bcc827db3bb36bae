/**
 * `deno task generate`: writes deploy/crd.yaml from the schema of NodeConfig. A test fails when the file
 * is not what this writes.
 *
 * @module
 */
import { nodeConfigCrd } from "../src/core/node_config_crd.ts";
import { renderYaml } from "../src/std.ts";
import { ROOT } from "./run.ts";

/** Where the definition is, from the root of the repository. */
export const CRD_FILE = "deploy/crd.yaml";

/** The text of deploy/crd.yaml. */
export function renderCrd(): string {
  return `# Made by "deno task generate" from src/core/node_config_schema.ts; do not edit.\n${
    renderYaml(nodeConfigCrd())
  }`;
}

if (import.meta.main) {
  await Deno.writeTextFile(`${ROOT}/${CRD_FILE}`, renderCrd());
}
