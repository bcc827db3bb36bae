/**
 * What keeps BGP sessions up: they stay at the address that their router knows, and go on when a peer announces more
 * than the node takes.
 *
 * @module
 */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { runCommand } from "../../src/io/command.ts";
import type { Node } from "../../src/lab/node.ts";
import { until } from "../../src/lab/wait.ts";
import { testWith } from "../support.ts";
import { createNodeLab } from "./node_probe.ts";
import { METRICS_ADDRESS, parseScrape, scrape } from "./scrape.ts";

const NEEDS = ["root", "bird"] as const;
const OWN = ["2001:db8:25::11", "198.51.100.11"] as const;
const SECOND = ["2001:db8:25::3", "198.51.100.3"] as const;
const ROUTER = ["2001:db8:25::1", "198.51.100.1"] as const;

testWith("netns: a BGP session stays at its address while the node has it", NEEDS, async (t) => {
  const { lab, node } = await createNodeLab({ agentArgs: ["--route-reconcile-interval", "200ms"] });
  await using _lab = lab;
  await lab.start();
  const kept = `${node.stateDir}/session_addresses.json`;
  const noted = await until("the addresses noted", async () => {
    const text = await Deno.readTextFile(kept);
    return OWN.every((address) => text.includes(`"${address}"`)) && text;
  });
  const sessions = await sessionsOf(node);

  await t.step("a second address that the kernel prefers", async () => {
    await node.ipBatch([
      `addr add ${SECOND[0]}/64 dev eth0 nodad`,
      `addr add ${SECOND[1]}/24 dev eth0`,
      `route replace 198.51.100.0/24 dev eth0 proto kernel scope link src ${SECOND[1]}`,
    ]);
    for (const [n, router] of ROUTER.entries()) {
      assertStringIncludes(await node.ip("route", "get", router), `src ${SECOND[n]}`);
    }
    await passes(node, 3);
    assertEquals(await localAddresses(node), OWN);
    assertEquals(await sessionsOf(node), sessions);
  });

  await t.step("no way to the router for a moment", async () => {
    await node.ip("route", "del", "198.51.100.0/24", "dev", "eth0");
    await passes(node, 3);
    assertEquals(await localAddresses(node), OWN);
    await node.ip("route", "add", "198.51.100.0/24", "dev", "eth0", "src", SECOND[1]);
    await lab.router.waitSessions();
  });

  await t.step("after a reboot, too", async () => {
    await node.stopAgent();
    await node.stopBird();
    // What is in /run goes.
    await Deno.remove(node.birdConfig.replace(/\/[^/]*$/, ""), { recursive: true });
    await lab.start();
    assertEquals(await localAddresses(node), OWN);
    assertEquals(await Deno.readTextFile(kept), noted);
  });

  await t.step("by an agent that kept none, beside a BIRD that runs", async () => {
    const before = await sessionsOf(node);
    await node.stopAgent();
    await Deno.remove(kept);
    await node.startAgent();
    await node.waitReady();
    await passes(node, 2);
    assertEquals(await localAddresses(node), OWN);
    assertEquals(await sessionsOf(node), before);
  });

  await t.step("another one when it is gone, which is logged, and back", async () => {
    await node.ip("addr", "del", `${OWN[0]}/64`, "dev", "eth0");
    const moved = [SECOND[0], OWN[1]];
    await until("the other address", async () => same(await localAddresses(node), moved));
    await node.ip("addr", "add", `${OWN[0]}/64`, "dev", "eth0", "nodad");
    await until("the address back", async () => same(await localAddresses(node), OWN));
    const said = (await logOf(node)).filter(({ msg }) =>
      msg === "Changed local address of BGP session"
    );
    assertEquals(
      said.map(({ level, peer, localAddress, was }) => [level, peer, localAddress, was]),
      [
        ["warn", ROUTER[0], SECOND[0], OWN[0]],
        ["warn", ROUTER[0], OWN[0], SECOND[0]],
      ],
    );
    await lab.router.waitSessions();
  });

  await t.step("what came up and went down is in the log, once each", async () => {
    const lost = await until("both sessions in the log", async () => {
      const log = await logOf(node);
      const lost = log.filter(({ msg }) => msg === "Lost BGP session");
      const peers = lost.map(({ peer }) => peer);
      const up = log.filter(({ msg, peer }) =>
        msg === "Established BGP session" && peer === ROUTER[0]
      );
      return peers.includes(ROUTER[0]) && up.length >= 2 && lost;
    });
    assert(lost.every(({ level, reason }) => level === "info" && typeof reason === "string"));
  });
});

