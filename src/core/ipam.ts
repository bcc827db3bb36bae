/**
 * Address management of one node: which addresses are in use, and which one is next. Decides on values
 * only; what is in use is told by the caller, who keeps it on disk.
 *
 * The time of an allocation depends on neither the size of a pool nor the number of addresses in use;
 * ranges that are reserved inside a pool are jumped over, one step each.
 *
 * @module
 */
import { AddressRanges } from "./address_ranges.ts";
import {
  type Address,
  contains,
  type Family,
  FAMILY_NAMES,
  formatAddress,
  formatPrefix,
  parseAddress,
  parsePrefix,
  type Prefix,
} from "./cidr.ts";
import { CniCode, CniError } from "./errors.ts";
import { type IidField, type IidValues, lastReservedIid, layoutIid } from "./iid.ts";
import { hostBitsOf, poolProblem, usableRange } from "./pools.ts";
import { SparseBitmap } from "./sparse_bitmap.ts";

/** What is asked for. */
export interface AllocationRequest {
  readonly family: Family;
  /** Tried in this order; the next when one is full. */
  readonly pools: readonly Prefix[];
  /** Never given. Pass the same array as long as it holds the same: it is sorted once. */
  readonly reserved: readonly Prefix[];
  /** A readable identifier, tried before a random one (IPv6 only). */
  readonly iid?: { readonly fields: readonly IidField[]; readonly values: IidValues };
}

/** What is given. */
export interface Allocation {
  readonly address: Address;
  readonly pool: Prefix;
  /** Why the address is random although an identifier was asked for. */
  readonly warning?: string;
}

const RANDOM_TRIES = 16;
const IID_INSTANCES = 16;
/** Pools whose last address is remembered: annotations can name any number of them. */
const MAX_REMEMBERED_POOLS = 1024;

/** The addresses of one node that are in use. */
export class Ipam {
  readonly #random: (bits: number) => bigint;
  readonly #inUse: Readonly<Record<Family, SparseBitmap>>;
  /** Holds beyond the first: several pods of a node may share an anycast address. */
  readonly #further: Readonly<Record<Family, Map<bigint, number>>>;
  readonly #lastGiven = new Map<string, bigint>();
  readonly #reserved = new WeakMap<readonly Prefix[], AddressRanges>();

  /**
   * @param random a number from 0 to 2^bits - 1
   * @param newBitmap makes the set of a family's addresses
   */
  constructor(
    random: (bits: number) => bigint,
    newBitmap: (bits: number) => SparseBitmap = (bits) => new SparseBitmap(bits),
  ) {
    this.#random = random;
    this.#inUse = { ipv6: newBitmap(128), ipv4: newBitmap(32) };
    this.#further = { ipv6: new Map(), ipv4: new Map() };
  }

