import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { formatAddress, formatPrefix, parseAddress, parsePrefix, type Prefix } from "./cidr.ts";
import { CniCode, CniError } from "./errors.ts";
import { fnv1a64, isReservedIid } from "./iid.ts";
import { type AllocationRequest, Ipam } from "./ipam.ts";
import { SparseBitmap } from "./sparse_bitmap.ts";

const NONE: readonly Prefix[] = [];

/** Numbers that look random and are the same in each run. */
function seeded(seed = 1): (bits: number) => bigint {
  let n = 0;
  return (bits) =>
    BigInt.asUintN(bits, fnv1a64(`${seed}/${n++}`) << BigInt(Math.max(0, bits - 64)));
}

/** Numbers as given, then an error. */
function scripted(...numbers: bigint[]): (bits: number) => bigint {
  return () => {
    const next = numbers.shift();
    if (next === undefined) throw new Error("asked for more random numbers than expected");
    return next;
  };
}

function request(pools: string[], part: Partial<AllocationRequest> = {}): AllocationRequest {
  const prefixes = pools.map(parsePrefix);
  return { family: prefixes[0]?.family ?? "ipv6", pools: prefixes, reserved: NONE, ...part };
}

function give(ipam: Ipam, asked: AllocationRequest): string {
  return formatAddress(ipam.allocate(asked).address);
}

function assertFull(ipam: Ipam, asked: AllocationRequest): void {
  const error = assertThrows(
    () => ipam.allocate(asked),
    CniError,
    "in use or reserved",
  ) as CniError;
  assertEquals(error.code, CniCode.poolExhausted);
}

Deno.test("allocate() gives IPv4 addresses in turn and lets each rest", () => {
  const ipam = new Ipam(seeded());
  const asked = request(["172.25.214.0/29"]);
  const given = Array.from({ length: 3 }, () => give(ipam, asked));
  assertEquals(given, ["172.25.214.2", "172.25.214.3", "172.25.214.4"]);
  ipam.release(parseAddress("172.25.214.2"));
  ipam.release(parseAddress("172.25.214.3"));
  assertEquals(give(ipam, asked), "172.25.214.5");
  assertEquals(give(ipam, asked), "172.25.214.6");
  assertEquals(give(ipam, asked), "172.25.214.2");
  assertEquals(give(ipam, asked), "172.25.214.3");
  assertFull(ipam, asked);
});

Deno.test("restoreLastGiven() continues where lastGiven() was", () => {
  const before = new Ipam(seeded());
  const asked = request(["172.25.214.0/24"]);
  give(before, asked);
  give(before, asked);
  assertEquals(before.lastGiven(), { "172.25.214.0/24": "172.25.214.3" });
  const after = new Ipam(seeded());
  after.restoreLastGiven({ ...before.lastGiven(), "2001:db8::/64": "2001:db8::1" });
  assertEquals(after.lastGiven(), before.lastGiven());
  assertEquals(give(after, asked), "172.25.214.4");
  const bad: readonly (readonly [string, string])[] = [
    ["172.25.214.0/24", "172.25.215.1"],
    ["2001:db8::/64", "2001:db9::1"],
  ];
  for (const [pool, address] of bad) {
    assertThrows(() => after.restoreLastGiven({ [pool]: address }), RangeError, address);
  }
  assertThrows(() => after.restoreLastGiven({ "172.25.214.0": "x" }), SyntaxError);
});

Deno.test("lastGiven() stays small when annotations name ever new pools", () => {
  const ipam = new Ipam(seeded());
  for (let i = 0n; i < 1100n; i++) {
    const pool: Prefix = { family: "ipv4", value: (172n << 24n) + i * 4n, length: 30 };
    ipam.allocate({ family: "ipv4", pools: [pool], reserved: NONE });
  }
  const kept = Object.keys(ipam.lastGiven());
  assertEquals(kept.length, 1024);
  assertEquals(kept.at(-1), "172.0.17.44/30");
});

Deno.test("allocate() uses the next pool when the first is full, and 100 when all are", () => {
  const ipam = new Ipam(seeded());
  const asked = request(["172.25.214.0/30", "172.25.215.0/30"]);
  assertEquals(give(ipam, asked), "172.25.214.2");
  const second = ipam.allocate(asked);
  assertEquals(formatPrefix(second.pool), "172.25.215.0/30");
  assertFull(ipam, asked);
  ipam.release(second.address);
  assertEquals(give(ipam, asked), "172.25.215.2");
});

Deno.test("allocate() throws when a pool is too small or of the other family", () => {
  const ipam = new Ipam(seeded());
  assertThrows(() => ipam.allocate(request(["172.25.214.0/31"])), RangeError, "smaller than /30");
  assertThrows(() => ipam.allocate(request(["2001:db8::/121"])), RangeError, "smaller than /120");
  assertThrows(
    () => ipam.allocate(request(["2001:db8::/64"], { family: "ipv4" })),
    RangeError,
    `Cannot use pool "2001:db8::/64": it is not IPv4`,
  );
});

