/**
 * `flock doctor` on BGP: sessions, what was negotiated in them, passwords, and who else speaks.
 *
 * @module
 */
import { formatAddress } from "../cidr.ts";
import type { BirdSession } from "../bird_session.ts";
import type { NodeConfig } from "../node_config.ts";
import type { Speaker, TcpSocket } from "../tcp_sockets.ts";
import type { Problem } from "./checks.ts";
import type { BirdFacts, Fact } from "./facts.ts";

/** The capability of RFC 4724, as BIRD names it. */
const GRACEFUL_RESTART = "Graceful restart";

type Counters = Readonly<Record<string, number>>;

const TTL_COUNTER = "TCPMinTTLDrop";

const SAME_PASSWORD: readonly string[] = [
  "# the Secret that passwordSecretRef names has the router's password, to the last byte:",
  "kubectl -n NAMESPACE get secret NAME -o jsonpath='{.data.KEY}' | base64 -d | od -c",
];

/** Why the kernel drops segments of a session (Linux, include/uapi/linux/snmp.h). */
const DROPS: Readonly<
  Record<
    string,
    Pick<Problem, "fix"> & { readonly id: "md5" | "ttl-security"; readonly meaning: string }
  >
> = {
  TCPMD5Failure: {
    id: "md5",
    meaning: "the signature did not fit, the passwords differ",
    fix: SAME_PASSWORD,
  },
  TCPMD5NotFound: {
    id: "md5",
    meaning: "there was no signature, only this node has a password",
    fix: SAME_PASSWORD,
  },
  TCPMD5Unexpected: {
    id: "md5",
    meaning: "there was a signature, only the router has a password",
    fix: [
      "# a Secret with the router's password, and in the NodeConfig, at that peer:",
      "passwordSecretRef: { namespace: NAMESPACE, name: NAME, key: KEY }",
    ],
  },
  [TTL_COUNTER]: {
    id: "ttl-security",
    meaning: "the TTL was too small",
    fix: [
      "# at the router; BIRD, in the protocol of this node:",
      "ttl security on;",
      "# FRR, in router bgp:",
      "neighbor NODE ttl-security hops 1",
      "# or in the NodeConfig, at that peer:",
      "ttlSecurity: false",
    ],
  },
};

/** What is read of the kernel's counters. */
export const TCP_COUNTERS: readonly string[] = Object.keys(DROPS);

/** A string: nothing can be said. */
export function judgeBird(
  bird: Fact<BirdFacts>,
  config: NodeConfig | undefined,
): readonly Problem[] | string {
  if ("known" in bird) return [];
  if (config === undefined) return bird.unknown;
  if (config.bgp.peers.length === 0) return "the NodeConfig has no peers";
  return [{ id: "bird-absent", finding: bird.unknown, fix: ["flock bird-run"] }];
}

export function judgeSessions({ sessions }: BirdFacts): readonly Problem[] {
  const down = sessions.filter((session) => !isUp(session));
  if (down.length === 0) return [];
  const none = down.length === sessions.length;
  return down.map((session) => ({
    id: none ? "no-session" as const : "session-down" as const,
    finding: `session with ${nameOf(session)}: ${session.info || session.state}` +
      (session.lastError ? ` (last error: ${session.lastError})` : ""),
    fix: [
      "# its address, AS number, port, password and filters on both sides; from here:",
      `ip route get ${session.peer}`,
      `ping -c 3 ${session.peer}`,
    ],
  }));
}

export function judgeImportLimits({ sessions }: BirdFacts): readonly Problem[] {
  return sessions.filter(({ importLimitReached }) => importLimitReached).map((session) => ({
    id: "import-limit",
    finding: `${nameOf(session)} announces more than the ${
      session.routes?.imported ?? 0
    } routes that are taken from it`,
    fix: [
      "# fewer routes from the router, or in the NodeConfig, at that peer:",
      "importLimit: 100000",
    ],
  }));
}

export function judgeGracefulRestart({ sessions }: BirdFacts): readonly Problem[] {
  return sessions.filter((session) =>
    isUp(session) && session.localCapabilities.includes(GRACEFUL_RESTART) &&
    !session.peerCapabilities.includes(GRACEFUL_RESTART)
  ).map((session) => ({
    id: "graceful-restart",
    finding: `peer ${session.peer} did not offer graceful restart`,
    fix: [
      "# at the router; BIRD, in the protocol of this node:",
      "graceful restart aware;",
      "# FRR, in router bgp (to help is its default), then clear the session:",
      "no bgp graceful-restart-disable",
    ],
  }));
}

