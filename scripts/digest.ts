/**
 * A digest of everything a build is made from, so that a build with nothing new takes no time.
 *
 * @module
 */
import { ROOT } from "./run.ts";

/** Files and directories that the executable is made from; tests among them do not count. */
const INPUTS = ["deno.json", "deno.lock", "main.ts", "scripts", "src", "templates", "deploy"];

/**
 * Digests the inputs' names and contents, and whatever else the result depends on.
 *
 * @returns 16 hexadecimal digits
 */
export async function digestInputs(also: readonly string[]): Promise<string> {
  // The launcher names the Deno that made it.
  const lines = [Deno.version.deno, Deno.execPath(), ...also];
  for (const input of INPUTS) {
    for (const path of await filesOf(`${ROOT}/${input}`)) {
      lines.push(`${path} ${await sha256(await Deno.readFile(path))}`);
    }
  }
  return (await sha256(new TextEncoder().encode(lines.join("\n")))).slice(0, 16);
}

/** The files below a path, or the path itself when it is a file, sorted; nothing when it is absent. */
async function filesOf(path: string): Promise<string[]> {
  const info = await Deno.stat(path).catch((error) => {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  });
  if (!info?.isDirectory) return info && !path.endsWith("_test.ts") ? [path] : [];
  const names = (await Array.fromAsync(Deno.readDir(path))).map((entry) => entry.name).sort();
  return (await Promise.all(names.map((name) => filesOf(`${path}/${name}`)))).flat();
}

async function sha256(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex();
}
