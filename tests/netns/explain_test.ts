/**
 * `flock explain` on a node with a router: for each way in which an address stops being announced it marks
 * exactly that fact, and says that all is well when it is.
 *
 * @module
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import type { AddressRole, Explanation, FactName } from "../../src/core/inspection.ts";
import { callAgent } from "../../src/io/socket.ts";
import type { Node } from "../../src/lab/node.ts";
import { until } from "../../src/lab/wait.ts";
import { EXECUTABLE } from "../executable.ts";
import { testWith } from "../support.ts";
import { FaultyTools } from "./faulty_tools.ts";
import { ask, hostIfname } from "./node_probe.ts";
import { createTestLab } from "./test_lab.ts";

const ANY = "2001:db8:ffff::53";
/** Asked for by the pod in place of an IPv4 address of the node's prefix. */
const OWN4 = "203.0.113.200";
const ALLOWED = ["2001:db8:ffff::/48", "203.0.113.192/26"]
  .map((cidr) => ({ cidr, namespaces: ["*"] }));

async function explain(node: Node, target: string): Promise<Explanation> {
  const request = { op: "explain", args: target };
  const options = { connectMs: 0, timeoutMs: 10_000 };
  return await callAgent(node.socket, request, options) as Explanation;
}

/** Waits until a target's chain breaks there, or is whole; then exactly that fact is marked. */
async function breaks(
  node: Node,
  target: string,
  fact: FactName | undefined,
  text = /^/,
): Promise<Explanation> {
  return await until(`${target} broken at ${fact}`, async () => {
    const explanation = await explain(node, target);
    for (const { ok, broken, facts } of explanation.items) {
      const marked = facts.filter(({ firstBroken }) => firstBroken);
      const at = facts.findIndex(({ firstBroken }) => firstBroken);
      assertEquals([ok, broken], [fact === undefined, fact], JSON.stringify(facts, undefined, 1));
      assertEquals(marked.map((one) => one.fact), fact === undefined ? [] : [fact]);
      if (fact !== undefined) assertMatch(marked[0]!.text, text);
      for (const before of facts.slice(0, Math.max(0, at))) assertEquals(before.state, "ok");
    }
    return explanation;
  });
}

/** Changes fields of the node's NodeConfig. */
async function changeSpec(node: Node, change: Readonly<Record<string, unknown>>): Promise<void> {
  const file = `nodeconfig-${node.name}.json`;
  const object = JSON.parse(await Deno.readTextFile(`${node.manifestsDir}/${file}`));
  await node.writeManifest(file, [{ ...object, spec: { ...object.spec, ...change } }]);
}

