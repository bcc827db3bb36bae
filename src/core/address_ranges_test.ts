import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { AddressRanges } from "./address_ranges.ts";
import { contains, parseAddress, parsePrefix, prefixOf } from "./cidr.ts";

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
