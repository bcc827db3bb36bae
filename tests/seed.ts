/**
 * Chance that can be repeated: numbers that follow from a seed, and the seed of this run.
 *
 * @module
 */

/** A whole number from 0 to `below - 1`. */
export type Random = (below: number) => number;

/**
 * The seed of this run: `FLOCK_SEED`, else a new one. It is printed, so that the run can be repeated.
 *
 * @throws {RangeError} when the variable holds no 32-bit number
 */
export function seedOfRun(): number {
  const text = Deno.env.get("FLOCK_SEED");
  const seed = text === undefined
    ? crypto.getRandomValues(new Uint32Array(1))[0]!
    : wholeNumber("FLOCK_SEED", text, 2 ** 32 - 1);
  Deno.stderr.writeSync(new TextEncoder().encode(`FLOCK_SEED=${seed}\n`));
  return seed;
}

/** A number that a variable holds. @throws {RangeError} when it does not hold one up to `max` */
export function wholeNumber(name: string, text: string, max: number): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && value <= max) return value;
  throw new RangeError(`Cannot use ${name} "${text}": it is no whole number up to ${max}`);
}

/** Numbers that follow from a seed (xorshift32: G. Marsaglia, "Xorshift RNGs", 2003). */
export function seededRandom(seed: number): Random {
  // Zero would stay zero; neighbouring seeds would begin alike.
  let state = (Math.imul(seed, 0x9e3779b1) ^ 0x5bf03635) | 0 || 1;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return Math.floor((state >>> 0) / 2 ** 32 * below);
  };
}
