/**
 * A set of numbers that finds the next one missing in constant time: a bitmap over a huge range, kept
 * as words of 32 bits in maps, and above it levels in which a bit says "the 32 below are all set".
 *
 * ```
 *   level 1   …0001…          bit 3: the word below it is full, look no further there
 *   level 0   … ffffffff …    one bit per number; words of zero are not kept
 * ```
 *
 * A search climbs past what is full and comes down once, so it reads at most two words per level: 52
 * for 128 bits, whatever the set holds. Memory goes with the number of words touched.
 *
 * @module
 */

const FULL = -1; // 32 ones as the bitwise operators see them

/** A sparse set of numbers from 0 to 2^bits - 1. */
export class SparseBitmap {
  readonly #levels: readonly Map<bigint, number>[];

  /**
   * @param bits width of the numbers
   * @param newWords makes the map of one level
   */
  constructor(bits: number, newWords: () => Map<bigint, number> = () => new Map()) {
    this.#levels = Array.from({ length: Math.ceil(bits / 5) }, newWords);
  }

  has(value: bigint): boolean {
    return ((this.#levels[0]?.get(value >> 5n) ?? 0) & bitOf(value)) !== 0;
  }

  /** Puts a number in the set; nothing happens when it is there. */
  add(value: bigint): void {
    let index = value;
    for (const words of this.#levels) {
      const word = (words.get(index >> 5n) ?? 0) | bitOf(index);
      words.set(index >> 5n, word);
      if (word !== FULL) return;
      index >>= 5n;
    }
  }

  /** Takes a number out of the set; nothing happens when it is not there. */
  delete(value: bigint): void {
    let index = value;
    for (const words of this.#levels) {
      const old = words.get(index >> 5n) ?? 0;
      const word = old & ~bitOf(index);
      if (word === 0) words.delete(index >> 5n);
      else words.set(index >> 5n, word);
      if (old !== FULL) return;
      index >>= 5n;
    }
  }

  /** The lowest number from `from` to `last`, both included, that is not in the set. */
  nextMissing(from: bigint, last: bigint): bigint | undefined {
    let level = 0;
    let index = from; // of a bit in the level
    while (index << BigInt(5 * level) <= last) {
      const words = this.#levels[level];
      if (words === undefined) return undefined;
      const missing = ~(words.get(index >> 5n) ?? 0) & (FULL << Number(index & 31n));
      if (missing === 0) {
        index = (index >> 5n) + 1n;
        level++;
        continue;
      }
      index = (index & ~31n) | BigInt(31 - Math.clz32(missing & -missing));
      if (level === 0) return index <= last ? index : undefined;
      index <<= 5n;
      level--;
    }
    return undefined;
  }
}

function bitOf(index: bigint): number {
  return 1 << Number(index & 31n);
}
