/**
 * What the agent does to the node it runs on: it makes it forward, and keeps it so, and the node keeps the
 * default route that it has from router advertisements (RFC 4861), which forwarding alone would cost it.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import type { RouteList } from "../../src/core/inspection.ts";
import type { Node } from "../../src/lab/node.ts";
import { until } from "../../src/lab/wait.ts";
import { testWith } from "../support.ts";
import { EXECUTABLE } from "../executable.ts";
import { createNodeLab, hostIfname, METRICS_ARGS } from "./node_probe.ts";
import { parseScrape, scrape } from "./scrape.ts";

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

testWith("netns: sysctls and hardware addresses stay what they should be", [
  "root",
  "bird",
], async (t) => {
  // What is no event is seen by the periodic pass.
  const args = ["--route-reconcile-interval", "1s", ...METRICS_ARGS];
  const { lab, node } = await createNodeLab();
  await using _lab = lab;
  // As hardening guides have it.
  await write(node, "net/ipv6/conf/default/disable_ipv6", "1");
  await node.startBird();
  await node.startAgent({ args });
  await node.waitReady();
  const pod = await node.createPod({ name: "p" });
  await lab.router.waitRoute("2001:db8:f001::/64");
  await lab.router.waitRoute("10.244.1.0/24");
  const link = hostIfname(pod);

  const assertReached = async (): Promise<void> => {
    for (const family of ["ipv6", "ipv4"] as const) {
      const address = pod.address(family)!;
      await until(`${address} answers`, async () => await lab.router.ping(address) !== undefined);
    }
  };
  const repairs = async (): Promise<number> =>
    parseScrape(await scrape(node)).flock_sysctl_repairs_total ?? NaN;
  const agentLog = async (): Promise<readonly Record<string, unknown>[]> =>
    (await Deno.readTextFile(`${node.dir}/agent.log`)).trimEnd().split("\n")
      .map((line) => JSON.parse(line));

  await t.step("a pod is attached where new links have IPv6 off", async () => {
    await node.add(pod);
    await assertReached();
    assertEquals(await repairs(), 0);
  });

  const cases: readonly (readonly [path: string, right: string, wrong: string])[] = [
    ["net/ipv4/ip_forward", "1", "0"],
    ["net/ipv6/conf/all/forwarding", "1", "0"],
    ["net/ipv6/fib_multipath_hash_policy", "1", "0"],
    [`net/ipv4/conf/${link}/forwarding`, "1", "0"],
    [`net/ipv4/conf/${link}/rp_filter`, "0", "1"],
    [`net/ipv6/conf/${link}/disable_ipv6`, "0", "1"],
    [`net/ipv6/conf/${link}/accept_ra`, "0", "1"],
  ];
  for (const [path, right, wrong] of cases) {
    await t.step(`${path.replace(link, "LINK")} is put right, told and counted`, async () => {
      const before = await repairs();
      await write(node, path, wrong);
      await until("it is right again", async () => await read(node, path) === right);
      await assertReached();
      await until("it is counted", async () => await repairs() > before);
      const told = (await agentLog()).filter(({ msg, sysctl }) =>
        msg === "Restored sysctl that somebody else changed" && sysctl === path
      );
      assertEquals(told.map(({ level, value, was }) => [level, value, was]), [
        ["warn", right, wrong],
      ]);
    });
  }

  await t.step("so is the hardware address of the node's end", async () => {
    const mac = async (): Promise<unknown> =>
      (await node.ipJson("link", "show", "dev", link))[0]?.address;
    const right = await mac();
    await node.ip("link", "set", "dev", link, "address", "02:00:00:00:00:01");
    await until("it is right again", async () => await mac() === right);
    await assertReached();
    await until(
      "it is told with the former one",
      async () =>
        (await agentLog()).some(({ level, msg, was }) =>
          level === "warn" && msg === "Repaired what somebody else changed" &&
          was === `link set ${link} address 02:00:00:00:00:01`
        ),
    );
  });

  await t.step("a link whose default route is advertised later goes on listening", async () => {
    assertEquals(await read(node, "net/ipv6/conf/eth0/accept_ra"), "1");
    const route = ["default", "via", "2001:db8:25::1", "dev", "eth0", "metric", "1024"];
    await node.ip("-6", "route", "add", ...route, "proto", "ra");
    await until("it does", async () => await read(node, "net/ipv6/conf/eth0/accept_ra") === "2");
    await node.ip("-6", "route", "del", ...route);
    // It may come back by an advertisement only.
    await write(node, "net/ipv6/conf/eth0/accept_ra", "1");
    await until(
      "it does again",
      async () => await read(node, "net/ipv6/conf/eth0/accept_ra") === "2",
    );
  });

  await t.step("with --no-sysctls it is said and shown, and nothing is written", async () => {
    await node.stopAgent();
    await node.startAgent({ args: [...args, "--no-sysctls"] });
    await node.waitReady();
    const differences = async (): Promise<readonly string[]> => {
      const { stdout } = await node.exec([
        EXECUTABLE,
        "routes",
        "--socket",
        node.socket,
        "-o",
        "json",
      ]);
      return (JSON.parse(stdout) as RouteList).objects;
    };
    assertEquals(await differences(), []);
    await write(node, "net/ipv4/ip_forward", "0");
    await until(
      "it is shown",
      async () => (await differences()).includes("sysctl net/ipv4/ip_forward is 0, not 1"),
    );
    await until(
      "it is said",
      async () =>
        (await agentLog()).some(({ level, msg, sysctl, is }) =>
          level === "warn" && msg === "Found sysctl that should be another" &&
          sysctl === "net/ipv4/ip_forward" && is === "0"
        ),
    );
    assertEquals(await read(node, "net/ipv4/ip_forward"), "0");
    assertEquals(await repairs(), 0);
  });
});

async function read(node: Node, path: string): Promise<string> {
  return (await node.exec(["cat", `/proc/sys/${path}`])).stdout.trim();
}

async function write(node: Node, path: string, value: string): Promise<void> {
  await node.exec(["sh", "-c", `echo ${value} >/proc/sys/${path}`]);
}

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
