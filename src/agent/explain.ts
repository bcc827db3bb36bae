/**
 * `flock explain`: reads what is to be known of an address or of a pod's addresses, now: what the agent
 * knows and wants, what the kernel has and what BIRD says. Nothing is changed, and nothing is waited for
 * that an ADD waits for.
 *
 * @module
 */
import type { Attachment } from "../core/attachment.ts";
import { birdPeerName } from "../core/bird_peer.ts";
import type { BirdProtocol } from "../core/bird_reply.ts";
import { type Family, formatAddress, parseAddress } from "../core/cidr.ts";
import type { Snapshot } from "../core/desired_state.ts";
import { CniCode, CniError, messageOf } from "../core/errors.ts";
import {
  explainAddress,
  explainNoAddress,
  type ExplainTarget,
  parseExplainTarget,
} from "../core/explain.ts";
import type { BirdFacts, PeerFacts } from "../core/explain_facts.ts";
import {
  describeRoute,
  filterRefusal,
  holderOf,
  kernelFacts,
  lackingOf,
  ownerOf,
  unicastOf,
} from "../core/explain_known.ts";
import type { ExplainedAddress, Explanation } from "../core/inspection.ts";
import type { NodeClaim } from "../core/node_claims.ts";
import type { ClusterSource } from "../core/objects.ts";
import type { OwnState } from "../core/own_objects.ts";
import { observedState } from "../core/own_state.ts";
import type { Birdc, BirdTrace } from "../io/birdc.ts";
import type { Ip, KernelState } from "../io/ip.ts";
import { log } from "../log.ts";
import type { BgpInput } from "./bgp_input.ts";
import type { BgpSpeaker } from "./bgp.ts";
import type { ChangeLog } from "./change_log.ts";
import { birdTime } from "./inspect_facts.ts";
import type { KernelSync } from "./kernel_sync.ts";
import { nodeLinks, type NodeState } from "./node_state.ts";
import type { Reconciler } from "./reconciler.ts";
import type { Operation } from "./server.ts";

/** Milliseconds that the API server may take to say what other nodes have. */
const CLAIMS_MS = 2_000;

/** What is asked. */
export interface ExplainSources {
  readonly nodeName: string;
  readonly node: NodeState;
  readonly source: Pick<ClusterSource, "pod" | "claims">;
  readonly reconciler: Pick<Reconciler, "snapshot" | "anycast">;
  readonly kernel: Pick<KernelSync, "wanted" | "planned">;
  readonly ip: Pick<Ip, "observe" | "routesTo" | "routesToward">;
  readonly birdc:
    & Pick<Birdc, "protocols" | "exports">
    & BirdTrace;
  readonly speaker: Pick<BgpSpeaker, "state">;
  readonly bgpInput: Pick<BgpInput, "leftOut" | "waitingFor">;
  readonly changes: Pick<ChangeLog, "of">;
}

/** The operation. */
export function explainOperations(sources: ExplainSources): Readonly<Record<string, Operation>> {
  return { explain: ({ args = "" }, signal) => explain(args, sources, signal) };
}

/** What holds for every address that is explained: read once. */
interface Context {
  readonly sources: ExplainSources;
  readonly snapshot: Snapshot;
  readonly claims: readonly NodeClaim[];
  readonly kernel: KernelState;
  readonly present: OwnState;
  /** Or why BIRD cannot be asked. */
  readonly protocols: ReadonlyMap<string, BirdProtocol> | string;
}

/**
 * Explains an address or a pod.
 *
 * @param text an address, or `namespace/name`
 * @throws {CniError} 4 when it is neither; 11 while nothing is known yet
 */
export async function explain(
  text: string,
  sources: ExplainSources,
  signal: AbortSignal,
): Promise<Explanation> {
  const target = targetOf(text);
  const { nodeName: node, ip, birdc } = sources;
  const [claims, kernel, protocols] = await Promise.all([
    claimsFor(target, sources, signal),
    ip.observe(),
    birdc.protocols().then((list) => new Map(list.map((one) => [one.name, one])), messageOf),
  ]);
  const snapshot = sources.reconciler.snapshot();
  if (snapshot === undefined) {
    throw new CniError(
      CniCode.tryAgainLater,
      `Cannot explain "${text}": caches are not in sync yet, or there is no NodeConfig "${node}"`,
    );
  }
  if (!sources.kernel.planned) {
    const why = "no pass over the routes was made yet";
    throw new CniError(CniCode.tryAgainLater, `Cannot explain "${text}": ${why}`);
  }
  const links = new Map(kernel.links.map((link) => [link.ifname, link]));
  const context: Context = {
    sources,
    snapshot: { ...snapshot, links },
    claims,
    kernel,
    present: observedState(kernel),
    protocols,
  };
  const items = target.kind === "address"
    ? [await chainOf(target.address, context)]
    : await podChains(target, context);
  return { kind: "Explanation", node, target: text, ok: items.every(({ ok }) => ok), items };
}

/**
 * What the nodes have, where it matters: for an address that no pod here has. While the API server is
 * away an answer without it is better than none.
 */
async function claimsFor(
  target: ExplainTarget,
  { source, reconciler }: ExplainSources,
  signal: AbortSignal,
): Promise<readonly NodeClaim[]> {
  const isOurs = target.kind === "pod" ||
    reconciler.snapshot()?.attachments.some((attachment) =>
      [...unicastOf(attachment), ...attachment.anycast ?? []].includes(target.address)
    );
  if (isOurs) return [];
  try {
    return await source.claims(AbortSignal.any([signal, AbortSignal.timeout(CLAIMS_MS)]));
  } catch (error) {
    signal.throwIfAborted();
    log.debug("Could not read other nodes in time", { err: error });
    return [];
  }
}

