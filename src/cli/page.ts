/**
 * `flock status --html`: the page that shows the node, from the agent into a file.
 *
 * @module
 */
import { messageOf } from "../core/errors.ts";
import type { Page } from "../core/inspection.ts";
import { askAgent, describeFailure, type Terminal } from "./inspect.ts";
import type { InspectOptions } from "./inspect_commands.ts";

/**
 * Writes the page.
 *
 * @param out path of the file; `-` for standard output
 * @returns exit status: 0, or 1 when it failed
 */
export async function savePage(
  out: string,
  options: InspectOptions,
  terminal: Pick<Terminal, "write" | "writeError">,
): Promise<number> {
  let page: Page;
  try {
    const command = { ...options.command, name: "page" };
    page = await askAgent({ ...options, command }) as Page;
  } catch (error) {
    terminal.writeError(describeFailure(error, options));
    return 1;
  }
  if (out === "-") {
    terminal.write(page.html);
    return 0;
  }
  try {
    await Deno.writeTextFile(out, page.html);
    return 0;
  } catch (error) {
    terminal.writeError(`error: Cannot write page "${out}": ${messageOf(error)}\n`);
    return 1;
  }
}
