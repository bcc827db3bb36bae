/**
 * What the agent does to the node it runs on: it makes it forward, and the node keeps the default route
 * that it has from router advertisements (RFC 4861), which forwarding alone would cost it.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import type { Node } from "../../src/lab/node.ts";
import { until } from "../../src/lab/wait.ts";
import { testWith } from "../support.ts";
import { createNodeLab } from "./node_probe.ts";

/** Every 3 to 4 seconds, good for 12. */
const ADVERTISE = `
protocol radv {
  interface "eth0" {
    min ra interval 3; max ra interval 4; default lifetime 12;
    prefix ::/0 { skip; };
  };
}`;
const FORWARDING = {
  "net/ipv4/ip_forward": "1",
  "net/ipv6/conf/all/forwarding": "1",
  "net/ipv4/fib_multipath_hash_policy": "1",
  "net/ipv6/fib_multipath_hash_policy": "1",
  "net/ipv4/nexthop_compat_mode": "1",
};
const SYSCTLS = [...Object.keys(FORWARDING), "net/ipv6/conf/eth0/accept_ra"];

testWith("netns: IPv6 forwarding does not cost the node its advertised default route", [
  "root",
  "bird",
], async (t) => {
  const { lab, node } = await createNodeLab({ extraRouterConfig: ADVERTISE });
  await using _lab = lab;
  const first = await until("advertised default route", () => advertised(node));
  const before = await sysctls(node);
  assertEquals(before["net/ipv6/conf/all/forwarding"], "0");
  assertEquals(before["net/ipv6/conf/eth0/accept_ra"], "1");

  await t.step("with --no-sysctls nothing is touched", async () => {
    await node.startAgent({ args: ["--no-sysctls"] });
    await node.waitReady();
    await node.stopAgent();
    assertEquals(await sysctls(node), before);
    assertEquals((await names(node)).includes("sysctls.json"), false);
  });

  await t.step("the node forwards, and goes on listening to advertisements", async () => {
    await node.startAgent();
    await node.waitReady();
    assertEquals(await sysctls(node), { ...FORWARDING, "net/ipv6/conf/eth0/accept_ra": "2" });
    const kept = await advertised(node);
    assertEquals(kept?.gateway, first.gateway);
  });

  await t.step("the route is refreshed", async () => {
    let last = (await advertised(node))!.expires;
    await until("a longer lifetime than before", async () => {
      const now = (await advertised(node))!.expires;
      const refreshed = now > last;
      last = now;
      return refreshed;
    });
  });

  await t.step("the former values are kept, also over further starts", async () => {
    const changed = Object.entries(await sysctls(node)).filter(([path, v]) => v !== before[path]);
    const former = Object.fromEntries(changed.map(([path]) => [path, before[path]]));
    assert(Object.keys(former).length >= 3, JSON.stringify(former));
    const kept = async (): Promise<unknown> =>
      JSON.parse(await Deno.readTextFile(`${node.stateDir}/sysctls.json`));
    assertEquals(await kept(), former);
    await node.exec(["sh", "-c", "echo 0 >/proc/sys/net/ipv4/ip_forward"]);
    await node.stopAgent();
    await node.startAgent();
    await node.waitReady();
    assertEquals((await sysctls(node))["net/ipv4/ip_forward"], "1");
    assertEquals(await kept(), former);
  });
});

/** The default route that the node has from a router advertisement; lifetime in seconds. */
async function advertised(
  node: Node,
): Promise<{ readonly gateway: unknown; readonly expires: number } | undefined> {
  const routes = await node.ipJson("-6", "route", "show", "default", "proto", "ra");
  const [route] = routes;
  return route && { gateway: route.gateway, expires: Number(route.expires) };
}

async function sysctls(node: Node): Promise<Record<string, string>> {
  const { stdout } = await node.exec([
    "sh",
    "-c",
    'cd /proc/sys && grep -H "" "$@"',
    "sh",
    ...SYSCTLS,
  ]);
  return Object.fromEntries(stdout.trimEnd().split("\n").map((line) => line.split(":")));
}

async function names(node: Node): Promise<readonly string[]> {
  return (await Array.fromAsync(Deno.readDir(node.stateDir))).map(({ name }) => name);
}
