/**
 * Operators' commands on the agent's socket: read-only, cheap, and never in the way of ADD. Each answers
 * with one object of `core/inspection.ts`.
 *
 * @module
 */
import type { AgentSettings, SettingOrigin } from "../core/agent_settings.ts";
import type { Attachment } from "../core/attachment.ts";
import { birdPeerName } from "../core/bird_peer.ts";
import type { BirdSession } from "../core/bird_session.ts";
import { contains, formatAddress, formatPrefix, parseAddress } from "../core/cidr.ts";
import { configItems } from "../core/effective_config.ts";
import type {
  Allocation,
  AllocationList,
  AnycastItem,
  AnycastList,
  BirdView,
  Config,
  DrainView,
  Inspection,
  PeerItem,
  PeerList,
  PrefixUse,
  RouteList,
  Status,
  VersionInfo,
} from "../core/inspection.ts";
import type { BgpPeer } from "../core/node_config.ts";
import type { ClusterSource } from "../core/objects.ts";
import { podOf } from "../core/pod_identity.ts";
import { poolSize } from "../core/pools.ts";
import { differencesOf } from "../core/route_comparison.ts";
import { isSelected, type PolicyState } from "../core/policy_view.ts";
import { recentProblems } from "../log.ts";
import { VERSION } from "../version.ts";
import type { BgpSpeakerState } from "./bgp.ts";
import type { BgpInput } from "./bgp_input.ts";
import {
  type BirdLook,
  birdTime,
  type FactSources,
  lookAtBfd,
  lookAtBird,
  lookAtRoutes,
} from "./inspect_facts.ts";
import { renderedOf } from "./inspect_render.ts";
import type { NodeState } from "./node_state.ts";
import type { Operation } from "./server.ts";

/** Most items of one answer: a line on the socket holds 1 MiB. */
const MAX_ITEMS = 1_500;
/** Differences and problems that `status` shows. */
const MAX_SHOWN = 5;

/** What the agent is asked about. */
export interface InspectOptions extends FactSources {
  readonly nodeName: string;
  readonly startedAt: Date;
  readonly settings: Pick<AgentSettings, "source">;
  readonly origins: readonly SettingOrigin[];
  readonly network: { readonly notReady: string | undefined };
  readonly reconciler: { readonly settled: boolean };
  readonly source: Pick<ClusterSource, "synced" | "damaged" | "pod">;
  readonly node: Pick<
    NodeState,
    "config" | "error" | "object" | "sources" | "nodePrefixes" | "mtu"
  >;
  readonly speaker: { readonly state: Pick<BgpSpeakerState, "applied" | "error"> };
  readonly bgpInput: Pick<BgpInput, "last" | "leftOut" | "waitingFor">;
  readonly drain: { readonly status: DrainView };
  readonly policies: PolicyState & { render(): string | undefined };
}

/** The operations, by name. */
export function inspectOperations(options: InspectOptions): Readonly<Record<string, Operation>> {
  const answer =
    (read: (args: string) => Inspection | Promise<Inspection>): Operation => async (request) =>
      await read(request.args ?? "");
  return {
    status: answer(() => statusOf(options)),
    allocations: answer(() => allocationsOf(options)),
    routes: answer(() => routesOf(options)),
    bgp: answer(() => peersOf(options)),
    anycast: answer(() => anycastOf(options)),
    config: answer(() => configOf(options)),
    render: answer((what) => renderedOf(options, what)),
    version: answer(() => versionOf(options)),
  };
}

/** `flock status`. */
export async function statusOf(options: InspectOptions): Promise<Status> {
  const { nodeName, startedAt, network, reconciler, source, node, settings, store } = options;
  const { comparison, bird } = await lookAtRoutes(options);
  const differences = differencesOf(comparison);
  const peers = node.config?.bgp.peers ?? [];
  const anycast = comparison.items.filter((item) => item.purpose === "anycast");
  const attachments = store.list();
  return {
    kind: "Status",
    node: nodeName,
    version: VERSION,
    startedAt: startedAt.toISOString(),
    ready: network.notReady === undefined,
    notReady: network.notReady,
    settled: reconciler.settled,
    source: {
      kind: settings.source.kind,
      directory: settings.source.kind === "manifests" ? settings.source.dir : undefined,
      inSync: source.synced,
      damaged: source.damaged === true,
    },
    nodeConfig: {
      name: nodeName,
      accepted: node.object !== undefined && node.error === undefined && node.config !== undefined,
      inForce: node.config !== undefined,
      generation: node.object?.generation,
      refused: node.error,
    },
    prefixes: prefixUse(options, attachments),
    pods: attachments.filter(({ state }) => state === "committed").length,
    bird: birdView(options, bird),
    peers: {
      total: peers.length,
      established: bird.running
        ? peers.filter((peer) => sessionOf(bird, peer)?.state === "Established").length
        : undefined,
    },
    anycast: {
      total: options.anycast().length,
      announced: bird.running
        ? anycast.filter(({ exportedTo }) => exportedTo.length > 0).length
        : undefined,
    },
    drain: drainView(options),
    policies: policiesView(options),
    differences: {
      computed: options.kernel.planned,
      count: differences.length,
      first: differences.slice(0, MAX_SHOWN),
    },
    problems: recentProblems().slice(0, MAX_SHOWN)
      .map(({ at, ...rest }) => ({ at: new Date(at).toISOString(), ...rest })),
  };
}

