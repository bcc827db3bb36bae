/**
 * An anycast address with a replica on each of two nodes, and a router that passes one node's route on to
 * the other: that one goes on announcing its own and sends its own traffic to it, until its replica leaves.
 *
 * @module
 */
import { assertEquals, assertStringIncludes } from "@std/assert";
import { parseAddress } from "../../src/core/cidr.ts";
import { hostCidr } from "../../src/core/wiring.ts";
import type { Host } from "../../src/lab/host.ts";
import type { Lab } from "../../src/lab/lab.ts";
import type { Node } from "../../src/lab/node.ts";
import { planLab } from "../../src/lab/plan.ts";
import { until } from "../../src/lab/wait.ts";
import { EXECUTABLE } from "../executable.ts";
import { testWith } from "../support.ts";
import { addReplica, waitReplicas } from "./anycast_lab.ts";
import { assertNoneBroken, FlowClient, serversOf } from "./flows.ts";
import { createTestLab } from "./test_lab.ts";

const ADDRESSES = ["2001:db8:ffff::53", "203.0.113.200"];

/** What makes a node's routes the worse ones at the router, which passes on the best one only. */
const WORSE = { b: { prepend: 1 }, c: { localPreference: 50 } } as const;

for (const design of ["b", "c"] as const) {
  for (const hearer of ["n1", "n2"]) {
    testWith(
      `netns: ${hearer} hears its own anycast address from the other node, design (${design})`,
      ["root", "bird"],
      async (t) => {
        const { router } = planLab();
        const peers = Object.values(router.addresses).map((address) => ({
          address,
          asn: router.asn,
        }));
        await using lab = await createTestLab({
          executable: EXECUTABLE,
          design,
          spec: ({ name, asn }) => ({
            bgp: {
              asn,
              peers: peers.map((peer) => ({ ...peer, ...(name === hearer ? WORSE[design] : {}) })),
            },
          }),
        });
        await lab.start();
        await testHearer(t, lab, lab.node(hearer));
      },
    );
  }
}

async function testHearer(t: Deno.TestContext, lab: Lab, hearer: Node): Promise<void> {
  const replicas = await Promise.all(
    lab.nodes.map((node) => addReplica(node, `replica-${node.name}`, ADDRESSES)),
  );
  // On each node a pod without the address, and the node itself.
  const clients = await Promise.all(lab.nodes.map(async (node) => {
    const pod = await addReplica(node, `client-${node.name}`, []);
    return { node, froms: [await FlowClient.start(pod), await FlowClient.start(node)] };
  }));
  for (const address of ADDRESSES) await waitHeard(hearer, address);

  await t.step("both announce, both serve their own", async () => {
    for (const address of ADDRESSES) {
      const known = await birdRoutes(lab.router, `${lab.router.dir}/bird.ctl`, address);
      for (const node of lab.nodes) {
        assertStringIncludes(known, `[${node.name}_${parseAddress(address).family} `);
        assertEquals(await learned(node, address), [], `BIRD's routes of ${node.name}`);
      }
      for (const { node, froms } of clients) {
        for (const from of froms) await assertServed(from, address, `replica-${node.name}`);
      }
    }
  });

  const replica = replicas[lab.nodes.indexOf(hearer)]!;
  const other = lab.nodes.find((node) => node !== hearer)!;
  const { froms } = clients.find(({ node }) => node === hearer)!;
  await t.step("its replica leaves: its own go to the other node", async () => {
    await hearer.updatePod(replica, { ready: false });
    for (const address of ADDRESSES) {
      await waitReplicas(hearer, address, []);
      await until(`route of ${hearer.name} to the other node`, async () => {
        return (await learned(hearer, address)).length === 1;
      });
      for (const from of froms) await assertServed(from, address, `replica-${other.name}`);
    }
  });

  await t.step("it returns", async () => {
    await hearer.updatePod(replica);
    for (const address of ADDRESSES) {
      await waitReplicas(hearer, address, [replica]);
      for (const from of froms) await assertServed(from, address, `replica-${hearer.name}`);
      await until(`no route of BIRD to ${address} on ${hearer.name}`, async () => {
        return (await learned(hearer, address)).length === 0;
      });
      await waitHeard(hearer, address);
    }
  });
}

async function assertServed(from: FlowClient, address: string, server: string): Promise<void> {
  const flows = await from.fetch(address, 20);
  assertNoneBroken(flows, "new connections");
  assertEquals(serversOf(flows), [server]);
}

/** Waits until the node's BIRD has the address by BGP and from its kernel. */
async function waitHeard(node: Node, address: string): Promise<void> {
  await until(`${address} of both nodes in BIRD of ${node.name}`, async () => {
    const known = await birdRoutes(node, node.birdSocket, address);
    return /\[flock_bgp/.test(known) && /\[flock_kernel/.test(known);
  });
}

/** Routes to the address that the node's BIRD wrote into the kernel. */
async function learned(node: Node, address: string): Promise<readonly unknown[]> {
  const { family } = parseAddress(address);
  return (await node.routes(family)).filter(({ dst, protocol }) =>
    dst === hostCidr(parseAddress(address)) && protocol === "bird"
  );
}

/** What a BIRD has to say about its routes to an address. */
async function birdRoutes(host: Host, socket: string, address: string): Promise<string> {
  const prefix = hostCidr(parseAddress(address));
  return (await host.exec(["birdc", "-s", socket, "show", "route", prefix])).stdout;
}
