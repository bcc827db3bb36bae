/**
 * How the agent refuses to start. What it does when it runs is tested with the lab.
 *
 * @module
 */
import { assertEquals, assertRejects } from "@std/assert";
import { parseAgentSettings } from "../core/agent_settings.ts";
import { TerminalError } from "../core/errors.ts";
import * as kube from "../io/kube.ts";
import { runAgent } from "./main.ts";

Deno.test("runAgent() without a source it can read refuses before it touches anything", async () => {
  const dir = await Deno.makeTempDir();
  try {
    const flags = {
      "state-dir": `${dir}/state`,
      socket: `${dir}/run/s`,
      "no-sysctls": true,
      kubeconfig: `${dir}/kubeconfig`,
    };
    const settings = parseAgentSettings(flags, () => undefined, () => "n1");
    const never = new AbortController().signal;
    const why = `Cannot use kubeconfig "${dir}/kubeconfig": there is no such file`;
    await assertRejects(
      () => runAgent(settings, never, { kube: () => Promise.resolve(kube) }),
      TerminalError,
      why,
    );
    assertEquals(await Array.fromAsync(Deno.readDir(dir)), []);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});