/** `flock allocations`. */
export function allocationsOf({ store, source }: InspectOptions): AllocationList {
  const podState = (attachment: Attachment): Allocation["podState"] => {
    const pod = podOf(source, attachment);
    if (pod === undefined) return "unknown";
    return pod.terminating ? "terminating" : pod.ready ? "ready" : "notReady";
  };
  const items = store.list().map((attachment): Allocation => ({
    pod: podName(attachment),
    podUid: attachment.podUid,
    containerId: attachment.containerId,
    ifname: attachment.ifname,
    hostIfname: attachment.hostIfname,
    netns: attachment.netns,
    ipv6: attachment.ip6,
    ipv4: attachment.ip4,
    addresses: attachment.addresses ?? [],
    anycast: attachment.anycast ?? [],
    asked: attachment.asked ?? [],
    state: attachment.state,
    podState: podState(attachment),
    allocatedAt: attachment.allocatedAt,
    network: attachment.network,
  }));
  const name = ({ pod, containerId, ifname }: Allocation): string =>
    `${pod} ${containerId} ${ifname}`;
  return {
    kind: "AllocationList",
    ...limited(items.sort((a, b) => name(a) < name(b) ? -1 : 1)),
  };
}

/** `flock routes`. */
export async function routesOf(options: InspectOptions): Promise<RouteList> {
  const { comparison, bird } = await lookAtRoutes(options);
  return {
    kind: "RouteList",
    ...limited(comparison.items),
    objects: comparison.objects,
    computed: options.kernel.planned,
    birdRunning: bird.running,
  };
}

/** `flock bgp`. */
export async function peersOf(options: InspectOptions): Promise<PeerList> {
  const { node, bgpInput } = options;
  const [bird, bfd] = await Promise.all([lookAtBird(options), lookAtBfd(options)]);
  const items = (node.config?.bgp.peers ?? []).map((peer): PeerItem => {
    const address = formatAddress(peer.address);
    const leftOut = bgpInput.leftOut.find((one) => one.peer === address)?.message;
    const session = sessionOf(bird, peer);
    const local = bgpInput.last?.peers.find((one) => formatAddress(one.peer.address) === address)
      ?.localAddress;
    const beat = bfd.find((one) => sameAddress(one.peer, address));
    const { restartTime: _, enabled } = peer.gracefulRestart;
    return {
      peer: address,
      asn: peer.asn,
      family: peer.address.family,
      protocol: birdPeerName(peer.address),
      localAddress: session?.localAddress ?? (local && formatAddress(local)),
      state: leftOut !== undefined ? "LeftOut" : session?.state || "Unknown",
      since: birdTime(session?.since),
      leftOut,
      lastError: session?.lastError,
      routes: session?.routes,
      importLimitReached: session?.importLimitReached,
      holdTime: session?.holdTime,
      bfd: {
        configured: peer.bfd !== undefined,
        state: peer.bfd && beat?.state,
        since: peer.bfd && birdTime(beat?.since),
      },
      gracefulRestart: {
        configured: enabled,
        negotiated: session?.state === "Established" ? bothRestart(session) : undefined,
        peerRestartTime: session?.peerRestartTime,
      },
    };
  });
  return {
    kind: "PeerList",
    asn: node.config?.bgp.asn,
    routerId: bird.running ? bird.status.routerId : bgpInput.last?.routerId,
    birdError: bird.running ? undefined : bird.error,
    items,
  };
}

