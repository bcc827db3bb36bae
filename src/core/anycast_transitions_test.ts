import { assertEquals } from "@std/assert";
import { type AnycastAddress, HELD_BACK } from "./anycast.ts";
import { anycastTransitions, type Transition } from "./anycast_transitions.ts";

/** One address with a pod; `undefined`: served. */
function one(heldBack?: string, pod = "default/web"): AnycastAddress {
  return { address: "2001:db8:ffff::1", legs: [], pods: [{ pod, weight: 1, heldBack }] };
}

Deno.test("anycastTransitions() names what changed for a pod, and nothing else", () => {
  const served = one();
  const cases: readonly (readonly [AnycastAddress[], AnycastAddress[], Transition[]])[] = [
    [[], [], []],
    [[], [served], ["ready_to_announced"]],
    [[one(HELD_BACK.unready)], [served], ["ready_to_announced"]],
    [[served], [served], []],
    [[served], [one(HELD_BACK.unready)], ["unready_to_withdrawn"]],
    [[served], [one(HELD_BACK.terminating)], ["terminating_to_withdrawn"]],
    [[served], [one(HELD_BACK.leaving)], ["detached_to_withdrawn"]],
    [[served], [one(HELD_BACK.gone)], ["detached_to_withdrawn"]],
    [[served], [], ["detached_to_withdrawn"]],
    [[served], [one(HELD_BACK.drained)], ["other_to_withdrawn"]],
    [[served], [one("its link is gone")], ["other_to_withdrawn"]],
    [[one(HELD_BACK.unready)], [one(HELD_BACK.terminating)], []],
    [[one(HELD_BACK.unready)], [], []],
  ];
  for (const [before, after, expected] of cases) {
    assertEquals(anycastTransitions(before, after), expected, JSON.stringify([before, after]));
  }
});

Deno.test("anycastTransitions() tells pods of one address apart", () => {
  const both = { ...one(), pods: [...one().pods, ...one(undefined, "default/api").pods] };
  const left = { ...one(), pods: one(undefined, "default/api").pods };
  assertEquals(anycastTransitions([both], [left]), ["detached_to_withdrawn"]);
  assertEquals(anycastTransitions([left], [both]), ["ready_to_announced"]);
});

Deno.test("anycastTransitions() takes a pod that is there twice for the one that serves", () => {
  const twice = { ...one(), pods: [...one().pods, ...one(HELD_BACK.pending).pods] };
  assertEquals(anycastTransitions([one()], [twice]), []);
  assertEquals(anycastTransitions([twice], [one()]), []);
});
