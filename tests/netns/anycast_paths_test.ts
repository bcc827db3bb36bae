/**
 * The ways of packets to and from anycast addresses on one node: from pods and the node itself, through a
 * link with a smaller MTU, and the ICMP errors on the way.
 *
 * @module
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { FAMILIES, type Family, parseAddress } from "../../src/core/cidr.ts";
import { hostCidr } from "../../src/core/wiring.ts";
import type { Host } from "../../src/lab/host.ts";
import type { Lab } from "../../src/lab/lab.ts";
import type { Node } from "../../src/lab/node.ts";
import type { Pod } from "../../src/lab/pod.ts";
import { testWith } from "../support.ts";
import { addReplica, waitReplicas } from "./anycast_lab.ts";
import {
  assertNoneBroken,
  brokenOf,
  type Flow,
  FlowClient,
  serveFlows,
  serversOf,
} from "./flows.ts";
import { createNodeLab } from "./node_probe.ts";

/** What pods `p1` and `p2` share, and what pod `single` has alone. */
const SHARED = { ipv6: "2001:db8:ffff::53", ipv4: "203.0.113.200" } as const;
const SINGLE = { ipv6: "2001:db8:ffff::80", ipv4: "203.0.113.210" } as const;
/** Smaller than the lab's 1500, and enough for IPv6. */
const SMALL_MTU = "1300";
/** Answers of a hundred packets. */
const BYTES = 100_000;

testWith("netns: pods and their node reach anycast addresses, and are seen by their own", [
  "root",
  "bird",
], async (t) => {
  await using scene = await createScene();
  const { lab, node, p1, plain } = scene;
  await serveFlows(lab.client, "client", Object.values(lab.plan.client.addresses));
  const client = await FlowClient.start(lab.client);
  const [fromP1, fromPlain, fromNode] = await Promise.all([p1, plain, node].map(FlowClient.start));

  for (const family of FAMILIES) {
    await t.step(`who answers, ${family}`, async () => {
      const cases: readonly (readonly [FlowClient, string, readonly string[]])[] = [
        // Its own address is its own, a sibling's is a sibling's.
        [fromP1!, SHARED[family], ["p1"]],
        [fromP1!, SINGLE[family], ["single"]],
        [fromPlain!, SHARED[family], ["p1", "p2"]],
        [fromNode!, SHARED[family], ["p1", "p2"]],
        [client, SHARED[family], ["p1", "p2"]],
      ];
      for (const [from, address, servers] of cases) {
        for (const flows of [await from.fetch(address, 40), await from.datagrams(address, 40)]) {
          assertNoneBroken(flows, "new flows");
          assertEquals(serversOf(flows), servers);
        }
      }
    });

    await t.step(`source addresses of a pod with an anycast address, ${family}`, async () => {
      const destinations: Readonly<Record<string, string>> = {
        client: lab.plan.client.addresses[family]!,
        plain: plain.address(family)!,
        // Nearer to its anycast address than to its own, by longest prefix.
        single: SINGLE[family],
      };
      for (const [server, address] of Object.entries(destinations)) {
        const flows = [...await fromP1!.fetch(address, 1), ...await fromP1!.datagrams(address, 1)];
        const expected = { address, server, source: p1.address(family) };
        assertEquals(flows, [expected, expected]);
      }
    });
  }
});

testWith(
  "netns: ICMP errors about anycast addresses arrive",
  ["root", "bird", "ping"],
  async (t) => {
    await using scene = await createScene();
    const { lab, node, single } = scene;

    for (const family of FAMILIES) {
      await t.step(`a closed port is refused at once, ${family}`, async () => {
        for (const address of [SHARED[family], SINGLE[family]]) {
          assertMatch(await datagramError(lab.client, address), /Connection refused/);
        }
      });
      await t.step(`the node answers for a hop limit that ends there, ${family}`, async () => {
        const said = await ping(lab.client, ["-t", "2", SHARED[family]]);
        assertMatch(said, /Time to live exceeded|Time exceeded: Hop limit/);
        assert(said.includes(`From ${node.plan.addresses[family]} `), said);
      });
      await t.step(`a client is told of a smaller MTU on its way, ${family}`, async () => {
        await using _small = await smallMtu(lab, "eth0");
        assertMatch(
          await ping(lab.client, ["-M", "do", "-s", "1400", SHARED[family]]),
          /\(mtu = 1300\)|Packet too big: mtu=1300/,
        );
      });
      await t.step(
        `a pod that is alone is told of a smaller MTU to its client, ${family}`,
        async () => {
          await using _small = await smallMtu(lab, "cli0");
          const { [family]: client } = lab.plan.client.addresses;
          assertMatch(
            await ping(single, ["-I", SINGLE[family], "-M", "do", "-s", "1400", client!]),
            /\(mtu = 1300\)|Packet too big: mtu=1300/,
          );
        },
      );
    }
  },
);

