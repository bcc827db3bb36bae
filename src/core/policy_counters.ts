/**
 * What the kernel counts of packets that policies deny and of packets from addresses that a pod does not
 * have: sets of table `inet flock`, in which each pod's link has a counter of its own.
 *
 * @module
 */

/** The sets. `dropped` and `audited` are the same denials, by the mode of the pod. */
export const COUNTER_SETS = [
  "dropped-egress",
  "dropped-ingress",
  "audited-egress",
  "audited-ingress",
  "spoofed",
] as const;
export type CounterSet = typeof COUNTER_SETS[number];

/** What was counted on a link. */
export interface LinkCounter {
  readonly set: CounterSet;
  readonly hostIfname: string;
  readonly packets: number;
  readonly bytes: number;
}

/** Packets and their bytes. */
export interface Count {
  readonly packets: number;
  readonly bytes: number;
}

/** What was counted on one link, by set. */
export type LinkCounts = Readonly<Record<CounterSet, Count>>;

const ZERO: Count = { packets: 0, bytes: 0 };

/**
 * Parses what `nft -j list set` prints (libnftables-json(5)).
 *
 * @throws {SyntaxError} when it is something else
 */
export function parseCounterSet(set: CounterSet, text: string): readonly LinkCounter[] {
  let objects: unknown;
  try {
    objects = (JSON.parse(text) as { readonly nftables?: unknown }).nftables;
  } catch (cause) {
    throw new SyntaxError(`Cannot read set "${set}": it is no JSON`, { cause });
  }
  const found = Array.isArray(objects) && objects.find((object) => object?.set?.name === set)?.set;
  if (!found) throw new SyntaxError(`Cannot read set "${set}": it is not in what nft printed`);
  return ((found.elem ?? []) as readonly Element[]).map((element) => {
    // One that was never matched may be there by its name alone.
    const { val, counter = ZERO } = typeof element === "string" ? { val: element } : element.elem;
    return { set, hostIfname: val, packets: counter.packets, bytes: counter.bytes };
  });
}

type Element = string | { readonly elem: { readonly val: string; readonly counter?: Count } };

/** Counters by link; one that is not there counts as zero. */
export function countsByLink(
  counters: readonly LinkCounter[],
): (hostIfname: string) => LinkCounts {
  const byKey = new Map(counters.map((one) => [`${one.set} ${one.hostIfname}`, one]));
  const count = (set: CounterSet, hostIfname: string): Count => {
    const { packets, bytes } = byKey.get(`${set} ${hostIfname}`) ?? ZERO;
    return { packets, bytes };
  };
  return (hostIfname) =>
    Object.fromEntries(COUNTER_SETS.map((set) => [set, count(set, hostIfname)])) as LinkCounts;
}
