import { assertEquals } from "@std/assert";
import type { Explanation, Fact } from "../core/inspection.ts";
import { viewExplanation } from "./explain_view.ts";

const fact = (name: Fact["fact"], state: Fact["state"], text: string, first = false): Fact => ({
  fact: name,
  state,
  text,
  data: {},
  ...(first ? { firstBroken: true as const } : {}),
});

Deno.test("viewExplanation() marks the first broken fact of each address", () => {
  const explanation: Explanation = {
    kind: "Explanation",
    node: "n1",
    target: "web/a",
    ok: false,
    items: [
      {
        address: "2001:db8:ffff::53",
        role: "anycast",
        ok: false,
        broken: "birdRoute",
        facts: [
          fact("pod", "ok", "web/a is Ready"),
          fact("birdRoute", "broken", "Cannot reach BIRD\x1b[2J", true),
          fact("filter", "unknown", "BIRD was not asked"),
        ],
      },
      { address: "10.244.1.2", role: "pod", ok: true, facts: [fact("pod", "ok", "is Ready")] },
    ],
  };
  assertEquals(
    viewExplanation(explanation, false),
    [
      "2001:db8:ffff::53 on n1: anycast address, broken at: BIRD's route",
      "       FACT           WHAT IS KNOWN",
      "    ✓  pod            web/a is Ready",
      "->  ✗  BIRD's route   Cannot reach BIRD�[2J",
      "    ?  export filter  BIRD was not asked",
      "",
      "10.244.1.2 on n1: pod's own address, every fact is ok",
      "     FACT  WHAT IS KNOWN",
      "  ✓  pod   is Ready",
      "",
    ].join("\n"),
  );
});

Deno.test("viewExplanation() shows a pod without an address", () => {
  const item = { role: "pod", ok: false, broken: "pod", facts: [fact("pod", "broken", "x", true)] };
  const explanation = {
    kind: "Explanation",
    node: "n1",
    target: "web/a",
    ok: false,
    items: [item],
  };
  assertEquals(
    viewExplanation(explanation as Explanation, false).split("\n")[0],
    "web/a on n1: no address, broken at: pod",
  );
});
