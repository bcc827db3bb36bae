/**
 * How the agent refuses to start. What it does when it runs is tested with the lab.
 *
 * @module
 */
import { assertEquals, assertRejects } from "@std/assert";
import { parseAgentSettings } from "../core/agent_settings.ts";
import { TerminalError } from "../core/errors.ts";
import { runAgent } from "./main.ts";

Deno.test("runAgent() without a source it can read refuses before it touches anything", async () => {
  const dir = await Deno.makeTempDir();
  try {
    const flags = { "state-dir": `${dir}/state`, socket: `${dir}/run/s`, "no-sysctls": true };
    const settings = parseAgentSettings(flags, () => undefined, () => "n1");
    const never = new AbortController().signal;
    await assertRejects(() => runAgent(settings, never), TerminalError, "use --manifests DIR");
    assertEquals(await Array.fromAsync(Deno.readDir(dir)), []);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});