function targetOf(text: string): ExplainTarget {
  try {
    return parseExplainTarget(text);
  } catch (cause) {
    throw new CniError(CniCode.invalidEnvironment, messageOf(cause), { cause });
  }
}

/** The chains of all addresses of a pod. */
async function podChains(
  { namespace, name }: { readonly namespace: string; readonly name: string },
  context: Context,
): Promise<readonly ExplainedAddress[]> {
  const { sources: { source, nodeName }, snapshot } = context;
  const pod = source.pod(namespace, name);
  const mine = snapshot.attachments.filter((a) => a.namespace === namespace && a.podName === name);
  const addresses = new Set(mine.flatMap((one) => [...unicastOf(one), ...one.anycast ?? []]));
  if (addresses.size > 0) {
    return await Promise.all([...addresses].map((address) => chainOf(address, context, mine)));
  }
  const key = `${namespace}/${name}`;
  if (pod === undefined) {
    const why = `no pod "${key}" is known on node "${nodeName}"`;
    return [explainNoAddress(key, { why })];
  }
  if (pod.nodeName !== undefined && pod.nodeName !== nodeName) {
    return [explainNoAddress(key, { why: `it is on node "${pod.nodeName}": ask there` })];
  }
  const known = `${key} (UID ${pod.uid}) ${pod.ready ? "is Ready" : "is not Ready"}`;
  return [explainNoAddress(key, { known, why: "it is not attached: no ADD succeeded for it" })];
}

/**
 * The chain of one address.
 *
 * @param subjects attachments from whose point of view; unless told all that have the address
 */
async function chainOf(
  text: string,
  context: Context,
  subjects?: readonly Attachment[],
): Promise<ExplainedAddress> {
  const { sources, snapshot, claims, kernel, present } = context;
  const { nodeName, node, ip } = sources;
  const address = parseAddress(text);
  const { family } = address;
  const { wanted } = sources.kernel;
  const { role, owner, having, nodePrefix, announced, dst } = ownerOf(address, {
    nodeName,
    attachments: snapshot.attachments,
    nodePrefixes: snapshot.nodePrefixes,
    links: nodeLinks(kernel),
    peers: node.config?.bgp.peers.map((peer) => peer.address) ?? [],
    claims,
  });
  const seenFrom = subjects?.filter((one) => having.includes(one)) ?? having;
  const legs = sources.reconciler.anycast.find((one) => one.address === text)?.legs ?? [];
  const isOurs = having.length > 0 || role === "unused";
  const [others, toward, bird, peers] = await Promise.all([
    ip.routesTo(dst),
    isOurs ? undefined : ip.routesToward([text]),
    birdFacts(announced, context),
    isOurs ? peerFacts(family, announced, context) : [],
  ]);
  const taken = toward?.get(text);
  const refused = announced === nodePrefix || node.config === undefined
    ? undefined
    : filterRefusal(address, having, node.config);
  return explainAddress({
    node: nodeName,
    address: text,
    family,
    role,
    owner,
    holders: seenFrom.map((attachment) => {
      const lacking = lackingOf(attachment.hostIfname, wanted, present);
      return holderOf(attachment, text, { role, snapshot, lacking });
    }),
    legs,
    nodePrefix,
    announced,
    route: kernelFacts(dst, legs, { wanted, present, others }),
    toward: taken && describeRoute(taken),
    bird,
    refused,
    guarded: node.config?.announce.allowed !== undefined,
    peers,
    changes: sources.changes.of(dst),
  });
}

async function birdFacts(
  announced: string,
  { sources: { birdc, speaker, bgpInput }, protocols }: Context,
): Promise<BirdFacts> {
  const { waitingFor } = bgpInput;
  const configError = speaker.state.error ?? (waitingFor && `it waits for ${waitingFor}`);
  if (typeof protocols === "string") return { error: protocols, configError, routes: [] };
  try {
    return { configError, routes: await birdc.routesAt(announced) };
  } catch (error) {
    return { error: messageOf(error), configError, routes: [] };
  }
}

/** What each peer that carries the family is told. */
async function peerFacts(
  family: Family,
  announced: string,
  { sources: { node, birdc, bgpInput }, protocols }: Context,
): Promise<readonly PeerFacts[]> {
  const configured = node.config?.bgp.peers.filter(({ address }) => address.family === family);
  return await Promise.all((configured ?? []).map(async ({ address, asn }): Promise<PeerFacts> => {
    const peer = formatAddress(address);
    const name = birdPeerName(address);
    const session = typeof protocols === "string" ? undefined : protocols.get(name);
    const isUp = session?.info === "Established";
    const [exported = false, rejected = false] = isUp
      ? await Promise.all(
        // What BIRD has is asked at the same time: that says why it does not answer.
        [birdc.exports(name, announced), birdc.rejects(name, announced)]
          .map((answer) => answer.catch(() => false)),
      )
      : [];
    const leftOut = bgpInput.leftOut.find((one) => one.peer === peer)?.message;
    const { info, state, since } = session ?? {};
    return {
      peer,
      asn,
      state: info || state,
      since: birdTime(since),
      leftOut,
      exported,
      rejected,
    };
  }));
}