Deno.test("allocate() rejects reserved identifiers in a /64", () => {
  const ipam = new Ipam(scripted(0n, 0x02005efffe000001n, 0xfdffffffffffff80n, 5n));
  assertEquals(give(ipam, request(["2001:db8::/64"])), "2001:db8::5");
});

Deno.test("allocate() takes the next free one upward after 16 random collisions", () => {
  const asked = request(["2001:db8::/64"]);
  const ipam = new Ipam(scripted(...Array<bigint>(16).fill(0xfdffffffffffff7fn)));
  ipam.markUsed(parseAddress("2001:db8::fdff:ffff:ffff:ff7f"));
  assertEquals(give(ipam, asked), "2001:db8:0:0:fe00::");
});

Deno.test("allocate() wraps when nothing is free above the last try", () => {
  const ipam = new Ipam(scripted(...Array<bigint>(16).fill(0xffn)));
  assertEquals(give(ipam, request(["2001:db8::/120"])), "2001:db8::1");
});

Deno.test("markUsed() holds are counted so that a shared address stays until all let go", () => {
  const ipam = new Ipam(seeded());
  const address = parseAddress("172.25.214.2");
  const asked = request(["172.25.214.0/30"]);
  for (let i = 0; i < 3; i++) ipam.markUsed(address);
  for (let i = 0; i < 2; i++) {
    ipam.release(address);
    assertEquals(ipam.isUsed(address), true);
    assertFull(ipam, asked);
  }
  ipam.release(address);
  assertEquals(ipam.isUsed(address), false);
  ipam.release(address);
  assertEquals(give(ipam, asked), "172.25.214.2");
});

const IID: AllocationRequest["iid"] = {
  fields: ["namespace", "app"],
  values: { namespace: "foobar", app: "a", containerId: "c" },
};

Deno.test("allocate() gives the readable address, its 16 instances, then a random one", () => {
  const ipam = new Ipam(seeded());
  const asked = request(["2001:db8::/64"], { iid: IID });
  const first = ipam.allocate(asked);
  assertEquals(formatAddress(first.address), "2001:db8::8594:4171:af63:dc40");
  const others = Array.from({ length: 15 }, () => ipam.allocate(asked));
  assertEquals(
    new Set(others.map(({ address }) => address.value - first.address.value)).size,
    15,
  );
  assert(others.every(({ address }) => address.value - first.address.value < 16n));
  assert(others.every(({ warning }) => warning === undefined));
  const random = ipam.allocate(asked);
  assert(random.address.value >> 4n !== first.address.value >> 4n);
  assertEquals(
    random.warning,
    `Cannot use ip-algo "namespace,app" in "2001:db8::/64": all 16 instances are taken; address is random`,
  );
  ipam.release(first.address);
  assertEquals(ipam.allocate(asked).address, first.address);
});

Deno.test("allocate() warns and is random when the host part is not whole nibbles", () => {
  const { address, warning } = new Ipam(scripted(7n))
    .allocate(request(["2001:db8::/66"], { iid: IID }));
  assertEquals(formatAddress(address), "2001:db8::7");
  assert(warning?.includes("host part is not whole nibbles"));
});

Deno.test("allocate() in small pools gives every address once, none reserved, and 100 only when full", () => {
  const pool = fc.constantFrom("172.25.214.0/27", "172.25.214.32/28", "2001:db8::/120");
  const step = fc.oneof(
    { weight: 4, arbitrary: fc.constant(undefined) },
    { weight: 1, arbitrary: fc.nat() },
  );
  fc.assert(
    fc.property(
      pool,
      fc.array(fc.tuple(fc.nat(255), fc.integer({ min: 2, max: 8 })), { maxLength: 4 }),
      fc.array(fc.nat(255), { maxLength: 40 }),
      fc.array(step, { minLength: 20, maxLength: 300 }),
      fc.nat(),
      (text, reservedParts, held, steps, seed) => {
        const prefix = parsePrefix(text);
        const { family } = prefix;
        const bits = family === "ipv6" ? 128 : 32;
        const size = 1n << BigInt(bits - prefix.length);
        const reserved = reservedParts.map(([at, width]): Prefix => {
          const shift = BigInt(width - 2);
          const value = prefix.value + BigInt(at) % size;
          return { family, value: (value >> shift) << shift, length: bits - width + 2 };
        });
        const isReserved = (value: bigint): boolean =>
          reserved.some((one) =>
            value >> BigInt(bits - one.length) === one.value >> BigInt(bits - one.length)
          );
        const givable = new Set<bigint>();
        const lowest = family === "ipv6" ? 1n : 2n;
        for (let i = lowest; i < size - 1n; i++) {
          if (!isReserved(prefix.value + i)) givable.add(prefix.value + i);
        }
        const ipam = new Ipam(seeded(seed));
        const inUse = new Set<bigint>();
        for (const at of held) {
          const value = prefix.value + BigInt(at) % size;
          if (inUse.has(value)) continue;
          ipam.markUsed({ family, value });
          inUse.add(value);
        }
        const asked = { family, pools: [prefix], reserved };
        for (const release of steps) {
          const values = [...inUse];
          const chosen = release === undefined ? undefined : values[release % values.length];
          if (chosen !== undefined) {
            ipam.release({ family, value: chosen });
            inUse.delete(chosen);
          } else if ([...givable].every((value) => inUse.has(value))) {
            assertFull(ipam, asked);
          } else {
            const { value } = ipam.allocate(asked).address;
            assert(givable.has(value) && !inUse.has(value));
            inUse.add(value);
          }
        }
      },
    ),
    { numRuns: 60 },
  );
});

