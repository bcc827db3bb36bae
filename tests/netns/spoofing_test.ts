/**
 * A pod sends from addresses that it was given, and from no others, unless its node allows it.
 *
 * @module
 */
import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { ANNOTATION_PREFIX } from "../../src/core/config.ts";
import type { Node } from "../../src/lab/node.ts";
import type { Pod, PodResult } from "../../src/lab/pod.ts";
import { until } from "../../src/lab/wait.ts";
import { EXECUTABLE } from "../executable.ts";
import { testWith } from "../support.ts";
import { waitReplicas } from "./anycast_lab.ts";
import { PolicyProber, type Probe, type ProbeHost } from "./policy_prober.ts";
import { askPolicies, listTable } from "./policy_table.ts";
import { createTestLab, waitRoutes } from "./test_lab.ts";

const PORT = 80;
const EXTRA = ["2001:db8:ffff::61", "203.0.113.206"];
const ANYCAST = ["2001:db8:ffff::7", "203.0.113.207"];
const NOBODYS = ["2001:db8:abcd::1", "10.9.9.9"];
const PROTOCOLS = ["tcp", "udp", "sctp", "icmp"] as const;

testWith("netns: pods send only from addresses that they have", ["root", "bird"], async (t) => {
  await using lab = await createTestLab({ executable: EXECUTABLE });
  await lab.start();
  const [n1, n2] = lab.nodes as [Node, Node];
  const neighbour = await attach(n1, "neighbour");
  const distant = await attach(n2, "distant");
  const pod = await attach(n1, "pod", { addresses: EXTRA.join(","), anycast: ANYCAST.join(",") });
  await waitRoutes(lab, [...EXTRA, ...ANYCAST]);
  const client = {
    name: "client",
    netnsPath: lab.client.netnsPath,
    addresses: Object.values(lab.plan.client.addresses),
  };
  const everybody = [
    hostOf(neighbour),
    hostOf(distant),
    client,
    // Not only what is forwarded.
    { name: "n1", netnsPath: n1.netnsPath, addresses: Object.values(n1.plan.addresses) },
  ];
  const foreign = [
    ...addressesOf(neighbour),
    ...addressesOf(distant),
    ...Object.values(n1.plan.addresses),
    ...Object.values(n2.plan.addresses),
    ...client.addresses,
    ...NOBODYS,
  ];
  /** Of probes from these addresses: how many were sent, arrived, and were answered. */
  const tried = async (
    addresses: readonly string[],
    { from = pod, foreign = false } = {},
  ): Promise<{ readonly sent: number; readonly arrived: number; readonly answered: number }> => {
    const host = { ...hostOf(from), addresses, foreign };
    const targets = everybody.filter(({ name }) => name !== host.name);
    using prober = new PolicyProber([host, ...targets], [PORT]);
    const outcomes = await prober.run(probesTo(host, targets));
    return {
      sent: outcomes.length,
      arrived: outcomes.filter(({ arrived }) => arrived !== undefined).length,
      answered: outcomes.filter(({ answered }) => answered).length,
    };
  };
  const spoofed = async (): Promise<number> => {
    const { pods } = await askPolicies(n1);
    return pods.find((one) => one.pod === pod.key)?.spoofed?.packets ?? NaN;
  };

  await t.step("others' are dropped and counted, whoever they are for", async () => {
    const before = await spoofed();
    const { sent, arrived } = await tried(foreign, { foreign: true });
    assertEquals(arrived, 0);
    assert(sent > 100, `${sent} were sent`);
    assertEquals(await spoofed() - before, sent);
    const [none] = (await askPolicies(n1)).pods.filter((one) => one.pod === neighbour.key);
    assertEquals(none?.spoofed?.packets, 0);
  });

  await t.step("its own pass: extra ones, and anycast ones", async () => {
    const before = await spoofed();
    await Promise.all(ANYCAST.map((address) => waitReplicas(n1, address, [pod])));
    const { sent, arrived, answered } = await tried([...addressesOf(pod), ...ANYCAST]);
    assertEquals([arrived, answered], [sent, sent]);
    assertEquals(await spoofed(), before);
  });

  await t.step("anycast ones also while it is not ready", async () => {
    await n1.updatePod(pod, { ready: false });
    await Promise.all(ANYCAST.map((address) => waitReplicas(n1, address, [])));
    const before = await spoofed();
    // Datagrams: nothing leads back.
    await tried(ANYCAST);
    assertEquals(await spoofed(), before);
    await n1.updatePod(pod, { ready: true });
    await Promise.all(ANYCAST.map((address) => waitReplicas(n1, address, [pod])));
  });

  await t.step("neighbours are still found", async () => {
    const link = (await n1.ipJson("route", "get", pod.address("ipv4")!))[0]?.dev;
    await pod.ip("neigh", "flush", "dev", "eth0", "nud", "permanent");
    await n1.ip("neigh", "flush", "dev", String(link), "nud", "permanent");
    const { sent, answered } = await tried(addressesOf(pod));
    assertEquals(answered, sent);
    // Duplicate address detection, from the unspecified address (RFC 4862).
    await pod.ip("addr", "add", "fe80::5/64", "dev", "eth0");
    await until("an address that is nobody else's", async () => {
      const listed = await pod.ip("-6", "addr", "show", "dev", "eth0", "scope", "link");
      return listed.includes("fe80::5") && !/tentative|dadfailed/.test(listed);
    });
    await pod.ip("addr", "del", "fe80::5/64", "dev", "eth0");
  });

  await t.step("from each link of its container, all of the container's", async () => {
    const env = { CNI_IFNAME: "net1" };
    const { code, json, stdout } = await n1.cni("ADD", neighbour, { env });
    assertEquals(code, 0, stdout);
    const second = ((json as unknown as PodResult).ips ?? []).map((ip) => bare(ip.address));
    const own = [...addressesOf(neighbour), ...second];
    for (const link of ["eth0", "net1", "eth0"]) {
      await neighbour.ipBatch([
        `route replace default via fe80::1 dev ${link} onlink`,
        `route replace default via 169.254.1.1 dev ${link} onlink`,
      ]);
      const { sent, arrived } = await tried(own, { from: neighbour });
      assertEquals(arrived, sent, link);
      const others = await tried(NOBODYS, { from: neighbour, foreign: true });
      assertEquals([others.arrived, others.sent > 0], [0, true], link);
    }
    assertEquals((await n1.cni("DEL", neighbour, { env })).code, 0);
    const after = await tried(addressesOf(neighbour), { from: neighbour });
    assertEquals(after.answered, after.sent);
  });

  await t.step("unless the node allows it, as long as it does", async () => {
    await allowSpoofing(n1, true);
    await until("no more guard", async () => !(await listTable(n1)).chains.has("antispoof"));
    assertNotEquals((await tried(NOBODYS, { foreign: true })).arrived, 0);
    await allowSpoofing(n1, false);
    await until("the guard again", async () => (await listTable(n1)).chains.has("antispoof"));
    assertEquals((await tried(foreign, { foreign: true })).arrived, 0);
    const { sent, answered } = await tried(addressesOf(pod));
    assertEquals(answered, sent);
  });
});

