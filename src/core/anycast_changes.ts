/**
 * What happened to shared addresses between two computations, and why: for `flock explain`, which says
 * what changed last.
 *
 * @module
 */
import type { AnycastAddress, AnycastPod } from "./anycast.ts";

/** Something that happened to an address or a prefix. */
export interface AddressChange {
  /** An address, or a prefix in CIDR notation. */
  readonly subject: string;
  readonly what: string;
  /** The cause, a clause. */
  readonly why: string;
}

/** With its time. */
export interface RecordedChange extends AddressChange {
  /** RFC 3339. */
  readonly at: string;
}

/** What changed for pods and their addresses. */
export function anycastChanges(
  before: readonly AnycastAddress[],
  after: readonly AnycastAddress[],
): readonly AddressChange[] {
  const old = new Map(before.map((one) => [one.address, one]));
  const changes: AddressChange[] = [];
  for (const next of after) {
    const last = old.get(next.address);
    old.delete(next.address);
    // A pod whose sandbox is made anew is there twice for a while.
    const was = Map.groupBy(last?.pods ?? [], ({ pod }) => pod);
    for (const { pod, weight, heldBack } of next.pods) {
      const past = was.get(pod)?.shift();
      const subject = next.address;
      if (heldBack !== undefined) {
        if (past?.heldBack === heldBack) continue;
        const what = past === undefined || past.heldBack !== undefined
          ? `${pod} does not serve it`
          : `${pod} stopped serving it`;
        changes.push({ subject, what, why: heldBack });
      } else if (past === undefined) {
        changes.push({ subject, what: `${pod} began to serve it`, why: "it was attached" });
      } else if (past.heldBack !== undefined) {
        const why = `no longer true: ${past.heldBack}`;
        changes.push({ subject, what: `${pod} began to serve it`, why });
      } else if (past.weight !== weight) {
        const what = `${pod} serves it with weight ${weight}`;
        changes.push({ subject, what, why: `its weight was ${past.weight}` });
      }
    }
    changes.push(...detached(next.address, [...was.values()].flat()));
  }
  for (const { address, pods } of old.values()) {
    changes.push(...detached(address, pods));
  }
  return changes;
}

function detached(subject: string, pods: readonly AnycastPod[]): readonly AddressChange[] {
  return pods.map(({ pod }) => ({
    subject,
    what: `${pod} no longer has it`,
    why: "it was detached",
  }));
}
