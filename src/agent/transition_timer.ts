/**
 * Times changes of anycast addresses: from the news of a pod to the end of the kernel's batch. A change
 * without news, such as what was found at the start, is not timed.
 *
 * @module
 */
import type { AnycastAddress } from "../core/anycast.ts";
import { anycastTransitions, type Transition } from "../core/anycast_transitions.ts";

/** Called when addresses came or went, with the seconds since the news. */
export type OnTransitions = (transitions: readonly Transition[], seconds: number) => void;

/** The clock of one reconciler. */
export class TransitionTimer {
  readonly #now: () => number;
  readonly #tell: OnTransitions;
  /** When the news was heard that no computation has taken up yet. */
  #heardAt: number | undefined;
  /** The addresses as they were when the kernel had all of them. */
  #served: readonly AnycastAddress[] = [];

  /** @param now milliseconds of a clock that only goes forward */
  constructor(now: () => number, tell: OnTransitions = () => {}) {
    this.#now = now;
    this.#tell = tell;
  }

  /** There is news, heard at a time of the clock. Of several the first counts. */
  heard(at: number): void {
    this.#heardAt ??= at;
  }

  /**
   * A computation takes up all news there is.
   *
   * @returns to be called when the kernel has its result, or with nothing when that failed
   */
  begin(): (anycast: readonly AnycastAddress[] | undefined) => void {
    const heardAt = this.#heardAt;
    this.#heardAt = undefined;
    return (anycast) => {
      if (anycast === undefined) {
        this.#heardAt = heardAt ?? this.#heardAt;
        return;
      }
      const transitions = heardAt === undefined ? [] : anycastTransitions(this.#served, anycast);
      this.#served = anycast;
      if (transitions.length > 0) this.#tell(transitions, (this.#now() - heardAt!) / 1000);
    };
  }
}