async function attach(
  node: Node,
  name: string,
  annotations: Readonly<Record<string, string>> = {},
): Promise<Pod> {
  const prefixed = Object.entries(annotations)
    .map(([key, value]) => [ANNOTATION_PREFIX + key, value]);
  const pod = await node.createPod({ name, annotations: Object.fromEntries(prefixed) });
  await node.add(pod);
  return pod;
}

/** Changes one key of a node's NodeConfig. */
async function allowSpoofing(node: Node, allowed: boolean): Promise<void> {
  const name = `nodeconfig-${node.name}.json`;
  const object = JSON.parse(await Deno.readTextFile(`${node.manifestsDir}/${name}`));
  await node.writeManifest(name, [{
    ...object,
    spec: { ...object.spec, allowSpoofing: allowed },
  }]);
}

function probesTo(from: ProbeHost, targets: readonly ProbeHost[]): Probe[] {
  return from.addresses.flatMap((source) =>
    targets.flatMap(({ addresses }) => addresses)
      .filter((to) => to !== source && to.includes(":") === source.includes(":"))
      .flatMap((to) =>
        PROTOCOLS.map((protocol) => ({
          ...{ host: from.name, from: source, to, protocol },
          port: protocol === "icmp" ? 0 : PORT,
        }))
      )
  );
}

function hostOf(pod: Pod): ProbeHost {
  return { name: pod.key, netnsPath: pod.netnsPath, addresses: addressesOf(pod) };
}

function addressesOf(pod: Pod): string[] {
  return (pod.result?.ips ?? []).map(({ address }) => bare(address));
}

function bare(address: string): string {
  return address.split("/")[0]!;
}
