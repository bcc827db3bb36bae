/**
 * Prefixes as sorted ranges, to ask quickly whether an address is in one of them and where that one
 * ends.
 *
 * @module
 */
import { type Address, type Family, type Prefix, sizeOf } from "./cidr.ts";

interface Range {
  readonly first: bigint;
  readonly last: bigint;
}

/** A fixed set of addresses given as prefixes; overlapping and adjoining ones are joined. */
export class AddressRanges {
  readonly #ranges: Readonly<Record<Family, readonly Range[]>>;

  constructor(prefixes: readonly Prefix[]) {
    this.#ranges = { ipv6: join(prefixes, "ipv6"), ipv4: join(prefixes, "ipv4") };
  }

  /** The last address of the range that holds this one; undefined when none does. */
  lastOf({ family, value }: Address): bigint | undefined {
    const ranges = this.#ranges[family];
    let low = 0;
    let high = ranges.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      const range = ranges[middle];
      if (range === undefined || range.first > value) high = middle;
      else if (range.last < value) low = middle + 1;
      else return range.last;
    }
    return undefined;
  }

  /** How many addresses there are from one value to another, both included. */
  countWithin(family: Family, from: bigint, to: bigint): bigint {
    let count = 0n;
    for (const { first, last } of this.#ranges[family]) {
      const begin = first > from ? first : from;
      const end = last < to ? last : to;
      if (begin <= end) count += end - begin + 1n;
    }
    return count;
  }
}

function join(prefixes: readonly Prefix[], family: Family): readonly Range[] {
  const sorted = prefixes.filter((prefix) => prefix.family === family)
    .map((prefix): Range => ({ first: prefix.value, last: prefix.value + sizeOf(prefix) - 1n }))
    .sort((a, b) => a.first < b.first ? -1 : a.first > b.first ? 1 : 0);
  const joined: Range[] = [];
  for (const range of sorted) {
    const before = joined.at(-1);
    if (before === undefined || before.last + 1n < range.first) joined.push(range);
    else if (before.last < range.last) {
      joined[joined.length - 1] = { first: before.first, last: range.last };
    }
  }
  return joined;
}
