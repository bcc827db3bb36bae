/**
 * Logs which pods serve an anycast address whenever that changes. A pod that changes again and again does not flood
 * the log: of an address a few lines may follow one another, then there is one for all that happened meanwhile.
 *
 * @module
 */
import type { AnycastAddress } from "../core/anycast.ts";
import { log } from "../log.ts";

/** So many lines of an address may follow one another, and one more each so many milliseconds. */
const BURST = 4;
const EACH_MS = 30_000;
/** Pods that a line names. */
const MAX_NAMED = 16;

/** A pod began to serve an address, or ceased to. */
export const MEMBER_CHANGES = ["joined", "left"] as const;
export type MemberChange = typeof MEMBER_CHANGES[number];

export interface AnycastMembersOptions {
  readonly onChanges?: (change: MemberChange, count: number) => void;
  /** What tests replace: a clock in milliseconds that only goes forward, and calling later by it. */
  readonly now?: () => number;
  readonly later?: (call: () => void, ms: number) => void;
}

/** One address. */
interface Served {
  /** Who serves it, and who did so by the last line. */
  pods: readonly string[];
  told: readonly string[];
  /** Changes since that line. */
  changes: number;
  /** Lines that may be written as of a moment. */
  lines: number;
  atMs: number;
  isWaiting: boolean;
}

/** Keeps track of who serves what. */
export class AnycastMembers {
  readonly #onChanges: (change: MemberChange, count: number) => void;
  readonly #now: () => number;
  readonly #later: (call: () => void, ms: number) => void;
  readonly #served = new Map<string, Served>();
  #isFirst = true;

  constructor(options: AnycastMembersOptions = {}) {
    this.#onChanges = options.onChanges ?? (() => {});
    this.#now = options.now ?? (() => performance.now());
    this.#later = options.later ?? ((call, ms) => Deno.unrefTimer(setTimeout(call, ms)));
  }

  /** Takes note of all addresses as they are now. What an earlier agent found is no change. */
  note(addresses: readonly AnycastAddress[]): void {
    const gone = new Set(this.#served.keys());
    for (const { address, pods } of addresses) {
      gone.delete(address);
      const serving = pods.filter(({ heldBack }) => heldBack === undefined).map(({ pod }) => pod);
      this.#change(address, [...new Set(serving)].sort());
    }
    for (const address of gone) this.#change(address, []);
    this.#isFirst = false;
  }

  #change(address: string, pods: readonly string[]): void {
    const served = this.#served.get(address) ?? {
      ...{ pods: [], told: this.#isFirst ? pods : [], changes: 0 },
      ...{ lines: BURST, atMs: this.#now(), isWaiting: false },
    };
    const joined = pods.filter((pod) => !served.pods.includes(pod)).length;
    const left = served.pods.filter((pod) => !pods.includes(pod)).length;
    served.pods = pods;
    if (joined + left > 0) {
      this.#served.set(address, served);
      if (this.#isFirst) return;
      this.#onChanges("joined", joined);
      this.#onChanges("left", left);
      served.changes++;
      this.#tell(address, served);
    } else if (pods.length === 0 && !served.isWaiting && this.#lines(served) === BURST) {
      this.#served.delete(address);
    }
  }

  #tell(address: string, served: Served): void {
    if (served.isWaiting) return;
    const lines = this.#lines(served);
    if (lines < 1) {
      served.isWaiting = true;
      this.#later(() => {
        served.isWaiting = false;
        if (served.changes > 0) this.#tell(address, served);
      }, Math.ceil((1 - lines) * EACH_MS));
      return;
    }
    const { told, pods, changes } = served;
    served.lines--;
    served.told = pods;
    served.changes = 0;
    const fields = { address, was: named(told), pods: named(pods) };
    log.info("Changed pods of anycast address", changes > 1 ? { ...fields, changes } : fields);
  }

  #lines(served: Served): number {
    const now = this.#now();
    served.lines = Math.min(served.lines + (now - served.atMs) / EACH_MS, BURST);
    served.atMs = now;
    return served.lines;
  }
}

function named(pods: readonly string[]): string {
  if (pods.length === 0) return "none";
  const more = pods.length - MAX_NAMED;
  return pods.slice(0, MAX_NAMED).join(", ") + (more > 0 ? ` and ${more} more` : "");
}
