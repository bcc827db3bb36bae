import { assertEquals } from "@std/assert";
import { type LabelSelector, selects } from "./label_selector.ts";

Deno.test("selects() meets every requirement", async (t) => {
  const cases: Readonly<Record<string, readonly [LabelSelector, matching: readonly string[]]>> = {
    "none: everything": [[], ["a", "b", "empty", "none"]],
    "In": [[{ key: "app", operator: "In", values: ["a", "c"] }], ["a"]],
    "In of the empty value": [[{ key: "app", operator: "In", values: [""] }], ["empty"]],
    "NotIn, also without the label": [
      [{ key: "app", operator: "NotIn", values: ["a", "c"] }],
      ["b", "empty", "none"],
    ],
    "NotIn of the empty value": [
      [{ key: "app", operator: "NotIn", values: [""] }],
      ["a", "b", "none"],
    ],
    "Exists": [[{ key: "app", operator: "Exists", values: [] }], ["a", "b", "empty"]],
    "DoesNotExist": [[{ key: "app", operator: "DoesNotExist", values: [] }], ["none"]],
    "several of one key": [
      [
        { key: "app", operator: "Exists", values: [] },
        { key: "app", operator: "NotIn", values: ["a"] },
      ],
      ["b", "empty"],
    ],
    "several keys": [
      [
        { key: "app", operator: "In", values: ["a", "b"] },
        { key: "tier", operator: "In", values: ["x"] },
      ],
      ["b"],
    ],
    "what contradicts itself": [
      [
        { key: "app", operator: "Exists", values: [] },
        { key: "app", operator: "DoesNotExist", values: [] },
      ],
      [],
    ],
    "a name that every object has": [
      [{ key: "constructor", operator: "Exists", values: [] }],
      [],
    ],
  };
  const labelled: Readonly<Record<string, Readonly<Record<string, string>>>> = {
    a: { app: "a" },
    b: { app: "b", tier: "x" },
    empty: { app: "" },
    none: {},
  };
  for (const [name, [selector, matching]] of Object.entries(cases)) {
    await t.step(name, () => {
      const got = Object.keys(labelled).filter((one) => selects(selector, labelled[one]!));
      assertEquals(got, matching);
    });
  }
});
