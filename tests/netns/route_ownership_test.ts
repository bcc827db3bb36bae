/**
 * What is flock's and what is not: routes of others stay as they are and are reported where they are in
 * the way, what an agent left behind that was killed goes once the next one knows what should be there,
 * and an address that may not be announced any more is withdrawn, with the reason.
 *
 * @module
 */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import type { Lab } from "../../src/lab/lab.ts";
import type { Node } from "../../src/lab/node.ts";
import { delay, until } from "../../src/lab/wait.ts";
import { EXECUTABLE } from "../executable.ts";
import { testWith } from "../support.ts";
import {
  counted,
  createNodeLab,
  deafen,
  hostIfname,
  METRICS_ARGS,
  ownTraces,
} from "./node_probe.ts";
import { createTestCluster } from "./test_lab.ts";

const PREFIX = "flock.fritzlab.net/";
const SHARED = ["2001:db8:ffff::53", "203.0.113.200"] as const;
const ASKED = ["2001:db8:ffff::77", "203.0.113.201"] as const;

/** Other protocols, other metrics, other tables: never touched. */
const THEIRS = [
  "route add 2001:db8:ffff::53/128 dev eth0 proto static metric 50",
  "route add 203.0.113.200/32 dev eth0 proto static metric 50",
  "route add 2001:db8:f001::beef/128 dev eth0 proto 199 metric 16",
  "route add 10.244.1.77/32 dev eth0 proto 199 metric 16",
  "route add 2001:db8:ffff::99/128 dev eth0 proto 144 metric 16 table 100",
  "route add 203.0.113.209/32 dev eth0 proto 143 metric 16 table 100",
  "nexthop add id 4711 via 198.51.100.1 dev eth0 proto static",
];

testWith("netns: a route of somebody else is left alone, and reported where ours should be", [
  "root",
  "bird",
  "ping",
], async (t) => {
  const { lab, node } = await createNodeLab({
    agentArgs: [...METRICS_ARGS, "--route-reconcile-interval", "0"],
  });
  await using _lab = lab;
  await node.ipBatch(THEIRS);
  const theirs = await tracesOfOthers(node);
  await lab.start();
  const pod = await node.createPod({
    name: "p",
    annotations: { [`${PREFIX}anycast`]: SHARED.join(), [`${PREFIX}addresses`]: ASKED.join() },
  });
  await node.add(pod);
  const all = [...SHARED, ...ASKED];
  const assertServed = async (): Promise<void> => {
    for (const address of all) {
      await lab.router.waitRoute(hostCidr(address));
      assert(await lab.client.ping(address) !== undefined, `${address} answers the client`);
    }
  };
  await assertServed();
  // Of the agent's own passes at its start, the last is a second after it begins to listen.
  await delay(1_500);
  const whole = await ownTraces(node);

  await t.step("of another metric or table it is no concern", async () => {
    assertEquals(await tracesOfOthers(node), theirs);
    const before = await counted(node);
    const another = "route add 203.0.113.201/32 dev eth0 proto static metric 9999";
    await node.ipBatch([another]);
    await node.ipBatch([another.replace(" add ", " del ")]);
    assertEquals(await counted(node), before);
    assertEquals(await ownTraces(node), whole);
  });

  for (const address of [SHARED[1], ASKED[0]]) {
    await t.step(
      `${address}: in the place of ours it stays, and ours is back after it`,
      async () => {
        const prefix = hostCidr(address);
        const before = await counted(node);
        const said = (await logged(node)).length - 1;
        const theirRoute = `${prefix} dev eth0 proto static metric 16`;
        await node.ipBatch([`route replace ${theirRoute}`]);
        await lab.router.waitNoRoute(prefix);
        const failures = async (): Promise<number> =>
          (await counted(node)).installFailures - before.installFailures;
        await until("a second try", async () => await failures() >= 2, { everyMs: 20 });
        // The first at once, the second after a second, the third two seconds later.
        assertEquals(await failures(), 2);
        assertEquals((await node.route(prefix))?.protocol, "static");
        const lines = (await logged(node)).slice(said).filter((line) =>
          line.includes("in its place")
        );
        assertEquals(lines.length, 1, "on change, not at each try");
        const { prefix: named, others } = JSON.parse(lines[0]!);
        assertEquals([named, others], [prefix, ["proto static dev eth0 metric 16"]]);
        assertEquals((await counted(node)).reinstalls, before.reinstalls);
        // Everything else is done meanwhile.
        const other = await node.createPod({ name: "q" });
        await node.add(other);
        await node.check(other);
        await node.del(other);
        await node.removePod(other);

        // The pass that this has asked for is over: what is next is by event, or two seconds later.
        await delay(600);
        const since = performance.now();
        await node.ipBatch([`route del ${theirRoute}`]);
        await lab.router.waitRoute(prefix, { everyMs: 10 });
        const tookMs = performance.now() - since;
        assert(tookMs < 1_000, `back after ${tookMs} ms`);
        assertEquals(await ownTraces(node), whole);
        assertEquals((await counted(node)).reinstalls, before.reinstalls + 1);
        await assertServed();
      },
    );
  }

  await t.step("what nobody tells of comes back with the periodic pass", async () => {
    await node.stopAgent();
    await node.startAgent({ args: ["--route-reconcile-interval", "1s"] });
    await node.waitReady();
    await deafen(node);
    const before = await counted(node);
    await node.ipBatch([
      ...all.map((address) => `route del ${hostCidr(address)} metric 16`),
      ...ASKED.map((address) => `neigh del ${address} dev ${hostIfname(pod)}`),
    ]);
    await until("all as it was", async () => {
      assertEquals(await ownTraces(node), whole);
      return true;
    }, { timeoutMs: 5_000 });
    const after = await counted(node);
    assertEquals([after.reinstalls - before.reinstalls, after.repairs - before.repairs], [4, 2]);
    await assertServed();
  });

  await t.step("after the last pod there is nothing of ours, and all of theirs", async () => {
    await node.del(pod);
    const prefixes = Object.values(node.plan.prefixes);
    await until("the node's prefixes only", async () => {
      const left = await ownTraces(node);
      return left.length === prefixes.length && left.every((line) => line.includes("unreachable"));
    });
    assertEquals(await tracesOfOthers(node), theirs);
  });
});

