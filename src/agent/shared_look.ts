/**
 * A look at something outside, for metrics: shared by whoever asks within a few seconds, and never waited
 * for long. What hangs must not hang a scrape.
 *
 * @module
 */

/** For how long a look is good, and how long one is waited for, in milliseconds. */
const FRESH_MS = 5_000;
const WAIT_MS = 1_000;

/** Times in milliseconds; tests have others. */
export interface SharedLookTimes {
  readonly freshMs?: number;
  readonly waitMs?: number;
}

/** Looks when asked to. */
export class SharedLook<T> {
  readonly #read: () => Promise<T>;
  readonly #freshMs: number;
  readonly #waitMs: number;
  #last: { readonly look: T | undefined; readonly at: number } | undefined;
  #underWay: Promise<T | undefined> | undefined;

  constructor(
    read: () => Promise<T>,
    { freshMs = FRESH_MS, waitMs = WAIT_MS }: SharedLookTimes = {},
  ) {
    this.#read = read;
    this.#freshMs = freshMs;
    this.#waitMs = waitMs;
  }

  /** As it is, or was a few seconds ago; undefined when it cannot be read, or not soon enough. */
  async look(): Promise<T | undefined> {
    if (this.#last !== undefined && performance.now() - this.#last.at < this.#freshMs) {
      return this.#last.look;
    }
    this.#underWay ??= this.#read().catch(() => undefined).then((look) => {
      this.#last = { look, at: performance.now() };
      this.#underWay = undefined;
      return look;
    });
    // Held here: the first setTimeout of a process loads a module, and by then the look may be over.
    const underWay = this.#underWay;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<undefined>((resolve) => {
      timer = setTimeout(() => resolve(undefined), this.#waitMs);
    });
    try {
      return await Promise.race([underWay, late]);
    } finally {
      clearTimeout(timer);
    }
  }
}
