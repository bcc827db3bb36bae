/**
 * Waiting in a loop: for a time, until the loop is woken, or until it should end.
 *
 * @module
 */

/** Waits that others can end. A wake that comes while nobody waits ends the next wait. */
export class Pulse {
  #woken = Promise.withResolvers<void>();

  wake(): void {
    this.#woken.resolve();
  }

  /** Waits at most `ms` milliseconds. Resolves early when woken, or when the signal aborts. */
  async wait(ms: number, signal: AbortSignal): Promise<void> {
    const { promise, resolve } = this.#woken;
    const end = (): void => resolve();
    const timer = setTimeout(end, ms);
    signal.addEventListener("abort", end);
    if (signal.aborted) end();
    await promise;
    clearTimeout(timer);
    signal.removeEventListener("abort", end);
    this.#woken = Promise.withResolvers();
  }
}
