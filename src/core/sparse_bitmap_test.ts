import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { SparseBitmap } from "./sparse_bitmap.ts";

/** A map that counts how often a word is read. */
class CountingMap extends Map<bigint, number> {
  static reads = 0;
  override get(key: bigint): number | undefined {
    CountingMap.reads++;
    return super.get(key);
  }
}

function readsOf(search: () => void): number {
  CountingMap.reads = 0;
  search();
  return CountingMap.reads;
}

function bitmapOf(bits: number, count: number): SparseBitmap {
  const bitmap = new SparseBitmap(bits, () => new CountingMap());
  for (let i = 0n; i < count; i++) bitmap.add(i);
  return bitmap;
}

Deno.test("SparseBitmap agrees with a plain set after any additions, deletions and searches", () => {
  const value = fc.integer({ min: 0, max: 2047 });
  const step = fc.oneof(
    fc.record({ do: fc.constant("add" as const), from: value, count: fc.nat(1200) }),
    fc.record({ do: fc.constant("delete" as const), from: value, count: fc.nat(70) }),
  );
  fc.assert(fc.property(
    fc.array(step, { maxLength: 12 }),
    fc.array(fc.tuple(value, value), { minLength: 8, maxLength: 8 }),
    fc.constantFrom(0n, (1n << 100n) - 512n, (1n << 128n) - 2048n),
    (steps, searches, offset) => {
      const bitmap = new SparseBitmap(128);
      const set = new Set<bigint>();
      for (const { do: name, from, count } of steps) {
        for (let i = from; i < Math.min(from + count, 2048); i++) {
          bitmap[name](offset + BigInt(i));
          set[name](offset + BigInt(i));
        }
      }
      for (const [from, last] of searches) {
        let expected: bigint | undefined;
        for (let i = from; i <= last && expected === undefined; i++) {
          if (!set.has(offset + BigInt(i))) expected = offset + BigInt(i);
        }
        assertEquals(bitmap.has(offset + BigInt(from)), set.has(offset + BigInt(from)));
        assertEquals(bitmap.nextMissing(offset + BigInt(from), offset + BigInt(last)), expected);
      }
    },
  ));
});

Deno.test("SparseBitmap finds nothing when every number is in the set", () => {
  const bitmap = bitmapOf(16, 65_536);
  assertEquals(bitmap.nextMissing(0n, 65_535n), undefined);
  assertEquals(bitmap.nextMissing(40_000n, 65_535n), undefined);
  bitmap.delete(12_345n);
  assertEquals(bitmap.nextMissing(0n, 65_535n), 12_345n);
  assertEquals(bitmap.nextMissing(12_346n, 65_535n), undefined);
});

Deno.test("nextMissing() reads no more than two words per level when the set is large", () => {
  for (const count of [100, 1_000, 60_000]) {
    const bitmap = bitmapOf(128, count);
    const reads = readsOf(() =>
      assertEquals(bitmap.nextMissing(0n, (1n << 64n) - 1n), BigInt(count))
    );
    assert(reads > 0 && reads <= 2 * 26, `${reads} reads with ${count} in use`);
    const inVain = readsOf(() => bitmap.nextMissing(0n, BigInt(count - 1)));
    assert(inVain > 0 && inVain <= 2 * 26, `${inVain} reads in a full range of ${count}`);
  }
});