testWith("netns: what a killed agent left goes when the next one is in sync, and not before", [
  "root",
  "bird",
  "manifests",
], async (t) => {
  const { lab, node } = await createNodeLab({ agentArgs: METRICS_ARGS });
  await using _lab = lab;
  await lab.start();
  const annotations = { [`${PREFIX}anycast`]: SHARED.join() };
  const stays = await node.createPod({ name: "stays", annotations });
  const goes = await node.createPod({
    name: "goes",
    annotations: { [`${PREFIX}anycast`]: "2001:db8:ffff::99,203.0.113.209" },
  });
  for (const pod of [stays, goes]) await node.add(pod);
  for (const address of [...SHARED, "2001:db8:ffff::99", "203.0.113.209"]) {
    await lab.router.waitRoute(hostCidr(address));
  }
  const whole = await ownTraces(node);
  await node.killAgent();

  // Its Pod is deleted, and the DEL has not come yet; and what others of that agent's pods have left.
  await node.writeManifest(`pod-${goes.name}.json`, []);
  const strays = [
    "nexthop add id 77 via 2001:db8:25::1 dev eth0 proto 144",
    `nexthop add id ${0x666c0007} via 198.51.100.1 dev eth0 onlink proto 144`,
    `nexthop add id ${0x666d0007} group ${0x666c0007} type resilient buckets 64 proto 144`,
    `route add 203.0.113.210/32 nhid ${0x666d0007} proto 144 metric 16`,
    "route add 2001:db8:ffff::a1/128 dev eth0 proto 144 metric 16",
    "route add 10.244.1.99/32 dev eth0 proto 143 metric 16",
    "route add unreachable 2001:db8:f077::/64 proto 143 metric 2000",
  ];
  await node.ipBatch(strays);
  const withStrays = await ownTraces(node);
  assertEquals(withStrays.length, whole.length + strays.length);
  const missing = `${lab.dir}/missing`;

  await t.step("not while nothing is known of the cluster", async () => {
    await node.startAgent({ args: ["--manifests", missing] });
    await until("it runs", async () => {
      await node.agent!.assertRunning();
      return (await logged(node)).some((line) => line.includes('"msg":"Opened socket"'));
    });
    // Its passes at the start are over by then, and one of those that events ask for.
    await delay(1_500);
    await node.ipBatch(["route add 10.244.1.98/32 dev eth0 proto 143 metric 16"]);
    await delay(300);
    const now = await ownTraces(node);
    assertEquals(now.filter((line) => !line.includes("10.244.1.98")), withStrays);
    assertEquals(now.length, withStrays.length + 1);
  });

  await t.step("at once when it is", async () => {
    await Deno.rename(lab.node("n1").manifestsDir, missing);
    await lab.router.waitNoRoute("2001:db8:ffff::99/128", { timeoutMs: 10_000 });
    await lab.router.waitNoRoute("203.0.113.209/32");
    await until("no strays", async () => {
      const now = await ownTraces(node);
      const kept = whole.filter((line) => now.includes(line));
      assertEquals(now.filter((line) => !whole.includes(line)), []);
      // Next hops, groups and routes of the pod that went, of both families.
      assertEquals(whole.length - kept.length, 6);
      return true;
    });
    for (const address of SHARED) await lab.router.waitRoute(hostCidr(address));
    const warned = (await logged(node)).filter((line) => line.includes("Removed stray route"));
    for (const stray of ["203.0.113.210/32", "2001:db8:ffff::a1/128", "10.244.1.99/32"]) {
      assert(warned.some((line) => line.includes(`"prefix":"${stray}"`)), `${stray} in ${warned}`);
    }
    assertEquals((await counted(node)).reinstalls, 0);
  });
});