  /** Holds an address. It may be held several times; each hold is released on its own. */
  markUsed({ family, value }: Address): void {
    if (!this.#inUse[family].has(value)) this.#inUse[family].add(value);
    else this.#further[family].set(value, (this.#further[family].get(value) ?? 0) + 1);
  }

  /** Gives up one hold on an address; nothing happens when there is none. */
  release({ family, value }: Address): void {
    const further = this.#further[family].get(value);
    if (further === undefined) this.#inUse[family].delete(value);
    else if (further > 1) this.#further[family].set(value, further - 1);
    else this.#further[family].delete(value);
  }

  /** True when an address is held. */
  isUsed({ family, value }: Address): boolean {
    return this.#inUse[family].has(value);
  }

  /**
   * Chooses an address and holds it.
   *
   * @throws {CniError} `poolExhausted` when every address of every pool is in use or reserved
   * @throws {RangeError} when a pool is of the other family or too small
   */
  allocate(request: AllocationRequest): Allocation {
    const { family, pools } = request;
    for (const pool of pools) {
      const problem = poolProblem(pool, family);
      if (problem !== undefined) {
        throw new RangeError(`Cannot use pool "${formatPrefix(pool)}": ${problem}`);
      }
      const { value, warning } = this.#choose(pool, request);
      if (value === undefined) continue;
      this.markUsed({ family, value });
      if (family === "ipv4") this.#remember(formatPrefix(pool), value);
      return { address: { family, value }, pool, warning };
    }
    throw new CniError(
      CniCode.poolExhausted,
      `Cannot allocate ${FAMILY_NAMES[family]} address from ` +
        `"${pools.map(formatPrefix).join(", ")}": every address is in use or reserved`,
    );
  }

  /** The last IPv4 address given of each pool, as text; the next search begins behind it. */
  lastGiven(): Readonly<Record<string, string>> {
    return Object.fromEntries(
      Array.from(
        this.#lastGiven,
        ([pool, value]) => [pool, formatAddress({ family: "ipv4", value })],
      ),
    );
  }

  /**
   * Takes back what {@linkcode lastGiven} said before a restart. IPv6 pools may be among them and are
   * passed over: there the next address does not depend on the last.
   *
   * @throws {SyntaxError} when a key is no prefix or a value no address
   * @throws {RangeError} when an address is outside its prefix
   */
  restoreLastGiven(lastGiven: Readonly<Record<string, string>>): void {
    for (const [poolText, addressText] of Object.entries(lastGiven)) {
      const pool = parsePrefix(poolText);
      const address = parseAddress(addressText);
      if (!contains(pool, address)) {
        throw new RangeError(
          `Cannot restore last address "${addressText}": it is outside ${poolText}`,
        );
      }
      if (pool.family === "ipv4") this.#remember(formatPrefix(pool), address.value);
    }
  }

  #choose(pool: Prefix, request: AllocationRequest): { value?: bigint; warning?: string } {
    const blockedUntil = this.#blockedUntil(pool, request.reserved);
    const { first, last } = usableRange(pool);
    const isFree = (value: bigint): boolean =>
      first <= value && value <= last && !this.#inUse[pool.family].has(value) &&
      blockedUntil(value) === undefined;
    const nextFree = (from: bigint): bigint | undefined =>
      this.#search(pool.family, from, last, blockedUntil) ??
        this.#search(pool.family, first, from - 1n, blockedUntil);

    if (pool.family === "ipv4") {
      const before = this.#lastGiven.get(formatPrefix(pool));
      return { value: nextFree(before === undefined || before < first ? first : before + 1n) };
    }
    const readable = request.iid && this.#readable(pool, request.iid, isFree);
    if (readable?.value !== undefined) return readable;
    let candidate = pool.value;
    for (let i = 0; i < RANDOM_TRIES; i++) {
      candidate = pool.value | this.#random(hostBitsOf(pool));
      if (isFree(candidate)) return { value: candidate, warning: readable?.warning };
    }
    return { value: nextFree(candidate), warning: readable?.warning };
  }

  /** The readable address with N = 0, else with another N at random; else a warning. */
  #readable(
    pool: Prefix,
    iid: NonNullable<AllocationRequest["iid"]>,
    isFree: (value: bigint) => boolean,
  ): { value?: bigint; warning?: string } {
    const cannot = `Cannot use ip-algo "${iid.fields.join(",")}" in "${formatPrefix(pool)}"`;
    const layout = layoutIid(iid.fields, iid.values, hostBitsOf(pool));
    if (layout === undefined) {
      return {
        warning: `${cannot}: host part is not whole nibbles or too short; address is random`,
      };
    }
    const instances = Array.from({ length: IID_INSTANCES }, (_, n) => n);
    for (let next = 0; instances.length > 0;) {
      const [n = 0] = instances.splice(next, 1);
      const value = pool.value | layout.base | BigInt(n);
      if (isFree(value)) return { value };
      if (instances.length > 0) next = Number(this.#random(16) % BigInt(instances.length));
    }
    return { warning: `${cannot}: all ${IID_INSTANCES} instances are taken; address is random` };
  }

  /** The lowest free value from `from` to `last`. */
  #search(
    family: Family,
    from: bigint,
    last: bigint,
    blockedUntil: (value: bigint) => bigint | undefined,
  ): bigint | undefined {
    for (let at = from; at <= last;) {
      const free = this.#inUse[family].nextMissing(at, last);
      if (free === undefined) return undefined;
      const blocked = blockedUntil(free);
      if (blocked === undefined) return free;
      at = blocked + 1n;
    }
    return undefined;
  }

  /** For a pool: the end of the reserved range that holds a value, undefined when none does. */
  #blockedUntil(
    pool: Prefix,
    reserved: readonly Prefix[],
  ): (value: bigint) => bigint | undefined {
    let ranges = this.#reserved.get(reserved);
    if (ranges === undefined) this.#reserved.set(reserved, ranges = new AddressRanges(reserved));
    const hasIid = pool.family === "ipv6" && pool.length <= 64;
    return (value) => {
      const last = ranges.lastOf({ family: pool.family, value });
      if (last !== undefined || !hasIid) return last;
      const iid = BigInt.asUintN(64, value);
      const lastIid = lastReservedIid(iid);
      return lastIid === undefined ? undefined : value - iid + lastIid;
    };
  }

  #remember(pool: string, value: bigint): void {
    this.#lastGiven.delete(pool);
    this.#lastGiven.set(pool, value);
    for (const oldest of this.#lastGiven.keys()) {
      if (this.#lastGiven.size <= MAX_REMEMBERED_POOLS) break;
      this.#lastGiven.delete(oldest);
    }
  }
}
