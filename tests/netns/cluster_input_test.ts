/**
 * Whatever is written into the cluster's objects (annotations, pods, NodeConfig), through the real agent:
 * an error that names it, its code, and nothing changed.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import type { CniAnswer, Node } from "../../src/lab/node.ts";
import type { Pod } from "../../src/lab/pod.ts";
import { until } from "../../src/lab/wait.ts";
import { testSource, testWith } from "../support.ts";
import { assertRefused, createCniHost, createTestPod, picture } from "./cni_host.ts";
import { assertNoTrace, HOSTILE, HUGE, NUL } from "./hostile.ts";

const NEEDS = ["root", "bird"] as const;
const P = "flock.fritzlab.net/";

testWith("netns: bad annotations fail ADD and change nothing", NEEDS, async (t) => {
  await using host = await createCniHost();
  const { node } = host;
  const before = await picture(node);
  const bad: Record<string, readonly string[]> = {
    ipv6: ["yes", "2", ""],
    ipv4: ["no", "on"],
    cidr6: ["2001:db8::", "10.0.0.0/8", "2001:db8:f001::/121", "2001:db8:f001::/64;"],
    cidr4: ["10.244.1.0", "2001:db8::/64", "10.244.1.0/31", "10.244.01.0/24"],
    anycast: ["203.0.113.256", "2001:db8::1/128", "::ffff:10.0.0.1", "fe80::1%eth0"],
    "anycast-weight": ["0", "256", "1.5", "-1"],
    addresses: ["2001:db8:::1", "10.0.0.1,,", Array(17).fill(0).map((_, i) => `fd00::${i}`).join()],
  };
  for (const [key, values] of Object.entries(bad)) {
    await t.step(key, async () => {
      const hostile = [...HOSTILE, NUL, HUGE];
      const answers = await inPods(node, [...values, ...hostile].map((v) => ({ [P + key]: v })));
      for (const { answer, links } of answers) {
        assertRefused(answer, 101, `annotation "${P}${key}" with value `);
        assertEquals(links, ["lo"]);
      }
    });
  }
  await t.step("where a doubtful value is no reason to fail", async () => {
    for (const key of ["ip-algo", "policy-mode", "unknown", "}\n;"]) {
      const answers = await inPods(node, [...HOSTILE, NUL].map((v) => ({ [P + key]: v })));
      for (const { answer } of answers) assertEquals(answer.code, 0, answer.stdout);
    }
  });
  await t.step("nothing changed", async () => {
    assertEquals(await picture(node), before);
    await assertNoTrace();
  });
});

testWith("netns: hostile pods make no harm", NEEDS, async (t) => {
  await using host = await createCniHost();
  const { node } = host;
  const before = await picture(node);
  const values = [...HOSTILE, NUL, HUGE];
  await t.step("image, owner and labels: digits of an address at most", async () => {
    for (const value of values) {
      await using made = await createTestPod(node, {
        image: value,
        owner: { kind: "ReplicaSet", name: value },
        labels: { "pod-template-hash": value },
        annotations: { [`${P}ip-algo`]: "image,app" },
      });
      await node.add(made.pod);
      await node.check(made.pod);
    }
  });
  await t.step("UID and node: refused, or not this node's", async () => {
    // Each waits three seconds for a pod that does not come: all at once.
    await Promise.all(
      values.flatMap((value) => [{ uid: value }, { nodeName: value }])
        .map(async ({ uid, nodeName }) => {
          await using made = await createTestPod(node);
          const { pod } = made;
          const { name } = pod.options;
          const manifest = pod.manifest(nodeName ?? node.name);
          const metadata = { namespace: "default", name: `${name}-x`, uid: uid ?? pod.uid };
          await node.writeManifest(`pod-${pod.name}.json`, [{ ...manifest, metadata }]);
          const CNI_ARGS = `IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=${name}-x`;
          const answer = await node.cni("ADD", pod, { env: { CNI_ARGS } });
          if (nodeName !== undefined) assertRefused(answer, 3, "it belongs to node");
          // An unreadable file holds no pod. An API server is asked again: it gives out no such UIDs.
          else if (testSource() === "manifests") assertRefused(answer, 3, "there is none");
          else assertRefused(answer, 11, "Cannot find pod ");
        }),
    );
  });
  await t.step("nothing changed", async () => {
    assertEquals(await picture(node), before);
    await assertNoTrace();
  });
});

testWith("netns: a bad NodeConfig is refused whole and takes nothing down", NEEDS, async (t) => {
  await using host = await createCniHost();
  const { node } = host;
  await node.startBird();
  const rendered = await until("BIRD's configuration", async () => {
    const text = await Deno.readTextFile(node.birdConfig);
    return text.includes("2001:db8:f001::/64") && text;
  });
  await using resident = await createTestPod(node);
  await node.add(resident.pod);
  const good = JSON.parse(await Deno.readTextFile(`${node.manifestsDir}/nodeconfig-n1.json`));
  const before = await quiet(node, resident.pod);

  const peer = (value: object): object => ({
    bgp: { ...good.spec.bgp, peers: [{ address: "2001:db8:25::1", asn: 65000, ...value }] },
  });
  const fields: Record<string, (value: unknown) => object> = {
    cidr6: (v) => ({ cidr6: [v] }),
    cidr4: (v) => ({ cidr4: [v] }),
    defaults: (v) => ({ defaults: { ipv6: v } }),
    mtu: (v) => ({ mtu: v }),
    allowSpoofing: (v) => ({ allowSpoofing: v }),
    reserved: (v) => ({ reserved: [v] }),
    "bgp.asn": (v) => ({ bgp: { ...good.spec.bgp, asn: v } }),
    "bgp.routerID": (v) => ({ bgp: { ...good.spec.bgp, routerID: v } }),
    "bgp.import": (v) => ({ bgp: { ...good.spec.bgp, import: [{ cidr: v }] } }),
    "peer.address": (v) => peer({ address: v }),
    "peer.asn": (v) => peer({ asn: v }),
    "peer.port": (v) => peer({ port: v }),
    "peer.holdTime": (v) => peer({ holdTime: v }),
    "peer.localAddress": (v) => peer({ localAddress: v }),
    "peer.communities": (v) => peer({ communities: [v] }),
    "peer.bfd": (v) => peer({ bfd: { interval: v } }),
    "peer.gracefulRestart": (v) => peer({ gracefulRestart: { restartTime: v } }),
    "peer.passwordSecretRef": (v) => peer({ passwordSecretRef: { namespace: "a", name: v } }),
    "announce.allowed": (v) => ({ announce: { allowed: [{ cidr: v }] } }),
    peers: (v) => ({ bgp: { ...good.spec.bgp, peers: v } }),
  };
  for (const [field, change] of Object.entries(fields)) {
    await t.step(field, async () => {
      for (const value of ["}", HOSTILE[1], NUL, HUGE, {}]) {
        const spec = { ...good.spec, ...change(value) };
        const refusals = await refusalsOf(node);
        await node.writeManifest("nodeconfig-n1.json", [{ ...good, spec }]);
        const shown = JSON.stringify(value).slice(0, 40);
        await until(`refusal of ${field} ${shown}`, async () => await refusalsOf(node) > refusals, {
          timeoutMs: 5_000,
          everyMs: 10,
        });
      }
      assertEquals(await Deno.readTextFile(node.birdConfig), rendered);
    });
  }
  await t.step("the spec itself", async () => {
    for (const spec of ["}", 7, [good.spec]]) {
      const refusals = await refusalsOf(node);
      await node.writeManifest("nodeconfig-n1.json", [{ ...good, spec }]);
      const refused = async (): Promise<boolean> => await refusalsOf(node) > refusals;
      await until(`refusal of spec ${JSON.stringify(spec)}`, refused, { timeoutMs: 5_000 });
    }
  });
  await t.step("nothing changed, and pods come and go", async () => {
    assertEquals(await quiet(node, resident.pod), before);
    await assertNoTrace();
    await node.check(resident.pod);
    await using made = await createTestPod(node);
    await node.add(made.pod);
    await node.check(made.pod);
  });
  await t.step("unknown fields are ignored, whatever they are called", async () => {
    const odd = Object.fromEntries([...HOSTILE, NUL].map((key) => [key, key]));
    await node.writeManifest("nodeconfig-n1.json", [{ ...good, spec: { ...good.spec, ...odd } }]);
    await until("acceptance", async () => {
      const log = await Deno.readTextFile(`${node.dir}/agent.log`);
      return log.split("\n").filter((line) => line.includes('"Accepted NodeConfig"')).length === 2;
    });
    assertEquals(await Deno.readTextFile(node.birdConfig), rendered);
    assertEquals(await quiet(node, resident.pod), before);
  });
});

testWith("netns: a named pipe among the manifests holds nothing up", [
  ...NEEDS,
  "manifests",
], async () => {
  await using host = await createCniHost();
  const { node } = host;
  await node.exec(["mkfifo", `${node.manifestsDir}/f.yaml`]);
  for (let n = 0; n < 2; n++) {
    await using made = await createTestPod(node);
    await node.add(made.pod);
    await node.del(made.pod);
  }
});

async function refusalsOf(node: Node): Promise<number> {
  const log = await Deno.readTextFile(`${node.dir}/agent.log`);
  return log.split('"Refused NodeConfig"').length;
}

/** A picture without the routes that BIRD writes when its session comes up. */
async function quiet(node: Node, pod: Pod): Promise<string> {
  return (await picture(node, pod)).split("\n").filter((l) => !l.includes("proto bird")).join("\n");
}

/** ADD for a pod with each of the annotations, all detached again. */
async function inPods(
  node: Node,
  annotations: readonly Readonly<Record<string, string>>[],
): Promise<{ readonly answer: CniAnswer; readonly links: readonly unknown[] }[]> {
  return await Promise.all(annotations.map(async (one) => {
    await using made = await createTestPod(node, { annotations: one });
    const answer = await node.cni("ADD", made.pod);
    const links = await made.pod.ipJson("link", "show");
    return { answer, links: links.map(({ ifname }) => ifname) };
  }));
}
