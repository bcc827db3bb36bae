import { assertEquals } from "@std/assert";
import { withoutRoom } from "./policy_room.ts";

function need(own: number, shared: Readonly<Record<string, number>> = {}) {
  return { own, shared: new Map(Object.entries(shared)) };
}

Deno.test("withoutRoom() refuses the largest, and counts once what is shared", () => {
  const needs = new Map([
    ["large", need(10, { everybody: 60, some: 40 })],
    ["small", need(5, { some: 40 })],
    ["middle", need(5, { some: 40, others: 10 })],
  ]);
  // 45 for the small one, 15 more for the middle one, 70 more for the large one.
  assertEquals(withoutRoom(needs, 130), new Map());
  assertEquals(withoutRoom(needs, 129), new Map([["large", 110]]));
  assertEquals(withoutRoom(needs, 59), new Map([["middle", 55], ["large", 110]]));
  assertEquals(withoutRoom(needs, 0).size, 3);
  assertEquals(withoutRoom(new Map(), 0).size, 0);
});

Deno.test("withoutRoom() takes what fits after one that does not", () => {
  const needs = new Map([
    ["a", need(0, { x: 50 })],
    ["b", need(1, { y: 50 })],
    ["c", need(2, { x: 50 })],
  ]);
  assertEquals(withoutRoom(needs, 60), new Map([["b", 51]]));
});
