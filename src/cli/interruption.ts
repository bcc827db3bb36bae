/**
 * The ways in which somebody ends a program early: Ctrl-C (which arrives twice under npx), a signal, the
 * end of the parent. The first one counts; further ones are taken and do nothing, so that the program
 * can clean up.
 *
 * @module
 */

const SIGNALS = { SIGHUP: 1, SIGINT: 2, SIGTERM: 15 } as const;
/** Milliseconds between two looks whether the parent is still there. */
const PARENT_POLL_MS = 500;

export class Interruption implements Disposable {
  readonly #controller = new AbortController();
  readonly #undo = new DisposableStack();
  #exitCode = 0;

  constructor() {
    for (const [name, number] of Object.entries(SIGNALS) as [keyof typeof SIGNALS, number][]) {
      const listener = (): void => this.#interrupt(`${name} received`, number);
      Deno.addSignalListener(name, listener);
      this.#undo.defer(() => Deno.removeSignalListener(name, listener));
    }
    // A parent that was killed cannot pass its signal on; its children get another parent.
    const parent = Deno.ppid;
    const timer = setInterval(() => {
      if (Deno.ppid !== parent) this.#interrupt("The parent process is gone", SIGNALS.SIGHUP);
    }, PARENT_POLL_MS);
    this.#undo.defer(() => clearInterval(timer));
  }

  /** Aborts at the interruption. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** 128 and the number of the signal that came; 0 before. */
  get exitCode(): number {
    return this.#exitCode;
  }

  /** What the work comes to, or the interruption if that is first. */
  async race<T>(work: () => T | Promise<T>): Promise<T> {
    const { signal } = this;
    const interrupted = Promise.withResolvers<never>();
    const listener = (): void => interrupted.reject(signal.reason);
    signal.addEventListener("abort", listener);
    if (signal.aborted) listener();
    // What goes on in vain fails when its lab is removed, and nobody waits for it.
    const result = (async () => await work())();
    result.catch(() => {});
    try {
      return await Promise.race([result, interrupted.promise]);
    } finally {
      signal.removeEventListener("abort", listener);
    }
  }

  [Symbol.dispose](): void {
    this.#undo.dispose();
  }

  #interrupt(reason: string, number: number): void {
    if (this.#exitCode !== 0) return;
    this.#exitCode = 128 + number;
    this.#controller.abort(new Error(reason));
  }
}
