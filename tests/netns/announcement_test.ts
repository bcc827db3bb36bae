/**
 * What the router hears of a running pod while the NodeConfig changes: a pod's address is announced by
 * itself or by its prefix at every moment, and what an annotation asked for only while it is allowed.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { contains, formatPrefix, parseAddress, parsePrefix } from "../../src/core/cidr.ts";
import type { Lab } from "../../src/lab/lab.ts";
import type { Node } from "../../src/lab/node.ts";
import { delay, until } from "../../src/lab/wait.ts";
import { testWith } from "../support.ts";
import { createNodeLab } from "./node_probe.ts";

const HOME = { cidr6: ["2001:db8:f001::/64"], cidr4: ["10.244.1.0/24"] };
const AWAY = { cidr6: ["2001:db8:f002::/64"], cidr4: ["10.244.2.0/24"] };
type Prefixes = typeof HOME;

const GUARDS = {
  "a guard": [{ cidr: "2001:db8:ffff::/48", namespaces: ["*"] }],
  "no guard": undefined,
} as const;

for (const [what, allowed] of Object.entries(GUARDS)) {
  testWith(`netns: a prefix that goes and comes back leaves no pod unannounced, with ${what}`, [
    "root",
    "bird",
    "ping",
  ], async (t) => {
    const { lab, node } = await createNodeLab({ agentArgs: ["--route-reconcile-interval", "0"] });
    await using _lab = lab;
    const put = (prefixes: Prefixes): Promise<void> =>
      putSpec(lab, node, { ...prefixes, announce: allowed && { allowed } });
    await put(HOME);
    await lab.start();
    const pod = await node.createPod({ name: "p" });
    await node.add(pod);
    const addresses = [pod.address("ipv6")!, pod.address("ipv4")!];
    await waitHeard(lab, HOME, AWAY);

    for (const pauseMs of [200, 2_000]) {
      await t.step(`edits ${pauseMs} ms apart`, async () => {
        const monitor = await lab.router.spawn("monitor", ["ip", "-o", "monitor", "route"]);
        const seen = await Deno.stat(monitor.log).then(({ size }) => size, () => 0);
        const pings = await Promise.all(
          addresses.map((address, i) =>
            lab.client.spawn(`ping${i}-${pauseMs}`, ["ping", "-n", "-i", "0.01", address])
          ),
        );
        await delay(100);
        for (const prefixes of pauseMs < 1_000 ? [AWAY, HOME, AWAY, HOME] : [AWAY, HOME]) {
          await put(prefixes);
          await delay(pauseMs);
        }
        // Of quick edits only the last has to be seen.
        await put(AWAY);
        await waitHeard(lab, AWAY, HOME);
        for (const address of addresses) await lab.router.waitRoute(hostCidr(address));
        await put(HOME);
        await waitHeard(lab, HOME, AWAY);
        for (const address of addresses) await lab.router.waitNoRoute(hostCidr(address));
        await Promise.all(pings.map((ping) => ping.stop("SIGINT")));
        await monitor.stop();

        const events = (await Deno.readTextFile(monitor.log)).slice(seen).split("\n");
        for (const [i, address] of addresses.entries()) {
          assertEquals(gapsOf(events, address), [], `announcements of ${address}`);
          const replies = await Deno.readTextFile(pings[i]!.log);
          const numbers = Array.from(
            replies.matchAll(/bytes from .* icmp_seq=(\d+)/g),
            ([, number]) => Number(number),
          );
          // A hundred in a second, somewhat fewer where the machine is busy.
          assert(numbers.length > 50, `${numbers.length} replies of ${address}`);
          const lost = numbers.filter((n, k) => n !== (k === 0 ? 1 : numbers[k - 1]! + 1));
          assertEquals(lost, [], `first replies of ${address} after a loss`);
        }
      });
    }
  });
}

testWith("netns: an address that was asked for is announced while it is allowed", [
  "root",
  "bird",
  "ping",
], async (t) => {
  const { lab, node } = await createNodeLab();
  await using _lab = lab;
  await lab.start();
  const kept = await node.createPod({ name: "kept" });
  await node.add(kept);
  const asked = ["2001:db8:ffff::77", "203.0.113.201"];
  const asking = await node.createPod({
    name: "asking",
    annotations: { "flock.fritzlab.net/addresses": asked.join(",") },
  });
  await node.add(asking);
  const given = [kept.address("ipv6")!, kept.address("ipv4")!];
  const allow = (...cidrs: string[]): Promise<void> =>
    putSpec(lab, node, {
      ...AWAY,
      announce: { allowed: cidrs.map((cidr) => ({ cidr, namespaces: ["*"] })) },
    });
  const assertHeard = async (addresses: readonly string[]): Promise<void> => {
    for (const address of addresses) {
      await lab.router.waitRoute(hostCidr(address));
      // BIRD's filter follows within a second: it may be that of the change before.
      await until(
        `${address} answers the client`,
        async () => await lab.client.ping(address) !== undefined,
      );
    }
  };
  await assertHeard(asked);

  await t.step("what was given is announced when its prefix goes", async () => {
    await allow("2001:db8:ffff::/48", "203.0.113.192/26");
    await waitHeard(lab, AWAY, HOME);
    await assertHeard([...asked, ...given]);
  });

  await t.step("what was asked for is withdrawn when it is not allowed any more", async () => {
    await allow("2001:db8:ffff:1::/64", "203.0.113.208/28");
    for (const address of asked) await lab.router.waitNoRoute(hostCidr(address));
    await assertHeard(given);
    // The pods stay as they are: it is the announcement only that is not allowed.
    for (const address of [...asked, ...given]) {
      assert(await node.ping(address) !== undefined, `${address} answers its node`);
    }
    await node.check(asking);
    await node.check(kept);
  });

  await t.step("one by one, and it comes back", async () => {
    await allow("203.0.113.201/32");
    await assertHeard([asked[1]!, ...given]);
    assertEquals(await lab.router.route(hostCidr(asked[0]!)), undefined);
    await allow("2001:db8:ffff::77/128", "203.0.113.201/32");
    await assertHeard([...asked, ...given]);
  });

  await t.step("nothing of it is left after DEL", async () => {
    await node.del(asking);
    await node.del(kept);
    for (const address of [...asked, ...given]) await lab.router.waitNoRoute(hostCidr(address));
  });
});

/** Changes the NodeConfig of a node; what is not given stays as the lab made it. */
async function putSpec(
  lab: Lab,
  node: Node,
  spec: Readonly<Record<string, unknown>>,
): Promise<void> {
  const peers = Object.values(lab.plan.router.addresses)
    .map((address) => ({ address, asn: lab.plan.router.asn }));
  await node.writeManifest(`nodeconfig-${node.name}.json`, [{
    apiVersion: "flock.fritzlab.net/v1alpha1",
    kind: "NodeConfig",
    metadata: { name: node.name },
    spec: { bgp: { asn: node.plan.asn, peers }, ...spec },
  }]);
}

