/**
 * An anycast address with a replica on each of two nodes: the router spreads connections over both, and
 * who talks to one of them does not notice that the other leaves. In each design, with BIRD and with FRR
 * as the router; real connections from the client behind it.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { parseAddress } from "../../src/core/cidr.ts";
import { parseLinks } from "../../src/core/ip_state.ts";
import { hostCidr } from "../../src/core/wiring.ts";
import { gatewaysOf } from "../../src/lab/host.ts";
import type { Lab } from "../../src/lab/lab.ts";
import type { Node } from "../../src/lab/node.ts";
import type { Design } from "../../src/lab/plan.ts";
import type { RouterKind } from "../../src/lab/router.ts";
import { until } from "../../src/lab/wait.ts";
import { EXECUTABLE } from "../executable.ts";
import { testWith } from "../support.ts";
import { addReplica } from "./anycast_lab.ts";
import { assertNoneBroken, brokenOf, countByServer, FlowClient, serversOf } from "./flows.ts";
import { createTestLab } from "./test_lab.ts";

const ADDRESSES = ["2001:db8:ffff::53", "203.0.113.200"];
/** Connections to each address. */
const COUNT = 200;

/** The ways in which a replica leaves. */
const LEAVING = {
  "it is not ready any more": { ready: false },
  "it is being deleted, and still ready": { terminating: true },
} as const;

for (const router of ["bird", "frr"] as const) {
  for (const design of ["a", "b", "c"] as const) {
    testWith(
      `netns: a replica leaves, clients of the other node stay: ${router}, design (${design})`,
      ["root", "bird", ...(router === "frr" ? ["frr" as const] : [])],
      (t) => testTwoNodes(t, router, design),
    );
  }
}

async function testTwoNodes(
  t: Deno.TestContext,
  router: RouterKind,
  design: Design,
): Promise<void> {
  await using lab = await createTestLab({ executable: EXECUTABLE, router, design });
  await lab.start();
  const [n1, n2] = lab.nodes as [Node, Node];
  const first = await addReplica(n1, "first", ADDRESSES);
  await addReplica(n2, "second", ADDRESSES);
  const client = await FlowClient.start(lab.client);

  for (const [how, change] of Object.entries(LEAVING)) {
    await t.step(how, async () => {
      await n1.updatePod(first);
      await waitNextHops(lab, [n1, n2]);
      for (const address of ADDRESSES) {
        // IPv6 passes over a next hop as long as neighbour discovery has not found it: flows that begin
        // before that move afterwards.
        await until(`both replicas answer at ${address}`, async () => {
          return serversOf(await client.fetch(address, 20)).join() === "first,second";
        });
        const flows = await client.hold(address, COUNT);
        const counts = countByServer(flows);
        assertEquals(serversOf(flows), ["first", "second"]);
        // Of 200 that fall to one of two, 58 are six standard deviations away from the half.
        assert(Object.values(counts).every((count) => count >= 58), JSON.stringify(counts));
      }

      await n1.updatePod(first, change);
      await waitNextHops(lab, [n2]);
      const flows = await client.look();
      assertNoneBroken(flows.filter(({ server }) => server === "second"), "connections of n2");
      const lost = flows.filter(({ server }) => server === "first");
      assertEquals(brokenOf(lost).length, lost.length, "the others were told");
      for (const address of ADDRESSES) {
        const fresh = await client.fetch(address, 20);
        assertNoneBroken(fresh, "new connections");
        assertEquals(serversOf(fresh), ["second"]);
      }
      assertNoneBroken(
        (await client.look()).filter(({ server }) => server === "second"),
        "connections of n2 a moment later",
      );
      await client.release();
    });
  }
}

/** Waits until the router sends the addresses to exactly these nodes. */
async function waitNextHops(lab: Lab, nodes: readonly Node[]): Promise<void> {
  const wanted = nodes.map(({ name }) => name);
  for (const address of ADDRESSES) {
    await until(`${address} at the router by way of ${wanted.join(" and ")}`, async () => {
      const gateways = gatewaysOf(await lab.router.route(hostCidr(parseAddress(address))));
      assertEquals((await nodesOf(lab, gateways)).sort(), wanted);
      return true;
    }, { everyMs: 20 });
  }
}

/** Whose addresses these are; FRR takes a node's link-local one. */
async function nodesOf(lab: Lab, gateways: readonly string[]): Promise<string[]> {
  const owners = new Map<string, string>();
  for (const node of lab.nodes) {
    for (const link of parseLinks(await node.ipJson("addr", "show", "dev", "eth0"))) {
      for (const { address } of link.addresses) owners.set(address, node.name);
    }
  }
  return gateways.map((gateway) => owners.get(gateway) ?? gateway);
}