testWith(
  "netns: a peer that announces more than importLimit costs no session",
  NEEDS,
  async (t) => {
    const routes = Array.from({ length: 9 }, (_, n) => `route 10.9.${n}.0/24 unreachable;`).join(
      " ",
    );
    const { lab, node } = await createNodeLab({
      extraRouterConfig: `protocol static many { ipv4; ${routes} }`,
      agentArgs: ["--metrics-address", METRICS_ADDRESS, "--route-reconcile-interval", "200ms"],
      spec: ({ asn }) => ({ bgp: bgpOf(asn, 4) }),
    });
    await using _lab = lab;
    const limited = async (): Promise<readonly (number | undefined)[]> => {
      const values = parseScrape(await scrape(node));
      return ROUTER.map((peer) => values[`flock_bgp_import_limit_reached{peer="${peer}"}`]);
    };
    await lab.start();

    await t.step("its routes above the limit are not taken, and it is said", async () => {
      const [said] = await until("a warning", async () => {
        const found = (await logOf(node)).filter(({ msg }) => msg === "Blocked routes of BGP peer");
        return found.length > 0 && found;
      });
      assertEquals([said!.level, said!.peer, said!.importLimit], ["warn", ROUTER[1], 4]);
      assertEquals(await learned(node), 4);
      assertEquals(await limited(), [0, 1]);
    });

    await t.step("the session stays, and so does what the node announces", async () => {
      const before = await sessionsOf(node);
      await lab.router.waitRoute("10.244.1.0/24");
      await passes(node, 5);
      assertEquals(await sessionsOf(node), before);
      await lab.router.waitSessions();
      const lost = (await logOf(node)).filter(({ msg }) => msg === "Lost BGP session");
      assertEquals(lost, []);
    });

    await t.step("all of its routes are taken when the limit is raised", async () => {
      const before = await sessionsOf(node);
      await node.writeManifest("nodeconfig-n1.json", [{
        apiVersion: "flock.fritzlab.net/v1alpha1",
        kind: "NodeConfig",
        metadata: { name: "n1" },
        spec: { cidr6: ["2001:db8:f001::/64"], cidr4: ["10.244.1.0/24"], bgp: bgpOf(65001, 100) },
      }]);
      await until("all routes", async () => await learned(node) >= 9);
      assertEquals(await sessionsOf(node), before);
    });
  },
);

function bgpOf(asn: number, importLimit: number): Readonly<Record<string, unknown>> {
  return { asn, peers: ROUTER.map((address) => ({ address, asn: 65000, importLimit })) };
}

/** Local addresses in BIRD's configuration. */
async function localAddresses(node: Node): Promise<readonly string[]> {
  const text = await Deno.readTextFile(node.birdConfig);
  // Peers are sorted: IPv4 first.
  return [...text.matchAll(/^ {2}local (\S+) as/gm)].map(([, address]) => address!).reverse();
}

/** Since when each session is as it is. */
async function sessionsOf(node: Node): Promise<readonly string[]> {
  const { stdout } = await runCommand("birdc", ["-s", node.birdSocket, "show", "protocols"]);
  const found = stdout.split("\n").filter((line) => line.startsWith("flock_bgp"));
  assertEquals(found.length, 2, stdout);
  assert(found.every((line) => line.includes("Established")), stdout);
  return found;
}

/** IPv4 routes by BGP in the node's main table. */
async function learned(node: Node): Promise<number> {
  return (await node.ipJson("-4", "route", "show", "proto", "bird")).length;
}

async function logOf(node: Node): Promise<readonly Record<string, unknown>[]> {
  const text = await Deno.readTextFile(`${node.dir}/agent.log`);
  return text.split("\n").filter((line) => line.startsWith("{")).map((line) => JSON.parse(line));
}

/** Waits for so many passes more over routes and BIRD's configuration. */
async function passes(node: Node, count: number): Promise<void> {
  const made = async (): Promise<number> =>
    (await logOf(node)).filter(({ msg }) => msg === "Reconciled").length;
  const goal = await made() + count;
  await until(`${count} passes`, async () => await made() >= goal, { timeoutMs: 45_000 });
}

function same(a: readonly string[], b: readonly string[]): boolean {
  return a.join() === b.join();
}
