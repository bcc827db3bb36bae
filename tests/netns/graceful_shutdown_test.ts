/**
 * GRACEFUL_SHUTDOWN (RFC 8326) in the rendered configuration: what routers and other nodes make of it,
 * with external and with internal peers. BIRD is the real one on each node, the routes are put into the
 * kernel by hand, and n3 hears n1 and n2 directly:
 *
 *     router ─── n1, n2 ─── n3
 *
 * @module
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { type BirdInput, renderBirdConfig } from "../../src/core/bird_config.ts";
import { FAMILIES, type Family, parsePrefix } from "../../src/core/cidr.ts";
import { createBirdc } from "../../src/io/birdc.ts";
import { gatewaysOf, type Host } from "../../src/lab/host.ts";
import type { Lab } from "../../src/lab/lab.ts";
import type { Node } from "../../src/lab/node.ts";
import type { Design } from "../../src/lab/plan.ts";
import type { RouterKind } from "../../src/lab/router.ts";
import { until } from "../../src/lab/wait.ts";
import { BIRD_STATES, birdPeer } from "../bird_states.ts";
import { EXECUTABLE } from "../executable.ts";
import { testWith } from "../support.ts";
import { pathsTo } from "./router_paths.ts";
import { createTestLab } from "./test_lab.ts";

const ANYCAST = { ipv6: "2001:db8:ffff::53/128", ipv4: "203.0.113.200/32" } as const;
/** Announced, but not anycast. */
const OTHER = { ipv6: "2001:db8:ffff::99/128", ipv4: "203.0.113.201/32" } as const;

for (const router of ["bird", "frr"] as const) {
  for (const design of ["b", "c"] as const) {
    testWith(
      `netns: GRACEFUL_SHUTDOWN with ${router} as router and ${
        design === "b" ? "external" : "internal"
      } peers`,
      ["root", "bird", ...(router === "frr" ? ["frr" as const] : [])],
      (t) => testShutdown(t, router, design),
    );
  }
}

async function testShutdown(t: Deno.TestContext, kind: RouterKind, design: Design): Promise<void> {
  await using lab = await createTestLab({ executable: EXECUTABLE, router: kind, design, nodes: 3 });
  const { router } = lab;
  const [n1, n2, n3] = lab.nodes as [Node, Node, Node];
  for (const node of [n1, n2]) {
    await node.ipBatch([
      "link add flock00000001 type veth peer name pod",
      "link set flock00000001 up",
      "link set pod up",
      ...[ANYCAST, node === n1 ? OTHER : {}].flatMap((prefixes) => Object.values(prefixes))
        .map((prefix) => `route add ${prefix} dev flock00000001 proto 144 metric 16`),
    ]);
  }
  for (const node of lab.nodes) {
    await configure(lab, node, false);
    await node.startBird();
  }
  // FRR puts a neighbor's link-local address into the kernel's table.
  const owners = new Map<string, string>();
  for (const node of lab.nodes) {
    const [eth0] = await node.ipJson("addr", "show", "dev", "eth0") as [
      { addr_info: readonly { local: string }[] },
    ];
    for (const { local } of eth0.addr_info) owners.set(local, node.name);
  }
  /** Waits until the routes of both families lead to these nodes. */
  const leads = async (on: Host, ...nodes: readonly Node[]): Promise<void> => {
    const names = nodes.map(({ name }) => name);
    for (const prefix of Object.values(ANYCAST)) {
      await until(`route to ${prefix} on ${on.name} by way of ${names}`, async () => {
        const gateways = gatewaysOf(await on.route(prefix));
        assertEquals(gateways.map((gateway) => owners.get(gateway) ?? gateway).sort(), names);
        return true;
      });
    }
  };
  try {
    await router.waitSessions(["n1", "n2"], { timeoutMs: 30_000 });
    await leads(router, n1, n2);
    await leads(n3, n1, n2);
    const sessions = await sessionsOf(n1);

    await t.step("the routers hear it on the anycast addresses, and on nothing else", async () => {
      await configure(lab, n1, true);
      await createBirdc({ socket: n1.birdSocket }).configure();
      for (const family of FAMILIES) {
        const marks = async (prefix: string): Promise<Record<string, boolean>> =>
          Object.fromEntries(
            (await pathsTo(lab, prefix)).map(({ node, gracefulShutdown }) => [
              node,
              gracefulShutdown,
            ]),
          );
        await until(`GRACEFUL_SHUTDOWN on ${ANYCAST[family]}`, async () => {
          assertEquals(await marks(ANYCAST[family]), { n1: true, n2: false });
          return true;
        });
        assertEquals(await marks(OTHER[family]), { n1: false });
        assertEquals(await marks(n1.plan.prefixes[family]!), { n1: false });
      }
      assertEquals(await sessionsOf(n1), sessions, "no session was made anew");
    });

    await t.step("other nodes prefer another path", async () => {
      await leads(n3, n2);
      for (const family of FAMILIES) assertMatch(await heard(n3, family), /local_pref: 0\n/);
    });

    await t.step("the router prefers another path", async () => {
      await leads(router, n2);
      for (const family of FAMILIES) {
        const [first] = await pathsTo(lab, ANYCAST[family]);
        assertEquals([first?.node, first?.localPref], ["n1", 0]);
      }
    });

    await t.step("it is still a path where there is no other", async () => {
      for (const family of FAMILIES) {
        await n2.ip("route", "del", ANYCAST[family], "proto", "144", "metric", "16");
      }
      await leads(router, n1);
      await leads(n3, n1);
    });

    await t.step("and it is as good as before when it is taken back", async () => {
      await configure(lab, n1, false);
      await createBirdc({ socket: n1.birdSocket }).configure();
      for (const family of FAMILIES) {
        await until(`no GRACEFUL_SHUTDOWN on ${ANYCAST[family]}`, async () => {
          const [only] = await pathsTo(lab, ANYCAST[family]);
          return only?.gracefulShutdown === false && only.localPref !== 0;
        });
        await until(`preference of ${ANYCAST[family]} on n3`, async () => {
          const text = await heard(n3, family);
          return !/65535,0/.test(text) && /local_pref: [1-9]/.test(text);
        });
      }
      assertEquals(await sessionsOf(n1), sessions, "no session was made anew");
    });
  } catch (error) {
    throw new Error(`${await lab.tails(15)}\n${error}`, { cause: error });
  }
}

