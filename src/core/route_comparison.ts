/**
 * Every route of flock's side by side: as it is wanted, as the kernel has it, as BIRD has it, and who is told
 * of it. Pure; what disagrees comes first.
 *
 *     wanted ──diffState()──▶ kernel ──(learns 144, static prefixes)──▶ BIRD ──(export filter)──▶ peers
 *
 * @module
 */
import type { AnycastAddress } from "./anycast.ts";
import type { Attachment } from "./attachment.ts";
import type { BirdRoute } from "./bird_routes.ts";
import type { Family } from "./cidr.ts";
import { PROTO_ANNOUNCED } from "./config.ts";
import type { KernelRoute, RouteItem } from "./inspection.ts";
import { nexthopKey, type OwnObject, type OwnState } from "./own_objects.ts";
import { type Change, diffState } from "./state_diff.ts";

/** A BGP session that is up, and what its peer is told. */
export interface ExportView {
  readonly peer: string;
  readonly family: Family;
  /** Prefixes, canonical texts. */
  readonly prefixes: ReadonlySet<string>;
}

/** What is compared. */
export interface RouteFacts {
  /** Absent: nobody has computed it yet, and nothing is said to differ. */
  readonly wanted?: OwnState;
  readonly present: OwnState;
  /** True for the link of an attachment that is being wired or torn down. */
  readonly isPending: (dev: string) => boolean;
  readonly attachments: readonly Attachment[];
  readonly anycast: readonly AnycastAddress[];
  /** Absent: BIRD cannot be asked. */
  readonly bird?: {
    /** Of the kernel and static protocols. */
    readonly routes: readonly BirdRoute[];
    readonly exports: readonly ExportView[];
  };
}

/** The routes, those with differences first, and differences of what is no route. */
export interface RouteComparison {
  readonly items: readonly RouteItem[];
  readonly objects: readonly string[];
}

/** One destination while it is put together. */
interface Entry {
  readonly dst: string;
  wanted?: OwnObject;
  present?: OwnObject;
  change?: Change;
}

/** Compares. */
export function compareRoutes(facts: RouteFacts): RouteComparison {
  const { present, isPending, bird } = facts;
  const wanted = facts.wanted ?? new Map<string, OwnObject>();
  const isKnown = facts.wanted !== undefined;
  const changes = isKnown ? diffState(wanted, present, isPending) : [];
  const entries = entriesOf(facts, changes);
  const birdByDst = new Map((bird?.routes ?? []).map((route) => [route.dst, route]));
  const known = new Set([...entries.values()].map(({ dst }) => dst));
  for (const dst of birdByDst.keys()) if (!known.has(dst)) entries.set(dst, { dst });
  const owners = ownersOf(facts);
  const stale = new Set(changes.filter(({ object }) => object.kind === "group").map((c) => c.key));
  const items = [...entries.values()].map((entry): RouteItem => {
    const { dst } = entry;
    const desired = entry.wanted && kernelRoute(entry.wanted, wanted);
    const kernel = entry.present && kernelRoute(entry.present, present);
    const announce = isAnnounced(entry.wanted);
    const birdRoute = birdByDst.get(dst);
    const family = dst.includes(":") ? "ipv6" : "ipv4";
    const peers = bird?.exports.filter((one) => one.family === family) ?? [];
    const told = peers.filter(({ prefixes }) => prefixes.has(dst));
    const group = desired?.groupId;
    return {
      family,
      dst,
      purpose: purposeOf(entry, facts),
      pods: owners.get(dst) ?? [],
      desired,
      kernel,
      announce,
      bird: birdRoute && {
        protocol: birdRoute.protocol,
        preference: birdRoute.preference,
        best: birdRoute.best,
      },
      exportedTo: told.map(({ peer }) => peer),
      differences: [
        ...kernelDifference(entry),
        ...(group !== undefined && stale.has(nexthopKey(group))
          ? [`next-hop group ${group} is not as it should be`]
          : []),
        ...(isKnown && bird !== undefined ? birdDifferences(announce, birdRoute) : []),
        ...(announce && birdRoute !== undefined
          ? peers.filter((peer) => !told.includes(peer))
            .map(({ peer }) => `peer ${peer} is not told of it`)
          : []),
      ],
    };
  });
  return {
    items: items.sort(compareItems),
    objects: changes.filter(({ object }) => object.kind !== "route").map(objectDifference),
  };
}

/**
 * A comparison without the differences that were not there at an earlier look: on a node whose pods come
 * and go there is always something under way, each time something else.
 */
export function confirmed(now: RouteComparison, earlier: RouteComparison): RouteComparison {
  const known = new Set(differencesOf(earlier));
  const items = now.items.map((item) => ({
    ...item,
    differences: item.differences.filter((why) => known.has(`${item.dst}: ${why}`)),
  }))
    // What came this moment is not known as wanted yet.
    .filter(({ desired, differences }, n) =>
      desired !== undefined || differences.length === now.items[n]!.differences.length
    );
  return {
    items: items.sort(compareItems),
    objects: now.objects.filter((object) => known.has(object)),
  };
}