/** `flock anycast`. */
export async function anycastOf(options: InspectOptions): Promise<AnycastList> {
  const { comparison, bird } = await lookAtRoutes(options);
  const byDst = new Map(comparison.items.map((item) => [item.dst, item]));
  const byLink = new Map(options.store.list().map((a) => [a.hostIfname, podName(a)]));
  const items = options.anycast().map((address): AnycastItem => {
    const family = address.address.includes(":") ? "ipv6" : "ipv4";
    const route = byDst.get(`${address.address}/${family === "ipv6" ? 128 : 32}`);
    const exportedTo = route?.exportedTo ?? [];
    return {
      address: address.address,
      family,
      routed: route?.kernel !== undefined,
      announced: bird.running ? exportedTo.length > 0 : undefined,
      exportedTo,
      groupId: route?.kernel?.groupId,
      nextHops: address.legs.map((leg) => ({ pod: byLink.get(leg.dev) ?? "", ...leg })).sort(byPod),
      pods: address.pods.toSorted(byPod),
    };
  });
  return { kind: "AnycastList", drain: drainView(options), ...limited(items) };
}

function configOf({ nodeName, node, origins, bgpInput }: InspectOptions): Config {
  const { config, sources, error } = node;
  const routerId = bgpInput.last?.routerId;
  return {
    kind: "Config",
    node: nodeName,
    refused: error,
    items: [
      ...(config === undefined
        ? []
        : configItems(config, sources, { mtu: node.mtu(undefined), routerId })),
      ...origins,
    ],
  };
}

function versionOf({ nodeName, startedAt }: InspectOptions): VersionInfo {
  const agent = { version: VERSION, node: nodeName, startedAt: startedAt.toISOString() };
  return { kind: "Version", version: VERSION, agent };
}

function prefixUse(
  { node }: Pick<InspectOptions, "node">,
  attachments: readonly Attachment[],
): readonly PrefixUse[] {
  const given = attachments.flatMap(({ ip6, ip4 }) =>
    [ip6, ip4].filter((text) => text !== undefined)
  )
    .map(parseAddress);
  return node.nodePrefixes.map((prefix) => ({
    prefix: formatPrefix(prefix),
    family: prefix.family,
    allocated: given.filter((address) => contains(prefix, address)).length,
    capacity: String(poolSize(prefix)),
  }));
}

function birdView({ speaker, bgpInput }: InspectOptions, bird: BirdLook): BirdView {
  const asked = {
    applied: speaker.state.applied,
    applyError: speaker.state.error,
    waitingFor: bgpInput.waitingFor,
  };
  if (!bird.running) return { running: false, error: bird.error, ...asked };
  const { version, routerId, startedAt, configuredAt } = bird.status;
  return {
    running: true,
    version,
    routerId,
    startedAt: birdTime(startedAt),
    configuredAt: birdTime(configuredAt),
    ...asked,
  };
}

/** Not all that `flock drain` tells: the addresses are elsewhere. */
function drainView(
  { drain: { status: { phase, since, withdrawsAt } } }: InspectOptions,
): DrainView {
  return { phase, since, withdrawsAt };
}

function policiesView(
  { policies: { world, selections, inForce, error } }: InspectOptions,
): Status["policies"] {
  const pods = selections.filter(isSelected).map((one) => `${one.namespace}/${one.podName}`);
  return { total: world?.policies.length ?? 0, selectedPods: new Set(pods).size, inForce, error };
}

function sessionOf(bird: BirdLook, { address }: Pick<BgpPeer, "address">): BirdSession | undefined {
  if (!bird.running) return undefined;
  return bird.sessions.find(({ name }) => name === birdPeerName(address));
}

/** Both sides said that they can (RFC 4724). */
function bothRestart({ localCapabilities, peerCapabilities }: BirdSession): boolean {
  const capability = "Graceful restart";
  return localCapabilities.includes(capability) && peerCapabilities.includes(capability);
}

function podName({ namespace, podName, containerId }: Attachment): string {
  return namespace === "" ? containerId : `${namespace}/${podName}`;
}

function byPod(a: { readonly pod: string }, b: { readonly pod: string }): number {
  return a.pod < b.pod ? -1 : a.pod > b.pod ? 1 : 0;
}

function sameAddress(a: string, b: string): boolean {
  return formatAddress(parseAddress(a)) === b;
}

function limited<T>(
  items: readonly T[],
): { readonly items: readonly T[]; readonly omitted?: number } {
  if (items.length <= MAX_ITEMS) return { items };
  return { items: items.slice(0, MAX_ITEMS), omitted: items.length - MAX_ITEMS };
}
