/**
 * Processes that cannot be started and descriptors that cannot be had: the agent says what failed, undoes
 * what it had begun, and goes on.
 *
 * @module
 */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { until } from "../../src/lab/wait.ts";
import type { Node } from "../../src/lab/node.ts";
import { runCommand } from "../../src/io/command.ts";
import { testWith } from "../support.ts";
import { FaultyTools } from "./faulty_tools.ts";
import { ask, assertNothingLeft, createNodeLab, refusal } from "./node_probe.ts";

testWith(
  "netns: a tool that cannot be started ends no agent and leaves nothing of an ADD",
  ["root", "bird", "nft"],
  async (t) => {
    const { lab, node } = await createNodeLab();
    await using _lab = lab;
    const tools = await FaultyTools.create(node);
    await tools.startAgent(node);
    const { pid } = node.agent!;
    const pod = await node.createPod({ name: "p" });

    for (const tool of ["nsenter", "ip", "nft"] as const) {
      await t.step(`${tool} cannot be started by an ADD`, async () => {
        await Deno.chmod(`${tools.dir}/${tool}`, 0o644);
        const { message, details } = await refusal(ask(node, "ADD", pod));
        assertStringIncludes(`${message} ${details}`, "Permission denied");
        await Deno.chmod(`${tools.dir}/${tool}`, 0o755);
        // What could not be undone without the tool goes with the runtime's DEL.
        await ask(node, "DEL", pod);
        await assertNothingLeft(node, [pod]);
      });
      await t.step(`${tool} cannot be started by a DEL`, async () => {
        await ask(node, "ADD", pod);
        await Deno.chmod(`${tools.dir}/${tool}`, 0o644);
        // A DEL enters no namespace and writes no rule before it answers.
        const answer = ask(node, "DEL", pod);
        if (tool === "ip") {
          assertStringIncludes((await refusal(answer)).message, "Permission denied");
        } else await answer;
        await Deno.chmod(`${tools.dir}/${tool}`, 0o755);
        await ask(node, "DEL", pod);
        await assertNothingLeft(node, [pod]);
      });
    }

    await t.step(
      "the pod's end cannot be begun while the node's waits: it is made, and undone",
      async () => {
        await tools.plan("nft", "table", { kind: "hold" });
        await Deno.chmod(`${tools.dir}/nsenter`, 0o644);
        const answer = refusal(ask(node, "ADD", pod));
        await tools.held("nft", "table");
        await tools.release("nft", "table");
        await answer;
        await Deno.chmod(`${tools.dir}/nsenter`, 0o755);
        await assertNothingLeft(node, [pod]);
      },
    );
    await t.step("the pod's end cannot be begun, and what the node's waits for fails", async () => {
      await tools.plan("nft", "table", { kind: "fail" });
      await Deno.chmod(`${tools.dir}/nsenter`, 0o644);
      await refusal(ask(node, "ADD", pod));
      await tools.plan("nft", "table");
      await Deno.chmod(`${tools.dir}/nsenter`, 0o755);
      await assertNothingLeft(node, [pod]);
    });

    assertEquals(node.agent!.pid, pid);
    await serves(node);
    await node.stopAgent();
  },
);

testWith(
  "netns: an agent without a descriptor left goes on when it has some again",
  ["root", "bird"],
  async () => {
    const { lab, node } = await createNodeLab();
    await using _lab = lab;
    await node.startAgent();
    await node.waitReady();
    const { pid } = node.agent!;
    const open = (await Array.fromAsync(Deno.readDir(`/proc/${pid}/fd`))).length;
    const limits = await Deno.readTextFile(`/proc/${pid}/limits`);
    const [, usual] = /^Max open files +(\d+)/m.exec(limits)!;
    const allow = (files: number | string) =>
      runCommand("sh", ["-c", `prlimit --pid ${pid} --nofile=${files}:`]);
    await allow(open + 2);

    const held: Deno.Conn[] = [];
    for (let n = 0; n < 20; n++) {
      held.push(await Deno.connect({ transport: "unix", path: node.socket }));
    }
    await until(
      "the agent says that it cannot take a connection",
      async () => (await Deno.readTextFile(node.agent!.log)).includes("Too many open files"),
    );
    for (const conn of held) conn.close();
    await allow(usual!);

    await serves(node);
    const pod = await node.createPod({ name: "after" });
    await ask(node, "ADD", pod);
    await ask(node, "DEL", pod);
    assertEquals(node.agent!.pid, pid);
    await node.stopAgent();
  },
);

/** The agent answers, and no error was left to nobody. */
async function serves(node: Node): Promise<void> {
  await node.waitReady({ timeoutMs: 30_000 });
  const log = await Deno.readTextFile(node.agent!.log);
  assert(!log.includes("Received an error that nobody held"), log);
}
