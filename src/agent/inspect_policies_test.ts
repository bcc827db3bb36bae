import { assertEquals, assertRejects } from "@std/assert";
import { networkPolicy, parseWorld } from "../../tests/policy_objects.ts";
import { CniError } from "../core/errors.ts";
import type { PolicyExplanation, PolicyList } from "../core/policy_inspection.ts";
import type { PolicyState } from "../core/policy_view.ts";
import { policyOperations, type PolicySources } from "./inspect_policies.ts";
import { createHandler } from "./server.ts";

const STATE: PolicyState = {
  world: parseWorld({
    namespaces: [],
    pods: [],
    policies: [networkPolicy("web", "a", { podSelector: {} })],
  }),
  selections: [{ hostIfname: "flock1", namespace: "web", podName: "p", mode: "enforce" }],
  inForce: true,
  error: undefined,
};

function ask<T>(
  op: string,
  args: string | undefined,
  change: Partial<PolicySources> = {},
): Promise<T> {
  const nft = { counters: () => Promise.resolve([]) };
  const handler = createHandler(
    policyOperations({ nodeName: "n1", policies: STATE, nft, ...change }),
  );
  return handler({ version: 1, op, args }, new AbortController().signal) as Promise<T>;
}

Deno.test("policies are told also when counters cannot be read", async () => {
  const { items, countersError } = await ask<PolicyList>("policies", undefined);
  assertEquals([items.length, countersError], [1, undefined]);
  const nft = { counters: () => Promise.reject(new Deno.errors.NotFound("Cannot find nft")) };
  const without = await ask<PolicyList>("policies", undefined, { nft });
  assertEquals([without.items.length, without.countersError], [1, "Cannot find nft"]);
});

Deno.test("policies explain refuses what it cannot understand, and waits for nothing", async () => {
  const answer = await ask<PolicyExplanation>("policies explain", "10.0.0.1 10.0.0.2 80");
  assertEquals([answer.passes, answer.items.length], [true, 1]);
  const wrong = await assertRejects(() => ask("policies explain", "10.0.0.1"), CniError);
  assertEquals([wrong.code, wrong.message.slice(0, 25)], [4, 'Cannot explain "10.0.0.1"']);
  const policies = { ...STATE, world: undefined };
  const early = await assertRejects(
    () => ask("policies explain", "10.0.0.1 10.0.0.2 80", { policies }),
    CniError,
  );
  assertEquals([early.code, early.message], [
    11,
    "Cannot explain policies: the cluster's policies and pods are not known yet",
  ]);
});
