/**
 * Pools: which prefixes a pod's address may come from, and which addresses of a prefix may be given.
 *
 * @module
 */
import { AddressRanges } from "./address_ranges.ts";
import {
  type Address,
  bitsOf,
  contains,
  type Family,
  FAMILY_NAMES,
  formatPrefix,
  type Prefix,
  sizeOf,
} from "./cidr.ts";
import { CniCode, CniError } from "./errors.ts";

/** The longest prefix that may be a pool: a /120 holds 254 pods, a /30 one. */
export const MAX_POOL_LENGTH: Readonly<Record<Family, number>> = { ipv6: 120, ipv4: 30 };

/** Why a prefix cannot be a pool of the family; undefined when it can. */
export function poolProblem(prefix: Prefix, family: Family): string | undefined {
  if (prefix.family !== family) return `it is not ${FAMILY_NAMES[family]}`;
  if (prefix.length > MAX_POOL_LENGTH[family]) {
    return `it is smaller than /${MAX_POOL_LENGTH[family]}`;
  }
  return undefined;
}

/**
 * The first and last address of a pool that may be given. IPv4 leaves out network, network + 1 and
 * broadcast; IPv6 prefixes longer than /64 leave out the lowest (subnet-router anycast, RFC 4291) and
 * the highest. What a /64 leaves out is inside it: `lastReservedIid`.
 */
export function usableRange(pool: Prefix): { readonly first: bigint; readonly last: bigint } {
  const last = pool.value + sizeOf(pool) - 1n;
  if (pool.family === "ipv4") return { first: pool.value + 2n, last: last - 1n };
  return pool.length > 64
    ? { first: pool.value + 1n, last: last - 1n }
    : { first: pool.value, last };
}

/** How many addresses of a pool may be given. */
export function poolSize(pool: Prefix): bigint {
  const { first, last } = usableRange(pool);
  return last - first + 1n;
}

/**
 * How many addresses of a node's prefixes of a family could still be given.
 *
 * @param reserved prefixes of which no pod gets an address
 * @param given addresses that pods have
 */
export function freeAddresses(
  pools: readonly Prefix[],
  { reserved, given }: {
    readonly reserved: readonly Prefix[];
    readonly given: readonly Address[];
  },
): bigint {
  const ranges = new AddressRanges(reserved);
  let free = 0n;
  for (const pool of pools) {
    const { first, last } = usableRange(pool);
    const taken = given.filter((address) =>
      contains(pool, address) && ranges.lastOf(address) === undefined
    );
    free += last - first + 1n - ranges.countWithin(pool.family, first, last) - BigInt(taken.length);
  }
  return free > 0n ? free : 0n;
}

/** Number of bits below the prefix. */
export function hostBitsOf(pool: Prefix): number {
  return bitsOf(pool.family) - pool.length;
}

/**
 * The pools of a pod, in the order they are tried.
 *
 * @param nodePrefixes the node's prefixes of the family
 * @param wanted what an annotation narrows them to: one that is equal to a node prefix or contains it
 *   stands for the node prefix, one inside stands for itself, a disjoint one for nothing
 * @throws {CniError} `invalidConfig` when the node has no prefix, `annotationInvalid` when a wanted one
 *   cannot be a pool or none fits
 */
export function narrowPools(
  nodePrefixes: readonly Prefix[],
  wanted: readonly Prefix[] | undefined,
  family: Family,
): readonly Prefix[] {
  if (nodePrefixes.length === 0) {
    throw new CniError(
      CniCode.invalidConfig,
      `Cannot allocate ${FAMILY_NAMES[family]} address: node has no prefix of that family`,
    );
  }
  if (wanted === undefined) return nodePrefixes;
  const pools = new Map<string, Prefix>();
  for (const one of wanted) {
    const problem = poolProblem(one, family);
    if (problem !== undefined) throw refused(formatPrefix(one), problem);
    for (const nodePrefix of nodePrefixes) {
      const pool = contains(one, nodePrefix)
        ? nodePrefix
        : contains(nodePrefix, one)
        ? one
        : undefined;
      if (pool !== undefined) pools.set(formatPrefix(pool), pool);
    }
  }
  if (pools.size === 0) {
    throw refused(
      wanted.map(formatPrefix).join(", "),
      `it is outside the node's ${nodePrefixes.map(formatPrefix).join(", ")}`,
    );
  }
  return [...pools.values()];
}

function refused(pool: string, problem: string): CniError {
  return new CniError(CniCode.annotationInvalid, `Cannot use pool "${pool}": ${problem}`);
}