Deno.test("allocate() in large pools stays inside and is never reserved or given twice", () => {
  const part = fc.bigInt({ min: 0n, max: (1n << 64n) - 1n });
  const length = fc.constantFrom(48, 56, 63, 64, 65, 80, 112);
  fc.assert(
    fc.property(length, fc.array(part, { minLength: 1 }), fc.nat(), (length, parts, seed) => {
      const pool: Prefix = { ...parsePrefix("2001:db8::/48"), length };
      const low = BigInt.asUintN(128 - length, 0xfdff_ffff_ffff_ff00n);
      const reserved = [{ family: "ipv6" as const, value: pool.value | low, length: 121 }];
      // Tries that fall into the reserved ranges as often as elsewhere.
      const queue = parts.flatMap((value) => [value, low + value % 0x100n, value % 4n]);
      const random = seeded(seed);
      const ipam = new Ipam((bits) => BigInt.asUintN(bits, queue.shift() ?? random(bits)));
      const given = new Set<bigint>();
      for (let i = 0; i < parts.length * 2; i++) {
        const { value } = ipam.allocate({ family: "ipv6", pools: [pool], reserved }).address;
        assertEquals(value >> BigInt(128 - length), pool.value >> BigInt(128 - length));
        assertEquals(given.has(value), false);
        assert(value >> 7n !== (pool.value | low) >> 7n);
        if (length <= 64) assertEquals(isReservedIid(BigInt.asUintN(64, value)), false);
        else {assert(
            value !== pool.value &&
              value + 1n >> BigInt(128 - length) === value >> BigInt(128 - length),
          );}
        given.add(value);
      }
    }),
  );
});

/** Reads of words that one allocation, or one refusal, takes. */
function readsOf(asked: AllocationRequest, used: Iterable<bigint>): number {
  let reads = 0;
  class CountingMap extends Map<bigint, number> {
    override get(key: bigint): number | undefined {
      reads++;
      return super.get(key);
    }
  }
  const ipam = new Ipam(
    () => 2n,
    (bits) => new SparseBitmap(bits, () => new CountingMap()),
  );
  const { family } = asked;
  for (const value of used) ipam.markUsed({ family, value });
  reads = 0;
  try {
    ipam.allocate(asked);
  } catch (error) {
    assert(error instanceof CniError);
  }
  return reads;
}

function* range(first: bigint, count: number): Iterable<bigint> {
  for (let i = 0n; i < count; i++) yield first + i;
}

Deno.test("allocate() takes no more steps when a pool is larger or fuller", () => {
  const pool4 = parsePrefix("172.25.0.0/16");
  const asked4 = request(["172.25.0.0/16"]);
  const pool6 = parsePrefix("2001:db8::/64");
  const asked6 = request(["2001:db8::/64"]);
  const table: readonly (readonly [string, number, number])[] = [
    ["IPv4", readsOf(asked4, range(pool4.value, 100)), readsOf(asked4, range(pool4.value, 60_000))],
    ["IPv6", readsOf(asked6, range(pool6.value, 100)), readsOf(asked6, range(pool6.value, 60_000))],
    [
      "full",
      readsOf(request(["172.25.0.0/27"]), range(pool4.value, 32)),
      readsOf(asked4, range(pool4.value, 65_536)),
    ],
    [
      "reserved jumped over",
      readsOf({ ...asked4, reserved: [parsePrefix("172.25.0.0/28")] }, []),
      readsOf({ ...asked4, reserved: [parsePrefix("172.25.0.0/17")] }, []),
    ],
  ];
  for (const [name, few, many] of table) {
    assert(few > 0 && many <= 2 * few + 20, `${name}: ${few} reads grew to ${many}`);
  }
});
