import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { AddressRanges, rangesOfBlocks } from "./address_ranges.ts";
import { contains, formatAddress, parseAddress, parsePrefix, prefixOf } from "./cidr.ts";

Deno.test("AddressRanges joins prefixes when they overlap or adjoin", () => {
  const ranges = new AddressRanges(
    ["198.51.100.64/26", "198.51.100.0/26", "198.51.100.8/29", "2001:db8::/64"].map(parsePrefix),
  );
  assertEquals(
    ranges.lastOf(parseAddress("198.51.100.1")),
    parseAddress("198.51.100.127").value,
  );
  assertEquals(ranges.lastOf(parseAddress("198.51.100.128")), undefined);
  assertEquals(ranges.lastOf(parseAddress("198.51.99.255")), undefined);
  assertEquals(
    ranges.lastOf(parseAddress("2001:db8::1")),
    parseAddress("2001:db8::ffff:ffff:ffff:ffff").value,
  );
});

Deno.test("AddressRanges holds an address exactly when one of its prefixes does", () => {
  const base = parseAddress("172.25.214.0").value;
  const address = fc.integer({ min: 0, max: 255 })
    .map((low) => ({ family: "ipv4" as const, value: base + BigInt(low) }));
  const prefix = fc.tuple(address, fc.integer({ min: 25, max: 32 }))
    .map(([of, length]) => prefixOf(of, length));
  fc.assert(fc.property(fc.array(prefix), address, (prefixes, asked) => {
    const last = new AddressRanges(prefixes).lastOf(asked);
    const held = prefixes.some((one) => contains(one, asked));
    assertEquals(last !== undefined, held);
    if (last !== undefined) {
      const next = { family: "ipv4" as const, value: last + 1n };
      assertEquals(prefixes.some((one) => contains(one, next)), false);
    }
  }));
});

Deno.test("rangesOfBlocks() takes parts out of blocks, and joins what is left", () => {
  const ranges = (...blocks: readonly (readonly string[])[]): readonly string[] =>
    rangesOfBlocks(
      blocks.map(([cidr = "", ...except]) => ({
        cidr: parsePrefix(cidr),
        except: except.map(parsePrefix),
      })),
      "ipv4",
    ).map(({ first, last }) => [first, last].map(asIpv4).join("-"));
  assertEquals(ranges(), []);
  assertEquals(ranges(["2001:db8::/32"]), []);
  assertEquals(ranges(["10.0.0.0/8"]), ["10.0.0.0-10.255.255.255"]);
  assertEquals(ranges(["10.0.0.0/8", "10.0.0.0/8"]), []);
  assertEquals(ranges(["10.0.0.0/8", "0.0.0.0/0"]), []);
  assertEquals(ranges(["10.0.0.0/8", "11.0.0.0/8"]), ["10.0.0.0-10.255.255.255"]);
  assertEquals(ranges(["0.0.0.0/0", "0.0.0.0/8", "255.0.0.0/8"]), ["1.0.0.0-254.255.255.255"]);
  assertEquals(ranges(["10.0.0.0/24", "10.0.0.0/32", "10.0.0.255/32"]), ["10.0.0.1-10.0.0.254"]);
  // What one block leaves out, another one may hold.
  assertEquals(ranges(["10.0.0.0/24", "10.0.0.0/25"], ["10.0.0.64/26"]), ["10.0.0.64-10.0.0.255"]);
});

Deno.test("property: rangesOfBlocks() holds what a block does and none of its exceptions", () => {
  for (
    const [family, base] of [["ipv4", "255.255.255.192"], ["ipv6", "2001:db8::1:ffc0"]] as const
  ) {
    const { value: start } = parseAddress(base);
    const bits = family === "ipv4" ? 32 : 128;
    const prefix = fc.tuple(fc.nat(63), fc.nat(6)).map(([low, host]) =>
      prefixOf({ family, value: start + BigInt(low) }, bits - host)
    );
    const blocks = fc.array(
      fc.record({ cidr: prefix, except: fc.array(prefix, { maxLength: 4 }) }),
      { maxLength: 4 },
    );
    fc.assert(fc.property(blocks, (blocks) => {
      const ranges = rangesOfBlocks(blocks, family);
      for (let low = 0n; low < 64n; low++) {
        const asked = { family, value: start + low };
        const held = blocks.some(({ cidr, except }) =>
          contains(cidr, asked) && !except.some((part) => contains(part, asked))
        );
        const found = ranges.filter(({ first, last }) =>
          first <= asked.value && asked.value <= last
        );
        assertEquals(found.length, held ? 1 : 0);
      }
      for (const [n, { first, last }] of ranges.entries()) {
        assert(start <= first && first <= last && last < start + 64n);
        const before = ranges[n - 1];
        assert(before === undefined || before.last + 1n < first, "sorted, and nothing adjoins");
      }
    }));
  }
});

function asIpv4(value: bigint): string {
  return formatAddress({ family: "ipv4", value });
}
