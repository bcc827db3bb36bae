import { assertEquals, assertThrows } from "@std/assert";
import { countsByLink, parseCounterSet } from "./policy_counters.ts";

/** What nft 1.0.6 prints of a set. */
function listing(set: Readonly<Record<string, unknown>>): string {
  const metainfo = { version: "1.0.6", json_schema_version: 1 };
  return JSON.stringify({ nftables: [{ metainfo }, { set: { family: "inet", ...set } }] });
}

Deno.test("parseCounterSet() reads each link's counter", () => {
  const elem = [
    { elem: { val: "flock00000001", counter: { packets: 3, bytes: 252 } } },
    { elem: { val: "flock00000002", counter: { packets: 0, bytes: 0 } } },
    "flock00000003",
  ];
  const counters = parseCounterSet("spoofed", listing({ name: "spoofed", elem }));
  assertEquals(counters, [
    { set: "spoofed", hostIfname: "flock00000001", packets: 3, bytes: 252 },
    { set: "spoofed", hostIfname: "flock00000002", packets: 0, bytes: 0 },
    { set: "spoofed", hostIfname: "flock00000003", packets: 0, bytes: 0 },
  ]);
  assertEquals(parseCounterSet("spoofed", listing({ name: "spoofed" })), []);
});

Deno.test("parseCounterSet() refuses what is no such set", () => {
  for (const text of ["", "{}", "null", listing({ name: "other" })]) {
    assertThrows(() => parseCounterSet("spoofed", text), SyntaxError, 'Cannot read set "spoofed"');
  }
});

Deno.test("countsByLink() has zero for what was not counted", () => {
  const counts = countsByLink([
    { set: "dropped-ingress", hostIfname: "flock1", packets: 2, bytes: 120 },
  ])("flock1");
  assertEquals(counts["dropped-ingress"], { packets: 2, bytes: 120 });
  assertEquals(counts["audited-egress"], { packets: 0, bytes: 0 });
});
