/**
 * A clock that moves only when told. Sleepers wake in the order of their times.
 *
 * @module
 */
export class FakeClock {
  #now: number;
  readonly #sleepers = new Set<{ readonly at: number; readonly wake: () => void }>();

  constructor(now = 1_000_000) {
    this.#now = now;
  }

  readonly now = (): number => this.#now;

  /** Waits until the clock was moved far enough, or the signal aborts. */
  readonly sleep = async (ms: number, signal: AbortSignal): Promise<void> => {
    if (signal.aborted) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const sleeper = { at: this.#now + ms, wake: resolve };
    const abort = (): void => resolve();
    this.#sleepers.add(sleeper);
    signal.addEventListener("abort", abort);
    await promise;
    this.#sleepers.delete(sleeper);
    signal.removeEventListener("abort", abort);
  };

  /** Milliseconds that each sleeper has left, shortest first. */
  get sleeping(): readonly number[] {
    return [...this.#sleepers].map(({ at }) => at - this.#now).sort((a, b) => a - b);
  }

  advance(ms: number): void {
    this.#now += ms;
    for (const { at, wake } of [...this.#sleepers].sort((a, b) => a.at - b.at)) {
      if (at <= this.#now) wake();
    }
  }
}

/** Waits by a fake clock that can be ended by others; see `src/agent/pulse.ts`. */
export class FakePulse {
  readonly #clock: FakeClock;
  #woken = new AbortController();

  constructor(clock: FakeClock) {
    this.#clock = clock;
  }

  wake(): void {
    this.#woken.abort();
  }

  async wait(ms: number, signal: AbortSignal): Promise<void> {
    await this.#clock.sleep(ms, AbortSignal.any([signal, this.#woken.signal]));
    this.#woken = new AbortController();
  }
}
