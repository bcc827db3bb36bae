/**
 * Runs a handler after changes: one run at a time, one more when changes came meanwhile, and again after
 * a failure.
 *
 * @module
 */
import { isNews, log } from "../log.ts";

/** Milliseconds until a handler that failed is run again. */
const RETRY_MS = 5_000;

/** Changes waiting for their handler. Stops trying again when it is disposed of. */
export class ChangeQueue implements Disposable {
  readonly #handle: () => Promise<void>;
  readonly #retryMs: number;
  #running = false;
  #again = false;
  #ended = false;
  #failures = 0;
  #retry: ReturnType<typeof setTimeout> | undefined;

  constructor(handle: () => Promise<void>, options: { readonly retryMs?: number } = {}) {
    this.#handle = handle;
    this.#retryMs = options.retryMs ?? RETRY_MS;
  }

  /** Notes a change. */
  async add(): Promise<void> {
    this.#again = true;
    if (this.#running) return;
    this.#running = true;
    clearTimeout(this.#retry);
    while (this.#again && !this.#ended) {
      this.#again = false;
      try {
        await this.#handle();
        this.#failures = 0;
      } catch (error) {
        this.#failures++;
        if (isNews(this.#failures)) {
          log.warn("Could not take over changes", {
            err: error,
            retryInMs: this.#retryMs,
            failures: this.#failures,
          });
        }
        clearTimeout(this.#retry);
        if (!this.#ended) this.#retry = setTimeout(() => this.add(), this.#retryMs);
      }
    }
    this.#running = false;
  }

  [Symbol.dispose](): void {
    this.#ended = true;
    clearTimeout(this.#retry);
  }
}
