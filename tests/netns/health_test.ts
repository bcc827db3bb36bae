/**
 * Health of the real agent, asked as the kubelet asks it: on the node's loopback address, from start to stop.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import type { Node } from "../../src/lab/node.ts";
import { EXECUTABLE } from "../executable.ts";
import { testWith } from "../support.ts";
import { until } from "./bird_host.ts";
import { createTestLab } from "./test_lab.ts";

const ADDRESS = "127.0.0.1:9474";

/** Status and body; undefined when nobody answers. */
async function ask(node: Node, path: string): Promise<readonly [number, string] | undefined> {
  const code = `const r = await fetch("http://${ADDRESS}${path}").catch(() => undefined);
    console.log(JSON.stringify(r && [r.status, await r.text()]) ?? "null");`;
  const { stdout } = await node.exec([Deno.execPath(), "eval", "--no-config", "--no-lock", code]);
  return JSON.parse(stdout) ?? undefined;
}

async function becomes(node: Node, path: string, status: number, says: RegExp): Promise<void> {
  await until(`${path} is ${status}, ${says}`, async () => {
    const answer = await ask(node, path);
    return answer?.[0] === status && says.test(answer[1]);
  });
}

testWith(
  "netns: an agent's health follows its NodeConfig and BIRD",
  ["root", "bird"],
  async (t) => {
    await using lab = await createTestLab({
      executable: EXECUTABLE,
      nodes: 1,
      agentArgs: ["--metrics-address", ADDRESS],
    });
    const node = lab.node("n1");

    await t.step("nobody answers before it runs", async () => {
      assertEquals(await ask(node, "/healthz"), undefined);
    });

    await t.step("it is alive but not ready without BIRD", async () => {
      await node.startAgent();
      await node.waitReady();
      await becomes(node, "/readyz", 503, /^Cannot .*BIRD.*\n$/);
      assertEquals(await ask(node, "/healthz"), [200, "ok\n"]);
    });

    await t.step("it is ready when BIRD answers", async () => {
      await node.startBird();
      await becomes(node, "/readyz", 200, /^ok\n$/);
    });

    await t.step("it is not ready while BIRD is away, and alive all the time", async () => {
      await node.stopBird();
      await becomes(node, "/readyz", 503, /BIRD/);
      assertEquals(await ask(node, "/healthz"), [200, "ok\n"]);
    });

    await t.step("it is not ready without a NodeConfig, and says so", async () => {
      await node.stopAgent();
      assertEquals(await ask(node, "/healthz"), undefined);
      await node.startBird();
      await node.startAgent({ args: ["--node", "stranger", "--state-dir", `${node.dir}/other`] });
      await becomes(node, "/readyz", 503, /there is no NodeConfig "stranger"/);
      assertEquals(await ask(node, "/healthz"), [200, "ok\n"]);
    });
  },
);
