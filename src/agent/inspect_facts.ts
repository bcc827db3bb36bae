/**
 * Looks that an operator's question needs: BIRD as it is now, and every route side by side. Each asks the
 * world once, waits for nothing that ADD waits for, and changes nothing.
 *
 * @module
 */
import type { AnycastAddress } from "../core/anycast.ts";
import type { Attachment } from "../core/attachment.ts";
import type { BfdSession, BirdSession } from "../core/bird_session.ts";
import { birdPeerName } from "../core/bird_peer.ts";
import { formatAddress } from "../core/cidr.ts";
import { messageOf } from "../core/errors.ts";
import type { OwnState } from "../core/own_objects.ts";
import { observedState } from "../core/own_state.ts";
import {
  compareRoutes,
  confirmed,
  differencesOf,
  type ExportView,
  type RouteComparison,
} from "../core/route_comparison.ts";
import type { Birdc, BirdInspection, BirdStatus } from "../io/birdc.ts";
import type { Ip } from "../io/ip.ts";
import type { Store } from "../io/store.ts";
import type { NodeState } from "./node_state.ts";
import type { SysctlSync } from "./sysctl_sync.ts";

/** Milliseconds in which BIRD learns a route and tells its peers. */
const SETTLE_MS = 150;

/** What is looked at. */
export interface FactSources {
  readonly node: Pick<NodeState, "config">;
  readonly store: Pick<Store, "list">;
  readonly kernel: { readonly wanted: OwnState; readonly planned: boolean };
  readonly sysctls: Pick<SysctlSync, "differences">;
  readonly anycast: () => readonly AnycastAddress[];
  readonly ip: Pick<Ip, "observe">;
  readonly birdc: Pick<Birdc, "status"> & BirdInspection;
}

/** BIRD as it answered, or why it did not. */
export type BirdLook =
  | {
    readonly running: true;
    readonly status: BirdStatus;
    readonly sessions: readonly BirdSession[];
  }
  | { readonly running: false; readonly error: string };

/** Routes side by side, and what they were compared with. */
export interface RouteLook {
  readonly comparison: RouteComparison;
  readonly present: OwnState;
  readonly bird: BirdLook;
}

/** Asks BIRD for its state and its sessions. */
export async function lookAtBird({ birdc }: Pick<FactSources, "birdc">): Promise<BirdLook> {
  try {
    const [status, sessions] = await Promise.all([birdc.status(), birdc.sessions()]);
    return { running: true, status, sessions };
  } catch (error) {
    return { running: false, error: messageOf(error) };
  }
}

/**
 * Reads the kernel and BIRD and compares both with what is wanted. What was under way at that moment is no
 * difference: one is told only when it is there at a second look, too.
 */
export async function lookAtRoutes(sources: FactSources): Promise<RouteLook> {
  const look = await lookOnce(sources);
  if (differencesOf(look.comparison).length === 0) return look;
  await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
  const again = await lookOnce(sources);
  return { ...again, comparison: confirmed(again.comparison, look.comparison) };
}

async function lookOnce(sources: FactSources): Promise<RouteLook> {
  const { ip, kernel, store, anycast } = sources;
  const [observed, sysctls, [bird, routes]] = await Promise.all([
    ip.observe(),
    sources.sysctls.differences(),
    birdRoutes(sources),
  ]);
  const attachments = store.list();
  const present = observedState(observed);
  // What is wanted is taken after both were read: a route that came meanwhile is in it.
  const comparison = compareRoutes({
    wanted: kernel.planned ? kernel.wanted : undefined,
    present,
    isPending: pendingLinks(attachments),
    attachments,
    anycast: anycast(),
    bird: routes,
  });
  return {
    comparison: { ...comparison, objects: [...comparison.objects, ...sysctls] },
    present,
    bird,
  };
}

/** BFD's sessions; none when BIRD cannot be asked. */
export function lookAtBfd(
  { birdc }: Pick<FactSources, "birdc">,
): Promise<readonly BfdSession[]> {
  return birdc.bfdSessions().catch(() => []);
}

/** True for links of attachments that are being wired or torn down. */
export function pendingLinks(attachments: readonly Attachment[]): (dev: string) => boolean {
  const pending = new Set(
    attachments.filter(({ state }) => state === "pending").map(({ hostIfname }) => hostIfname),
  );
  return (dev) => pending.has(dev);
}

/**
 * A time as BIRD prints it, in RFC 3339; undefined when it is not a whole one. BIRD and the agent run on
 * the same host, and so do their clocks.
 */
export function birdTime(text = ""): string | undefined {
  if (!/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d/.test(text)) return undefined;
  const time = new Date(text.replace(" ", "T"));
  return Number.isNaN(time.getTime()) ? undefined : time.toISOString();
}

async function birdRoutes(
  sources: FactSources,
): Promise<[BirdLook, Parameters<typeof compareRoutes>[0]["bird"]]> {
  const { birdc, node } = sources;
  const peers = node.config?.bgp.peers ?? [];
  try {
    // All at once: each is a process, and a peer that is not up has nothing to tell.
    const [bird, routes, told] = await Promise.all([
      lookAtBird(sources),
      birdc.ownRoutes(),
      Promise.all(peers.map(({ address }) => birdc.routesTo(birdPeerName(address)))),
    ]);
    if (!bird.running) return [bird, undefined];
    const exports = peers.flatMap(({ address }, n): ExportView[] => {
      const session = bird.sessions.find(({ name }) => name === birdPeerName(address));
      if (session?.state !== "Established") return [];
      const prefixes = new Set(told[n]!.map(({ dst }) => dst));
      return [{ peer: formatAddress(address), family: address.family, prefixes }];
    });
    return [bird, { routes, exports }];
  } catch (error) {
    return [{ running: false, error: messageOf(error) }, undefined];
  }
}
