/**
 * A disk that is full: a clear error, nothing lost of what was there, and all works again when there is
 * space.
 *
 * @module
 */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { runCommand } from "../../src/io/command.ts";
import type { Node } from "../../src/lab/node.ts";
import type { Pod } from "../../src/lab/pod.ts";
import { testWith } from "../support.ts";
import {
  ask,
  assertNothingLeft,
  createNodeLab,
  hostIfname,
  refusal,
  stored,
  tracesInPod,
  tracesOnNode,
} from "./node_probe.ts";

const PODS = 8;

testWith("netns: a full disk costs nothing that was there", ["root", "bird", "ping"], async (t) => {
  const { lab, node } = await createNodeLab();
  await using _lab = lab;
  await Deno.mkdir(node.stateDir, { recursive: true });
  // Unmounted with the lab's directory.
  await runCommand("sh", ["-c", 'mount -t tmpfs -o size=64k flock-lab "$0"', node.stateDir]);
  await node.startAgent();
  await node.waitReady();
  const pods = await Promise.all(
    Array.from({ length: PODS }, (_, n) => node.createPod({ name: `p${n}` })),
  );
  for (const pod of pods) await node.add(pod);
  const before = await stored(node);
  const late = await node.createPod({ name: "late" });
  await fill(node);

  await t.step("ADD fails, says why, and leaves nothing of itself", async () => {
    const { code, json, stderr } = await node.cni("ADD", late);
    assertEquals([code, json?.code], [1, 5]);
    assertStringIncludes(String(json?.msg), `Cannot store attachment "${late.containerId}/eth0"`);
    assertMatch(String(json?.msg), /no space left on device/i);
    assertMatch(stderr, /no space left on device/i);
    assertEquals(await tracesInPod(late), []);
    assertEquals((await tracesOnNode(node)).filter((t) => t.includes(hostIfname(late))), []);
  });

  await t.step("many at a time fail alike", async () => {
    const many = await Promise.all([1, 2, 3, 4].map((n) => node.createPod({ name: `m${n}` })));
    const errors = await Promise.all(many.map((pod) => refusal(ask(node, "ADD", pod))));
    for (const { message } of errors) assertMatch(message, /no space left on device/i);
  });

  await t.step("what was there is still there, in memory, on disk and in the kernel", async () => {
    assertEquals(await stored(node), before);
    for (const pod of pods) await assertWorks(node, pod);
  });

  await t.step("DEL is not acknowledged before it is on disk", async () => {
    const [pod] = pods as [Pod];
    const { json } = await node.cni("DEL", pod);
    assertStringIncludes(String(json?.msg), `Cannot store attachment "${pod.containerId}/eth0"`);
    assertEquals(await stored(node), before);
  });

  await t.step("DEL without an agent is not acknowledged either", async () => {
    await node.killAgent();
    const { code, json } = await node.cni("DEL", pods[1]);
    assertEquals([code, json?.code], [1, 11]);
    assertStringIncludes(
      String(json?.msg),
      `Cannot queue deletion of "${pods[1]!.containerId}/eth0"`,
    );
    assertEquals(await stored(node), before);
  });

  await t.step("all works again when there is space, also after a restart", async () => {
    await Deno.remove(`${node.stateDir}/filler`);
    await node.startAgent();
    await node.waitReady();
    assertEquals(await stored(node), before);
    const [deleted, ...others] = pods as [Pod, ...Pod[]];
    for (const pod of others) await assertWorks(node, pod);
    await node.del(deleted);
    await node.add(late);
    await assertWorks(node, late);
    for (const pod of [...others, late]) await node.del(pod);
    await assertNothingLeft(node, [...pods, late]);
  });

  await t.step("an ADD undoes itself when the disk fills up under it", async () => {
    // Room for some more, not for all.
    await fill(node, 4096);
    const answers = await Promise.allSettled(pods.map((pod) => ask(node, "ADD", pod)));
    const added = pods.filter((_, n) => answers[n]?.status === "fulfilled");
    assert(added.length < pods.length, "the disk is too small for all");
    assertEquals(
      (await stored(node)).filter(({ state }) => state === "committed").map((a) => a.podName)
        .sort(),
      added.map((pod) => pod.options.name).sort(),
    );
    await Deno.remove(`${node.stateDir}/filler`);
    for (const pod of pods) await ask(node, "DEL", pod);
    await assertNothingLeft(node, pods);
  });
});

async function assertWorks(node: Node, pod: Pod): Promise<void> {
  await node.check(pod);
  assert(await node.ping(pod.address("ipv6")!) !== undefined, pod.key);
}

/** Fills the disk of the state directory up to some bytes. */
async function fill(node: Node, leave = 0): Promise<void> {
  const path = `${node.stateDir}/filler`;
  using file = await Deno.open(path, { write: true, create: true });
  const page = new Uint8Array(4096).fill(1);
  try {
    for (;;) await file.write(page);
  } catch (error) {
    if (!/os error 28/.test(String(error))) throw error;
  }
  if (leave > 0) await file.truncate((await file.stat()).size - leave);
}
