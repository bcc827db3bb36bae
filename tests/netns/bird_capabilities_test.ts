/**
 * BIRD with exactly the capabilities that its container has: it has a session, learns and writes routes, and
 * can be stopped; without the one for low ports it has no session.
 *
 * @module
 */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { run } from "../../scripts/run.ts";
import { runCommand } from "../../src/io/command.ts";
import { readDaemonSet } from "../deploy/manifests.ts";
import { testWith } from "../support.ts";
import { BirdHost, until } from "./bird_host.ts";
import { confined } from "./confined.ts";

const ROOT = new URL("../../", import.meta.url).pathname;

function config(own: string, peer: string, routerId: string, prefix: string): string {
  return `router id ${routerId};
protocol device {}
protocol kernel kernel6 { ipv6 { import where krt_source = 144; export all; }; learn; }
protocol static static6 { ipv6; route ${prefix} unreachable; }
protocol bgp peer1 {
  local ${own} as 65000; neighbor ${peer} as 65000; connect delay time 1; error wait time 1, 1;
  ipv6 { import all; export where source ~ [RTS_STATIC, RTS_INHERIT]; next hop self; };
}
`;
}

async function pair(): Promise<AsyncDisposable & { node: BirdHost; router: BirdHost }> {
  await using stack = new AsyncDisposableStack();
  const node = stack.use(await BirdHost.create());
  const router = stack.use(await BirdHost.create());
  await node.ip(`link add wire0 type veth peer name wire0 netns ${router.netns}\n`);
  const hosts = [
    [node, "2001:db8:25::2", "2001:db8:25::1", "10.0.0.2", "2001:db8:f001::/64"],
    [router, "2001:db8:25::1", "2001:db8:25::2", "10.0.0.1", "2001:db8:1::/64"],
  ] as const;
  for (const [host, own, peer, routerId, prefix] of hosts) {
    await host.ip(`link set wire0 up\naddr add ${own}/64 dev wire0 nodad\n`);
    await Deno.mkdir(`${host.dir}/bird`, { mode: 0o700 });
    await Deno.writeTextFile(host.config, config(own, peer, routerId, prefix));
  }
  const moved = stack.move();
  return { node, router, [Symbol.asyncDispose]: () => moved.disposeAsync() };
}

const NEEDS = ["root", "bird"] as const;
const [container] = (await readDaemonSet("bird.yaml")).spec.template.spec.containers;
const capabilities = container!.securityContext.capabilities!.add!;

testWith("netns: BIRD works with the capabilities of its container", NEEDS, async (t) => {
  await using hosts = await pair();
  const { node, router } = hosts;
  router.birdRun();
  node.birdRun(confined(capabilities));

  await t.step("it has these capabilities and no others", async () => {
    await node.answers();
    const [pid] = (await node.birds()).keys();
    const status = await Deno.readTextFile(`/proc/${pid}/status`);
    // CAP_NET_BIND_SERVICE is 10, CAP_NET_ADMIN 12, CAP_NET_RAW 13 (linux/capability.h).
    for (const set of ["CapBnd", "CapPrm", "CapEff"]) {
      assertStringIncludes(status, `${set}:\t${"3400".padStart(16, "0")}\n`);
    }
    assertStringIncludes(status, "NoNewPrivs:\t1\n");
  });

  await t.step("it has a session", () => node.established(1));

  await t.step("it writes the peer's routes and announces the kernel's", async () => {
    await node.ip("route add 2001:db8:ffff::1/128 via 2001:db8:25::9 dev wire0 onlink proto 144\n");
    const has = async (host: BirdHost, dst: string): Promise<boolean> =>
      (await host.ipJson("-6", "route", "show", "proto", "bird")).some((r) => r.dst === dst);
    await until("the router's route", () => has(node, "2001:db8:1::/64"));
    await until("the node's address", () => has(router, "2001:db8:ffff::1"));
  });

  await t.step("bird-stop ends it", async () => {
    const { code, stderr } = await run([
      ...["/usr/bin/nsenter", `--net=/run/netns/${node.netns}`, ...confined(capabilities)],
      ...[Deno.execPath(), "run", "-A", "--quiet", `${ROOT}main.ts`],
      ...["bird-stop", "--graceful", "--bird-socket", node.socket],
    ], { cwd: ROOT });
    assertEquals(code, 0, stderr);
    await until("BIRD's end", async () => (await node.birds()).size === 0);
  });
});

testWith("netns: BIRD has no session without the capability for low ports", NEEDS, async () => {
  await using hosts = await pair();
  const { node, router } = hosts;
  router.birdRun();
  node.birdRun(confined(capabilities.filter((name) => name !== "NET_BIND_SERVICE")));
  await node.answers();
  await until("BIRD tells why", async () => {
    const { stdout } = await runCommand("birdc", [
      "-s",
      node.socket,
      "show",
      "protocols",
      "all",
      "peer1",
    ]);
    return stdout.includes("No listening socket");
  });
  assert((await node.birdc.protocols()).every(({ info }) => info !== "Established"));
});
