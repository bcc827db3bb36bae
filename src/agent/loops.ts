/**
 * Keeps the agent's loops running. What is outside may fail in ways that nobody thought of (no descriptor, no memory,
 * a disk that is away); none of it may end the agent, and with it everything else.
 *
 * @module
 */
import { TerminalError } from "../core/errors.ts";
import { isNews, log } from "../log.ts";
import { sleep } from "../sleep.ts";

/** Milliseconds until a loop that failed is run again. */
const RETRY_MS = 1_000;

/** Something that goes on until the signal aborts. */
export interface Loop {
  run(signal: AbortSignal): Promise<void>;
}

/**
 * Runs loops until the signal aborts.
 *
 * @param loops by name; one that is undefined is none
 * @param options.fail is told of what ended a loop for good
 */
export async function runLoops(
  loops: Readonly<Record<string, Loop | undefined>>,
  { signal, fail }: { readonly signal: AbortSignal; readonly fail: (reason: unknown) => void },
): Promise<void> {
  await Promise.all(
    Object.entries(loops).map(([name, loop]) =>
      loop && keepRunning(name, (signal) => loop.run(signal), signal).catch(fail)
    ),
  );
}

/**
 * Runs a loop until the signal aborts or it ends by itself, over again when it fails.
 *
 * @throws {TerminalError} the loop's own: trying again would not help
 */
export async function keepRunning(
  loop: string,
  run: (signal: AbortSignal) => Promise<void>,
  signal: AbortSignal,
  options: { readonly retryMs?: number } = {},
): Promise<void> {
  const { retryMs = RETRY_MS } = options;
  for (let failures = 1; !signal.aborted; failures++) {
    // What a loop is made of ends with the part that failed, and is not run twice.
    const over = new AbortController();
    try {
      return await run(AbortSignal.any([signal, over.signal]));
    } catch (error) {
      over.abort();
      if (error instanceof TerminalError || signal.aborted) throw error;
      if (isNews(failures)) {
        log.error("Loop failed", { loop, err: error, failures, retryInMs: retryMs });
      }
      await sleep(retryMs, signal);
    }
  }
}

/**
 * Has errors that nobody holds told and handed over, so that the agent ends in order: a rejected promise or
 * an error outside of every loop is a fault of ours, and what state it left nobody knows.
 */
export function onUnheld(fail: (reason: unknown) => void): Disposable {
  const take = (event: Event, reason: unknown): void => {
    event.preventDefault();
    log.error("Received an error that nobody held", { err: reason });
    fail(reason);
  };
  const onRejection = (event: PromiseRejectionEvent): void => take(event, event.reason);
  const onError = (event: ErrorEvent): void => take(event, event.error);
  globalThis.addEventListener("unhandledrejection", onRejection);
  globalThis.addEventListener("error", onError);
  return {
    [Symbol.dispose]() {
      globalThis.removeEventListener("unhandledrejection", onRejection);
      globalThis.removeEventListener("error", onError);
    },
  };
}
