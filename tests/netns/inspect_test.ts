/**
 * Operators' commands on a node that works and on one that does not: what they say is what `ip` and BIRD say.
 *
 * @module
 */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import type {
  AllocationList,
  AnycastList,
  Config,
  Inspection,
  PeerList,
  Rendered,
  RouteList,
  Status,
} from "../../src/core/inspection.ts";
import { INSPECT_COMMANDS, OUTPUTS } from "../../src/cli/inspect_commands.ts";
import type { ExecResult } from "../../src/lab/host.ts";
import type { Node } from "../../src/lab/node.ts";
import { until } from "../../src/lab/wait.ts";
import { parseYamlDocuments } from "../../src/std.ts";
import { EXECUTABLE } from "../executable.ts";
import { testWith } from "../support.ts";
import { addReplica, waitReplicas } from "./anycast_lab.ts";
import { createNodeLab, deafen, stored } from "./node_probe.ts";

const ANY6 = "2001:db8:ffff::53";
const ANY4 = "203.0.113.200";

/** Runs a command on a node, as an operator does. */
async function flock(
  node: Node,
  args: string,
  env: Readonly<Record<string, string>> = { FLOCK_SOCKET: node.socket },
): Promise<ExecResult> {
  return await node.attempt([EXECUTABLE, ...args.split(" ")], { env });
}

/** A command's answer. */
async function ask<T extends Inspection>(node: Node, args: string): Promise<T> {
  const { code, stdout, stderr } = await flock(node, `${args} -o json`);
  assertEquals([code, stderr], [0, ""], args);
  return JSON.parse(stdout);
}

/** What BIRD says of its own accord. */
async function bird(node: Node, ...words: readonly string[]): Promise<string> {
  return (await node.exec(["birdc", "-s", node.birdSocket, ...words])).stdout;
}

async function startedLab(options: Parameters<typeof createNodeLab>[0] = {}) {
  const { lab, node } = await createNodeLab(options);
  try {
    await lab.start();
    const pods = [
      await addReplica(node, "web-1", [ANY6, ANY4]),
      await addReplica(node, "web-2", [ANY6, ANY4]),
    ];
    await waitReplicas(node, ANY6, pods);
    await waitReplicas(node, ANY4, pods);
    await until("no difference", async () => {
      const { differences, anycast } = await ask<Status>(node, "status");
      assertEquals([differences.first, anycast.announced], [[], 2]);
      return true;
    });
    return { lab, node, pods };
  } catch (error) {
    await lab[Symbol.asyncDispose]();
    throw error;
  }
}

