/**
 * Nobody opens the gates: not an agent that starts again, with or without changes meanwhile or a cluster to
 * ask, and not somebody who takes the table of the kernel away or apart.
 *
 * @module
 */
import { assertEquals, assertNotEquals } from "@std/assert";
import type { Node } from "../../src/lab/node.ts";
import type { Pod } from "../../src/lab/pod.ts";
import { until } from "../../src/lab/wait.ts";
import { EXECUTABLE } from "../executable.ts";
import { networkPolicy } from "../policy_objects.ts";
import { testWith } from "../support.ts";
import { countDatagrams, countedDatagrams, Hammer } from "./hammer.ts";
import { createNodeLab, hostIfname } from "./node_probe.ts";
import { putPolicies, waitInForce, writePolicies } from "./policy_table.ts";
import { createTestCluster, waitRoutes } from "./test_lab.ts";

/** Always denied; allowed by the first policy, denied by the others. */
const CLOSED = 80, OPEN = 81;
const ONLY_OPEN = networkPolicy("default", "only-open", {
  podSelector: { matchLabels: { app: "server" } },
  ingress: [{ ports: [{ protocol: "UDP", port: OPEN }] }],
});
const NOTHING = networkPolicy("default", "nothing", { podSelector: {}, policyTypes: ["Ingress"] });

testWith("netns: what is denied stays denied", ["root", "bird"], async (t) => {
  const { lab, node } = await createNodeLab();
  await using _lab = lab;
  await lab.start();
  await waitRoutes(lab);
  const pod = await node.createPod({ name: "server", labels: { app: "server" } });
  await node.add(pod);
  await countDatagrams(pod);
  const addresses = addressesOf(pod);
  /** How many of a hundred come that are sent from now on. */
  const heardOf = async (port: number): Promise<number> => {
    const before = await countedDatagrams(pod);
    await using hammer = new Hammer(lab.client, addresses, port);
    await hammer.more(100);
    await hammer[Symbol.asyncDispose]();
    return await countedDatagrams(pod) - before;
  };
  const restart = async (...args: readonly string[]): Promise<void> => {
    await node.startAgent({ args });
    await node.waitReady();
  };
  let uids = await putPolicies(lab, [ONLY_OPEN]);
  // The table is the same one, not one that is alike.
  const handles = (): Promise<string> => listing(node, "-a");
  assertEquals(await heardOf(CLOSED), 0);
  assertNotEquals(await heardOf(OPEN), 0);

  await t.step("by a restart that changes nothing, not even the table's handles", async () => {
    const [before, heard] = [await handles(), await countedDatagrams(pod)];
    await using hammer = new Hammer(lab.client, addresses, CLOSED);
    for (const signal of ["SIGTERM", "SIGKILL"] as const) {
      await node.stopAgent(signal);
      await hammer.more(100);
      await restart();
      await waitInForce(node, uids);
      await hammer.more(100);
      assertEquals(await handles(), before, signal);
    }
    assertEquals(await countedDatagrams(pod), heard);
  });

  await t.step("by a restart after which other policies are there", async () => {
    const heard = await countedDatagrams(pod);
    await using hammer = new Hammer(lab.client, addresses, CLOSED);
    await hammer.more(50);
    await node.stopAgent();
    uids = await writePolicies(node, [NOTHING]);
    await restart();
    await waitInForce(node, uids);
    assertEquals(await heardOf(OPEN), 0);
    await node.stopAgent("SIGKILL");
    uids = await writePolicies(node, [ONLY_OPEN]);
    await restart();
    await waitInForce(node, uids);
    await hammer.more(50);
    assertEquals(await countedDatagrams(pod), heard);
    await hammer[Symbol.asyncDispose]();
    assertNotEquals(await heardOf(OPEN), 0);
  });

  await t.step("by somebody who takes the table away: it comes back at once", async () => {
    const before = await listing(node);
    await node.exec(["nft", "delete", "table", "inet", "flock"]);
    // Long before the periodic look, which comes every 30 s.
    await waitListing(node, before, 5_000);
    assertEquals(await heardOf(CLOSED), 0);
  });

  await t.step("by somebody who takes it apart, until the next look at the latest", async () => {
    const link = hostIfname(pod);
    await node.stopAgent();
    await restart("--route-reconcile-interval", "500ms");
    await waitInForce(node, uids);
    const before = await listing(node);
    await node.exec(["nft", "-f", "-"], {
      stdin: "add table inet other\nadd chain inet other empty\n",
    });
    for (
      const harm of [
        "flush chain inet flock ingress",
        "flush chain inet flock ingress/default/only-open",
        `delete element inet flock ingress { "${link}" }`,
        `delete element inet flock spoofed { "${link}" }`,
        `add element inet flock itself { "${link}" . "lo" }`,
        "insert rule inet flock ingress accept",
        "add chain inet flock guest",
        "add set inet flock guest { type ipv4_addr; }",
        "flush table inet flock",
      ]
    ) {
      await node.exec(["nft", "-f", "-"], { stdin: `${harm}\n` });
      await waitListing(node, before, 10_000, harm);
    }
    assertEquals(await heardOf(CLOSED), 0);
    assertNotEquals(await heardOf(OPEN), 0);
    // Other tables are other people's.
    await node.exec(["nft", "list", "chain", "inet", "other", "empty"]);
  });
});