/** A number of differences, and each as a sentence. */
export function differencesOf({ items, objects }: RouteComparison): readonly string[] {
  return [
    ...items.flatMap(({ dst, differences }) => differences.map((why) => `${dst}: ${why}`)),
    ...objects,
  ];
}

function entriesOf(
  { wanted = new Map(), present }: RouteFacts,
  changes: readonly Change[],
): Map<string, Entry> {
  const entries = new Map<string, Entry>();
  const at = (key: string, { subject }: OwnObject): Entry => {
    const entry = entries.get(key) ?? { dst: subject };
    entries.set(key, entry);
    return entry;
  };
  for (const [key, object] of wanted) if (object.route) at(key, object).wanted = object;
  for (const [key, object] of present) if (object.route) at(key, object).present = object;
  for (const change of changes) {
    if (change.object.route) at(change.key, change.object).change = change;
  }
  return entries;
}

function kernelDifference({ change, present }: Entry): readonly string[] {
  if (change === undefined) return [];
  if (change.kind === "remove") return ["the kernel has it and nothing wants it"];
  return [
    present === undefined
      ? "the kernel does not have it"
      : `the kernel has another one: ${present.text}`,
  ];
}

function birdDifferences(announce: boolean, route: BirdRoute | undefined): readonly string[] {
  if (announce && route === undefined) return ["BIRD does not have it"];
  if (!announce && route !== undefined) return ["BIRD has it and nothing wants it announced"];
  return route?.best === false ? ["BIRD prefers another route"] : [];
}

function objectDifference({ kind, object: { kind: what, subject, text } }: Change): string {
  const name = what === "end" ? `link ${subject}` : `${what} ${subject}`;
  return kind === "remove"
    ? `${name}: the kernel has it and nothing wants it: ${text}`
    : `${name}: the kernel lacks "${text}"`;
}

/** Prefixes of the node by BIRD's static routes; single addresses by their protocol. */
function isAnnounced(wanted: OwnObject | undefined): boolean {
  const route = wanted?.route;
  return route !== undefined &&
    (route.type === "unreachable" || route.protocol === String(PROTO_ANNOUNCED));
}

function kernelRoute(object: OwnObject, state: OwnState): KernelRoute {
  const { text, id, route } = object;
  const group = id === undefined ? undefined : state.get(nexthopKey(id));
  return {
    text,
    protocol: Number(route?.protocol),
    metric: route?.metric ?? 0,
    groupId: id,
    nextHops: group === undefined ? hopsIn(text) : membersOf(group, state),
  };
}

/** Ways of a route that has several itself. */
function hopsIn(text: string): readonly string[] {
  return [...text.matchAll(/ nexthop (via \S+ dev \S+ onlink weight \d+)/g)].map(([, hop]) => hop!);
}

function membersOf(group: OwnObject, state: OwnState): readonly string[] {
  const members = / group ([\d,/]+)/.exec(group.text)?.[1] ?? "";
  return members.split("/").filter((member) => member !== "").map((member) => {
    const [id, weight] = member.split(",");
    const way = / (via .*?) proto /.exec(state.get(nexthopKey(Number(id)))?.text ?? "")?.[1];
    return `${way ?? `next hop ${id}, which is not there`} weight ${weight}`;
  }).sort();
}

/** Names of the pods that each destination leads to. */
function ownersOf({ attachments, anycast }: RouteFacts): ReadonlyMap<string, readonly string[]> {
  const owners = new Map<string, string[]>();
  const add = (address: string, pod: string): void => {
    const dst = `${address}/${address.includes(":") ? 128 : 32}`;
    owners.set(dst, [...owners.get(dst) ?? [], pod]);
  };
  for (const { namespace, podName, containerId, ip6, ip4, addresses = [] } of attachments) {
    const pod = namespace === "" ? containerId : `${namespace}/${podName}`;
    for (const address of new Set([ip6, ip4, ...addresses])) {
      if (address !== undefined) add(address, pod);
    }
  }
  for (const { address, pods } of anycast) {
    for (const { pod, heldBack } of pods) if (heldBack === undefined) add(address, pod);
  }
  return owners;
}

function purposeOf({ dst, wanted }: Entry, { anycast }: RouteFacts): RouteItem["purpose"] {
  if (anycast.some(({ address }) => dst === `${address}/${address.includes(":") ? 128 : 32}`)) {
    return "anycast";
  }
  if (wanted === undefined) return "unknown";
  return wanted.route?.type === "unreachable" ? "prefix" : "pod";
}

const PURPOSES = ["prefix", "anycast", "pod", "unknown"] as const;

function compareItems(a: RouteItem, b: RouteItem): number {
  const rank = (item: RouteItem): number =>
    (item.differences.length > 0 ? 0 : PURPOSES.length) + PURPOSES.indexOf(item.purpose);
  if (rank(a) !== rank(b)) return rank(a) - rank(b);
  if (a.family !== b.family) return a.family === "ipv6" ? -1 : 1;
  return a.dst < b.dst ? -1 : a.dst > b.dst ? 1 : 0;
}
