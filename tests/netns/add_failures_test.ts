/**
 * An ADD that fails, at whatever step, leaves nothing: no link, route, address, neighbour entry, nothing
 * on disk, and its addresses can be given again.
 *
 * @module
 */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import type { Node } from "../../src/lab/node.ts";
import type { Pod } from "../../src/lab/pod.ts";
import { testWith } from "../support.ts";
import { coverStateDir, FaultyTools, setSysctlsWritable, uncoverStateDir } from "./faulty_tools.ts";
import {
  ask,
  assertNothingLeft,
  createNodeLab,
  hostIfname,
  refusal,
  stored,
  tracesOnNode,
} from "./node_probe.ts";

const ANNOTATIONS = {
  "flock.fritzlab.net/anycast": "2001:db8:ffff::53,203.0.113.200",
  "flock.fritzlab.net/addresses": "2001:db8:ffff::1,2001:db8:ffff::2",
  // A single address: an ADD that failed and kept it would be the last.
  "flock.fritzlab.net/cidr4": "10.244.1.0/30",
};

testWith("netns: an ADD that fails leaves nothing", ["root", "bird"], async (t) => {
  const { lab, node } = await createNodeLab();
  await using _lab = lab;
  const tools = await FaultyTools.create(node);
  await tools.startAgent(node);
  const pod = await node.createPod({ name: "p", annotations: ANNOTATIONS });
  const name = hostIfname(pod);

  /** ADD and DEL work, and give the addresses that failed ADDs held. */
  const works = async (): Promise<void> => {
    assertEquals((await node.add(pod)).ips?.map(({ address }) => address), [
      "2001:db8:ffff::1/128",
      "10.244.1.2/32",
      "2001:db8:ffff::2/128",
    ]);
    await node.check(pod);
    await node.del(pod);
    await assertNothingLeft(node, [pod]);
  };
  await works();

  for (const step of ["host", "pod"] as const) {
    const lines = await tools.seen(step, name);
    assert(lines.length > 10, lines.join("\n"));
    for (const [line, text] of lines.entries()) {
      await t.step(`${step}: ${text.replace(name, "VETH").slice(0, 60)}`, async () => {
        await tools.plan(step, name, { kind: "fail", line });
        const { code, message } = await refusal(ask(node, "ADD", pod));
        assertEquals([code, message], [
          104,
          `Cannot run "ip ${lines[line]}": RTNETLINK answers: Operation not permitted`,
        ]);
        await tools.plan(step, name);
        await assertNothingLeft(node, [pod]);
      });
    }
    await works();
  }

  await t.step("the pod's namespace cannot be entered", async () => {
    await tools.plan("enter", pod.netns, { kind: "fail" });
    const { code, message } = await refusal(ask(node, "ADD", pod));
    assertEquals([code, message], [
      8,
      `Cannot use network namespace "${pod.netnsPath}": it cannot be entered`,
    ]);
    await tools.plan("enter", pod.netns);
    await assertNothingLeft(node, [pod]);
  });

  await t.step("a sysctl cannot be written in the pod", async () => {
    await tools.plan("enter", pod.netns, { kind: "readonly" });
    const { message } = await refusal(ask(node, "ADD", pod));
    assertStringIncludes(message, "Read-only file system");
    await tools.plan("enter", pod.netns);
    await assertNothingLeft(node, [pod]);
  });

  await t.step("a sysctl cannot be written on the node", async () => {
    await setSysctlsWritable(node, false);
    const { message } = await refusal(ask(node, "ADD", pod));
    assertStringIncludes(message, "Read-only file system");
    await setSysctlsWritable(node, true);
    await assertNothingLeft(node, [pod]);
  });

  await t.step("the attachment cannot be stored as pending", async () => {
    await coverStateDir(node);
    const { message, details } = await refusal(ask(node, "ADD", pod));
    assertStringIncludes(message, `Cannot store attachment "${pod.containerId}/eth0"`);
    assertStringIncludes(`${message} ${details}`.toLowerCase(), "read-only file system");
    await uncoverStateDir(node);
    await assertNothingLeft(node, [pod]);
  });

  await t.step("the attachment cannot be stored as committed, nor be forgotten", async () => {
    const lines = await tools.seen("pod", name);
    await tools.plan("pod", name, { kind: "hold", line: lines.length });
    const answer = refusal(ask(node, "ADD", pod));
    await tools.held("pod", name);
    await coverStateDir(node);
    await tools.release("pod", name);
    assertStringIncludes((await answer).message, "Cannot store attachment");
    assertEquals(await tracesOnNode(node), []);
    await uncoverStateDir(node);
    // What could not be forgotten goes with the runtime's DEL.
    await ask(node, "DEL", pod);
    await assertNothingLeft(node, [pod]);
  });

  await t.step("undoing fails too", async () => {
    await failToUndo(node, tools, pod);
    await ask(node, "DEL", pod);
    await assertNothingLeft(node, [pod]);
    await failToUndo(node, tools, pod);
    // The next ADD of the same container begins anew.
    await works();
  });

  await t.step("undoing fails again when the agent starts: it serves all others", async () => {
    await failToUndo(node, tools, pod);
    await node.stopAgent();
    await tools.plan("delete", name, { kind: "fail" });
    await tools.startAgent(node);
    assertEquals((await stored(node)).map(({ state }) => state), ["pending"]);
    const other = await node.createPod({ name: "q" });
    await node.add(other);
    await node.del(other);
    await tools.plan("delete", name);
    await ask(node, "DEL", pod);
    await assertNothingLeft(node, [pod, other]);
  });
  await works();
});

/** An ADD that fails at its last step, and so does its undoing. */
async function failToUndo(node: Node, tools: FaultyTools, pod: Pod): Promise<void> {
  const name = hostIfname(pod);
  await tools.plan("pod", name, { kind: "fail", line: (await tools.seen("pod", name)).length - 1 });
  await tools.plan("delete", name, { kind: "fail" });
  assertEquals((await refusal(ask(node, "ADD", pod))).code, 104);
  assertEquals((await stored(node)).map(({ state }) => state), ["pending"]);
  assert((await tracesOnNode(node)).length > 0);
  await tools.plan("pod", name);
  await tools.plan("delete", name);
}