/** Waits until the router has these prefixes and not those. */
async function waitHeard(lab: Lab, there: Prefixes, gone: Prefixes): Promise<void> {
  for (const prefix of [...there.cidr6, ...there.cidr4]) await lab.router.waitRoute(prefix);
  for (const prefix of [...gone.cidr6, ...gone.cidr4]) await lab.router.waitNoRoute(prefix);
}

function hostCidr(address: string): string {
  return `${address}/${address.includes(":") ? 128 : 32}`;
}

/**
 * The events after which no route of the router leads to an address, in what `ip -o monitor route`
 * printed. At its beginning the address is covered by its home prefix.
 */
function gapsOf(events: readonly string[], address: string): readonly string[] {
  const wanted = parseAddress(address);
  const home = [...HOME.cidr6, ...HOME.cidr4].map(parsePrefix);
  const covering = new Set(home.filter((p) => contains(p, wanted)).map(formatPrefix));
  assertEquals(covering.size, 1);
  let changes = 0;
  const gaps = events.filter((event) => {
    const [, deleted, dst] = /^(Deleted )?([0-9a-f.:/]+) via /.exec(event) ?? [];
    if (dst === undefined) return false;
    const prefix = parsePrefix(dst.includes("/") ? dst : hostCidr(dst));
    if (!contains(prefix, wanted)) return false;
    changes++;
    if (deleted === undefined) covering.add(formatPrefix(prefix));
    else covering.delete(formatPrefix(prefix));
    return covering.size === 0;
  });
  assert(changes >= 4, `${changes} changes of routes to ${address}`);
  return gaps;
}