export function judgeBfd(
  { sessions, bfd }: BirdFacts,
  config: NodeConfig | undefined,
): readonly Problem[] {
  const wanted = new Set([
    ...bfd.map(({ peer }) => peer),
    ...(config?.bgp.peers ?? []).filter((peer) => peer.bfd !== undefined)
      .map(({ address }) => formatAddress(address)),
  ]);
  return sessions.filter((session) => isUp(session) && wanted.has(session.peer)).flatMap(
    ({ peer }) => {
      const own = bfd.filter((session) => session.peer === peer);
      if (own.some(({ state }) => state === "Up")) return [];
      return [{
        id: "bfd" as const,
        finding: `BFD with peer ${peer}: ${own[0]?.state ?? "no session"}`,
        fix: [
          "# at the router; BIRD: a protocol bfd, and in the protocol of this node:",
          "bfd yes;",
          "# FRR: bfdd=yes in /etc/frr/daemons, and in router bgp:",
          "neighbor NODE bfd",
        ],
      }];
    },
  );
}

/** The counters are since boot: they are told only where a peer that is down can explain them. */
export function judgeDrops(
  { sessions }: BirdFacts,
  counters: Counters,
  config: NodeConfig | undefined,
): readonly Problem[] {
  const down = sessions.filter((session) => !isUp(session)).map(({ peer }) => peer);
  const explains = (name: string): readonly string[] =>
    down.filter((address) => {
      const peer = config?.bgp.peers.find((peer) => formatAddress(peer.address) === address);
      if (peer === undefined) return true;
      if (name === TTL_COUNTER) return peer.ttlSecurity;
      return (peer.passwordSecretRef === undefined) === (name === "TCPMD5Unexpected");
    });
  return Object.entries(DROPS).flatMap(([name, { id, meaning, fix }]) => {
    const count = counters[name] ?? 0;
    const peers = explains(name);
    if (count === 0 || peers.length === 0) return [];
    const finding = `${count} segments were dropped since boot: ${meaning} (${name}); not ` +
      `established: ${peers.join(", ")}`;
    return [{ id, finding, fix }];
  });
}

/** Two that speak from one address to one peer, or want to listen on the same. */
export function judgeSpeakers(
  speakers: readonly Speaker[],
  bird: BirdFacts | undefined,
): readonly Problem[] {
  const problems = speakers.flatMap((a, i) =>
    speakers.slice(i + 1).flatMap((b): Problem[] => {
      const shared = a.sockets.find((one) => b.sockets.some((other) => collides(one, other)));
      if (shared === undefined) return [];
      const { state, localAddress, peerAddress } = shared;
      const how = state === "listening"
        ? `listen on ${localAddress}`
        : `speak BGP from ${localAddress} to ${peerAddress}`;
      return [{
        id: "speakers",
        finding: `${a.name} (process ${a.pid}) and ${b.name} (process ${b.pid}) both ${how}`,
        fix: [
          `ps -fp ${a.pid},${b.pid}`,
          "# NodeConfig, at the peer, where both are to stay:",
          "localAddress: ANOTHER-ADDRESS-OF-THIS-NODE",
        ],
      }];
    })
  );
  const listeners = speakers.filter(({ sockets }) => sockets.some(isListening));
  // Without a listening socket BIRD starts no session, not even one that it would call for.
  if ((bird?.sessions.length ?? 0) > 0 && !listeners.some(({ name }) => name === "bird")) {
    for (const { name, pid } of listeners) {
      problems.push({
        id: "speakers",
        finding: `${name} (process ${pid}) listens on BGP's port, and BIRD cannot`,
        fix: [`ps -fp ${pid}`, "# end it, or have it not listen, then start BIRD again"],
      });
    }
  }
  return problems;
}

function collides(a: TcpSocket, b: TcpSocket): boolean {
  if (a.state !== b.state) return false;
  if (a.state === "established") {
    return a.localAddress === b.localAddress && a.peerAddress === b.peerAddress;
  }
  return a.localPort === b.localPort &&
    (a.localAddress === b.localAddress || [a, b].some(({ localAddress }) => isAny(localAddress)));
}

function isListening({ state }: TcpSocket): boolean {
  return state === "listening";
}

function isAny(address: string): boolean {
  return address === "::" || address === "0.0.0.0";
}

function isUp({ state }: BirdSession): boolean {
  return state === "Established";
}

function nameOf({ name, peer }: BirdSession): string {
  return peer === "" ? name : peer;
}

/** The router ids that BIRD knows: this node's and its peers'. */
export function judgePeerIds({ routerId, sessions }: BirdFacts): readonly Problem[] {
  return sessions.filter(({ peerId }) => peerId === routerId).map(({ peer }) => ({
    id: "router-id",
    finding: `peer ${peer} has the router id ${routerId}, which is this node's`,
    fix: ["# NodeConfig", "spec:", "  bgp:", "    routerID: ANOTHER-ID"],
  }));
}
