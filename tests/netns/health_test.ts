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
import { httpGet, METRICS_ADDRESS } from "./scrape.ts";
import { createTestLab } from "./test_lab.ts";

async function becomes(node: Node, path: string, status: number, says: RegExp): Promise<void> {
  await until(`${path} is ${status}, ${says}`, async () => {
    const answer = await httpGet(node, path);
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
      agentArgs: ["--metrics-address", METRICS_ADDRESS],
    });
    const node = lab.node("n1");

    await t.step("nobody answers before it runs", async () => {
      assertEquals(await httpGet(node, "/healthz"), undefined);
    });

    await t.step("it is alive but not ready without BIRD", async () => {
      await node.startAgent();
      await node.waitReady();
      await becomes(node, "/readyz", 503, /^Cannot .*BIRD.*\n$/);
      assertEquals(await httpGet(node, "/healthz"), [200, "ok\n"]);
    });

    await t.step("it is ready when BIRD answers", async () => {
      await node.startBird();
      await becomes(node, "/readyz", 200, /^ok\n$/);
    });

    await t.step("it tells of each of its loops", async () => {
      const loops = ["source", "cluster", "routes", "pods", "policies", "monitor"];
      const said = (await httpGet(node, "/healthz?verbose"))?.[1] ?? "";
      const found = [
        ...said.matchAll(/^loop "(\w+)": (?:at a turn for [\d.]+ s, )?last turn [\d.]+ s ago$/gm),
      ];
      assertEquals(found.map(([, loop]) => loop).sort(), loops.sort(), said);
    });

    await t.step(
      "on [::] it answers by IPv4 and IPv6, as the kubelet and Prometheus ask",
      async () => {
        await node.stopAgent();
        await node.startAgent({ args: ["--metrics-address", "[::]:9474"] });
        await becomes(node, "/readyz", 200, /^ok\n$/);
        for (const host of ["127.0.0.1", "::1", ...Object.values(node.plan.addresses)]) {
          assertEquals(await httpGet(node, "/healthz", host), [200, "ok\n"], host);
        }
      },
    );

    await t.step("it is not ready while BIRD is away, and alive all the time", async () => {
      await node.stopBird();
      await becomes(node, "/readyz", 503, /BIRD/);
      assertEquals(await httpGet(node, "/healthz"), [200, "ok\n"]);
    });

    await t.step("it is not ready without a NodeConfig, and says so", async () => {
      await node.stopAgent();
      assertEquals(await httpGet(node, "/healthz"), undefined);
      await node.startBird();
      await node.startAgent({ args: ["--node", "stranger", "--state-dir", `${node.dir}/other`] });
      await becomes(node, "/readyz", 503, /there is no NodeConfig "stranger"/);
      assertEquals(await httpGet(node, "/healthz"), [200, "ok\n"]);
    });
  },
);
