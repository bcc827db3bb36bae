/**
 * The turns of the agent's loops: which loop is in the middle of one, since when, and when each had its
 * last. Health and metrics are told from it.
 *
 * @module
 */

import { epochOf } from "./clock.ts";

/** A loop as it is now. */
export interface LoopState {
  readonly loop: string;
  /** Milliseconds that the turn under way has taken; 0 between turns. */
  readonly busyMs: number;
  /** When a turn ended last, and when one last succeeded; milliseconds since the epoch. */
  readonly endedAt?: number;
  readonly succeededAt?: number;
}

/** Called after each turn. */
export type OnTurn = (loop: string, seconds: number) => void;

/** All `performance.now()`. */
interface Loop {
  beganAt?: number;
  endedAt?: number;
  succeededAt?: number;
}

/** Notes turns. */
export class Turns {
  readonly #loops = new Map<string, Loop>();
  readonly #onTurn: OnTurn;

  constructor(onTurn: OnTurn = () => {}) {
    this.#onTurn = onTurn;
  }

  /** Takes a turn of a loop. Whatever becomes of it is the caller's. */
  async take<T>(name: string, turn: () => Promise<T>): Promise<T> {
    const loop = this.#loop(name);
    const began = performance.now();
    loop.beganAt = began;
    let succeeded = false;
    try {
      const result = await turn();
      succeeded = true;
      return result;
    } finally {
      loop.beganAt = undefined;
      loop.endedAt = performance.now();
      if (succeeded) loop.succeededAt = loop.endedAt;
      this.#onTurn(name, (performance.now() - began) / 1000);
    }
  }

  /** Notes that something was heard, by a loop that only listens. */
  heard(name: string): void {
    const loop = this.#loop(name);
    loop.succeededAt = loop.endedAt = performance.now();
  }

  /** Every loop that has begun a turn, in the order of their first ones. */
  list(): readonly LoopState[] {
    const now = performance.now();
    const epoch = epochOf(0);
    return Array.from(this.#loops, ([loop, { beganAt, endedAt, succeededAt }]) => ({
      loop,
      busyMs: beganAt === undefined ? 0 : now - beganAt,
      endedAt: endedAt && epoch + endedAt,
      succeededAt: succeededAt && epoch + succeededAt,
    }));
  }

  #loop(name: string): Loop {
    let loop = this.#loops.get(name);
    if (loop === undefined) this.#loops.set(name, loop = {});
    return loop;
  }
}
