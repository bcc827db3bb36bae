/**
 * A node with one session for each of a peer's options, and FRR as the router at the other end of all of
 * them. Each session has an address of its own on either side, so that what one option does is seen
 * apart from the others.
 *
 * ```
 *   n1  198.51.100.201 … ──┬── 198.51.100.101 …  router (FRR)
 *       2001:db8:25::201 … │   2001:db8:25::101 …
 *                          n2  forwards, speaks no BGP: the hop between, where a route leads through it
 * ```
 *
 * @module
 */
import { birdPeerName } from "../../src/core/bird_peer.ts";
import { type Family, parseAddress } from "../../src/core/cidr.ts";
import type { Lab } from "../../src/lab/lab.ts";
import type { Node } from "../../src/lab/node.ts";
import { vtysh } from "../../src/lab/router_frr.ts";
import { until } from "../../src/lab/wait.ts";
import { EXECUTABLE } from "../executable.ts";
import { createTestLab } from "./test_lab.ts";

/** One session, from both ends. */
export interface Session {
  readonly family: Family;
  /** The node's address: FRR's neighbor. */
  readonly node: string;
  /** The router's address: the node's peer. */
  readonly router: string;
  /** Keys of `spec.bgp.peers[]` besides the addresses and the AS number. */
  readonly options: Readonly<Record<string, unknown>>;
  /** FRR's lines about the neighbor, without the words `neighbor <address>`. */
  readonly frr: readonly string[];
  readonly remoteAs: "external" | "internal";
}

export interface SessionOptions {
  readonly family?: Family;
  readonly options?: Readonly<Record<string, unknown>>;
  readonly frr?: readonly string[];
  readonly remoteAs?: Session["remoteAs"];
  /** The router's address, where it is not on the link. */
  readonly router?: string;
}

/** Sessions by name, with addresses of their own. */
export function planSessions<Name extends string>(
  wanted: Readonly<Record<Name, SessionOptions>>,
): Readonly<Record<Name, Session>> {
  const entries = Object.entries<SessionOptions>(wanted).map(([name, session], i) => {
    const { family = "ipv4" } = session;
    const address = (n: number): string =>
      `${family === "ipv6" ? "2001:db8:25::" : "198.51.100."}${n + i}`;
    return [name, {
      family,
      node: address(201),
      router: session.router ?? address(101),
      options: session.options ?? {},
      frr: session.frr ?? [],
      remoteAs: session.remoteAs ?? "external",
    }];
  });
  return Object.fromEntries(entries) as Record<Name, Session>;
}

/** A NodeConfig's `bgp` of sessions. */
export function nodeBgp(asn: number, sessions: readonly Session[]): Record<string, unknown> {
  const peers = sessions.map(({ router, node, options }) => ({
    address: router,
    asn: 65000,
    localAddress: node,
    ...options,
  }));
  return { asn, peers };
}

/** Makes the lab: both ends of every session have their addresses, and FRR awaits the node. */
export async function createSessionLab(
  sessions: readonly Session[],
): Promise<{ readonly lab: Lab; readonly node: Node; readonly hop: Node }> {
  await using undo = new AsyncDisposableStack();
  const lab = undo.use(
    await createTestLab({
      executable: EXECUTABLE,
      router: "frr",
      nodes: 2,
      extraRouterConfig: renderNeighbors(sessions),
      spec: ({ asn }) => ({ bgp: nodeBgp(asn, sessions) }),
    }),
  );
  const [node, hop] = lab.nodes as [Node, Node];
  await node.ipBatch(sessions.map((session) => addAddress(session.node)));
  await lab.router.ipBatch(sessions.map((session) => addAddress(session.router)));
  await hop.exec(["sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward"]);
  await hop.exec([
    "sh",
    "-c",
    "for f in /proc/sys/net/ipv4/conf/*/send_redirects; do echo 0 >$f; done",
  ]);
  undo.move();
  return { lab, node, hop };
}

function addAddress(text: string): string {
  const address = parseAddress(text);
  if (address.family === "ipv6") return `addr add ${text}/64 dev eth0 nodad`;
  return `addr add ${text}/${text.startsWith("198.51.100.") ? 24 : 32} dev eth0`;
}

function renderNeighbors(sessions: readonly Session[]): string {
  const neighbors = sessions.flatMap(({ node, router, frr, remoteAs }) =>
    [
      `remote-as ${remoteAs}`,
      `update-source ${router}`,
      "timers connect 1",
      "advertisement-interval 0",
      ...frr,
    ].map((line) => ` neighbor ${node} ${line}\n`)
  );
  const activated = sessions.map(({ family, node }) =>
    ` address-family ${family} unicast
  neighbor ${node} activate
  neighbor ${node} route-map FROM-NODE-${family} in
  neighbor ${node} route-map TO-NODE out
 exit-address-family
`
  );
  return `router bgp 65000\n${neighbors.join("")}${activated.join("")}exit\n`;
}

/** What FRR prints as JSON. */
export async function frrJson<T>(lab: Lab, command: string): Promise<T> {
  return JSON.parse(await vtysh(lab.router, "-c", `${command} json`)) as T;
}

/** Of `show bgp neighbors`, what the tests look at. */
export interface FrrNeighbor {
  readonly bgpState: string;
  readonly bgpTimerHoldTimeMsecs: number;
  readonly bgpTimerKeepAliveIntervalMsecs: number;
  readonly neighborCapabilities?: { readonly gracefulRestart?: string };
  readonly gracefulRestartInfo: {
    readonly remoteGrMode: string;
    readonly timers: { readonly receivedRestartTimer: number };
  };
  readonly portLocal: number;
  readonly portForeign: number;
  readonly lastResetDueTo?: string;
}

/** A session as FRR sees it. */
export async function frrNeighbor(lab: Lab, { node }: Session): Promise<FrrNeighbor> {
  const all = await frrJson<Record<string, FrrNeighbor>>(lab, `show bgp neighbors ${node}`);
  const neighbor = all[node];
  if (neighbor === undefined) throw new Error(`Cannot find neighbor "${node}": FRR has no such`);
  return neighbor;
}

/** Waits until FRR has sessions established. */
export async function established(lab: Lab, ...sessions: readonly Session[]): Promise<void> {
  for (const session of sessions) {
    await until(`session of ${session.node} at the router`, async () => {
      const { bgpState } = await frrNeighbor(lab, session);
      if (bgpState !== "Established") throw new Error(`it is ${bgpState}`);
      return true;
    });
  }
}

/** Of a path of `show bgp <family> unicast <prefix>`, what the tests look at. */
export interface FrrPath {
  readonly aspath: { readonly string: string };
  readonly metric?: number;
  readonly locPrf?: number;
  readonly community?: { readonly string: string };
  readonly largeCommunity?: { readonly string: string };
  readonly nexthops: readonly { readonly ip: string; readonly scope?: string }[];
  readonly peer: { readonly peerId: string };
}

/** The path to a prefix that FRR has from a session. */
export function frrPath(lab: Lab, session: Session, prefix: string): Promise<FrrPath> {
  return until(`path to ${prefix} from ${session.node}`, async () => {
    const { paths = [] } = await frrJson<{ paths?: readonly FrrPath[] }>(
      lab,
      `show bgp ${session.family} unicast ${prefix}`,
    );
    return paths.find((path) => path.peer.peerId === session.node);
  });
}

/** What the node's BIRD prints about a session. */
export async function birdSession(node: Node, session: Session): Promise<string> {
  const name = birdPeerName(parseAddress(session.router));
  return (await node.exec(["birdc", "-s", node.birdSocket, "show", "protocols", "all", name]))
    .stdout;
}
