/**
 * An anycast address is announced while a pod of the node serves it, and at no other time: what the
 * router has in its own kernel table, with either daemon and in each of the designs in which nodes speak
 * BGP. None of it takes a reload of BIRD, but for the one of an agent that starts and cannot know what
 * BIRD has read.
 *
 *     n1   web (both addresses), one and two (an address of their own), which lose their links
 *     n2   web (the shared address)
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { FAMILIES, type Family } from "../../src/core/cidr.ts";
import { ANNOTATION_PREFIX } from "../../src/core/config.ts";
import { parseLinks } from "../../src/core/ip_state.ts";
import { gatewaysOf } from "../../src/lab/host.ts";
import type { Lab } from "../../src/lab/lab.ts";
import type { Node } from "../../src/lab/node.ts";
import type { Design } from "../../src/lab/plan.ts";
import type { Pod } from "../../src/lab/pod.ts";
import type { RouterKind } from "../../src/lab/router.ts";
import { until } from "../../src/lab/wait.ts";
import { EXECUTABLE } from "../executable.ts";
import { testSource, testWith } from "../support.ts";
import { receivedUpdates } from "./bgp_updates.ts";
import { hostIfname } from "./node_probe.ts";
import { createTestLab } from "./test_lab.ts";

type Name = "shared" | "alone" | "one" | "two";
const ADDRESSES: Readonly<Record<Name, Readonly<Record<Family, string>>>> = {
  shared: { ipv6: "2001:db8:ffff::53", ipv4: "203.0.113.193" },
  alone: { ipv6: "2001:db8:ffff::80", ipv4: "203.0.113.194" },
  one: { ipv6: "2001:db8:ffff::1", ipv4: "203.0.113.201" },
  two: { ipv6: "2001:db8:ffff::2", ipv4: "203.0.113.202" },
};

/** Less than it takes BIRD to see by itself, every 10 s, what the kernel does not report. */
const PROMPT_MS = 5_000;
/** Enough for BIRD to see that an IPv4 route went with its link. */
const SCAN_MS = 15_000;
/** What the agent logs of a reload. */
const APPLIED = '"msg":"Applied BIRD configuration"';

/** Another router does not hear where the agents have it from. */
const ROUTERS = testSource() === "manifests" ? ["bird", "frr"] as const : ["bird"] as const;

for (const router of ROUTERS) {
  for (const design of ["a", "b", "c"] as const) {
    testWith(
      `netns: an anycast address is announced while its pods serve, ${router} as router, design (${design})`,
      ["root", "bird", ...(router === "frr" ? ["frr" as const] : [])],
      (t) => testLifecycle(t, router, design),
    );
  }
}

async function testLifecycle(
  t: Deno.TestContext,
  router: RouterKind,
  design: Design,
): Promise<void> {
  await using lab = await createTestLab({ executable: EXECUTABLE, router, design });
  const step = async (name: string, fn: () => Promise<void>): Promise<void> => {
    await t.step(name, async () => {
      try {
        await fn();
      } catch (error) {
        throw new Error(`${error}\n${await lab.tails(15)}`, { cause: error });
      }
    });
  };
  await lab.start();
  const [n1, n2] = lab.nodes as [Node, Node];
  const web1 = await attach(n1, "web1", ["shared", "alone"], { ready: false });
  const web2 = await attach(n2, "web2", ["shared"]);
  for (const prefix of lab.plan.nodes.flatMap(({ prefixes }) => Object.values(prefixes))) {
    await lab.router.waitRoute(prefix);
  }
  await assertRouter(lab, { shared: [n2], alone: [] });
  const before = await Promise.all(lab.nodes.map(reloads));
  let starts = 0;
  const startAgent = async (node: Node): Promise<void> => {
    await startAndSync(node);
    starts++;
  };

  await step("ready: announced", async () => {
    await n1.updatePod(web1, { ready: true });
    await assertRouter(lab, { shared: [n1, n2], alone: [n1] });
  });

  await step("not ready: withdrawn, and announced again", async () => {
    await n1.updatePod(web1, { ready: false });
    await assertRouter(lab, { shared: [n2], alone: [] });
    await n2.updatePod(web2, { ready: false });
    await assertRouter(lab, { shared: [], alone: [] });
    await n2.updatePod(web2, { ready: true });
    await n1.updatePod(web1, { ready: true });
    await assertRouter(lab, { shared: [n1, n2], alone: [n1] });
    // Which pods serve it is said once for each change.
    const said = (await Deno.readTextFile(`${n1.dir}/agent.log`)).split("\n")
      .filter((line) => line.includes('"Changed pods of anycast address"'))
      .map((line) => JSON.parse(line))
      .filter(({ address }) => address === ADDRESSES.shared.ipv6);
    assertEquals(said.map(({ was, pods }) => `${was} → ${pods}`), [
      `none → ${web1.key}`,
      `${web1.key} → none`,
      `none → ${web1.key}`,
    ]);
  });

  await step("a deletionTimestamp while still ready: withdrawn", async () => {
    await n1.updatePod(web1, { ready: true, terminating: true });
    await assertRouter(lab, { shared: [n2], alone: [] });
    await n1.updatePod(web1, { ready: true });
    await assertRouter(lab, { shared: [n1, n2], alone: [n1] });
  });

  for (const signal of ["SIGKILL", "SIGTERM"] as const) {
    await step(`agent ended by ${signal} and started: the router hears nothing`, async () => {
      const updates = await receivedUpdates(lab);
      const monitor = await lab.router.spawn("monitor", ["ip", "-o", "monitor", "route"]);
      const seen = await logLength(monitor.log);
      await n1.stopAgent(signal);
      await assertRouter(lab, { shared: [n1, n2], alone: [n1] });
      await startAgent(n1);
      await assertRouter(lab, { shared: [n1, n2], alone: [n1] });
      assertEquals(await receivedUpdates(lab), updates, "updates that the router received");
      await monitor.stop();
      const events = (await Deno.readTextFile(monitor.log)).slice(seen).split("\n");
      assertEquals(events.filter((event) => / proto (bird|bgp) /.test(event)), []);
    });
  }

  await step("not ready while the agent is away: withdrawn when it is back", async () => {
    await n1.killAgent();
    await n1.updatePod(web1, { ready: false });
    await assertRouter(lab, { shared: [n1, n2], alone: [n1] });
    await startAgent(n1);
    await assertRouter(lab, { shared: [n2], alone: [] });
    await n1.updatePod(web1, { ready: true });
    await assertRouter(lab, { shared: [n1, n2], alone: [n1] });
  });

  await step("a link that somebody deletes: withdrawn", async () => {
    const one = await attach(n1, "one", ["shared", "one"]);
    await assertRouter(lab, { shared: [n1, n2], one: [n1] });
    await n1.ip("link", "del", hostIfname(one));
    await assertRouter(lab, { shared: [n1, n2], alone: [n1], one: [] });
  });

  await step("a link that somebody deletes while no agent runs: withdrawn", async () => {
    const two = await attach(n1, "two", ["shared", "two"]);
    await assertRouter(lab, { shared: [n1, n2], two: [n1] });
    await n1.stopAgent();
    await n1.ip("link", "del", hostIfname(two));
    await assertRouter(lab, { shared: [n1, n2], alone: [n1], two: [] }, SCAN_MS);
    await startAgent(n1);
    await assertRouter(lab, { shared: [n1, n2], alone: [n1], two: [] });
  });

  await step("DEL: withdrawn", async () => {
    await n1.del(web1);
    await assertRouter(lab, { shared: [n2], alone: [] });
  });

  await step("BIRD was not reloaded for any of this", async () => {
    const [before1, before2] = before as [number, number];
    assertEquals(await Promise.all(lab.nodes.map(reloads)), [before1 + starts, before2]);
  });
}