testWith("netns: flock explain marks the fact that keeps an address from being announced", [
  "root",
  "bird",
], async (t) => {
  await using lab = await createTestLab({
    executable: EXECUTABLE,
    nodes: 2,
    spec: () => ({ announce: { allowed: ALLOWED }, reserved: ["2001:db8:eeee::/48"] }),
  });
  const node = lab.node("n1");
  const tools = await FaultyTools.create(node);
  await Promise.all([node.startBird(), tools.startAgent(node)]);
  await node.waitReady();
  await lab.router.waitSessions(["n1"], { timeoutMs: 30_000 });
  const annotations = {
    "flock.fritzlab.net/anycast": ANY,
    "flock.fritzlab.net/addresses": OWN4,
  };
  const pod = await node.createPod({ name: "web", annotations });
  const link = hostIfname(pod);
  const broken = (fact: FactName | undefined, text?: RegExp, target = ANY): Promise<Explanation> =>
    breaks(node, target, fact, text);

  const changed = (text: RegExp): Promise<unknown> =>
    until(`the last change of ${ANY}`, async () => {
      const { items } = await explain(node, ANY);
      assertMatch(items[0]!.facts.at(-1)!.text, text);
      return true;
    });

  await t.step("a pod that is known and not attached", async () => {
    await broken("allocation", /no ADD succeeded/, pod.key);
    await broken("pod", /no pod of node "n1" has it/);
  });

  await t.step("a pod that is being attached", async () => {
    await tools.plan("pod", link, { kind: "hold" });
    const adding = ask(node, "ADD", pod);
    await tools.held("pod", link);
    await broken("allocation", /default\/web is being attached since /);
    await tools.release("pod", link);
    pod.result = { cniVersion: "1.1.0", ...await adding };
  });

  await t.step("all addresses of a pod that works", async () => {
    const { items, ok } = await broken(undefined, undefined, pod.key);
    assertEquals(ok, true);
    const addresses = [pod.address("ipv6"), OWN4, ANY];
    assertEquals(items.map(({ address }) => address).sort(), addresses.sort());
    const [anycast] = (await explain(node, `${ANY}/128`)).items;
    assertEquals(anycast?.facts.map(({ fact }) => fact as string), [
      "pod",
      "allocation",
      "eligible",
      "nextHop",
      "kernelRoute",
      "birdRoute",
      "filter",
      "exported",
      "lastChange",
    ]);
    await changed(/^20\S+Z default\/web began to serve it: /);
    assertMatch(
      anycast!.facts.at(-2)!.text,
      /^2001:db8:ffff::53\/128 to 2001:db8:25::1 \(AS65000\)$/,
    );
  });

  await t.step("not Ready; what changed last says why, before and after", async () => {
    await node.updatePod(pod, { ready: false });
    await broken("eligible", /held back: it is not Ready$/);
    await changed(/ default\/web stopped serving it: it is not Ready$/);
    // Its own addresses stay.
    await broken(undefined, undefined, pod.address("ipv6"));
    await broken(undefined, undefined, OWN4);
  });

  await t.step("another route in its place", async () => {
    await node.waitNoRoute(`${ANY}/128`);
    const foreign = [`${ANY}/128`, "dev", "eth0", "proto", "static", "metric", "16"];
    await node.ip("-6", "route", "add", ...foreign);
    await node.updatePod(pod);
    await broken("kernelRoute", /in its place: proto static dev eth0 metric 16$/);
    await changed(/could not be installed: .*proto static/);
    await node.ip("-6", "route", "del", ...foreign);
    await broken(undefined);
  });

  await t.step("a better route of somebody else", async () => {
    const foreign = [`${ANY}/128`, "dev", "eth0", "proto", "static", "metric", "5"];
    await node.ip("-6", "route", "add", ...foreign);
    await broken("kernelRoute", /a better one wins: proto static dev eth0 metric 5$/);
    await node.ip("-6", "route", "del", ...foreign);
    await broken(undefined);
  });

  await t.step("a route that somebody removed is back, and that is the last change", async () => {
    await node.ip("-6", "route", "del", `${ANY}/128`);
    await changed(/installed again: somebody else removed or changed it$/);
    await broken(undefined);
  });

  await t.step("the pod's interface is down", async () => {
    await pod.ip("link", "set", "eth0", "down");
    await broken("nextHop", new RegExp(`its interface is down \\(${link}\\)$`));
    await pod.ip("link", "set", "eth0", "up");
    await pod.ip("-6", "route", "replace", "default", "via", "fe80::1", "dev", "eth0");
    await broken(undefined);
  });

  await t.step("the guard became narrower", async () => {
    const allowed = [{ cidr: "2001:db8:ffff:1::/64", namespaces: ["*"] }];
    await changeSpec(node, { announce: { allowed } });
    await broken("eligible", /the address is outside what may be announced/);
    await broken("eligible", /the address is outside what may be announced/, OWN4);
    await changeSpec(node, { announce: { allowed: ALLOWED } });
    await broken(undefined);
    await broken(undefined, undefined, OWN4);
  });

  await t.step("the node is drained", async () => {
    const options = { connectMs: 0, timeoutMs: 10_000 };
    await callAgent(node.socket, { op: "drain", wait_ms: 0 }, options);
    await broken("eligible", /held back: the node is drained$/);
    await broken(undefined, undefined, OWN4);
    await callAgent(node.socket, { op: "undrain" }, options);
    await broken(undefined);
  });

  await t.step("somebody wrote another filter into BIRD's configuration", async () => {
    const written = await Deno.readTextFile(node.birdConfig);
    const other = written.replace(/return net ~ \[ 2001:db8:ffff::.*\];/, "return false;");
    assert(other !== written);
    const reload = async (text: string): Promise<void> => {
      await Deno.writeTextFile(node.birdConfig, text);
      await node.exec(["birdc", "-s", node.birdSocket, "configure"]);
    };
    await reload(other);
    await broken(
      "filter",
      /rejects 2001:db8:ffff::53\/128 for 2001:db8:25::1: its configuration is/,
    );
    await broken(undefined, undefined, pod.address("ipv6"));
    await reload(written);
    await broken(undefined);
  });

  await t.step("the router is away", async () => {
    await lab.router.stop();
    await broken(
      "exported",
      /^not to 2001:db8:25::1: the session is .*, since \d{4}-\d\d-\d\dT[\d:.]+Z/,
    );
    await broken("exported", /^not to 198\.51\.100\.1: /, OWN4);
    await lab.router.start();
    await lab.router.waitSessions(["n1"], { timeoutMs: 30_000 });
    await broken(undefined);
  });

  await t.step("BIRD is away", async () => {
    await node.stopBird();
    const { items } = await broken("birdRoute", /^Cannot reach BIRD/);
    assertEquals(items[0]!.facts.slice(6, 8).map(({ state }) => state), ["unknown", "unknown"]);
    await node.startBird();
    await lab.router.waitSessions(["n1"], { timeoutMs: 30_000 });
    await broken(undefined);
  });

  await t.step("addresses that no pod has", async () => {
    const cases: readonly (readonly [address: string, role: AddressRole, text: RegExp])[] = [
      ["2001:db8:f001::dead", "unused", /an unused address of 2001:db8:f001::\/64$/],
      ["2001:db8:25::11", "node", /it is this node's own, on link eth0$/],
      ["2001:db8:25::1", "node", /it is a BGP peer of this node$/],
      ["2001:db8:f002::1", "otherNode", /a prefix of node "n2": ask there$/],
      ["203.0.113.201", "unknown", /no pod of node "n1" has it/],
    ];
    for (const [address, role, text] of cases) {
      const { items } = await broken("pod", text, address);
      assertEquals(items[0]?.role, role, address);
    }
  });

  await t.step("the command: words, JSON, YAML and its exit status", async () => {
    const run = (...args: string[]) =>
      node.attempt([EXECUTABLE, "explain", ...args, "--socket", node.socket]);
    const whole = await run(ANY);
    assertEquals([whole.code, whole.stderr], [0, ""]);
    assertMatch(whole.stdout, /^2001:db8:ffff::53 on n1: anycast address, every fact is ok\n/);
    const partly = await run("2001:db8:f001::dead");
    assertEquals(partly.code, 1);
    assertMatch(partly.stdout, /broken at: pod\n.*\n-> +✗ +pod +no pod has it/);
    const json = await run(ANY, "-o", "json");
    assertEquals((JSON.parse(json.stdout) as Explanation).items[0]?.ok, true);
    assertMatch((await run(pod.key, "-o", "yaml")).stdout, /^kind: Explanation\n/);
    for (const text of ["nonsense", "2001:db8::/64", "1:2:3"]) {
      assertEquals((await run(text)).code, 2, text);
    }
  });

  await t.step("a pod that is gone without a DEL", async () => {
    await node.writeManifest(`pod-${pod.name}.json`, []);
    await broken("pod", /is gone, or another one has its name$/);
  });
});
