/**
 * Pods reach each other across nodes, over both families, in each of the designs in which nodes speak
 * BGP, with BIRD and with FRR as the router; also pods of a single family. The real executable, router
 * and kernel.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { FAMILIES, type Family } from "../../src/core/cidr.ts";
import { ANNOTATION_PREFIX } from "../../src/core/config.ts";
import type { Host } from "../../src/lab/host.ts";
import type { Lab } from "../../src/lab/lab.ts";
import type { Design } from "../../src/lab/plan.ts";
import type { Pod } from "../../src/lab/pod.ts";
import type { RouterKind } from "../../src/lab/router.ts";
import { EXECUTABLE } from "../executable.ts";
import { testWith } from "../support.ts";
import { createTestLab } from "./test_lab.ts";

const KINDS: Readonly<Record<string, readonly Family[]>> = {
  dual: ["ipv6", "ipv4"],
  six: ["ipv6"],
  four: ["ipv4"],
};

const DESIGNS: Readonly<Record<Design, string>> = {
  a: "one AS number, through the router by the default route",
  b: "an AS number for each node, by routes learned",
  c: "route reflector, by routes learned",
};

for (const router of ["bird", "frr"] as const) {
  for (const [design, how] of Object.entries(DESIGNS) as [Design, string][]) {
    testWith(
      `netns: pods reach each other with ${router} as router, design (${design}): ${how}`,
      ["root", "bird", "ping", ...(router === "frr" ? ["frr" as const] : [])],
      () => testDesign(router, design),
    );
  }
}

async function testDesign(router: RouterKind, design: Design): Promise<void> {
  await using lab = await createTestLab({ executable: EXECUTABLE, router, design });
  try {
    await lab.start();
    const pods = await attachPods(lab);
    await waitPrefixes(lab);
    await assertPaths(lab, pods);
    for (const pod of pods) {
      assertEquals(await familiesOf(pod), KINDS[pod.options.name.split("-")[0]!], pod.key);
      for (const from of [...pods, lab.router, lab.client]) {
        if (from === pod) continue;
        for (const family of FAMILIES) await assertPing(from, pod, family);
      }
    }
  } catch (error) {
    throw new Error(`${await lab.tails(15)}\n${error}`, { cause: error });
  }
}

/** On each node one pod of both families and one of each. */
async function attachPods(lab: Lab): Promise<Pod[]> {
  const pods: Pod[] = [];
  for (const node of lab.nodes) {
    for (const [kind, families] of Object.entries(KINDS)) {
      const off = FAMILIES.filter((family) => !families.includes(family));
      const annotations = Object.fromEntries(
        off.map((family) => [`${ANNOTATION_PREFIX}${family}`, "false"]),
      );
      const pod = await node.createPod({ name: `${kind}-${node.name}`, annotations });
      await node.add(pod);
      pods.push(pod);
    }
  }
  return pods;
}

/** Everybody knows what the design makes them know. */
async function waitPrefixes(lab: Lab): Promise<void> {
  const { design, client, nodes } = lab.plan;
  for (const owner of nodes) {
    for (const prefix of Object.values(owner.prefixes)) {
      await lab.router.waitRoute(prefix);
      if (design === "a") continue;
      for (const node of lab.nodes.filter((node) => node.name !== owner.name)) {
        await node.waitRoute(prefix);
      }
    }
  }
  // The way back to the client, by BGP in every design.
  const links = { ipv6: "2001:db8:c::/64", ipv4: "203.0.113.0/26" };
  for (const node of lab.nodes) {
    for (const family of Object.keys(client.addresses) as Family[]) {
      await node.waitRoute(links[family]);
    }
  }
}

/** Node n1 sends to a pod of n2 as the design says. */
async function assertPaths(lab: Lab, pods: readonly Pod[]): Promise<void> {
  const { design, router, nodes: [, second] } = lab.plan;
  const n1 = lab.node("n1");
  const pod = pods.find((pod) => pod.options.name === "dual-n2")!;
  for (const family of FAMILIES) {
    const gateway = await n1.gatewayTo(pod.address(family)!);
    const expected = design === "a" ? router.addresses[family] : second!.addresses[family];
    assertEquals(gateway, expected, `n1 reaches ${pod.key} over ${family}`);
    const fallback = (await n1.routes(family)).filter((route) => route.dst.endsWith("/0"));
    assertEquals(fallback.length, design === "a" ? 1 : 0, "default routes of n1");
    assertEquals(
      await n1.route(second!.prefixes[family]!) === undefined,
      design === "a",
      "in design (a) AS path loop detection keeps n2's prefix from n1",
    );
  }
}

/** Families of a pod's addresses, in ADD's result and in its network namespace. */
async function familiesOf(pod: Pod): Promise<Family[]> {
  const inKernel = (await pod.ipJson("addr", "show", "dev", "eth0")).flatMap((link) =>
    (link.addr_info as { family: string; local: string }[]).map((info) => info.local)
  );
  return FAMILIES.filter((family) => {
    const address = pod.address(family);
    assertEquals(
      inKernel.filter((local) => local.includes(":") === (family === "ipv6")),
      address === undefined ? [] : [address],
      `${family} addresses of ${pod.key}`,
    );
    return address !== undefined;
  });
}

async function assertPing(from: Host, to: Pod, family: Family): Promise<void> {
  const address = to.address(family);
  if (address === undefined) return;
  if ("address" in from && (from as Pod).address(family) === undefined) return;
  const ms = await from.ping(address);
  assert(ms !== undefined, `${from.name} got no answer from ${to.key} at ${address}`);
}
