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

/** Why segments with and without TCP MD5 signatures are dropped (Linux, include/uapi/linux/snmp.h). */
const MD5_COUNTERS: Readonly<Record<string, string>> = {
  TCPMD5Failure: "the signature did not fit: the passwords differ",
  TCPMD5NotFound: "there was none: only this node has a password",
  TCPMD5Unexpected: "there was one: only the router has a password",
};
const TTL_COUNTER = "TCPMinTTLDrop";

/** What is read of the kernel's counters. */
export const TCP_COUNTERS: readonly string[] = [...Object.keys(MD5_COUNTERS), TTL_COUNTER];

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

export function judgeDrops({ sessions }: BirdFacts, counters: Counters): readonly Problem[] {
  const down = sessions.filter((session) => !isUp(session)).map(({ peer }) => peer);
  if (down.length === 0) return []; // what was dropped is of the past
  const who = `sessions that are down: ${down.join(", ")}`;
  const problems: Problem[] = [];
  for (const [name, meaning] of Object.entries(MD5_COUNTERS)) {
    const count = counters[name] ?? 0;
    if (count === 0) continue;
    problems.push({
      id: "md5",
      finding: `${count} segments were dropped, ${meaning} (${name}); ${who}`,
      fix: [
        "# the Secret that passwordSecretRef names has the router's password:",
        "kubectl -n NAMESPACE get secret NAME -o jsonpath='{.data.KEY}' | base64 -d | od -c",
      ],
    });
  }
  const count = counters[TTL_COUNTER] ?? 0;
  if (count > 0) {
    problems.push({
      id: "ttl-security",
      finding: `${count} segments were dropped over their TTL (${TTL_COUNTER}); ${who}`,
      fix: [
        "# at the router; BIRD, in the protocol of this node:",
        "ttl security on;",
        "# FRR, in router bgp:",
        "neighbor NODE ttl-security hops 1",
        "# or in the NodeConfig, at that peer:",
        "ttlSecurity: false",
      ],
    });
  }
  return problems;
}

/** Two speakers are in each other's way when both use one address, for listening or for a session. */
export function judgeSpeakers(speakers: readonly Speaker[]): readonly Problem[] {
  return speakers.flatMap((a, i) =>
    speakers.slice(i + 1).flatMap((b) => {
      const shared = a.sockets.flatMap((one) =>
        b.sockets.filter((other) => collides(one, other)).map((other) =>
          addressOf(one, other)
        )
      )[0];
      if (shared === undefined) return [];
      return [{
        id: "speakers" as const,
        finding: `${a.name} (process ${a.pid}) and ${b.name} (process ${b.pid}) both speak BGP ` +
          `from ${shared}`,
        fix: [
          `ps -fp ${a.pid},${b.pid}`,
          "# NodeConfig, at the peer, where both are to stay:",
          "localAddress: ANOTHER-ADDRESS-OF-THIS-NODE",
        ],
      }];
    })
  );
}

/** Both listen on the same, or both have sessions from the same address to the same peer. */
function collides(a: TcpSocket, b: TcpSocket): boolean {
  if (a.state !== b.state) return false;
  const sameLocal = a.localAddress === b.localAddress;
  if (a.state === "established") return sameLocal && a.peerAddress === b.peerAddress;
  return a.localPort === b.localPort &&
    (sameLocal || isAny(a.localAddress) || isAny(b.localAddress));
}

/** Any address of IPv6 takes IPv4 too, unless it was told not to, which cannot be seen. */
function isAny(address: string): boolean {
  return address === "::" || address === "0.0.0.0";
}

function addressOf(a: TcpSocket, b: TcpSocket): string {
  return isAny(a.localAddress) ? b.localAddress : a.localAddress;
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
