import { assertEquals, assertThrows } from "@std/assert";
import { formatAddress, formatPrefix, parseAddress, parsePrefix } from "./cidr.ts";
import { CniCode, CniError } from "./errors.ts";
import { freeAddresses, narrowPools, poolProblem, usableRange } from "./pools.ts";

const NODE = ["2001:db8:f001::/64", "2001:db8:f002::/64"].map(parsePrefix);

function narrow(...wanted: string[]): string[] {
  return narrowPools(NODE, wanted.map(parsePrefix), "ipv6").map(formatPrefix);
}

function codeOf(run: () => unknown): number {
  return (assertThrows(run, CniError) as CniError).code;
}

Deno.test("narrowPools() is the node's prefixes when nothing is wanted", () => {
  assertEquals(narrowPools(NODE, undefined, "ipv6"), NODE);
});

Deno.test("narrowPools() chooses by how wanted and node prefixes lie to each other", () => {
  assertEquals(narrow("2001:db8:f001::/64"), ["2001:db8:f001::/64"]);
  assertEquals(narrow("2001:db8::/32"), ["2001:db8:f001::/64", "2001:db8:f002::/64"]);
  assertEquals(narrow("2001:db8:f002:0:1::/80"), ["2001:db8:f002:0:1::/80"]);
  assertEquals(
    narrow("2001:db8:beef::/64", "2001:db8:f002:0:1::/80", "::/0"),
    ["2001:db8:f002:0:1::/80", "2001:db8:f001::/64", "2001:db8:f002::/64"],
  );
  assertEquals(narrow("2001:db8:f001::/64", "2001:db8:f001::/60"), ["2001:db8:f001::/64"]);
});

Deno.test("narrowPools() throws when nothing fits, a pool is wrong or the node has none", () => {
  const error = assertThrows(() => narrow("2001:db8:beef::/64"), CniError) as CniError;
  assertEquals(error.code, CniCode.annotationInvalid);
  assertEquals(
    error.message,
    `Cannot use pool "2001:db8:beef::/64": it is outside the node's 2001:db8:f001::/64, 2001:db8:f002::/64`,
  );
  assertEquals(codeOf(() => narrow("172.25.0.0/24")), CniCode.annotationInvalid);
  assertEquals(codeOf(() => narrow("2001:db8:f001::/121")), CniCode.annotationInvalid);
  assertEquals(codeOf(() => narrow()), CniCode.annotationInvalid);
  assertEquals(codeOf(() => narrowPools([], undefined, "ipv4")), CniCode.invalidConfig);
});

Deno.test("poolProblem() names family and least size when they are wrong", () => {
  assertEquals(poolProblem(parsePrefix("172.25.0.0/30"), "ipv4"), undefined);
  assertEquals(poolProblem(parsePrefix("172.25.0.0/31"), "ipv4"), "it is smaller than /30");
  assertEquals(poolProblem(parsePrefix("2001:db8::/120"), "ipv6"), undefined);
  assertEquals(poolProblem(parsePrefix("2001:db8::/121"), "ipv6"), "it is smaller than /120");
  assertEquals(poolProblem(parsePrefix("2001:db8::/64"), "ipv4"), "it is not IPv4");
});

Deno.test("usableRange() leaves out the ends when hosts may not have them", () => {
  const table = [
    ["172.25.214.0/24", "172.25.214.2", "172.25.214.254"],
    ["172.25.214.4/30", "172.25.214.6", "172.25.214.6"],
    ["2001:db8::/120", "2001:db8::1", "2001:db8::fe"],
    ["2001:db8::/64", "2001:db8::", "2001:db8::ffff:ffff:ffff:ffff"],
  ] as const;
  for (const [text, first, last] of table) {
    const pool = parsePrefix(text);
    const range = usableRange(pool);
    assertEquals(formatAddress({ family: pool.family, value: range.first }), first);
    assertEquals(formatAddress({ family: pool.family, value: range.last }), last);
  }
});

Deno.test("freeAddresses() counts what could still be given", () => {
  const pools = ["10.0.0.0/29", "10.0.1.0/30"].map(parsePrefix);
  const free = (reserved: readonly string[], given: readonly string[]): bigint =>
    freeAddresses(pools, {
      reserved: reserved.map(parsePrefix),
      given: given.map(parseAddress),
    });
  // .2 to .6 of the one, .2 of the other.
  assertEquals(free([], []), 6n);
  assertEquals(free([], ["10.0.0.2", "10.0.1.2", "10.9.0.1"]), 4n);
  assertEquals(free(["10.0.0.4/31"], ["10.0.0.2"]), 3n);
  // What is neither given nor counted: the network's own addresses, and what is reserved twice.
  assertEquals(free(["10.0.0.0/31", "10.0.0.4/32", "10.0.0.4/31"], ["10.0.0.4"]), 4n);
  assertEquals(free(["10.0.0.0/16"], []), 0n);
  assertEquals(freeAddresses([], { reserved: [], given: [] }), 0n);
});

Deno.test("freeAddresses() counts a /64 exactly", () => {
  const given = [parseAddress("2001:db8::5")];
  const pools = [parsePrefix("2001:db8::/64")];
  assertEquals(freeAddresses(pools, { reserved: [], given }), 2n ** 64n - 1n);
});
