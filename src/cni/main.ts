/**
 * The CNI plugin's process: stdin and environment in, one JSON object on stdout, exit status. Started for
 * every pod, so its whole closure is free of npm and node modules.
 *
 * @module
 */
import { runPlugin } from "./skel.ts";

/** Runs the plugin and ends the process. */
export async function main(): Promise<never> {
  const outcome = await runPlugin(
    (name) => Deno.env.get(name),
    readStdin,
  );
  await writeAll(Deno.stderr, outcome.stderr);
  await writeAll(Deno.stdout, outcome.stdout);
  Deno.exit(outcome.exitCode);
}

/** All of stdin. Read by hand: streams cost more to load than all the rest of the plugin. */
async function readStdin(): Promise<string> {
  const decoder = new TextDecoder();
  const chunk = new Uint8Array(65_536);
  let text = "";
  for (let n = await Deno.stdin.read(chunk); n !== null; n = await Deno.stdin.read(chunk)) {
    text += decoder.decode(chunk.subarray(0, n), { stream: true });
  }
  return text + decoder.decode();
}

async function writeAll(
  to: { write(bytes: Uint8Array): Promise<number> },
  text: string,
): Promise<void> {
  const bytes = new TextEncoder().encode(text);
  for (let sent = 0; sent < bytes.length;) sent += await to.write(bytes.subarray(sent));
}

// Bundled by itself, this file is a program: the launcher starts it directly.
if (import.meta.main) await main();
