/**
 * Waiting for something to become true, with a deadline.
 *
 * @module
 */
import { messageOf, TerminalError } from "../core/errors.ts";

export interface WaitOptions {
  /** Milliseconds until it is given up; 15,000 unless told. */
  readonly timeoutMs?: number;
  /** Milliseconds between two looks; 50 unless told. */
  readonly everyMs?: number;
  readonly signal?: AbortSignal;
}

/** A promise that resolves after some milliseconds. */
export function delay(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/**
 * Looks until the look returns something other than `undefined` or `false`, and returns it. A look that
 * throws has not seen it yet, except for a `TerminalError`, which ends the waiting.
 *
 * @param what the state that is waited for, for the error
 * @throws {Error} at the deadline, with what the last look threw as its cause
 */
export async function until<T>(
  what: string,
  look: () => Promise<T | undefined | false>,
  options: WaitOptions = {},
): Promise<T> {
  const timeoutMs = options.timeoutMs ?? 15_000;
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    options.signal?.throwIfAborted();
    let cause: unknown;
    try {
      const seen = await look();
      if (seen !== undefined && seen !== false) return seen;
    } catch (error) {
      if (error instanceof TerminalError) throw error;
      cause = error;
    }
    if (performance.now() > deadline) {
      const why = cause === undefined ? "" : `: ${messageOf(cause)}`;
      throw new Error(`Cannot see ${what}: not so within ${timeoutMs} ms${why}`, { cause });
    }
    await delay(options.everyMs ?? 50);
  }
}
