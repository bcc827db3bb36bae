/**
 * What docs/failure-scenarios.md says: who goes on when one part fails. A router with BIRD, a client behind
 * it, one node with a pod, in design (b): without a default route, every way is one that BGP taught.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { FAMILIES } from "../../src/core/cidr.ts";
import type { Lab } from "../../src/lab/lab.ts";
import type { Node } from "../../src/lab/node.ts";
import type { Pod } from "../../src/lab/pod.ts";
import { until } from "../../src/lab/wait.ts";
import { EXECUTABLE } from "../executable.ts";
import { testWith } from "../support.ts";
import { createTestLab } from "./test_lab.ts";

const NEEDS = ["root", "bird", "ping"] as const;
const PERIODIC = ["--route-reconcile-interval", "1s"];

testWith("netns: agent, BIRD and router fail, and what goes on meanwhile", NEEDS, async (t) => {
  await using lab = await createTestLab({ executable: EXECUTABLE, nodes: 1, agentArgs: PERIODIC });
  const node = lab.node("n1");
  await lab.start();
  const prefixes = FAMILIES.map((family) => node.plan.prefixes[family]!);
  const pod = await node.createPod({ name: "web" });
  await node.add(pod);
  const announced = () => Promise.all(prefixes.map((prefix) => lab.router.waitRoute(prefix)));
  await announced();
  await waitReached(lab, pod);

  await t.step("a killed agent: traffic and announcements stay, the next one goes on", async () => {
    await node.killAgent();
    const other = await node.createPod({ name: "other" });
    assertEquals((await node.cni("ADD", other)).json?.code, 11);
    const seen = watchPath(lab, pod, prefixes);
    await node.startAgent();
    await node.waitReady();
    assertEquals(await seen.end(), []);
    await node.check(pod);
    await node.add(other);
    await node.del(other);
  });

  await t.step("a DEL without an agent is done by the next one", async () => {
    const other = await node.createPod({ name: "deleted" });
    await node.add(other);
    await node.stopAgent();
    await node.del(other);
    assertEquals((await hostLinks(node)).length, 2);
    await node.startAgent();
    await node.waitReady();
    assertEquals((await hostLinks(node)).length, 1);
  });

  await t.step("routes that somebody removed or planted are repaired, others stay", async () => {
    const address = pod.address("ipv4")!;
    const [link = ""] = await hostLinks(node);
    await node.ip("route", "del", `${address}/32`);
    await node.ip("route", "del", "unreachable", node.plan.prefixes.ipv6!, "metric", "2000");
    await node.ip("route", "add", "10.244.1.250", "dev", link, "proto", "143", "metric", "16");
    await node.ip("route", "add", "172.25.0.0/16", "dev", "eth0", "proto", "static");
    await node.waitRoute(`${address}/32`);
    await node.waitRoute(node.plan.prefixes.ipv6!);
    await node.waitNoRoute("10.244.1.250/32");
    assertEquals((await node.route("172.25.0.0/16"))?.protocol, "static");
    await waitReached(lab, pod);
  });

  for (const how of ["graceful", "killed"] as const) {
    await t.step(`BIRD restarts (${how}): no route goes, no packet is lost`, async () => {
      const seen = watchPath(lab, pod, prefixes);
      if (how === "graceful") await birdStop(node, "--graceful");
      else {
        // Its watcher kills BIRD a moment later.
        await node.stopBird("SIGKILL");
        await until(
          "the end of BIRD",
          async () =>
            (await node.attempt(["birdc", "-s", node.birdSocket, "show", "status"])).code !== 0,
        );
      }
      await node.startBird();
      await waitRecovered(lab, node);
      assertEquals(await seen.end(), []);
    });
  }

  await t.step("BIRD says goodbye: the router drops the node, ADD and STATUS go on", async () => {
    await birdStop(node, "--goodbye");
    for (const prefix of prefixes) await lab.router.waitNoRoute(prefix);
    // What the node learned stays in its kernel.
    assertEquals((await node.route("203.0.113.0/26"))?.protocol, "bird");
    assertEquals((await node.cni("STATUS")).stdout, "");
    const other = await node.createPod({ name: "unannounced" });
    await node.add(other);
    assert(await node.ping(other.address("ipv6")!) !== undefined);
    await node.del(other);
    await node.startBird();
    await announced();
    await waitReached(lab, pod);
  });

  await t.step("the router's daemon is replaced: everything comes back by itself", async () => {
    await lab.router.stop("SIGTERM");
    await lab.router.start();
    await lab.router.waitSessions();
    await announced();
    await waitReached(lab, pod);
  });
});

async function birdStop(node: Node, how: "--graceful" | "--goodbye"): Promise<void> {
  await node.exec([EXECUTABLE, "bird-stop", how, "--bird-socket", node.birdSocket]);
}

/**
 * Waits until the router has taken a restart for finished. Until then it holds the node's routes as stale,
 * and another restart would lose them (RFC 4724, section 4.2).
 */
async function waitRecovered(lab: Lab, node: Node): Promise<void> {
  const ask = ["birdc", "-s", `${lab.router.dir}/bird.ctl`, "show", "protocols", "all"];
  await until("the end of the restart at the router", async () => {
    const { stdout } = await node.exec(ask);
    const up = stdout.match(/BGP state: +Established/g)?.length ?? 0;
    return up === FAMILIES.length && !stdout.includes("graceful restart active");
  });
}

/** Waits until the client reaches the pod over both families. */
async function waitReached(lab: Lab, pod: Pod): Promise<void> {
  for (const family of FAMILIES) {
    const address = pod.address(family)!;
    await until(
      `an answer from ${address}`,
      async () => await lab.client.ping(address) !== undefined,
    );
  }
}

/** Pings the pod and looks for the router's routes until it is told to end; returns what was missing. */
function watchPath(
  lab: Lab,
  pod: Pod,
  prefixes: readonly string[],
): { end(): Promise<readonly string[]> } {
  const missing: string[] = [];
  let ending = false;
  const watching = (async () => {
    do {
      for (const prefix of prefixes) {
        if (await lab.router.route(prefix) === undefined) missing.push(`route ${prefix}`);
      }
      for (const family of FAMILIES) {
        const address = pod.address(family)!;
        if (await lab.client.ping(address) === undefined) missing.push(`answer of ${address}`);
      }
    } while (!ending);
  })();
  return {
    async end() {
      ending = true;
      await watching;
      return missing;
    },
  };
}

async function hostLinks(node: Node): Promise<string[]> {
  const links = await node.ipJson("link", "show");
  return links.map((link) => String(link.ifname)).filter((name) => name.startsWith("flock"));
}
