/**
 * Anycast addresses are on the pod's `lo`, which outlives an attachment and may serve several.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import type { CniOptions } from "../../src/lab/node.ts";
import type { Pod } from "../../src/lab/pod.ts";
import { testWith } from "../support.ts";
import { assertNothingLeft, createNodeLab, stored } from "./node_probe.ts";

const ADDRESSES = ["2001:db8:ffff::53", "203.0.113.200"];
const ANNOTATIONS = { "flock.fritzlab.net/anycast": ADDRESSES.join(",") };
const NET1: CniOptions = { env: { CNI_IFNAME: "net1" } };

testWith("netns: anycast addresses are bound as long as an attachment of the pod has them", [
  "root",
  "bird",
], async (t) => {
  const { lab, node } = await createNodeLab();
  await using _lab = lab;
  await node.startAgent();
  await node.waitReady();

  await t.step("with two interfaces, until the last is gone", async () => {
    const pod = await node.createPod({ name: "two", annotations: ANNOTATIONS });
    for (const [first, second] of [[{}, NET1], [NET1, {}]] as const) {
      const results = [await node.cni("ADD", pod), await node.cni("ADD", pod, NET1)];
      assertEquals(results.map(({ code }) => code), [0, 0], results.map((r) => r.stdout).join());
      assertEquals(await bound(pod), ADDRESSES);
      assertEquals((await node.cni("DEL", pod, first)).code, 0);
      assertEquals(await bound(pod), ADDRESSES);
      assertEquals((await node.cni("DEL", pod, second)).code, 0);
      assertEquals(await bound(pod), []);
      await assertNothingLeft(node, [pod]);
    }
  });

  await t.step("DEL after the namespace is gone", async () => {
    const pod = await node.createPod({ name: "gone", annotations: ANNOTATIONS });
    await node.add(pod);
    await node.removePod(pod);
    await node.del(pod);
    assertEquals(await stored(node), []);
    await assertNothingLeft(node, []);
  });
});

/** Addresses on a pod's `lo`, besides its own. */
async function bound(pod: Pod): Promise<readonly string[]> {
  const [lo] = await pod.ipJson("addr", "show", "dev", "lo") as [
    { addr_info: readonly { local: string }[] },
  ];
  return lo.addr_info.map(({ local }) => local).filter((a) => a !== "127.0.0.1" && a !== "::1")
    .sort();
}
