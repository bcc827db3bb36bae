/**
 * One thing at a time per attachment, in the order of arrival; different attachments in parallel. A DEL
 * cancels the ADDs before it.
 *
 * @module
 */

interface Queue {
  tail: Promise<unknown>;
  readonly cancels: Set<(reason: Error) => void>;
}

/** Queues of work by key. */
export class KeyLock {
  readonly #queues = new Map<string, Queue>();

  /** Runs `work` after everything queued earlier under the key. `onCancel` makes it cancellable. */
  async run<T>(
    key: string,
    work: () => Promise<T>,
    onCancel?: (reason: Error) => void,
  ): Promise<T> {
    const queue = this.#queues.get(key) ?? { tail: Promise.resolve(), cancels: new Set() };
    this.#queues.set(key, queue);
    if (onCancel) queue.cancels.add(onCancel);
    const turn = queue.tail.then(work);
    const settled = turn.catch(() => {}).then(() => {
      if (onCancel) queue.cancels.delete(onCancel);
      if (queue.tail === settled) this.#queues.delete(key);
    });
    queue.tail = settled;
    return await turn;
  }

  /** Cancels what is running or waiting under the key, as far as it can be cancelled. */
  cancel(key: string, reason: Error): void {
    for (const cancel of this.#queues.get(key)?.cancels ?? []) cancel(reason);
  }

  /** True while something runs or waits under the key. */
  isBusy(key: string): boolean {
    return this.#queues.has(key);
  }
}
