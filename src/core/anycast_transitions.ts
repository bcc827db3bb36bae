/**
 * What changed between two states of a node's anycast addresses, as the kinds of change that are timed:
 * from the moment a pod's new state was heard of to the moment the kernel had the route. Pure.
 *
 * @module
 */
import { type AnycastAddress, type AnycastPod, HELD_BACK } from "./anycast.ts";

/** Kinds of change of one address for one pod. */
export const TRANSITIONS = [
  "ready_to_announced",
  "unready_to_withdrawn",
  "terminating_to_withdrawn",
  "detached_to_withdrawn",
  /** Drained, not allowed any more, a link that is down. */
  "other_to_withdrawn",
] as const;

export type Transition = typeof TRANSITIONS[number];

/** The changes, one for each address of each pod that was or is served. */
export function anycastTransitions(
  before: readonly AnycastAddress[],
  after: readonly AnycastAddress[],
): readonly Transition[] {
  const was = podsByKey(before);
  const is = podsByKey(after);
  const appeared = [...is].filter(([key, pod]) => serves(pod) && !serves(was.get(key)))
    .map((): Transition => "ready_to_announced");
  const gone = [...was].filter(([key, pod]) => serves(pod) && !serves(is.get(key)))
    .map(([key]) => withdrawal(is.get(key)));
  return [...appeared, ...gone];
}

/** By address and pod. A pod whose sandbox is made anew is there twice for a while: the one that serves. */
function podsByKey(addresses: readonly AnycastAddress[]): ReadonlyMap<string, AnycastPod> {
  const found = new Map<string, AnycastPod>();
  for (const { address, pods } of addresses) {
    for (const pod of pods) {
      const key = `${address} ${pod.pod}`;
      if (!serves(found.get(key))) found.set(key, pod);
    }
  }
  return found;
}

function serves(pod: AnycastPod | undefined): boolean {
  return pod !== undefined && pod.heldBack === undefined;
}

/** Why an address went. A pod that is not known any more was detached. */
function withdrawal(pod: AnycastPod | undefined): Transition {
  switch (pod?.heldBack) {
    case undefined:
    case HELD_BACK.leaving:
    case HELD_BACK.gone:
      return "detached_to_withdrawn";
    case HELD_BACK.terminating:
      return "terminating_to_withdrawn";
    case HELD_BACK.unready:
      return "unready_to_withdrawn";
    default:
      return "other_to_withdrawn";
  }
}