/** Attaches a pod with anycast addresses. */
async function attach(
  node: Node,
  name: string,
  of: readonly Name[],
  options: { readonly ready?: boolean } = {},
): Promise<Pod> {
  const anycast = of.flatMap((name) => Object.values(ADDRESSES[name])).join(",");
  const annotations = { [`${ANNOTATION_PREFIX}anycast`]: anycast };
  const pod = await node.createPod({ name, annotations });
  // What is not remembered: the pod is ready unless told.
  if (options.ready === false) await node.updatePod(pod, { ready: false });
  await node.add(pod);
  return pod;
}

/** Starts an agent and waits until it has compared everything, and BIRD has read its configuration. */
async function startAndSync(node: Node): Promise<void> {
  const seen = await logLength(`${node.dir}/agent.log`);
  const agent = await node.startAgent();
  await node.waitReady();
  await until(`a pass of the agent of ${node.name}`, async () => {
    const log = (await Deno.readTextFile(agent.log)).slice(seen);
    return log.includes('"msg":"Reconciled"') && log.includes(APPLIED);
  });
}

/** Waits until the router's way to addresses, in both families, is by exactly these nodes. */
async function assertRouter(
  lab: Lab,
  expected: Readonly<Partial<Record<Name, readonly Node[]>>>,
  timeoutMs = PROMPT_MS,
): Promise<void> {
  const names = await gatewayNames(lab);
  const wanted = Object.entries(expected).flatMap(([name, nodes]) =>
    FAMILIES.map((family) => {
      const address = ADDRESSES[name as Name][family];
      return { address, by: nodes.map(({ name }) => name).sort().join(" and ") || "nobody" };
    })
  );
  const what = wanted.map(({ address, by }) => `${address} by ${by}`).join(", ");
  await until(`${what} at the router`, async () => {
    const routes = (await Promise.all(FAMILIES.map((family) => lab.router.routes(family)))).flat();
    const wrong = wanted.flatMap(({ address, by }) => {
      const route = routes.find(({ dst }) => dst.split("/")[0] === address);
      const gateways = gatewaysOf(route).map((gateway) => names.get(gateway) ?? gateway).sort();
      const is = gateways.join(" and ") || "nobody";
      return is === by ? [] : `${address} is by ${is}`;
    });
    if (wrong.length > 0) throw new Error(wrong.join(", "));
    return true;
  }, { timeoutMs, everyMs: 20 });
}

/** The nodes by their addresses on the link to the router. FRR prefers the link-local one. */
async function gatewayNames(lab: Lab): Promise<ReadonlyMap<string, string>> {
  const names = new Map<string, string>();
  for (const node of lab.nodes) {
    const [link] = parseLinks(await node.ipJson("addr", "show", "dev", "eth0"));
    for (const { address } of link!.addresses) names.set(address, node.name);
  }
  return names;
}

/** How often BIRD was reloaded: what it says itself, which is also what the agent says. */
async function reloads(node: Node): Promise<number> {
  const agent = await Deno.readTextFile(`${node.dir}/agent.log`);
  const bird = await Deno.readTextFile(`${node.dir}/bird.log`);
  const count = bird.split("Reconfiguring").length - 1;
  assert(count > 0, `the first reload is told in ${bird}`);
  assertEquals(agent.split(APPLIED).length - 1, count);
  return count;
}

async function logLength(path: string): Promise<number> {
  return (await Deno.readTextFile(path).catch(() => "")).length;
}
