/**
 * Versions of the tools that flock works through.
 *
 * @module
 */
import { type RunCommand, runCommand } from "./command.ts";

const QUESTIONS = {
  bird: "--version",
  ip: "-V",
  nft: "--version",
  conntrack: "--version",
} as const;

/** A tool's version; undefined when it is not installed. */
export interface InstalledTool {
  readonly tool: keyof typeof QUESTIONS;
  readonly version?: string;
}

/** Asks every tool. @throws {Error} when one answers with something else than a version */
export async function readToolVersions(
  run: RunCommand = runCommand,
): Promise<readonly InstalledTool[]> {
  const tools = Object.keys(QUESTIONS) as InstalledTool["tool"][];
  return await Promise.all(tools.map(async (tool) => {
    let said;
    try {
      said = await run(tool, [QUESTIONS[tool]]);
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return { tool };
      throw error;
    }
    // BIRD says it on stderr; ip has a word before the number: "iproute2-6.1.0".
    const text = `${said.stdout} ${said.stderr}`.trim();
    const version = /(?:version |iproute2-|v)(\d+(?:\.\d+)*)/.exec(text)?.[1];
    if (version !== undefined) return { tool, version };
    throw new Error(`${tool} does not tell its version: ${JSON.stringify(text.slice(0, 80))}`);
  }));
}
