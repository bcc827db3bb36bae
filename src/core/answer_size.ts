/**
 * Answers that fit on the agent's socket, where a line holds 1 MiB.
 *
 * @module
 */

/** Items that fit into an answer. */
export interface Taken<T> {
  readonly taken: readonly T[];
  readonly omitted?: number;
}

/**
 * The first items as long as they fit; there is always one.
 *
 * @param most characters that they may have as JSON
 * @param make what an item is in the answer; itself unless told
 */
export function takeWithin<T>(most: number, items: readonly T[]): Taken<T>;
export function takeWithin<T, U>(most: number, items: readonly T[], make: (item: T) => U): Taken<U>;
export function takeWithin(
  most: number,
  items: readonly unknown[],
  make: (item: unknown) => unknown = (item) => item,
): Taken<unknown> {
  const taken: unknown[] = [];
  let left = most;
  for (const item of items) {
    const made = make(item);
    left -= JSON.stringify(made).length + 1;
    if (left < 0 && taken.length > 0) break;
    taken.push(made);
  }
  const omitted = items.length - taken.length;
  return omitted === 0 ? { taken } : { taken, omitted };
}
