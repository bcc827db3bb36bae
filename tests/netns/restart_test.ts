/**
 * What an agent finds when it starts: deletions that were queued, its own state or a damaged one, another
 * agent, a reboot. Pods notice nothing of a restart.
 *
 * @module
 */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { enqueueDeletion } from "../../src/io/deletion_queue.ts";
import type { Node } from "../../src/lab/node.ts";
import type { Pod } from "../../src/lab/pod.ts";
import { until } from "../../src/lab/wait.ts";
import { testWith } from "../support.ts";
import { assertNothingLeft, createNodeLab, stored, tracesOnNode } from "./node_probe.ts";

testWith("netns: an agent that starts again", ["root", "bird", "ping"], async (t) => {
  const { lab, node } = await createNodeLab();
  await using _lab = lab;
  const start = async (): Promise<void> => {
    await node.startAgent();
    await node.waitReady();
  };
  await start();
  const pod = await node.createPod({ name: "p" });

  await t.step("keeps pods connected and answers their ADD as before", async () => {
    const result = await node.add(pod);
    const before = await tracesOnNode(node);
    for (const signal of ["SIGTERM", "SIGKILL"] as const) {
      await node.stopAgent(signal);
      assertEquals(await tracesOnNode(node), before);
      await assertReachable(node, pod);
      await start();
      await assertReachable(node, pod);
      assertEquals(await node.add(pod), result);
      await node.check(pod);
      assertEquals(await tracesOnNode(node), before);
    }
  });

  await t.step("makes a DEL true that came while it was away, before it serves", async () => {
    await node.stopAgent();
    await node.del(pod);
    assertEquals((await queue(node)).length, 1);
    assertEquals((await stored(node)).length, 1);
    const logged = await logOf(node, start);
    await assertNothingLeft(node, [pod]);
    assertEquals(await queue(node), []);
    const messages = logged.map(({ msg }) => msg);
    assert(
      messages.indexOf("Replayed queued deletion") >= 0 &&
        messages.indexOf("Replayed queued deletion") < messages.indexOf("Opened socket"),
      messages.join("\n"),
    );
  });

  await t.step("makes a DEL true that is queued while it runs", async () => {
    await node.add(pod);
    await enqueueDeletion(node.stateDir, deletion(pod, new Date()));
    await until("deletion done", async () => (await queue(node)).length === 0);
    await assertNothingLeft(node, [pod]);
  });

  await t.step("makes a queued DEL true whatever the clock said at its ADD", async () => {
    await node.add(pod);
    await node.stopAgent();
    const path = `${node.stateDir}/allocations.json`;
    const text = await Deno.readTextFile(path);
    const later = text.replace(/"allocated_at":"\d+/, '"allocated_at":"2099');
    assert(later !== text);
    await Deno.writeTextFile(path, later);
    await node.del(pod);
    await start();
    await assertNothingLeft(node, [pod]);
    assertEquals(await queue(node), []);
    await node.add(pod);
  });

  await t.step("moves a damaged queue file aside and goes on", async () => {
    const other = await node.createPod({ name: "q" });
    await node.add(other);
    await node.stopAgent();
    await Deno.writeTextFile(`${node.stateDir}/deletions/a.json`, '{"version": 1, "container_id"');
    await enqueueDeletion(node.stateDir, deletion(other, new Date()));
    const logged = await logOf(node, start);
    assertEquals(await queue(node), ["a.json.damaged"]);
    assertEquals((await stored(node)).map(({ podName }) => podName), ["p"]);
    const error = logged.find(({ msg }) => msg === "Moved a damaged deletion aside");
    assertEquals([error?.level, error?.path], [
      "error",
      `${node.stateDir}/deletions/a.json.damaged`,
    ]);
    await Deno.remove(`${node.stateDir}/deletions/a.json.damaged`);
  });

  const first = node.agent!;
  await t.step("is refused while another holds its state directory", async () => {
    const said = await failsToStart(node, ["--socket", `${node.dir}/run/other.sock`]);
    assertStringIncludes(
      said,
      `Cannot lock state directory \\"${node.stateDir}\\": it is held by pid`,
    );
    assertStringIncludes(said, `pid ${first.pid}, node ${node.name}, since `);
  });
  await t.step("is refused while another answers on its socket", async () => {
    const said = await failsToStart(node, ["--state-dir", `${node.dir}/other-state`]);
    assertStringIncludes(
      said,
      `Cannot listen on \\"${node.socket}\\": another agent answers there`,
    );
  });
  node.agent = first;
  await node.check(pod);
  await node.stopAgent();

  const file = `${node.stateDir}/allocations.json`;
  const good = await Deno.readTextFile(file);
  const cases: Readonly<Record<string, readonly [text: string, naming: string]>> = {
    "is cut off": [good.slice(0, good.indexOf("netns") + 5), "it is not JSON at line 7 column "],
    "is of an unknown version": [
      good.replace('"version": 1', '"version": 2'),
      "version is 2, not 1",
    ],
    "has a wrong field": [
      good.replace('"pod_name":"p"', '"pod_name":7'),
      "allocations[0].pod_name",
    ],
    "is another node's": [
      good.replace('"node": "n1"', '"node": "n2"'),
      'it belongs to node \\"n2\\", not \\"n1\\"',
    ],
  };
  for (const [what, [text, naming]] of Object.entries(cases)) {
    await t.step(`is refused by a state file that ${what}, which stays as it is`, async () => {
      assert(text !== good, "the case changes the file");
      await Deno.writeTextFile(file, text);
      const said = await failsToStart(node);
      assertStringIncludes(said, `state file \\"${file}\\": `);
      assertStringIncludes(said, naming);
      assertEquals(await Deno.readTextFile(file), text);
      await assertReachable(node, pod);
    });
  }

  await t.step("knows what it knew when the file is whole again", async () => {
    await Deno.writeTextFile(file, good);
    await start();
    await node.check(pod);
  });

  await t.step("frees everything after a reboot", async () => {
    const { ips } = await node.add(pod);
    await node.stopAgent();
    const boot = /"boot_id": "[^"]*"/;
    assert(boot.test(good));
    await Deno.writeTextFile(
      file,
      good.replace(boot, `"boot_id": "${crypto.randomUUID()}"`),
    );
    // As the kernel is after a reboot.
    const [link] = (await stored(node)).map(({ hostIfname }) => hostIfname);
    await node.ip("link", "del", link!);
    const logged = await logOf(node, start);
    const forgot = logged.find(({ msg }) => msg === "Forgot attachments of an earlier boot");
    assertEquals(forgot?.count, 1);
    assertEquals(await tracesOnNode(node), []);
    // The address of the forgotten one can be had again, by asking for it.
    const again = await node.createPod({
      name: "r",
      annotations: { "flock.fritzlab.net/addresses": ips![1]!.address.split("/")[0]! },
    });
    assertEquals((await node.add(again)).ips?.[1], ips?.[1]);
    assertEquals((await stored(node)).map(({ podName }) => podName), ["r"]);
    await node.del(again);
    await assertNothingLeft(node, [pod, again]);
  });
});