/** Writes a node's configuration: n1 and n2 speak with the router and n3, n3 with them. */
async function configure(lab: Lab, node: Node, draining: boolean): Promise<void> {
  const [n1, n2, n3] = lab.nodes as [Node, Node, Node];
  const others = node === n3 ? [n1.plan, n2.plan] : [lab.plan.router, n3.plan];
  const input: BirdInput = {
    ...BIRD_STATES.two_peers!,
    routerId: node.plan.addresses.ipv4!,
    asn: node.plan.asn,
    nodePrefixes: FAMILIES.map((family) => parsePrefix(node.plan.prefixes[family]!)),
    gracefulShutdown: draining ? Object.values(ANYCAST).map(parsePrefix) : undefined,
    peers: others.flatMap(({ asn, addresses }) =>
      FAMILIES.map((family) =>
        birdPeer(addresses[family]!, node.plan.addresses[family]!, {
          asn,
          // What an operator chose gives way.
          ...(asn === node.plan.asn ? { localPreference: 150 } : {}),
        })
      )
    ),
  };
  await Deno.mkdir(node.birdConfig.replace(/\/[^/]*$/, ""), { recursive: true });
  await Deno.writeTextFile(node.birdConfig, renderBirdConfig(input));
}

/** Since when each session of a node is up. */
async function sessionsOf(node: Node): Promise<readonly string[]> {
  const protocols = await createBirdc({ socket: node.birdSocket }).protocols();
  const sessions = protocols.filter(({ proto }) => proto === "BGP");
  assert(sessions.length > 0);
  return sessions.map(({ name, since, info }) => `${name} ${since} ${info}`);
}

/** What a node's BIRD says of the path to the anycast address that it has from n1. */
async function heard(node: Node, family: Family): Promise<string> {
  const name = family === "ipv6" ? "flock_bgp6_2001_db8_25__11" : "flock_bgp4_198_51_100_11";
  const { stdout } = await node.exec(
    ["birdc", "-s", node.birdSocket, "show", "route", "all", ANYCAST[family], "protocol", name],
  );
  return stdout;
}
