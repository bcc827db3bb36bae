/**
 * The options of a BGP peer, each as FRR sees it: the real executable with its BIRD on the node, and
 * zebra, bgpd and bfdd on the router. Where an option also forbids something, that is shown too.
 *
 * @module
 */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { BgpSpeaker } from "../../src/agent/bgp.ts";
import { renderBirdConfig } from "../../src/core/bird_config.ts";
import { createBirdc } from "../../src/io/birdc.ts";
import type { Host } from "../../src/lab/host.ts";
import type { Lab } from "../../src/lab/lab.ts";
import type { Node } from "../../src/lab/node.ts";
import { vtysh } from "../../src/lab/router_frr.ts";
import { until } from "../../src/lab/wait.ts";
import { BIRD_STATES, birdPeer } from "../bird_states.ts";
import { testWith } from "../support.ts";
import {
  birdSession,
  createSessionLab,
  established,
  frrJson,
  frrNeighbor,
  frrPath,
  nodeBgp,
  planSessions,
  type Session,
} from "./frr_sessions.ts";

const CHANGES = {
  communities: ["65001:100", "65001:200", "65001:1:2"],
  med: 7,
  prepend: 2,
  localPreference: 250,
};

/** Behind n2, which forwards. */
const FAR = ["203.0.113.100", "203.0.113.101", "203.0.113.102"] as const;

const SESSIONS = planSessions({
  usual: {},
  timers: { options: { holdTime: 30, keepaliveTime: 4 } },
  noTimers: { options: { holdTime: 0, keepaliveTime: 0 } },
  restart: { options: { gracefulRestart: { restartTime: 45 } } },
  noRestart: { options: { gracefulRestart: { enabled: false } } },
  bfd: {
    family: "ipv6",
    // Not the hold time finds out that the node is away.
    options: { bfd: { interval: 200, multiplier: 4 }, holdTime: 90 },
    frr: ["bfd"],
  },
  changes4: { options: CHANGES },
  changes6: { family: "ipv6", options: CHANGES },
  passive: { options: { passive: true } },
  nobodyCalls: { options: { passive: true }, frr: ["passive"] },
  port: { options: { port: 1179 }, frr: ["passive"] },
  wrongPort: { options: { port: 1180 }, frr: ["passive"] },
  // FRR would bear one hop between, the node does not.
  ttlSecurity: {
    options: { ttlSecurity: true, holdTime: 3 },
    frr: ["ttl-security hops 2"],
  },
  multihop: { options: { multihop: 2 }, frr: ["ebgp-multihop 2"], router: FAR[0] },
  tooFar: { options: { multihop: 1 }, frr: ["ebgp-multihop 2"], router: FAR[1] },
  notOnLink: { frr: ["ebgp-multihop 2"], router: FAR[2] },
  internal: { options: { localPreference: 250 }, remoteAs: "internal" },
  password: { frr: ["password right;}#1"] },
});
type Name = keyof typeof SESSIONS;

/** These do not come up in the node's first configuration. */
const DOWN: readonly Name[] = [
  "nobodyCalls",
  "wrongPort",
  "tooFar",
  "notOnLink",
  "internal",
  "password",
];

/** Port 1179 of the router is its BGP. */
const REDIRECT = `table ip ports {
  chain in { type nat hook prerouting priority -100; tcp dport 1179 redirect to :179; }
}`;
/** BFD's control packets (RFC 5881) do not arrive. */
const DEAF = `table inet deaf {
  chain in { type filter hook input priority 0; udp dport 3784 drop; }
}`;

testWith("netns: what each option of a peer does at FRR", ["root", "bird", "frr"], async (t) => {
  const { lab, node, hop } = await createSessionLab(Object.values(SESSIONS));
  await using _lab = lab;
  try {
    await lab.router.exec(["nft", "-f", "-"], { stdin: REDIRECT });
    for (const name of ["multihop", "tooFar", "notOnLink"] as const) {
      await throughHop(lab, "add", SESSIONS[name]);
      await hop.ip("route", "add", SESSIONS[name].router, "via", "198.51.100.1");
    }
    await Promise.all([node.startBird(), node.startAgent()]);
    const up = Object.entries(SESSIONS).filter(([name]) => !DOWN.includes(name as Name));
    await established(lab, ...up.map(([, session]) => session));
    for (const [name, check] of Object.entries(CHECKS)) await t.step(name, () => check(lab, node));
  } catch (error) {
    throw new Error(`${await lab.tails(15)}\n${error}`, { cause: error });
  }
});

