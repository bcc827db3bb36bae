/**
 * What somebody else takes away or changes of a node's routes, next hops and links comes back by the
 * kernel's events alone, is counted exactly, and the router has it in the end.
 *
 * @module
 */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { GROUP_BUCKETS } from "../../src/core/config.ts";
import type { Lab } from "../../src/lab/lab.ts";
import type { Node } from "../../src/lab/node.ts";
import type { Pod } from "../../src/lab/pod.ts";
import { delay, until } from "../../src/lab/wait.ts";
import { testWith } from "../support.ts";
import {
  ask,
  counted,
  createNodeLab,
  hostIfname,
  METRICS_ARGS,
  monitorOf,
  ownTraces,
  unheard,
} from "./node_probe.ts";

const PREFIX = "flock.fritzlab.net/";
const SHARED = ["2001:db8:ffff::53", "203.0.113.200"] as const;
const ASKED = ["2001:db8:ffff::77", "203.0.113.201"] as const;
/** Of the pods that come and go meanwhile. */
const OTHERS = ["2001:db8:ffff::99", "203.0.113.209"] as const;

testWith("netns: what others take away comes back by events, and is counted", [
  "root",
  "bird",
  "ping",
], async (t) => {
  const { lab, node } = await createNodeLab({
    agentArgs: [...METRICS_ARGS, "--route-reconcile-interval", "0"],
  });
  await using _lab = lab;
  await lab.start();
  const a = await node.createPod({
    name: "a",
    annotations: { [`${PREFIX}anycast`]: SHARED.join() },
  });
  const b = await node.createPod({
    name: "b",
    annotations: {
      [`${PREFIX}anycast`]: SHARED.join(),
      [`${PREFIX}anycast-weight`]: "3",
      [`${PREFIX}addresses`]: ASKED.join(),
    },
  });
  for (const pod of [a, b]) await node.add(pod);
  await assertServed(lab, [...SHARED, ...ASKED, a.address("ipv6")!, a.address("ipv4")!]);
  // Of the agent's own passes at its start, the last is a second after it begins to listen.
  await delay(1_500);
  const whole = await ownTraces(node);

  /** Does harm; all is as before in the end, and so much was counted. */
  const suffer = async (
    harm: () => Promise<unknown>,
    want: { readonly reinstalls: number; readonly repairs: number },
  ): Promise<void> => {
    const before = await counted(node);
    await harm();
    await until("all as it was", async () => {
      assertEquals(await ownTraces(node), whole);
      return true;
    }, { timeoutMs: 5_000 });
    const { reinstalls, repairs, installFailures } = before;
    assertEquals(await counted(node), {
      reinstalls: reinstalls + want.reinstalls,
      repairs: repairs + want.repairs,
      installFailures,
    });
  };

  await t.step("the groups have their members, with weights", async () => {
    for (const address of SHARED) {
      assertEquals((await waysOf(node, address)).map(({ weight }) => weight).sort(), [1, 3]);
    }
  });

  await t.step("a flush, and routes one by one, while other pods come and go", async () => {
    await using _load = await startLoad(node);
    let deleted = 0;
    const before = await counted(node);
    for (const family of ["-4", "-6"]) {
      // It fails for routes that go to next-hop objects, and what came before these is gone.
      const { stderr } = await node.attempt(["ip", family, "route", "flush", "proto", "144"]);
      assertStringIncludes(stderr, "Invalid argument");
    }
    await untilCalm(node, whole);
    const flushed = (await counted(node)).reinstalls - before.reinstalls;
    assert(flushed <= 4, `a flush deletes at most the routes of a and b: ${flushed}`);
    const deadline = performance.now() + 10_000;
    while (deleted < 40 && performance.now() < deadline) {
      for (const family of ["-4", "-6"]) {
        for (const route of await routesOf(node, family)) {
          const { code } = await node.attempt(["ip", family, "route", "del", ...route]);
          if (code === 0) deleted++;
        }
      }
    }
    await untilCalm(node, whole);
    const after = await counted(node);
    assert(deleted >= 40, `${deleted} deleted`);
    assertEquals(after, {
      reinstalls: before.reinstalls + flushed + deleted,
      installFailures: 0,
      repairs: before.repairs,
    });
    await assertServed(lab, [...SHARED, ...ASKED]);
  });

  await t.step("after it, nothing is left of the other pods", async () => {
    await untilCalm(node, whole);
    assertEquals(await ownTraces(node), whole);
  });

  for (const address of SHARED) {
    const group = await groupOf(node, address);
    const [one, other] = (await waysOf(node, address)).map(({ id }) => id);
    const resilient =
      `type resilient buckets ${GROUP_BUCKETS} idle_timer 10 unbalanced_timer 60 proto 144`;
    const cases: Readonly<Record<string, readonly [readonly string[], number, number]>> = {
      "its route is deleted": [[`route del ${hostCidr(address)} metric 16`], 1, 0],
      // IPv4 says nothing of the route that goes with it.
      "its group is deleted": [[`nexthop del id ${group}`], 1, 1],
      "a member is deleted": [[`nexthop del id ${one}`], 0, 2],
      "both members are deleted": [
        [`nexthop del id ${one}`, `nexthop del id ${other}`],
        1,
        3,
      ],
      "its weights are changed": [
        [`nexthop replace id ${group} group ${one},9/${other},9 ${resilient}`],
        0,
        1,
      ],
      "a member is taken out": [[`nexthop replace id ${group} group ${other} ${resilient}`], 0, 1],
      "its timers are changed": [
        [
          `nexthop replace id ${group} group ${one}/${other},3 type resilient buckets ${GROUP_BUCKETS} ` +
          "idle_timer 99 unbalanced_timer 0 proto 144",
        ],
        0,
        1,
      ],
      "a member leads elsewhere": [
        [`nexthop replace id ${one} via ${gatewayOf(lab, address)} dev eth0 onlink proto 144`],
        0,
        1,
      ],
    };
    for (const [what, [lines, reinstalls, repairs]] of Object.entries(cases)) {
      await t.step(`${address}: ${what}`, async () => {
        const harm = (): Promise<void> => node.ipBatch(lines);
        await suffer(lines.length > 1 ? () => unheard(node, harm) : harm, { reinstalls, repairs });
        await assertServed(lab, [address]);
      });
    }
  }

  for (const address of SHARED) {
    await t.step(`${address}: a group with other buckets in the place of ours`, async () => {
      const group = await groupOf(node, address);
      const [one] = await waysOf(node, address);
      const before = await counted(node);
      await unheard(node, () =>
        node.ipBatch([
          `nexthop del id ${group}`,
          `nexthop add id ${group} group ${one!.id} type resilient buckets ${
            GROUP_BUCKETS / 2
          } proto 144`,
        ]));
      await until("another group", async () => await groupOf(node, address) !== undefined);
      await until("both members", async () => (await waysOf(node, address)).length === 2);
      await assertServed(lab, [address]);
      assertEquals((await counted(node)).reinstalls, before.reinstalls + 1);
      // Without its route a group is made anew, with the id that follows from its name.
      await suffer(
        () => node.ipBatch([`route del ${hostCidr(address)} metric 16`]),
        { reinstalls: 1, repairs: 0 },
      );
    });
  }

  await t.step("ids of ours that somebody else has are left to him", async () => {
    const ids: number[] = [];
    for (const address of SHARED) {
      const [one] = await waysOf(node, address);
      ids.push(one!.id);
      await node.ipBatch([
        `nexthop replace id ${one!.id} via ${gatewayOf(lab, address)} dev eth0 proto static`,
      ]);
    }
    for (const address of SHARED) {
      await until(`members of ${address}`, async () => {
        const ways = await waysOf(node, address);
        return ways.length === 2 && ways.every(({ id }) => !ids.includes(id));
      });
    }
    await assertServed(lab, SHARED);
    for (const id of ids) {
      const [theirs] = await node.ipJson("nexthop", "show", "id", String(id));
      assertEquals([theirs?.protocol, theirs?.dev], ["static", "eth0"]);
      await node.ipBatch([`nexthop del id ${id}`]);
    }
  });

  for (const how of ["down", "down and up"] as const) {
    await t.step(`a host veth is set ${how}`, async () => {
      const dev = hostIfname(a);
      const now = await ownTraces(node);
      const before = await counted(node);
      const lines = how.split(" and ").map((state) => `link set ${dev} ${state}`);
      await unheard(node, () => node.ipBatch(lines));
      await until("all as it was", async () => {
        assertEquals(await ownTraces(node), now);
        return true;
      }, { timeoutMs: 5_000 });
      await assertServed(lab, [...SHARED, a.address("ipv6")!, a.address("ipv4")!]);
      const after = await counted(node);
      assertEquals(after.reinstalls - before.reinstalls, 2, "its own two routes");
      // fe80::1, two neighbours, two next hops, their two groups; and that it is up.
      assertEquals(after.repairs - before.repairs, how === "down" ? 8 : 7);
    });
  }

  await t.step("what is on a host veth is deleted", async () => {
    const dev = hostIfname(b);
    const now = await ownTraces(node);
    for (
      const [line, reinstalls, repairs] of [
        [`addr del fe80::1/64 dev ${dev}`, 0, 1],
        // Its last IPv4 address: route and neighbour go with it, and nobody tells of these.
        [`addr del 169.254.1.1/32 dev ${dev}`, 1, 2],
        // Nor of these: they come back with what is told.
        [`neigh del ${ASKED[0]} dev ${dev}`, 0, 0],
        [`neigh del ${ASKED[1]} dev ${dev}`, 0, 0],
        [`addr del fe80::1/64 dev ${dev}`, 0, 3],
      ] as const
    ) {
      const before = await counted(node);
      await node.ipBatch([line]);
      if (repairs === 0) continue;
      await until(`${line} is made good`, async () => {
        assertEquals(await ownTraces(node), now);
        return true;
      }, { timeoutMs: 5_000 });
      const after = await counted(node);
      assertEquals(
        [after.reinstalls - before.reinstalls, after.repairs - before.repairs],
        [reinstalls, repairs],
        line,
      );
    }
    await assertServed(lab, ASKED);
  });

  await t.step("while nothing is heard, and then the monitor is killed", async () => {
    const now = await ownTraces(node);
    const before = await counted(node);
    const monitor = await monitorOf(node);
    Deno.kill(monitor, "SIGSTOP");
    await node.ipBatch(SHARED.map((address) => `route del ${hostCidr(address)} metric 16`));
    for (const address of SHARED) await lab.router.waitNoRoute(hostCidr(address));
    Deno.kill(monitor, "SIGKILL");
    await until("all as it was", async () => {
      assertEquals(await ownTraces(node), now);
      return true;
    }, { timeoutMs: 5_000 });
    await assertServed(lab, SHARED);
    assertEquals((await counted(node)).reinstalls - before.reinstalls, 2);
    assert(await monitorOf(node) !== monitor);
    // The next one is heard again.
    await node.ipBatch([`route del ${hostCidr(SHARED[0])} metric 16`]);
    await until("by event", async () => {
      assertEquals(await ownTraces(node), now);
      return true;
    }, { timeoutMs: 3_000 });
  });

  await t.step("nothing could not be installed, and nothing was taken for a stray", async () => {
    assertEquals((await counted(node)).installFailures, 0);
    const lines = (await Deno.readTextFile(`${node.dir}/agent.log`)).split("\n");
    const bad = lines.filter((line) => /"msg":"(Could not|Removed stray)/.test(line));
    // But for ids that others had.
    assertEquals(bad.filter((line) => !line.includes('"line":"nexthop add ')), []);
  });
});

/** Each address is announced to the router, and answers the client behind it. */
async function assertServed(lab: Lab, addresses: readonly string[]): Promise<void> {
  for (const address of addresses) {
    const covered = address.startsWith("2001:db8:f001:") || address.startsWith("10.244.");
    if (!covered) await lab.router.waitRoute(hostCidr(address));
    assert(await lab.client.ping(address) !== undefined, `${address} answers the client`);
  }
}

/** Two pods that are attached and detached, and one that is Ready and not, over and over until disposed. */
async function startLoad(node: Node): Promise<AsyncDisposable> {
  const annotations = { [`${PREFIX}anycast`]: OTHERS.join() };
  const pods: Pod[] = [];
  for (const name of ["x", "y", "z"]) pods.push(await node.createPod({ name, annotations }));
  const [x, y, steady] = pods as [Pod, Pod, Pod];
  await ask(node, "ADD", steady);
  let over = false;
  const churn = async (pod: Pod): Promise<void> => {
    while (!over) {
      await ask(node, "ADD", pod);
      await ask(node, "DEL", pod);
    }
  };
  const flap = async (): Promise<void> => {
    for (let ready = false; !over; ready = !ready) {
      await node.updatePod(steady, { ready });
      await delay(10);
    }
  };
  const running = Promise.all([churn(x), churn(y), flap()]);
  // A failure is told when it is waited for.
  running.catch(() => {});
  return {
    async [Symbol.asyncDispose]() {
      over = true;
      await running;
      await ask(node, "DEL", steady);
      for (const pod of pods) await node.removePod(pod);
    },
  };
}

/** Waits until everything is there that was, whatever else is. */
async function untilCalm(node: Node, whole: readonly string[]): Promise<void> {
  await until("all that was there", async () => {
    const now = new Set(await ownTraces(node));
    assertEquals(whole.filter((line) => !now.has(line)), []);
    return true;
  }, { timeoutMs: 5_000 });
}

/** Routes of pods a and b that are announced, as words for `ip route del`. */
async function routesOf(node: Node, family: string): Promise<readonly (readonly string[])[]> {
  const mine: readonly string[] = [...SHARED, ...ASKED];
  return (await node.ipJson(family, "route", "show", "proto", "144"))
    .filter(({ dst }) => mine.includes(String(dst)))
    .map(({ dst }) => [String(dst), "proto", "144", "metric", "16"]);
}

/** Id of the group that a shared address is routed to. */
async function groupOf(node: Node, address: string): Promise<number | undefined> {
  return (await node.route(hostCidr(address)))?.nexthopId;
}

/** Members of the group that a shared address is routed to. */
async function waysOf(
  node: Node,
  address: string,
): Promise<readonly { readonly id: number; readonly weight: number }[]> {
  const group = await groupOf(node, address);
  if (group === undefined) return [];
  const [found] = await node.ipJson("nexthop", "show", "id", String(group));
  return (found?.group as { id: number; weight?: number }[]).map(({ id, weight = 1 }) => ({
    id,
    weight,
  }));
}

/** The router's address of the same family. */
function gatewayOf(lab: Lab, address: string): string {
  return lab.plan.router.addresses[address.includes(":") ? "ipv6" : "ipv4"]!;
}

function hostCidr(address: string): string {
  return `${address}/${address.includes(":") ? 128 : 32}`;
}
