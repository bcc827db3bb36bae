/**
 * Something that fails again and again: since when, and why it did last.
 *
 * @module
 */

/** A trouble, while there is one. Times are milliseconds of one clock. */
export class Trouble {
  #since: number | undefined;
  #reason = "";

  /** Notes a failure. */
  note(reason: string, now: number): void {
    this.#since ??= now;
    this.#reason = reason;
  }

  /** It is over. */
  end(): void {
    this.#since = undefined;
  }

  /** The last reason, when it has lasted so long; undefined when it has not, or there is none. */
  reason(now: number, lastingMs = 0): string | undefined {
    return this.#since !== undefined && now - this.#since >= lastingMs ? this.#reason : undefined;
  }
}