/** In this order: the last ones take the other sessions away. */
const CHECKS: Readonly<Record<string, (lab: Lab, node: Node) => Promise<void>>> = {
  "holdTime, keepaliveTime: the smaller hold time holds, on both sides": async (lab, node) => {
    // FRR's own are 180 and 60, and it takes at most a third for itself.
    const times = async (session: Session): Promise<readonly number[]> => {
      const neighbor = await frrNeighbor(lab, session);
      return [neighbor.bgpTimerHoldTimeMsecs, neighbor.bgpTimerKeepAliveIntervalMsecs];
    };
    assertEquals(await times(SESSIONS.usual), [9000, 3000]);
    assertEquals(await times(SESSIONS.timers), [30_000, 10_000]);
    assertEquals(await times(SESSIONS.noTimers), [0, 0]);
    await says(node, SESSIONS.timers, /Hold timer: +[\d.]+\/30\n/);
    await says(node, SESSIONS.timers, /Keepalive timer: +[\d.]+\/4\n/);
  },

  "gracefulRestart: offered with the restart time, or not at all": async (lab) => {
    const offer = async (session: Session): Promise<readonly unknown[]> => {
      const { neighborCapabilities, gracefulRestartInfo: info } = await frrNeighbor(lab, session);
      return [
        neighborCapabilities?.gracefulRestart,
        info.remoteGrMode,
        info.timers.receivedRestartTimer,
      ];
    };
    assertEquals(await offer(SESSIONS.usual), ["advertisedAndReceived", "Restart", 30]);
    assertEquals(await offer(SESSIONS.restart), ["advertisedAndReceived", "Restart", 45]);
    assertEquals(await offer(SESSIONS.noRestart), [undefined, "Disable", 0]);
  },

  "communities, med, prepend, localAddress: on the node's prefixes": async (lab) => {
    for (
      const [session, prefix] of [
        [SESSIONS.changes4, "10.244.1.0/24"],
        [SESSIONS.changes6, "2001:db8:f001::/64"],
      ] as const
    ) {
      const path = await frrPath(lab, session, prefix);
      assertEquals(path.community?.string, "65001:100 65001:200");
      assertEquals(path.largeCommunity?.string, "65001:1:2");
      assertEquals(path.metric, 7);
      assertEquals(path.aspath.string, "65001 65001 65001");
      assertEquals(path.nexthops.find(({ scope }) => scope !== "link-local")?.ip, session.node);
      // Local preference is not for another AS (RFC 4271, section 5.1.5).
      assertEquals(path.locPrf, undefined);
    }
    const plain = await frrPath(lab, SESSIONS.usual, "10.244.1.0/24");
    assertEquals([plain.community, plain.largeCommunity, plain.metric, plain.aspath.string], [
      undefined,
      undefined,
      undefined,
      "65001",
    ]);
  },

  "passive: the router calls the node; when it does not, nobody does": async (lab, node) => {
    assertEquals((await frrNeighbor(lab, SESSIONS.passive)).portForeign, 179);
    assertEquals((await frrNeighbor(lab, SESSIONS.nobodyCalls)).bgpState, "Active");
    await says(node, SESSIONS.nobodyCalls, /BGP state: +Passive\n/);
    await configure(lab, `no neighbor ${SESSIONS.nobodyCalls.node} passive`);
    await established(lab, SESSIONS.nobodyCalls);
    assertEquals((await frrNeighbor(lab, SESSIONS.nobodyCalls)).portForeign, 179);
  },

  "port: the node calls that one": async (lab, node) => {
    const connections = await node.exec(["ss", "-Htn", "dst", SESSIONS.port.router]);
    assertStringIncludes(connections.stdout, `${SESSIONS.port.router}:1179`);
    await says(node, SESSIONS.wrongPort, /Connection refused/);
    assert(!await isUp(lab, SESSIONS.wrongPort));
  },

  "multihop: as many hops as it says, and none without it": async (lab, node) => {
    // What the node sends dies at n2, which says so.
    await says(node, SESSIONS.tooFar, /No route to host/);
    assert(!await isUp(lab, SESSIONS.tooFar));
    await says(node, SESSIONS.notOnLink, /BGP state: +Idle\n/);
    const corrected = { ...SESSIONS.tooFar, options: { multihop: 2 } };
    await writeBgp(node, nodeBgp(65001, Object.values({ ...SESSIONS, tooFar: corrected })));
    await established(lab, corrected);
  },

  "ttlSecurity: no session with a hop between": async (lab, node) => {
    const session = SESSIONS.ttlSecurity;
    await throughHop(lab, "add", session);
    await until("session down", async () => !await isUp(lab, session));
    const counter = "TcpExtTCPMinTTLDrop";
    const dropped = await counted(node, counter);
    await until("drops", async () => await counted(node, counter) > dropped + 1);
    assert(!await isUp(lab, session));
    assert(!(await birdSession(node, session)).includes("Established"));
    // The hop does forward.
    assert(await isUp(lab, SESSIONS.multihop));
    await throughHop(lab, "del", session);
    await established(lab, session);
  },

  "bfd: the router knows after the detection time, not the hold time": async (lab, node) => {
    // FRR makes its BFD session anew when the BGP session has told it the address, which ends that.
    const bfd = await until("BFD session", async () => {
      const [bfd] = await frrJson<readonly Record<string, unknown>[]>(lab, "show bfd peers");
      return bfd?.local === SESSIONS.bfd.router && bfd.status === "up" && bfd;
    });
    assertEquals(
      [bfd.peer, bfd["remote-transmit-interval"], bfd["remote-detect-multiplier"]],
      [SESSIONS.bfd.node, 200, 4],
    );
    await established(lab, SESSIONS.bfd);
    assertEquals((await frrNeighbor(lab, SESSIONS.bfd)).bgpTimerHoldTimeMsecs, 90_000);
    await lab.router.exec(["nft", "-f", "-"], { stdin: DEAF });
    // 4 times 300 ms: the node's multiplier, and FRR's interval, which is the longer one.
    await until("session down", async () => !await isUp(lab, SESSIONS.bfd), { timeoutMs: 3_000 });
    // By BFD, or by FRR's notification (RFC 9384) where that is first: BIRD has no words for it.
    await says(node, SESSIONS.bfd, /BFD session down|Unknown error 6\.10/);
    assert(await isUp(lab, SESSIONS.changes6), "a session without BFD went down too");
    await lab.router.exec(["nft", "delete", "table", "inet", "deaf"]);
    await established(lab, SESSIONS.bfd);
  },

  "localPreference: within the AS": async (lab, node) => {
    await says(node, SESSIONS.internal, /Bad peer AS/);
    await writeBgp(node, nodeBgp(65000, [SESSIONS.internal]));
    await established(lab, SESSIONS.internal);
    const path = await frrPath(lab, SESSIONS.internal, "10.244.1.0/24");
    assertEquals([path.locPrf, path.aspath.string], [250, "Local"]);
  },

  "password: no session with another one, or with none": async (lab, node) => {
    const session = SESSIONS.password;
    await node.stopAgent();
    await using speaker = new BgpSpeaker({
      path: node.birdConfig,
      birdc: createBirdc({ socket: node.birdSocket }),
    });
    for (
      const [password, counter] of [
        [undefined, "TcpExtTCPMD5Unexpected"],
        ["wrong;}#1", "TcpExtTCPMD5Failure"],
      ] as const
    ) {
      speaker.apply(rendered(session, password));
      await until("the configuration applied", () => Promise.resolve(speaker.state.applied));
      // The kernels drop what does not fit, and count it. BIRD only goes on calling.
      const dropped = await counted(node, counter);
      await until("drops", async () => await counted(node, counter) > dropped + 1);
      await says(node, session, /BGP state: +(Connect|Active)\n/);
      assert(!await isUp(lab, session));
    }
    speaker.apply(rendered(session, "right;}#1"));
    await established(lab, session);
    assertEquals((await frrPath(lab, session, "10.244.1.0/24")).nexthops[0]?.ip, session.node);
  },
};

