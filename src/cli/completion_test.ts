/**
 * Completion as the shells do it.
 *
 * @module
 */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";

const MAIN = new URL("../../main.ts", import.meta.url).pathname;

async function script(shell: string): Promise<string> {
  const { success, stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "-A", MAIN, "completion", shell],
    env: { NO_COLOR: "1" },
  }).output();
  assert(success, shell);
  return new TextDecoder().decode(stdout);
}

/** What bash offers for the last of some words. */
async function completions(source: string, ...words: readonly string[]): Promise<string[]> {
  const program = `${source}
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _flock; printf '%s\\n' "\${COMPREPLY[@]}"`;
  const { success, stdout, stderr } = await new Deno.Command("bash", {
    args: ["--norc", "-c", program, "bash", "flock", ...words],
  }).output();
  assert(success, new TextDecoder().decode(stderr));
  return new TextDecoder().decode(stdout).split("\n").filter((word) => word !== "");
}

Deno.test("flock completion bash completes commands, options and values", async () => {
  const source = await script("bash");
  assertStringIncludes(source, "complete -F _flock flock");
  assertEquals(await completions(source, "sta"), ["status"]);
  const all = await completions(source, "");
  for (const name of ["agent", "routes", "doctor", "completion"]) assert(all.includes(name), name);
  assertEquals(await completions(source, "routes", "--ch"), ["--check"]);
  assertEquals(await completions(source, "status", "-o", ""), ["table", "wide", "json", "yaml"]);
  assertEquals(await completions(source, "status", "--output", "y"), ["yaml"]);
  assertEquals(await completions(source, "render", "r"), ["routes"]);
  assertEquals(await completions(source, "completion", ""), ["bash", "zsh", "fish"]);
  const files = await completions(source, "status", "--socket", "/etc/passw");
  assert(files.includes("/etc/passwd"));
  assertEquals(await completions(source, "nosuch", ""), []);
});

for (
  const [shell, words] of Object.entries({
    zsh: ["#compdef flock", "'status:", "'--check[exit with 1", ":value:(table wide json yaml)"],
    fish: ["-a status -d", "__fish_seen_subcommand_from render", "-l check", "-x -a 'table wide"],
  })
) {
  Deno.test(`flock completion ${shell} has every command with its options`, async () => {
    const source = await script(shell);
    for (const word of words) assertStringIncludes(source, word);
    // The shell's own opinion, where it is installed.
    if (!exists(`/usr/bin/${shell}`)) return;
    const child = new Deno.Command(shell, { args: ["-n", "/dev/stdin"], stdin: "piped" }).spawn();
    const writer = child.stdin.getWriter();
    await writer.write(new TextEncoder().encode(source));
    await writer.close();
    assert((await child.status).success);
  });
}

function exists(path: string): boolean {
  try {
    Deno.statSync(path);
    return true;
  } catch {
    return false;
  }
}