testWith("netns: what is denied stays denied while an agent cannot ask", [
  "root",
  "bird",
], async () => {
  const { lab, cluster } = await createTestCluster({ executable: EXECUTABLE, nodes: 1 });
  await using _lab = lab;
  const node = lab.node("n1");
  const away = `${node.manifestsDir}.away`;
  await lab.start();
  await waitRoutes(lab);
  const pod = await node.createPod({ name: "server", labels: { app: "server" } });
  await node.add(pod);
  await countDatagrams(pod);
  const uids = await putPolicies(lab, [NOTHING]);
  const before = await listing(node, "-a");
  await using hammer = new Hammer(lab.client, addressesOf(pod), CLOSED);
  await node.stopAgent();
  if (cluster === undefined) await Deno.rename(node.manifestsDir, away);
  else await cluster.server.stop();
  await node.startAgent();
  await until("an agent that answers", async () => {
    await node.agent!.assertRunning();
    return (await node.cni("STATUS")).json?.code === 50;
  });
  await hammer.more(200);
  assertEquals(await listing(node, "-a"), before);
  if (cluster === undefined) await Deno.rename(away, node.manifestsDir);
  else cluster.server.resume();
  await node.waitReady();
  await waitInForce(node, uids);
  await hammer.more(50);
  assertEquals(await listing(node, "-a"), before);
  assertEquals(await countedDatagrams(pod), 0);
});

testWith("netns: what is denied stays denied when a manifest cannot be read any more", [
  "root",
  "bird",
  "manifests",
], async () => {
  const { lab } = await createTestCluster({ executable: EXECUTABLE, nodes: 1 });
  await using _lab = lab;
  const node = lab.node("n1");
  await lab.start();
  await waitRoutes(lab);
  const pod = await node.createPod({ name: "server", labels: { app: "server" } });
  await node.add(pod);
  await countDatagrams(pod);
  await putPolicies(lab, [NOTHING]);
  const before = await listing(node, "-a");
  await using hammer = new Hammer(lab.client, addressesOf(pod), CLOSED);
  await node.stopAgent();
  await Deno.writeTextFile(`${node.manifestsDir}/policies.yaml`, "kind: NetworkPol");
  await node.startAgent();
  await until("an agent that says why", async () => {
    const { json } = await node.cni("STATUS");
    return json?.code === 50 && JSON.stringify(json).includes("policies.yaml");
  });
  await hammer.more(200);
  assertEquals(await listing(node, "-a"), before);
  // Whoever mends it is heard at once.
  const uids = await putPolicies(lab, [NOTHING]);
  await node.waitReady();
  await waitInForce(node, uids);
  await hammer.more(50);
  assertEquals(await listing(node, "-a"), before);
  assertEquals(await countedDatagrams(pod), 0);
});

function addressesOf(pod: Pod): string[] {
  return (pod.result?.ips ?? []).map(({ address }) => address.split("/")[0]!);
}

/** The table, without what is counted. */
async function listing(node: Node, ...flags: readonly string[]): Promise<string> {
  return (await node.exec(["nft", "-s", ...flags, "list", "table", "inet", "flock"])).stdout;
}

async function waitListing(
  node: Node,
  wanted: string,
  timeoutMs: number,
  after = "the deletion",
): Promise<void> {
  await until(`the table again after ${after}`, async () => {
    assertEquals(sorted(await listing(node)), sorted(wanted));
    return true;
  }, { everyMs: 20, timeoutMs });
}

/** Lines of a listing without their order, which a set's elements do not have. */
function sorted(text: string): readonly string[] {
  const flat = text.replace(
    /elements = \{(.*?)\}/gs,
    (_, list: string) => list.split(",").map((element) => element.trim()).sort().join(", "),
  );
  return flat.split("\n").sort();
}