testWith("netns: a smaller MTU on the way hangs no connection to pods that share an address", [
  "root",
  "bird",
], async (t) => {
  await using scene = await createScene();
  const { lab, p1, p2 } = scene;
  const client = await FlowClient.start(lab.client);
  const fetchAll = async (
    timeoutMs: number,
  ): Promise<Readonly<Record<Family, readonly Flow[]>>> => {
    const [ipv6, ipv4] = await Promise.all(
      FAMILIES.map((family) => client.fetch(SHARED[family], 40, { bytes: BYTES, timeoutMs })),
    );
    return { ipv6: ipv6!, ipv4: ipv4! };
  };
  for (const pod of [p1, p2]) assertEquals(await mtuProbing(pod), "1");
  await using _small = await smallMtu(lab, "cli0");

  await t.step("without the pods' probing, connections to one of them hang", async () => {
    for (const pod of [p1, p2]) await mtuProbing(pod, "0");
    for (const [family, flows] of Object.entries(await fetchAll(4_000))) {
      // All errors of the router go to one pod: they have no ports to be told apart by.
      const hung = serversOf(brokenOf(flows));
      assertEquals(hung.length, 1, `${family}: ${brokenOf(flows).length} of ${flows.length} hang`);
    }
  });
  await t.step("with it none does", async () => {
    for (const pod of [p1, p2]) await mtuProbing(pod, "1");
    for (const flows of Object.values(await fetchAll(20_000))) {
      assertNoneBroken(flows, "connections through a link with a smaller MTU");
      assertEquals(serversOf(flows), ["p1", "p2"]);
    }
  });
});

/** One node with the pods `p1` and `p2`, `single`, and `plain`, which has no anycast address. */
interface Scene extends AsyncDisposable {
  readonly lab: Lab;
  readonly node: Node;
  readonly p1: Pod;
  readonly p2: Pod;
  readonly single: Pod;
  readonly plain: Pod;
}

async function createScene(): Promise<Scene> {
  await using undo = new AsyncDisposableStack();
  const { lab, node } = await createNodeLab();
  undo.use(lab);
  await lab.start();
  const [p1, p2, single, plain] = await Promise.all([
    addReplica(node, "p1", Object.values(SHARED)),
    addReplica(node, "p2", Object.values(SHARED)),
    addReplica(node, "single", Object.values(SINGLE)),
    addReplica(node, "plain", []),
  ]) as [Pod, Pod, Pod, Pod];
  for (const family of FAMILIES) {
    await waitReplicas(node, SHARED[family], [p1, p2]);
    await waitReplicas(node, SINGLE[family], [single]);
    for (const address of [SHARED[family], SINGLE[family]]) {
      await lab.router.waitRoute(hostCidr(parseAddress(address)));
    }
  }
  undo.move();
  const dispose = (): Promise<void> => lab[Symbol.asyncDispose]();
  return { lab, node, p1, p2, single, plain, [Symbol.asyncDispose]: dispose };
}

/** Has a small MTU on a link of the router, towards the nodes or the client, until it is disposed of. */
async function smallMtu(lab: Lab, ifname: "eth0" | "cli0"): Promise<AsyncDisposable> {
  const set = async (mtu: string): Promise<void> => {
    await lab.router.ip("link", "set", ifname, "mtu", mtu);
  };
  await set(SMALL_MTU);
  return { [Symbol.asyncDispose]: () => set("1500") };
}

/** What `ping` with one request printed, whether it was answered or not. */
async function ping(from: Host, args: readonly string[]): Promise<string> {
  const { stdout, stderr } = await from.attempt(["ping", "-n", "-c", "1", "-W", "2", ...args]);
  return stdout + stderr;
}

/** What a connected socket says after a datagram to a port where nobody listens. */
async function datagramError(from: Host, address: string): Promise<string> {
  const script = `exec 3<>/dev/udp/${address}/9; echo x >&3; read -r -t 2 -u 3 _`;
  return (await from.attempt(["bash", "-c", script])).stderr;
}

/** The pod's `tcp_mtu_probing`, after setting it where a value is given. */
async function mtuProbing(pod: Pod, value?: string): Promise<string> {
  const path = "/proc/sys/net/ipv4/tcp_mtu_probing";
  const set = value === undefined ? "" : `echo ${value} >${path}; `;
  return (await pod.exec(["sh", "-c", `${set}cat ${path}`])).stdout.trim();
}
