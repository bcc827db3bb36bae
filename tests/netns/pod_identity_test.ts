/**
 * Who a pod is, against the kernel: static pods, sandboxes that went without a DEL, one namespace by two
 * paths, container ids that no alias has room for.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { runCommand } from "../../src/io/command.ts";
import type { CniAnswer, Node } from "../../src/lab/node.ts";
import type { Pod } from "../../src/lab/pod.ts";
import { until } from "../../src/lab/wait.ts";
import { mirror } from "../fakes/fake_source.ts";
import { testWith } from "../support.ts";
import { assertRefused, EXECUTABLE, picture } from "./cni_host.ts";
import { stored } from "./node_probe.ts";
import { createTestLab } from "./test_lab.ts";

const ADDRESSES = "flock.fritzlab.net/addresses";
const ANYCAST = "flock.fritzlab.net/anycast";

testWith("netns: who a pod is", ["root", "bird", "ping"], async (t) => {
  await using lab = await createTestLab({ executable: EXECUTABLE, nodes: 1 });
  const node = lab.node("n1");
  await node.writeManifest("nodeconfig-n1.json", [{
    apiVersion: "flock.fritzlab.net/v1alpha1",
    kind: "NodeConfig",
    metadata: { name: "n1" },
    // Five addresses: one that is not released is missed soon.
    spec: { cidr6: [node.plan.prefixes.ipv6], cidr4: ["10.244.1.0/29"], bgp: { asn: 65001 } },
  }]);
  await node.startAgent();
  await node.waitReady();
  const before = await picture(node);

  await t.step(
    "a static pod is attached by the hash of its configuration, and no other",
    async () => {
      const hash = "0a1b2c3d4e5f60718293a4b5c6d7e8f9";
      const anycast = "2001:db8:ffff::53";
      const pod = await node.createPod({
        name: "static-n1",
        annotations: { ...mirror(hash), [ANYCAST]: anycast },
      });
      const withUid = (uid: string) => ({
        env: { CNI_ARGS: pod.cniArgs.replace(/(K8S_POD_UID=).*/, `$1${uid}`) },
      });
      assertRefused(
        await node.cni("ADD", pod, withUid("0000000000000000")),
        11,
        `the one there has UID "${pod.uid}"`,
      );
      await node.add(pod, withUid(hash));
      assertEquals((await stored(node)).map(({ podUid }) => podUid), [hash]);
      // It counts as Ready, which only its Pod can be.
      await node.waitRoute(`${anycast}/128`);
      assert((await allocations(node)).includes("ready"));
      await node.updatePod(pod, { ready: false });
      await node.waitNoRoute(`${anycast}/128`);
      await node.del(pod);
      await node.removePod(pod);
      // Anybody may write this annotation on a pod of his own.
      const annotations = { "kubernetes.io/config.hash": hash };
      const tenant = await node.createPod({ name: "tenant", annotations });
      const args = tenant.cniArgs.replace(/(K8S_POD_UID=).*/, `$1${hash}`);
      assertRefused(await node.cni("ADD", tenant, { env: { CNI_ARGS: args } }), 11, "with UID");
      await node.removePod(tenant);
    },
  );

  await t.step("a new sandbox takes over from those that went without a DEL", async () => {
    const address = "203.0.113.77";
    const fixed = await node.createPod({ name: "fixed", annotations: { [ADDRESSES]: address } });
    const pooled = await node.createPod({ name: "pooled" });
    for (let round = 0; round < 7; round++) {
      for (const pod of [fixed, pooled]) {
        const env = { CNI_CONTAINERID: `${round}${pod.containerId}` };
        const { code, stdout } = await node.cni("ADD", pod, { env });
        assertEquals(code, 0, stdout);
        if (round === 6) continue;
        await pod.remove();
        await runCommand("ip", ["netns", "add", pod.netns]);
      }
    }
    assertEquals((await stored(node)).map(({ podName }) => podName).sort(), ["fixed", "pooled"]);
    assert(await node.ping(address) !== undefined, "the new one has the address");
    for (const pod of [fixed, pooled]) {
      await node.del(pod, { env: { CNI_CONTAINERID: `6${pod.containerId}` } });
      await node.removePod(pod);
    }
  });

  await t.step("one namespace by two paths is one", async () => {
    const pod = await node.createPod({ name: "paths" });
    const added = await node.cni("ADD", pod);
    await using holder = await holderOf(pod);
    const env = { CNI_NETNS: `/proc/${holder.pid}/ns/net` };
    const again = await node.cni("ADD", pod, { env });
    assertEquals([again.code, again.stdout], [0, added.stdout]);
    const checked = await node.cni("CHECK", pod, { env, conf: { prevResult: added.json } });
    assertEquals([checked.code, checked.stdout], [0, ""]);
    // A path that leads nowhere, or to the node, is refused, and takes nothing away.
    for (const CNI_NETNS of ["/run/netns/no-such", EXECUTABLE, node.netnsPath]) {
      assertRefused(await node.cni("ADD", pod, { env: { CNI_NETNS } }), 8, "network namespace");
    }
    await node.check(pod, { conf: { prevResult: added.json } });
    // Another namespace is another sandbox, by whatever path.
    const other = await node.createPod({ name: "other" });
    const elsewhere = await node.cni("CHECK", pod, {
      env: { CNI_NETNS: other.netnsPath },
      conf: { prevResult: added.json },
    });
    assertRefused(elsewhere, 104, "network namespace is");
    await node.del(pod);
    await node.removePod(pod);
    await node.removePod(other);
  });

  await t.step(
    "the same container in a new namespace at the old path is attached anew",
    async () => {
      const pod = await node.createPod({ name: "anew" });
      await node.add(pod);
      await pod.remove();
      await runCommand("ip", ["netns", "add", pod.netns]);
      await until("the link is gone", async () => (await linksOf(node)).length === 0);
      await node.add(pod);
      await node.check(pod);
      await node.del(pod);
      await node.removePod(pod);
    },
  );

  await t.step("a long container id and an emptied state file: known by the link", async () => {
    const name = `long-${"x".repeat(200)}`;
    const pods = await Promise.all([name, `${name}-2`].map((name) => node.createPod({ name })));
    const withId = (pod: Pod) => ({ env: { CNI_CONTAINERID: pod.containerId.repeat(4).slice(1) } });
    const answers: CniAnswer[] = [];
    for (const pod of pods) answers.push(await node.cni("ADD", pod, withId(pod)));
    assertEquals(answers.map(({ code }) => code), [0, 0], answers[0]!.stdout);
    await node.stopAgent();
    await Deno.writeTextFile(`${node.stateDir}/allocations.json`, "");
    await node.startAgent();
    await node.waitReady();
    await until("their names are whole", async () => {
      const names = (await stored(node)).map(({ podName }) => podName);
      return names.includes(pods[0]!.options.name) && names.includes(pods[1]!.options.name);
    });
    const [one, two] = pods as [Pod, Pod];
    assertEquals((await node.cni("ADD", one, withId(one))).stdout, answers[0]!.stdout);
    const checked = await node.cni("CHECK", two, {
      ...withId(two),
      conf: { prevResult: answers[1]!.json },
    });
    assertEquals([checked.code, checked.stdout], [0, ""]);
    for (const pod of pods) {
      assertEquals((await node.cni("DEL", pod, withId(pod))).code, 0);
      await node.removePod(pod);
    }
  });

  await t.step("DEL needs nothing of a configuration that was edited meanwhile", async () => {
    const edits = [{ mut: 1 }, { ipam: { type: "host-local" } }, { ipMasq: true }, { name: 7 }, {
      cniVersion: "9.9.9",
    }];
    for (const conf of edits) {
      const pod = await node.createPod({ name: "edited" });
      await node.add(pod);
      const { code, stdout } = await node.cni("DEL", pod, { conf });
      assertEquals([code, stdout], [0, ""], JSON.stringify(conf));
      await node.removePod(pod);
    }
  });
  assertEquals(await picture(node), before);
});

async function allocations(node: Node): Promise<string> {
  const call = [EXECUTABLE, "allocations", "--socket", node.socket, "-o", "json"];
  return (await node.attempt(call)).stdout;
}

async function linksOf(node: Node): Promise<readonly string[]> {
  const links = await node.ipJson("link", "show");
  return links.map(({ ifname }) => String(ifname)).filter((name) => /^flock[0-9a-f]{8}/.test(name));
}

/** A process in a pod's namespace. */
async function holderOf(pod: Pod): Promise<{ readonly pid: number } & AsyncDisposable> {
  const holder = await pod.spawn("holder", ["sleep", "1000"]);
  return { pid: holder.pid, [Symbol.asyncDispose]: async () => void await holder.stop() };
}