function deletion(pod: Pod, queuedAt: Date): Parameters<typeof enqueueDeletion>[1] {
  return { containerId: pod.containerId, ifname: "eth0", queuedAt: queuedAt.toISOString() };
}

async function assertReachable(node: Node, pod: Pod): Promise<void> {
  for (const family of ["ipv6", "ipv4"] as const) {
    assert(
      await node.ping(pod.address(family)!) !== undefined,
      `${pod.key} answers over ${family}`,
    );
  }
}

/** File names in the queue of deletions. */
async function queue(node: Node): Promise<readonly string[]> {
  const entries = await Array.fromAsync(Deno.readDir(`${node.stateDir}/deletions`));
  return entries.map(({ name }) => name).filter((name) => !name.startsWith(".")).sort();
}

/** What the agent logs during some work. */
async function logOf(
  node: Node,
  work: () => Promise<void>,
): Promise<readonly Record<string, unknown>[]> {
  const { size } = await Deno.stat(`${node.dir}/agent.log`);
  await work();
  const text = (await Deno.readTextFile(`${node.dir}/agent.log`)).slice(size);
  return text.trimEnd().split("\n").map((line) => JSON.parse(line));
}

/** Starts an agent that must exit with 1; what it said last. */
async function failsToStart(node: Node, args: readonly string[] = []): Promise<string> {
  const agent = await node.startAgent({ args });
  await until("agent ended", () => Promise.resolve(!agent.running));
  assertEquals((await agent.ended).code, 1);
  // The agent that holds what this one wants writes to the same file.
  const lines = (await agent.tail(20)).split("\n");
  const last = lines.findLast((line) => line.includes('"level":"error","msg":"Could not start"'));
  if (last === undefined) throw new Error(`It did not say why: ${lines.join("\n")}`);
  return last;
}
