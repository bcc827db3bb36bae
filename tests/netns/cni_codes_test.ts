/**
 * What ADD, GC and STATUS answer when they cannot, by the table of codes; and what a refusal leaves:
 * nothing.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { callAgent } from "../../src/io/socket.ts";
import type { CniOptions, Node } from "../../src/lab/node.ts";
import type { Pod } from "../../src/lab/pod.ts";
import { until } from "../../src/lab/wait.ts";
import { testWith } from "../support.ts";
import {
  assertRefused,
  createCniHost,
  createTestPod,
  EXECUTABLE,
  picture,
  storedAttachments,
} from "./cni_host.ts";
import { createTestLab } from "./test_lab.ts";

const NEEDS = ["root", "bird"] as const;
const P = "flock.fritzlab.net/";

testWith("netns: ADD is refused by the table of codes and leaves nothing", NEEDS, async (t) => {
  await using host = await createCniHost();
  const { node } = host;
  await using resident = await createTestPod(node, {
    annotations: { [`${P}addresses`]: "2001:db8:f001::77", [`${P}cidr4`]: "10.244.1.0/30" },
  });
  await node.add(resident.pod);
  const args = (name: string): CniOptions => ({
    env: { CNI_ARGS: `IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=${name}` },
  });
  const cases: Record<string, {
    readonly annotations?: Readonly<Record<string, string>>;
    readonly call?: (node: Node, pod: Pod) => CniOptions;
    readonly code: number;
    readonly says: string;
  }> = {
    "both families off": {
      annotations: { [`${P}ipv6`]: "false", [`${P}ipv4`]: "false" },
      code: 103,
      says: "both switched off",
    },
    "anycast of a family that is off": {
      annotations: { [`${P}ipv4`]: "false", [`${P}anycast`]: "203.0.113.200" },
      code: 103,
      says: '"203.0.113.200"',
    },
    "an address that another pod holds": {
      annotations: { [`${P}addresses`]: "2001:db8:f001::77" },
      code: 102,
      says: `pod "default/${resident.pod.options.name}" holds it`,
    },
    "another pod's address as anycast": {
      annotations: { [`${P}anycast`]: "2001:db8:f001::77" },
      code: 102,
      says: "2001:db8:f001::77",
    },
    "the node's own address": {
      annotations: { [`${P}addresses`]: "2001:db8:25::11" },
      code: 102,
      says: "2001:db8:25::11",
    },
    "the router's address": {
      annotations: { [`${P}anycast`]: "198.51.100.1" },
      code: 102,
      says: "198.51.100.1",
    },
    "a link-local address": {
      annotations: { [`${P}addresses`]: "fe80::1" },
      code: 102,
      says: "link-local",
    },
    "a full pool": {
      annotations: { [`${P}cidr4`]: "10.244.1.0/30" },
      code: 100,
      says: '"10.244.1.0/30": every address is in use or reserved',
    },
    "a pool that is not the node's": {
      annotations: { [`${P}cidr6`]: "2001:db8:9999::/64" },
      code: 101,
      says: "2001:db8:9999::/64",
    },
    "no pod, where one is required": {
      call: () => ({ env: { CNI_ARGS: "" } }),
      code: 4,
      says: "K8S_POD_NAME",
    },
    "a namespace that does not exist": {
      call: () => ({ env: { CNI_NETNS: "/run/netns/no-such" } }),
      code: 8,
      says: '"/run/netns/no-such": no such path',
    },
    "a file that is no namespace": {
      call: () => ({ env: { CNI_NETNS: "/etc/hostname" } }),
      code: 8,
      says: '"/etc/hostname": it is not a network namespace',
    },
    "the node's own namespace": {
      call: (node) => ({ env: { CNI_NETNS: node.netnsPath } }),
      code: 8,
      says: "it is the node's own",
    },
    "an interface that is there already": {
      call: () => ({ env: { CNI_IFNAME: "lo" } }),
      code: 104,
      says: 'Cannot create interface "lo"',
    },
    "an unknown pod": {
      call: () => args("nobody"),
      code: 3,
      says: '"default/nobody": there is none',
    },
    "a pod made again under its name": {
      call: (_, pod) => ({
        env: { CNI_ARGS: pod.cniArgs.replace(pod.uid, "00000000-0000-4000-8000-000000000000") },
      }),
      code: 11,
      says: 'with UID "00000000-0000-4000-8000-000000000000"',
    },
    "a pod of another node": {
      call: () => args("elsewhere"),
      code: 3,
      says: 'it belongs to node "n2"',
    },
  };
  const { pod: elsewhere } = resident;
  await node.writeManifest("elsewhere.json", [{
    ...elsewhere.manifest("n2"),
    metadata: { namespace: "default", name: "elsewhere", uid: "other" },
  }]);
  const before = await picture(node, resident.pod);
  // Some wait three seconds for a pod that does not come: all at once.
  const entries = await Promise.all(
    Object.entries(cases).map(async ([name, { annotations, call = () => ({}) }]) => {
      await using made = await createTestPod(node, { annotations });
      const { pod } = made;
      const empty = await linksOf(pod);
      const answer = await node.cni("ADD", pod, call(node, pod));
      return { name, answer, left: await linksOf(pod), empty };
    }),
  );
  for (const { name, answer, left, empty } of entries) {
    await t.step(name, () => {
      assertRefused(answer, cases[name]!.code, cases[name]!.says);
      assertEquals(left, empty, "nothing in the pod");
    });
  }
  await t.step("nothing changed", async () => {
    assertEquals(await picture(node, resident.pod), before);
    await node.check(resident.pod);
  });
  await t.step("an operation nobody knows", async () => {
    for (const op of ["FROB", "toString", "", "}\n"]) {
      const call = callAgent(node.socket, { op }, { connectMs: 0, timeoutMs: 5_000 });
      const error = await call.then(() => undefined, (error) => error);
      assertEquals(error?.code, 4, String(error));
    }
  });
});

testWith("netns: pods of one family get that family only", NEEDS, async (t) => {
  await using host = await createCniHost();
  const { node } = host;
  const families = { ipv6: "ipv4", ipv4: "ipv6" } as const;
  for (const [family, other] of Object.entries(families)) {
    await t.step(`${family} only`, async () => {
      await using made = await createTestPod(node, { annotations: { [`${P}${other}`]: "false" } });
      const { pod } = made;
      const result = await node.add(pod) as unknown as { ips: unknown[]; routes: unknown[] };
      assertEquals([result.ips.length, result.routes.length], [1, 1]);
      assert(pod.address(family as keyof typeof families) !== undefined);
      assertEquals(pod.address(other), undefined);
      const flag = other === "ipv6" ? "-6" : "-4";
      const dev = result as unknown as { interfaces: { name: string }[] };
      assertEquals(await pod.ip(flag, "addr", "show", "dev", "eth0"), "");
      assertEquals(await node.ip(flag, "addr", "show", "dev", dev.interfaces[0]!.name), "");
      await node.check(pod);
      assert(await node.ping(pod.address(family as keyof typeof families)!) !== undefined);
      const { json } = await node.cni("ADD", pod, { conf: { cniVersion: "0.2.0" } });
      assertEquals(Object.keys(json!).sort(), ["cniVersion", family === "ipv6" ? "ip6" : "ip4"]);
      await node.del(pod);
    });
  }
});

testWith("netns: a container of no pod is attached where none is required", NEEDS, async () => {
  await using host = await createCniHost();
  const { node } = host;
  await using made = await createTestPod(node);
  const { pod } = made;
  const options = { conf: { requirePod: false }, env: { CNI_ARGS: undefined } };
  await node.add(pod, options);
  await node.check(pod, options);
  assert(await node.ping(pod.address("ipv4")!) !== undefined);
  await node.del(pod, options);
  assertEquals(await storedAttachments(node), []);
});

testWith("netns: GC removes what is not valid any more, and nothing in doubt", NEEDS, async (t) => {
  await using host = await createCniHost();
  const { node } = host;
  await using a = await createTestPod(node);
  await using b = await createTestPod(node);
  await using c = await createTestPod(node);
  const before = await picture(node);
  for (const { pod } of [a, b, c]) await node.add(pod);
  const valid = (...pods: Pod[]): unknown =>
    pods.map(({ containerId }) => ({ containerID: containerId, ifname: "eth0" }));
  const gc = (conf: Record<string, unknown>) => node.cni("GC", undefined, { conf });
  const stored = async (): Promise<number> => (await storedAttachments(node)).length;

  await t.step("without a list nothing", async () => {
    assertRefused(await gc({}), 7, '"cni.dev/valid-attachments" is missing');
    assertEquals(await stored(), 3);
  });
  await t.step("a damaged list nothing", async () => {
    const list = [{ containerID: a.pod.containerId }];
    assertRefused(await gc({ "cni.dev/valid-attachments": list }), 7, "cni.dev/valid-attachments");
    assertEquals(await stored(), 3);
  });
  await t.step("null or empty nothing that is alive", async () => {
    for (const list of [null, []]) {
      assertEquals((await gc({ "cni.dev/valid-attachments": list })).stdout, "");
    }
    for (const { pod } of [a, b, c]) await node.check(pod);
  });
  await t.step("nothing of another network", async () => {
    const conf = { name: "other", "cni.dev/valid-attachments": valid(a.pod) };
    assertEquals((await gc(conf)).code, 0);
    assertEquals(await stored(), 3);
  });
  await t.step("what is not in the list, under its old name too", async () => {
    const answer = await gc({ "cni.dev/valid-attachments": valid(a.pod, b.pod) });
    assertEquals([answer.code, answer.stdout, answer.stderr], [0, "", ""]);
    assertEquals(await stored(), 2);
    await node.check(b.pod);
    assertEquals((await gc({ "cni.dev/attachments": valid(a.pod) })).code, 0);
    assertEquals(await stored(), 1);
    await node.check(a.pod);
    assertEquals(await linksOf(b.pod), ["lo"]);
  });
  await t.step("null: what has lost its namespace", async () => {
    await using gone = await createTestPod(node);
    await node.add(gone.pod);
    // The link is there as long as something holds the namespace, its path is not.
    const holder = await gone.pod.spawn("holder", ["sleep", "1000"]);
    await gone.pod.remove();
    assertEquals((await gc({ "cni.dev/valid-attachments": null })).stdout, "");
    assertEquals(await stored(), 1);
    await holder.stop();
    await node.ip("netns", "add", gone.pod.netns);
  });
  await t.step("all of it, with DEL", async () => {
    await node.del(a.pod);
    assertEquals(await picture(node), before);
  });
});

testWith("netns: one container with two interfaces", NEEDS, async () => {
  await using host = await createCniHost();
  const { node } = host;
  await using made = await createTestPod(node);
  const { pod } = made;
  const before = await picture(node);
  const first = await node.cni("ADD", pod);
  const env = { CNI_IFNAME: "net1" };
  const second = await node.cni("ADD", pod, { env });
  assertEquals([first.code, second.code], [0, 0], second.stdout);
  const addresses = [first, second].flatMap(({ json }) =>
    (json!.ips as { address: string }[]).map(({ address }) => address.split("/")[0]!)
  );
  assertEquals(new Set(addresses).size, 4);
  assertEquals(await linksOf(pod), ["eth0", "lo", "net1"]);
  // Each is whole beside the other, and the pod's own traffic goes by eth0.
  for (const [answer, options] of [[first, {}], [second, { env }]] as const) {
    const checked = await node.cni("CHECK", pod, { ...options, conf: { prevResult: answer.json } });
    assertEquals([checked.code, checked.stdout], [0, ""]);
  }
  for (const address of addresses) {
    assert(await node.ping(address) !== undefined, `the node reaches ${address}`);
  }
  for (const to of ["2001:db8:c::10", "203.0.113.10"]) {
    const [route] = await pod.ipJson("route", "get", to);
    assertEquals([route?.dev, addresses.slice(0, 2).includes(String(route?.prefsrc))], [
      "eth0",
      true,
    ]);
  }
  assertEquals((await node.cni("DEL", pod, { env })).stdout, "");
  const checked = await node.cni("CHECK", pod, { conf: { prevResult: first.json } });
  assertEquals([checked.code, checked.stdout], [0, ""]);
  assertEquals((await node.cni("DEL", pod)).stdout, "");
  assertEquals(await picture(node), before);
});

testWith("netns: STATUS without a NodeConfig and without an agent", NEEDS, async (t) => {
  await using lab = await createTestLab({ executable: EXECUTABLE, nodes: 1 });
  const node = lab.node("n1");
  const text = await Deno.readTextFile(`${node.manifestsDir}/nodeconfig-n1.json`);
  await node.writeManifest("nodeconfig-n1.json", []);
  const missing = 'there is no NodeConfig "n1"';
  await t.step("no agent: 50", async () => {
    assertRefused(await node.cni("STATUS"), 50, "nobody answers there");
  });
  await t.step("no NodeConfig, and no BIRD: 51", async () => {
    await node.startAgent();
    const answer = await until("caches in sync", async () => {
      const answer = await node.cni("STATUS");
      return String(answer.json?.msg).includes(missing) && answer;
    });
    assertRefused(answer, 51, missing);
    await using made = await createTestPod(node, { name: "early" });
    assertRefused(await node.cni("ADD", made.pod), 11, missing);
  });
  await t.step("no NodeConfig, and BIRD runs: 50", async () => {
    await node.startBird();
    const answer = await until("BIRD", async () => {
      const answer = await node.cni("STATUS");
      return answer.json?.code !== 51 && answer;
    });
    assertRefused(answer, 50, missing);
  });
  await t.step("a NodeConfig: ready", async () => {
    await node.writeManifest("nodeconfig-n1.json", [JSON.parse(text)]);
    await node.waitReady();
  });
  await t.step("BIRD stopped: still ready", async () => {
    await node.stopBird();
    assertEquals((await node.cni("STATUS")).stdout, "");
  });
});

/** Names of a pod's links, sorted. */
async function linksOf(pod: Pod): Promise<string[]> {
  return (await pod.ipJson("link", "show")).map(({ ifname }) => String(ifname)).sort();
}
