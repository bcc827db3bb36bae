/**
 * An agent whose state was lost: pods notice nothing, nobody gets their addresses, and a runtime's calls
 * for them are answered as before.
 *
 * @module
 */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import type { PodResult } from "../../src/lab/pod.ts";
import { delay } from "../../src/lab/wait.ts";
import { testWith } from "../support.ts";
import { ask, assertNothingLeft, createNodeLab, refusal, stored } from "./node_probe.ts";

testWith("netns: an agent whose state was lost", ["root", "bird", "ping"], async (t) => {
  const { lab, node } = await createNodeLab();
  await using _lab = lab;
  const peers = Object.values(lab.plan.router.addresses)
    .map((address) => ({ address, asn: lab.plan.router.asn }));
  await node.writeManifest("nodeconfig-n1.json", [{
    apiVersion: "flock.fritzlab.net/v1alpha1",
    kind: "NodeConfig",
    metadata: { name: "n1" },
    spec: {
      cidr6: node.plan.prefixes.ipv6 && [node.plan.prefixes.ipv6],
      // Five addresses: one that is given twice shows soon.
      cidr4: ["10.244.1.0/29"],
      bgp: { asn: node.plan.asn, peers },
    },
  }]);
  await lab.start();
  const plain = await node.createPod({ name: "plain" });
  await node.add(plain);
  // The primary address of each family is the higher one: no order of addresses tells which it is.
  const asked = [
    "2001:db8:ffff::77",
    "2001:db8:ffff::7",
    "203.0.113.210",
    "203.0.113.201",
  ];
  const rich = await node.createPod({
    name: "rich",
    annotations: { "flock.fritzlab.net/addresses": asked.join(",") },
  });
  await node.add(rich);
  const pods = [plain, rich];
  const results = pods.map(({ result }) => result);
  const addressesOf = (p: typeof plain): string[] =>
    (p.result?.ips ?? []).map(({ address }) => address.split("/")[0]!);
  const held = pods.flatMap(addressesOf);
  assertEquals(held.length, 6);
  for (const address of addressesOf(rich)) await lab.router.waitRoute(cidrOf(address));

  await t.step("keeps its pods reachable all the while", async () => {
    const pings = await Promise.all(
      held.map((address, i) => lab.client.spawn(`ping${i}`, ["ping", "-n", "-i", "0.02", address])),
    );
    await node.stopAgent();
    await Deno.remove(`${node.stateDir}/allocations.json`);
    await node.startAgent();
    await node.waitReady();
    await delay(1_000);
    await Promise.all(pings.map((ping) => ping.stop("SIGINT")));
    for (const [i, { log }] of pings.entries()) {
      const replies = (await Deno.readTextFile(log)).matchAll(/bytes from .* icmp_seq=(\d+)/g);
      const numbers = Array.from(replies, ([, number]) => Number(number));
      assert(numbers.length > 50, `${numbers.length} replies of ${held[i]}`);
      assertEquals(numbers, numbers.map((_, n) => n + 1), `replies of ${held[i]}`);
    }
  });

  await t.step("knows them again", async () => {
    const known = await stored(node);
    assertEquals(known.map(({ podName, podUid, netns }) => [podName, podUid, netns]).sort(), [
      ["plain", plain.uid, ""],
      ["rich", rich.uid, ""],
    ]);
    assertEquals(
      known.flatMap(({ ip6, ip4, addresses = [] }) => [ip6, ip4, ...addresses]).sort(),
      [...held].sort(),
    );
  });

  await t.step("gives none of their addresses to another pod", async () => {
    const others = await Promise.all(
      [1, 2, 3, 4].map((n) => node.createPod({ name: `other${n}` })),
    );
    for (const other of others) await node.add(other);
    const all = [...held, ...others.flatMap(addressesOf)];
    assertEquals(new Set(all).size, all.length, all.join(" "));
    // The pool is full now: had an address of theirs counted as free, this one would get it.
    const last = await node.createPod({ name: "last" });
    assertEquals((await refusal(ask(node, "ADD", last))).code, 100);
    for (const [i, address] of held.entries()) {
      const name = `thief${i}`;
      const annotations = { "flock.fritzlab.net/addresses": address };
      const thief = await node.createPod({ name, annotations });
      const error = await refusal(ask(node, "ADD", thief));
      assertEquals(error.code, 102, error.message);
      assertStringIncludes(error.message, address);
    }
    for (const other of others) await node.del(other);
  });

  await t.step("answers CHECK, ADD and CHECK as before the loss", async () => {
    for (const [i, pod] of pods.entries()) {
      await node.check(pod);
      for (const _ of ["recovered", "known"]) {
        assertEquals(comparable(await node.add(pod)), comparable(results[i]!));
        await node.check(pod);
      }
    }
    assertEquals(
      (await stored(node)).map(({ netns }) => netns).sort(),
      [
        plain.netnsPath,
        rich.netnsPath,
      ].sort(),
    );
  });

  await t.step("removes them at DEL", async () => {
    for (const pod of pods) await node.del(pod);
    await assertNothingLeft(node, pods);
    for (const address of addressesOf(rich)) await lab.router.waitNoRoute(cidrOf(address));
    // Their addresses are free again.
    const again = await node.createPod({ name: "again", annotations: rich.options.annotations });
    assertEquals((await node.add(again)).ips, rich.result?.ips);
    await node.del(again);
  });

  await t.step("removes one at DEL that was never added again", async () => {
    const pod = await node.createPod({ name: "short" });
    await node.add(pod);
    await node.stopAgent();
    await Deno.remove(`${node.stateDir}/allocations.json`);
    await node.startAgent();
    await node.waitReady();
    assertEquals((await node.cni("DEL", pod, { env: { CNI_NETNS: "" } })).code, 0);
    await assertNothingLeft(node, [pod]);
  });
});

/** A result; of the addresses after the first two, which are the pod's own, the order says nothing. */
function comparable({ ips = [], ...rest }: PodResult): Record<string, unknown> {
  const further = ips.slice(2).map((ip) => JSON.stringify(ip)).sort();
  return { ...rest, ips: ips.slice(0, 2), further };
}

function cidrOf(address: string): string {
  return `${address}/${address.includes(":") ? 128 : 32}`;
}
