/**
 * Times that are kept by a clock that nobody sets, told by the one that people read. Whoever measures or
 * orders keeps readings of `performance.now()`: between two of `Date.now()` somebody may have set it.
 *
 * @module
 */

/** Milliseconds since the epoch, by the clock as it is now, of a reading of `performance.now()`. */
export function epochOf(ticks: number): number {
  return Date.now() - performance.now() + ticks;
}

/** When something began, by the clock as it is now: the same as long as nobody set it. */
export function createStart(): () => Date {
  const [start, ticks] = [new Date(), performance.now()];
  return () => {
    const now = epochOf(ticks);
    return Math.abs(now - start.getTime()) < 1_000 ? start : new Date(now);
  };
}
