/**
 * Prefixes as sorted ranges, to ask quickly whether an address is in one of them and where that one
 * ends, and to take some of them out of others.
 *
 * @module
 */
import { type Address, type Family, type Prefix, sizeOf } from "./cidr.ts";

/** Addresses from one to another, both included, as numbers. */
export interface AddressRange {
  readonly first: bigint;
  readonly last: bigint;
}

/** A fixed set of addresses given as prefixes; overlapping and adjoining ones are joined. */
export class AddressRanges {
  readonly #ranges: Readonly<Record<Family, readonly AddressRange[]>>;

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

/** What blocks hold without their exceptions, of one family: sorted, nothing twice, nothing adjoining. */
export function rangesOfBlocks(
  blocks: readonly { readonly cidr: Prefix; readonly except: readonly Prefix[] }[],
  family: Family,
): readonly AddressRange[] {
  return joinRanges(
    blocks.filter(({ cidr }) => cidr.family === family).flatMap(({ cidr, except }) => {
      const rest: AddressRange[] = [];
      let { first, last } = rangeOf(cidr);
      for (const hole of join(except, family)) {
        if (hole.last < first || hole.first > last) continue;
        if (hole.first > first) rest.push({ first, last: hole.first - 1n });
        first = hole.last + 1n;
      }
      if (first <= last) rest.push({ first, last });
      return rest;
    }),
  );
}

function rangeOf(prefix: Prefix): AddressRange {
  return { first: prefix.value, last: prefix.value + sizeOf(prefix) - 1n };
}

function join(prefixes: readonly Prefix[], family: Family): readonly AddressRange[] {
  return joinRanges(prefixes.filter((prefix) => prefix.family === family).map(rangeOf));
}

function joinRanges(ranges: readonly AddressRange[]): readonly AddressRange[] {
  const sorted = ranges.toSorted((a, b) => a.first < b.first ? -1 : a.first > b.first ? 1 : 0);
  const joined: AddressRange[] = [];
  for (const range of sorted) {
    const before = joined.at(-1);
    if (before === undefined || before.last + 1n < range.first) joined.push(range);
    else if (before.last < range.last) {
      joined[joined.length - 1] = { first: before.first, last: range.last };
    }
  }
  return joined;
}
