/**
 * Every attachment that comes or goes asks for a pass over the node's routes, also where there is no
 * periodic one.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import { delay } from "../../src/lab/wait.ts";
import { testWith } from "../support.ts";
import { createNodeLab } from "./node_probe.ts";

testWith("netns: without a periodic pass, routes come back with the next ADD and DEL", [
  "root",
  "bird",
], async (t) => {
  const { lab, node } = await createNodeLab({ agentArgs: ["--route-reconcile-interval", "0"] });
  await using _lab = lab;
  await node.startAgent();
  await node.waitReady();
  const pod = await node.createPod({ name: "p" });
  await node.add(pod);
  const cidrs = [`${pod.address("ipv6")}/128`, `${pod.address("ipv4")}/32`];
  const other = await node.createPod({ name: "q" });

  for (const verb of ["add", "del"] as const) {
    await t.step(`${verb} of another pod`, async () => {
      // Those that were asked for so far are over: nothing is under way that could bring them back.
      await delay(1_200);
      for (const cidr of cidrs) await node.ip("route", "del", cidr, "metric", "16");
      await delay(1_200);
      for (const cidr of cidrs) assertEquals(await node.route(cidr), undefined);
      await node[verb](other);
      for (const cidr of cidrs) {
        const { protocol, metric } = await node.waitRoute(cidr, { timeoutMs: 5_000 });
        assertEquals([protocol, metric], ["143", 16]);
      }
      await node.check(pod);
    });
  }
});
