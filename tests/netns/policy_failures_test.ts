/**
 * An ADD whose rules do not come into the kernel, because `nft` fails or hangs: it is refused, nothing is
 * left of it, it is told of where the pod is, and what is in force stays.
 *
 * @module
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import type { ExecResult } from "../../src/lab/host.ts";
import type { Node } from "../../src/lab/node.ts";
import { until } from "../../src/lab/wait.ts";
import { EXECUTABLE } from "../executable.ts";
import { networkPolicy } from "../policy_objects.ts";
import { testWith } from "../support.ts";
import { ApiCluster } from "./api_cluster.ts";
import { FaultyTools } from "./faulty_tools.ts";
import {
  abandonAdd,
  ask,
  createNodeLab,
  hostIfname,
  refusal,
  stored,
  tracesInPod,
} from "./node_probe.ts";
import { askPolicies, listTable, waitInForce, writePolicies } from "./policy_table.ts";

const DENY = networkPolicy("default", "deny", { podSelector: {}, policyTypes: ["Ingress"] });

const FAILS = 'Cannot run "nft -f -": exit status 1: netlink: Error: cache initialization ' +
  "failed: Operation not permitted";

testWith("netns: an ADD whose rules cannot be put in force leaves nothing", [
  "root",
  "bird",
], async (t) => {
  const { lab, node } = await createNodeLab();
  await using _lab = lab;
  const cluster = await ApiCluster.create(lab);
  const tools = await FaultyTools.create(node);
  // Without it STATUS has another code.
  await node.startBird();
  await tools.startAgent(node);
  const pod = await node.createPod({ name: "p" });
  const other = await node.createPod({ name: "q" });
  await node.add(other);

  await t.step("the pods of other nodes cannot be read when the first policy comes", async () => {
    cluster.server.refuse = ({ resource, query }) =>
      resource === "pods" && query.fieldSelector === undefined;
    const uids = await writePolicies(node, [DENY]);
    await until("its rules", async () => (await linksInForce(node)).length === 1);
    const why = "pods of other nodes are not known yet: Cannot read";
    await until("the reason", async () => (await askPolicies(node)).error?.startsWith(why));
    assertEquals((await askPolicies(node)).inForce, false);
    const { code, stdout } = await flock(node, "policies", "--check");
    assertEquals([code, stdout.startsWith(`This is not in force: ${why}`)], [1, true], stdout);
    // Pods are attached nevertheless, and denied.
    await node.add(pod);
    assertEquals((await linksInForce(node)).length, 2);
    await node.del(pod);
    cluster.server.refuse = () => false;
    await waitInForce(node, uids);
    assertEquals((await flock(node, "policies", "--check")).code, 0);
  });

  const inForce = await linksInForce(node);
  assertEquals(inForce, [hostIfname(other)]);

  /** ADD is refused with this message, and with an event that says so. */
  const assertRefused = async (why: string): Promise<void> => {
    const { code, message } = await refusal(ask(node, "ADD", pod));
    assertEquals([code, message], [
      105,
      `Cannot enforce policies of pod "default/p": ${why}`,
    ]);
    const event = `Pod p PolicyNotInForce: ${message}`;
    await until("event", () => Promise.resolve(cluster.events().includes(event)));
    await assertOnlyOther();
  };
  const assertOnlyOther = async (): Promise<void> => {
    assertEquals((await stored(node)).map(({ podName, state }) => [podName, state]), [
      ["q", "committed"],
    ]);
    assertEquals(await tracesInPod(pod), []);
    assertEquals((await node.ip("-o", "link", "show")).includes(hostIfname(pod)), false);
    assertEquals(await linksInForce(node), inForce);
  };
  const works = async (): Promise<void> => {
    await node.add(pod);
    assertEquals(await linksInForce(node), [hostIfname(pod), hostIfname(other)].sort());
    await node.del(pod);
    await until("its rules gone", async () => (await linksInForce(node)).length === 1);
    await assertOnlyOther();
  };

  await t.step("nft fails", async () => {
    await tools.plan("nft", "table", { kind: "fail" });
    await assertRefused(FAILS);
    await tools.plan("nft", "table");
    await works();
  });

  await t.step("nft fails for long: the node takes no pods until it does not", async () => {
    await tools.plan("nft", "table", { kind: "fail" });
    const began = performance.now();
    await assertRefused(FAILS);
    const status = async (): Promise<string | undefined> => {
      const { code, stdout } = await node.cni("STATUS");
      if (code === 0) return undefined;
      const { code: cniCode, msg } = JSON.parse(stdout);
      assertEquals(cniCode, 50, stdout);
      return msg;
    };
    assertEquals(await status(), undefined, "a blip is no reason");
    await until("not ready", async () => await status() !== undefined, { timeoutMs: 30_000 });
    const tookMs = performance.now() - began;
    assert(tookMs >= 9_500, `${tookMs} ms`);
    assertEquals(
      await status(),
      `Cannot attach containers: policies cannot be enforced: ${FAILS}`,
    );
    const { stdout } = await flock(node, "status");
    assertMatch(stdout, /^Ready +no: policies cannot be enforced: Cannot run "nft -f -"/m);
    await tools.plan("nft", "table");
    await until("ready", async () => await status() === undefined, { timeoutMs: 40_000 });
    await works();
  });

  await t.step("nft hangs", async () => {
    await tools.plan("nft", "table", { kind: "hold" });
    const began = performance.now();
    await assertRefused("nft has not finished within 5 s");
    const tookMs = performance.now() - began;
    assert(tookMs < 8_000, `${tookMs} ms`);
    await tools.release("nft", "table");
    await works();
  });

  await t.step("whoever asked went away while nft hangs", async () => {
    await tools.plan("nft", "table", { kind: "hold" });
    await abandonAdd(node, pod, () => tools.held("nft", "table"));
    await until("nothing left", () => assertOnlyOther().then(() => true));
    await tools.release("nft", "table");
    await works();
  });
});

/** The links whose pods nothing reaches, as the kernel has it. */
async function linksInForce(node: Node): Promise<readonly string[]> {
  const { sets } = await listTable(node);
  const names = (sets.get("dropped-ingress") ?? []).map((text) => text.split('"')[1] ?? "");
  assertEquals(
    (sets.get("ingress") ?? []).map((text) => text.split('"')[1]).sort(),
    names.sort(),
    "each of them has a verdict",
  );
  return names;
}

async function flock(node: Node, ...args: readonly string[]): Promise<ExecResult> {
  return await node.attempt([EXECUTABLE, ...args], { env: { FLOCK_SOCKET: node.socket } });
}
