/**
 * The way of operators' commands that is fast: no library is loaded before the agent has been asked. What is
 * not well-formed, help and every other command go the long way, through `cli/main.ts`.
 *
 * @module
 */
import { inspect, type Terminal } from "./inspect.ts";
import { type InspectOptions, parseInspectArgs } from "./inspect_commands.ts";
import { savePage } from "./page.ts";

/** Renders YAML. */
export type LoadYaml = () => Promise<{ renderYaml(value: unknown): string }>;

/**
 * Runs a command line when it is a well-formed one of an operator's commands.
 *
 * @returns its exit status; undefined when nothing was done
 */
export async function quick(
  args: readonly string[],
  yaml: LoadYaml,
): Promise<number | undefined> {
  const options = parseInspectArgs(args, (name) => Deno.env.get(name));
  return options === undefined ? undefined : await runInspect(options, yaml);
}

/** Runs one of operators' commands on this terminal. */
export async function runInspect(options: InspectOptions, yaml: LoadYaml): Promise<number> {
  const terminal = createTerminal(yaml);
  return options.html === undefined
    ? await inspect(options, terminal)
    : await savePage(options.html, options, terminal);
}

function createTerminal(yaml: LoadYaml): Terminal {
  const isTerminal = Deno.stdout.isTerminal();
  return {
    isTerminal,
    colour: isTerminal && !Deno.env.get("NO_COLOR"),
    write: (text) => writeAll(Deno.stdout, text),
    writeError: (text) => void writeAll(Deno.stderr, text),
    now: () => new Date(),
    async sleep(ms) {
      await new Promise((resolve) => setTimeout(resolve, ms));
      return true;
    },
    yaml: async (value) => (await yaml()).renderYaml(value),
  };
}

/** Writes all of a text; false when nobody reads it any more, as behind `head`. */
function writeAll(to: { writeSync(bytes: Uint8Array): number }, text: string): boolean {
  const bytes = new TextEncoder().encode(text);
  try {
    for (let sent = 0; sent < bytes.length;) sent += to.writeSync(bytes.subarray(sent));
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.BrokenPipe) return false;
    throw error;
  }
}