testWith("netns: an anycast address that is not allowed any more is withdrawn, and comes back", [
  "root",
  "bird",
  "ping",
], async (t) => {
  const { lab, cluster } = await createTestCluster({ executable: EXECUTABLE, nodes: 1 });
  await using _lab = lab;
  const node = lab.node("n1");
  await lab.start();
  const pod = await node.createPod({
    name: "p",
    annotations: { [`${PREFIX}anycast`]: SHARED.join(), [`${PREFIX}addresses`]: ASKED.join() },
  });
  await node.add(pod);
  const all = [...SHARED, ...ASKED];
  for (const address of all) await lab.router.waitRoute(hostCidr(address));

  await t.step(
    "it is withdrawn, and so is what was asked for, which stays on the node",
    async () => {
      await allow(lab, node, [{ cidr: "2001:db8:ffff:1::/64" }, {
        cidr: "203.0.113.192/26",
        namespaces: ["edge"],
      }]);
      for (const address of all) await lab.router.waitNoRoute(hostCidr(address));
      for (const address of SHARED) await node.waitNoRoute(hostCidr(address));
      for (const address of ASKED) {
        assertEquals((await node.route(hostCidr(address)))?.protocol, "143");
        assert(await node.ping(address) !== undefined, `${address} answers its node`);
      }
      await node.check(pod);
    },
  );

  await t.step("the reason is logged, once for each, and the Pod has events", async () => {
    const reasons = {
      "2001:db8:": "is outside what may be announced (spec.announce.allowed)",
      "203.0.": 'is not allowed in namespace "default" (spec.announce.allowed)',
    };
    for (const address of all) {
      const [, reason] = Object.entries(reasons).find(([head]) => address.startsWith(head))!;
      const lines = (await logged(node)).filter((line) =>
        line.includes('"msg":"Withdrew address') && line.includes(`"address":"${address}"`)
      );
      assertEquals(
        lines.map((line) => JSON.parse(line)).map((line) => [
          line.level,
          line.pod,
          line.reason,
        ]),
        [["warn", "default/p", reason]],
      );
      if (cluster === undefined) continue;
      const event =
        `Pod p AddressWithdrawn: Address ${address} is not announced any more: it ${reason}`;
      await until(event, () => Promise.resolve(cluster.events().includes(event)));
    }
  });

  await t.step(
    "a change of readiness does not bring it back, an agent's restart neither",
    async () => {
      await node.updatePod(pod, { ready: false });
      await node.updatePod(pod, { ready: true });
      await node.stopAgent();
      await node.startAgent();
      await node.waitReady();
      await until("told again", async () => {
        const lines = (await logged(node)).filter((line) =>
          line.includes('"msg":"Withdrew address')
        );
        return lines.length === 2 * all.length;
      });
      for (const address of all) assertEquals(await lab.router.route(hostCidr(address)), undefined);
    },
  );

  await t.step("it is announced again when it is allowed again", async () => {
    await allow(lab, node, [{ cidr: "2001:db8:ffff::/48" }, { cidr: "203.0.113.192/26" }]);
    for (const address of all) {
      await lab.router.waitRoute(hostCidr(address));
      assert(await lab.client.ping(address) !== undefined, `${address} answers the client`);
    }
    assertStringIncludes((await ownTraces(node)).join("\n"), `144 ${ASKED[0]} dev`);
  });
});

/** Changes what the node's pods may announce. */
async function allow(
  lab: Lab,
  node: Node,
  allowed: readonly { readonly cidr: string; readonly namespaces?: readonly string[] }[],
): Promise<void> {
  const { prefixes: { ipv6, ipv4 }, asn, name } = node.plan;
  const peers = Object.values(lab.plan.router.addresses)
    .map((address) => ({ address, asn: lab.plan.router.asn }));
  await node.writeManifest(`nodeconfig-${name}.json`, [{
    apiVersion: "flock.fritzlab.net/v1alpha1",
    kind: "NodeConfig",
    metadata: { name },
    spec: { cidr6: [ipv6], cidr4: [ipv4], bgp: { asn, peers }, announce: { allowed } },
  }]);
}

/** Routes and next hops of other owners than flock, the kernel and BIRD, in all tables. */
async function tracesOfOthers(node: Node): Promise<readonly string[]> {
  const texts = await Promise.all([
    node.ip("-o", "-4", "route", "show", "table", "all"),
    node.ip("-o", "-6", "route", "show", "table", "all"),
    node.ip("-o", "nexthop", "show"),
  ]);
  return texts.join("").split("\n").map((line) => line.replaceAll(/\s+/g, " ").trim())
    .filter((line) => / proto (static|199) | table 100 /.test(`${line} `)).sort();
}

async function logged(node: Node): Promise<readonly string[]> {
  return (await Deno.readTextFile(`${node.dir}/agent.log`)).split("\n");
}

function hostCidr(address: string): string {
  return `${address}/${address.includes(":") ? 128 : 32}`;
}