testWith(
  "netns: operators' commands say what the kernel and BIRD say",
  ["root", "bird"],
  async (t) => {
    const { lab, node, pods } = await startedLab();
    await using _lab = lab;
    const peers = Object.values(lab.plan.router.addresses);

    await t.step("status: a node that works", async () => {
      const status = await ask<Status>(node, "status");
      assertEquals([status.node, status.ready, status.pods], ["n1", true, 2]);
      assertEquals(status.peers, { total: 2, established: 2 });
      assertEquals(status.prefixes.map(({ prefix, allocated }) => [prefix, allocated]), [
        [node.plan.prefixes.ipv6, 2],
        [node.plan.prefixes.ipv4, 2],
      ]);
      const said = await bird(node, "show", "status");
      assertStringIncludes(said, `Router ID is ${status.bird.routerId}`);
      assertStringIncludes(said, `BIRD ${status.bird.version}`);
      assertEquals((await flock(node, "status --check")).code, 0);
    });

    await t.step("allocations: what is on the disk and in the pods", async () => {
      const { items } = await ask<AllocationList>(node, "allocations");
      const onDisk = await stored(node);
      assertEquals(
        items.map(({ pod, ipv6, ipv4, hostIfname }) => [pod, ipv6, ipv4, hostIfname]).sort(),
        onDisk.map((a) => [`${a.namespace}/${a.podName}`, a.ip6, a.ip4, a.hostIfname]).sort(),
      );
      assertEquals(items.map(({ ipv6 }) => ipv6).sort(), pods.map((p) => p.address("ipv6")).sort());
      assertEquals(items.map(({ podState }) => podState), ["ready", "ready"]);
    });

    await t.step("routes: those of the kernel, and what the router is told", async () => {
      const { items, objects } = await ask<RouteList>(node, "routes");
      assertEquals([items.flatMap(({ differences }) => differences), objects], [[], []]);
      const kernel = [...await node.routes("ipv6"), ...await node.routes("ipv4")]
        .filter(({ protocol }) => protocol === "143" || protocol === "144");
      assertEquals(items.map(({ dst }) => dst).sort(), kernel.map(({ dst }) => dst).sort());
      for (const peer of peers) {
        const told = items.filter(({ exportedTo }) => exportedTo.includes(peer));
        const protocol = told[0] && (await ask<PeerList>(node, "bgp")).items
          .find((item) => item.peer === peer)!.protocol;
        const said = await bird(node, "show", "route", "exported", protocol!);
        assertEquals(told.length, 2);
        for (const { dst } of told) assertStringIncludes(said, dst);
        for (const { dst } of told) await lab.router.waitRoute(dst);
      }
    });

    await t.step("bgp: counts and times as BIRD has them", async () => {
      const { items, asn } = await ask<PeerList>(node, "bgp");
      assertEquals(asn, node.plan.asn);
      for (const item of items) {
        const said = await bird(node, "show", "protocols", "all", item.protocol);
        const routes = /Routes: +(\d+) imported, (\d+) exported/.exec(said);
        assertEquals([item.routes?.imported, item.routes?.exported], [
          Number(routes?.[1]),
          Number(routes?.[2]),
        ]);
        assertStringIncludes(said, `Source address:   ${item.localAddress}`);
        assertEquals([item.state, item.holdTime], ["Established", 9]);
        const age = Date.now() - Date.parse(item.since!);
        assert(age > 0 && age < 120_000, `since ${item.since}`);
        assertEquals(item.gracefulRestart.negotiated, /Neighbor cap[^]*Graceful r/.test(said));
      }
      assertEquals(items.map(({ peer }) => peer).sort(), [...peers].sort());
    });

    await t.step("anycast: the kernel's next hops", async () => {
      const { items } = await ask<AnycastList>(node, "anycast");
      assertEquals(items.map(({ address, announced }) => [address, announced]), [
        [ANY6, true],
        [ANY4, true],
      ]);
      for (const { address, family, groupId, nextHops } of items) {
        const route = (await node.routes(family)).find(({ dst }) => dst.startsWith(`${address}/`));
        assertEquals(groupId, route?.nexthopId);
        assertEquals(
          nextHops.map(({ pod, via }) => [pod, via]).sort(),
          pods.map((pod) => [pod.key, pod.address(family)]).sort(),
        );
      }
    });

    await t.step("render: BIRD's file, and lines that change nothing", async () => {
      const config = await ask<Rendered>(node, "render bird");
      assertEquals([config.text, config.inForce], [await Deno.readTextFile(node.birdConfig), true]);
      const routes = await ask<Rendered>(node, "render routes");
      assertEquals(routes.inForce, true);
      const before = await node.ip("route", "show", "table", "all", "proto", "144");
      await node.ipBatch(routes.text.trimEnd().split("\n"));
      assertEquals(await node.ip("route", "show", "table", "all", "proto", "144"), before);
      assertEquals((await ask<RouteList>(node, "routes")).objects, []);
    });

    await t.step("every command prints every form", async () => {
      for (const { name, arguments: wanted = [] } of INSPECT_COMMANDS) {
        const words = wanted.map(({ name, pattern, choices }) =>
          pattern === undefined ? choices[0] : name === "port" ? "80" : ANY6
        );
        const command = [name, ...words].join(" ");
        for (const output of OUTPUTS) {
          const { code, stdout, stderr } = await flock(node, `${command} -o ${output}`);
          assertEquals([code, stderr], [0, ""], `${command} -o ${output}`);
          assert(!stdout.includes("\x1b["), "no colour without a terminal");
          if (output === "json") assert(JSON.parse(stdout).kind.length > 0);
          if (output === "yaml") {
            const [document] = parseYamlDocuments(stdout);
            assertEquals(document, await ask(node, command), command);
          }
          if (output === "table") assert(!/undefined|NaN|\[object/.test(stdout), stdout);
          if (output === "wide") assert(stdout.length >= 12, stdout);
        }
      }
    });

    await t.step("status fits on a screen", async () => {
      const lines = (await flock(node, "status")).stdout.split("\n");
      assertEquals(lines[0], "Node         n1");
      assert(lines.length <= 24, `${lines.length} lines`);
      assert(lines.includes("Peers        2 of 2 established"), lines.join("\n"));
      assert(lines.includes("Differences  none"), lines.join("\n"));
    });

    await t.step("a pod that is not ready is held back, with the reason", async () => {
      await node.updatePod(pods[1]!, { ready: false });
      await waitReplicas(node, ANY6, pods.slice(0, 1));
      const { items } = await ask<AnycastList>(node, "anycast");
      assertEquals(items[0]?.pods.map(({ pod, heldBack }) => [pod, heldBack]), [
        [pods[0]!.key, undefined],
        [pods[1]!.key, "it is not Ready"],
      ]);
      assertStringIncludes((await flock(node, "anycast")).stdout, "it is not Ready");
    });
  },
);

testWith("netns: what differs comes first", ["root", "bird"], async (t) => {
  const { lab, node } = await startedLab({ agentArgs: ["--route-reconcile-interval", "0"] });
  await using _lab = lab;
  await deafen(node);
  const prefix = node.plan.prefixes.ipv6!;

  await t.step("a route that somebody removed, and one that somebody planted", async () => {
    await node.ip("-6", "route", "del", "unreachable", prefix);
    await node.ip("-6", "route", "add", "2001:db8:bad::/64", "dev", "lo", "proto", "144");
    const { items } = await ask<RouteList>(node, "routes");
    assertEquals(items.slice(0, 3).map(({ dst, differences }) => [dst, differences[0]]), [
      [prefix, "the kernel does not have it"],
      ["2001:db8:bad::/64", "the kernel has it and nothing wants it"],
      [node.plan.prefixes.ipv4, undefined],
    ]);
    const { code, stdout } = await flock(node, "routes --check");
    assertEquals(code, 1);
    assertStringIncludes(stdout.split("\n")[1]!, prefix);
    const status = await ask<Status>(node, "status");
    assertEquals(status.differences.first[0], `${prefix}: the kernel does not have it`);
    assertEquals((await flock(node, "status --check")).code, 1);
  });

  await t.step("a session that is down", async () => {
    await lab.router.exec(["ip", "link", "set", "dev", "eth0", "down"]);
    await until("both sessions down", async () => {
      const { items } = await ask<PeerList>(node, "bgp");
      return items.every(({ state }) => state !== "Established");
    }, { timeoutMs: 20_000 });
    const { items } = await ask<PeerList>(node, "bgp");
    assert(items.every(({ lastError }) => lastError !== undefined), JSON.stringify(items));
    assertEquals((await flock(node, "bgp --check")).code, 1);
    assertEquals((await ask<Status>(node, "status")).peers, { total: 2, established: 0 });
    assertEquals((await ask<Status>(node, "status")).anycast.announced, 0);
  });

  await t.step("a BIRD that is away", async () => {
    await node.stopBird();
    const status = await ask<Status>(node, "status");
    assertEquals([status.bird.running, status.anycast.announced], [false, undefined]);
    assertEquals(status.peers, { total: 2 });
    assertEquals((await ask<RouteList>(node, "routes")).birdRunning, false);
    assertStringIncludes((await flock(node, "bgp")).stdout, "BIRD does not answer: ");
  });

  await t.step("a NodeConfig that is refused", async () => {
    const spec = { cidr6: [prefix], mtu: 7 };
    await node.writeManifest("nodeconfig-n1.json", [{
      apiVersion: "flock.fritzlab.net/v1alpha1",
      kind: "NodeConfig",
      metadata: { name: "n1" },
      spec,
    }]);
    await until("the refusal", async () => {
      const { nodeConfig } = await ask<Status>(node, "status");
      return nodeConfig.refused?.includes("spec.mtu") && !nodeConfig.accepted && nodeConfig.inForce;
    });
    const config = await ask<Config>(node, "config");
    assertStringIncludes(config.refused ?? "", "spec.mtu");
    const asn = config.items.find(({ name }) => name === "spec.bgp.asn");
    assertEquals([asn?.value, asn?.from], [node.plan.asn, "NodeConfig n1"]);
    assertStringIncludes((await flock(node, "config")).stdout, "the last good one is in force");
  });
});

testWith("netns: operators' commands without an agent", ["root"], async (t) => {
  const { lab, node } = await createNodeLab();
  await using _lab = lab;
  await t.step("say what to do", async () => {
    for (const args of ["status", `status --socket ${node.socket}`, "bgp --watch"]) {
      const { code, stdout, stderr } = await flock(node, args);
      assertEquals([code, stdout], [1, ""], args);
      assertStringIncludes(stderr, `nothing answers at "${node.socket}"`);
      assertStringIncludes(stderr, "Is the agent running on this host");
    }
  });
  await t.step("tell another user that only root may", async () => {
    // Another user may not reach the program where npx keeps it: root without what makes it root does.
    const dir = `${node.dir}/closed`;
    await Deno.mkdir(dir, { recursive: true, mode: 0o700 });
    await Deno.chown(dir, 65534, 65534);
    const { code, stderr } = await node.attempt([
      ...["setpriv", "--bounding-set=-dac_override,-dac_read_search"],
      ...[EXECUTABLE, "status", "--socket", `${dir}/flock.sock`],
    ]);
    assertEquals(code, 1);
    assertStringIncludes(stderr, "Only root may");
    // In a user namespace without a mapping nobody is root.
    const doctor = await node.attempt(["unshare", "--user", EXECUTABLE, "doctor"], {
      env: { FLOCK_STATE_DIR: node.stateDir },
    });
    assertEquals([doctor.code, doctor.stdout], [1, ""]);
    assertStringIncludes(doctor.stderr, "only root may");
  });
  await t.step("suggest the closest command, and name the choices", async () => {
    const typo = await flock(node, "statsu");
    assertEquals(typo.code, 2);
    assertStringIncludes(typo.stderr, "Did you mean status?");
    const form = await flock(node, "status -o xml");
    assertEquals(form.code, 2);
    assertStringIncludes(form.stderr, "table, wide, json, yaml");
  });
  await t.step("have a version all the same", async () => {
    const { code, stdout } = await flock(node, "version");
    assertEquals([code, stdout.split("\n").length], [0, 2]);
  });
});
