import { assertEquals } from "@std/assert";
import { type AnnounceAllowed, announceRefusal } from "./announce_guard.ts";
import { parseAddress, parsePrefix } from "./cidr.ts";

/** A guard of `cidr: namespaces` entries. */
function guard(...entries: readonly [string, ...string[]][]): AnnounceAllowed {
  return entries.map(([cidr, ...namespaces]) => ({ prefix: parsePrefix(cidr), namespaces }));
}

function refusal(allowed: AnnounceAllowed, address: string, namespace: string): string | undefined {
  return announceRefusal(allowed, parseAddress(address), namespace);
}

Deno.test("announceRefusal() refuses nothing without a guard, and everything with an empty one", () => {
  for (const address of ["2001:db8:ffff::53", "203.0.113.200"]) {
    assertEquals(refusal(undefined, address, "default"), undefined);
    assertEquals(
      refusal([], address, "default"),
      "outside what may be announced (spec.announce.allowed)",
    );
  }
});

Deno.test("announceRefusal() takes a namespace that a pattern fits from end to end", () => {
  const cases: Readonly<Record<string, readonly [fits: string[], not: string[]]>> = {
    "edge-*": [["edge-", "edge-dns", "edge-a-b"], ["edge", "my-edge-dns", "Edge-dns", ""]],
    "*": [["default", "edge-dns", ""], []],
    "*-dns": [["edge-dns", "-dns"], ["edge-dns-2", "dns"]],
    "a*b*c": [["abc", "axxbyyc"], ["acb", "abcd"]],
    infra: [["infra"], ["infra2", "my-infra", "infr"]],
    // A dot is no wildcard.
    "a.c": [["a.c"], ["abc"]],
  };
  for (const [glob, [fits, not]] of Object.entries(cases)) {
    for (
      const [cidr, address] of [["2001:db8:ffff::/48", "2001:db8:ffff::53"], [
        "203.0.113.192/26",
        "203.0.113.200",
      ]] as const
    ) {
      const allowed = guard([cidr, glob]);
      for (const namespace of fits) {
        assertEquals(refusal(allowed, address, namespace), undefined, `${glob} ${namespace}`);
      }
      for (const namespace of not) {
        assertEquals(
          refusal(allowed, address, namespace),
          `not allowed in namespace "${namespace}" (spec.announce.allowed)`,
        );
      }
    }
  }
});

Deno.test("announceRefusal() wants one entry with the address and the namespace", () => {
  const allowed = guard(
    ["2001:db8:ffff::/48", "edge-*", "infra"],
    ["2001:db8:ffff:1::/64", "shop"],
    ["203.0.113.192/26", "shop"],
  );
  const cases: readonly [string, string, boolean][] = [
    ["2001:db8:ffff::53", "infra", true],
    ["2001:db8:ffff:1::53", "infra", true],
    ["2001:db8:ffff:1::53", "shop", true],
    ["2001:db8:ffff:2::53", "shop", false],
    ["203.0.113.255", "shop", true],
    ["203.0.113.255", "infra", false],
    ["203.0.113.191", "shop", false],
    ["2001:db9::1", "infra", false],
  ];
  for (const [address, namespace, taken] of cases) {
    assertEquals(
      refusal(allowed, address, namespace) === undefined,
      taken,
      `${address} ${namespace}`,
    );
  }
  // An entry without namespaces is nobody's.
  assertEquals(
    refusal(guard(["203.0.113.192/26"]), "203.0.113.200", "shop"),
    'not allowed in namespace "shop" (spec.announce.allowed)',
  );
});