/** A node's `bird.conf` with one session. */
function rendered(session: Session, password: string | undefined): string {
  return renderBirdConfig({
    ...BIRD_STATES.two_peers!,
    peers: [birdPeer(session.router, session.node, { password })],
  });
}

/** Leads a session through n2, in both directions, or no more. */
async function throughHop(lab: Lab, verb: "add" | "del", session: Session): Promise<void> {
  const via = "198.51.100.12";
  await lab.node("n1").ip("route", verb, session.router, "via", via, "src", session.node);
  await lab.router.ip("route", verb, session.node, "via", via);
}

async function isUp(lab: Lab, session: Session): Promise<boolean> {
  return (await frrNeighbor(lab, session)).bgpState === "Established";
}

/** Waits until the node's BIRD says something of a session. */
async function says(node: Node, session: Session, words: RegExp): Promise<void> {
  await until(`${words} of BIRD about ${session.router}`, async () => {
    const said = await birdSession(node, session);
    if (!words.test(said)) throw new Error(said);
    return true;
  });
}

/** A counter of the host's kernel. */
async function counted(host: Host, counter: string): Promise<number> {
  const { stdout } = await host.exec(["nstat", "-asz", counter]);
  return Number(/\d+/.exec(stdout.slice(stdout.indexOf(counter) + counter.length))?.[0]);
}

async function configure(lab: Lab, line: string): Promise<void> {
  await vtysh(lab.router, "-c", "configure", "-c", "router bgp 65000", "-c", line);
}

async function writeBgp(node: Node, bgp: Record<string, unknown>): Promise<void> {
  await node.writeManifest(`nodeconfig-${node.name}.json`, [{
    apiVersion: "flock.fritzlab.net/v1alpha1",
    kind: "NodeConfig",
    metadata: { name: node.name },
    spec: {
      cidr6: ["2001:db8:f001::/64"],
      cidr4: ["10.244.1.0/24"],
      bgp,
    },
  }]);
}
