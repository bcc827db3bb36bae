import { assertEquals } from "@std/assert";
import type { AnycastAddress, AnycastPod } from "./anycast.ts";
import { anycastChanges } from "./anycast_changes.ts";

const ANY = "2001:db8:ffff::53";
const of = (...pods: AnycastPod[]): readonly AnycastAddress[] => [{ address: ANY, legs: [], pods }];
const A: AnycastPod = { pod: "web/a", weight: 1 };
const NOT_READY: AnycastPod = { ...A, heldBack: "it is not Ready" };

Deno.test("anycastChanges() says which pod began or stopped to serve an address, and why", () => {
  const cases: readonly (readonly [
    before: readonly AnycastAddress[],
    after: readonly AnycastAddress[],
    ...changes: (readonly [what: string, why: string])[],
  ])[] = [
    [[], of(A), ["web/a began to serve it", "it was attached"]],
    [[], of(NOT_READY), ["web/a does not serve it", "it is not Ready"]],
    [of(NOT_READY), of(A), ["web/a began to serve it", "no longer true: it is not Ready"]],
    [of(A), of(NOT_READY), ["web/a stopped serving it", "it is not Ready"]],
    [
      of(NOT_READY),
      of({ ...A, heldBack: "it is being deleted" }),
      ["web/a does not serve it", "it is being deleted"],
    ],
    [of(A), of({ ...A, weight: 5 }), ["web/a serves it with weight 5", "its weight was 1"]],
    [of(A), [], ["web/a no longer has it", "it was detached"]],
    [
      of(A, { pod: "web/b", weight: 1 }),
      of({ pod: "web/b", weight: 1 }),
      ["web/a no longer has it", "it was detached"],
    ],
    [of(A), of(A)],
    // The sandbox of a pod is made anew: it is there twice.
    [of(A, NOT_READY), of(A, NOT_READY)],
  ];
  for (const [before, after, ...changes] of cases) {
    assertEquals(
      anycastChanges(before, after),
      changes.map(([what, why]) => ({ subject: ANY, what, why })),
    );
  }
});
