import { assertEquals, assertRejects } from "@std/assert";
import { CniCode, CniError } from "../core/errors.ts";
import type { ClusterEvent } from "../core/objects.ts";
import { withPodEvents } from "./pod_events.ts";
import type { Operation } from "./server.ts";

const signal = new AbortController().signal;
const ARGS = "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web;K8S_POD_UID=u1";

async function eventsOf(error: Error | undefined, args = ARGS): Promise<readonly ClusterEvent[]> {
  const events: ClusterEvent[] = [];
  const add: Operation = () => error === undefined ? Promise.resolve("ok") : Promise.reject(error);
  const operations = withPodEvents({ ADD: add, DEL: add }, {
    recordEvent: (event) => events.push(event),
  });
  const request = { version: 1, op: "ADD", args } as const;
  const run = async (): Promise<unknown> => await operations.ADD!(request, signal);
  if (error === undefined) assertEquals(await run(), "ok");
  else assertEquals(await assertRejects(run), error);
  await operations.DEL!(request, signal).catch(() => {});
  return events;
}

Deno.test("withPodEvents() tells whose ADD was refused and why", async () => {
  const error = new CniError(CniCode.addressRefused, 'Cannot bind address "10.0.0.1": it is taken');
  assertEquals(await eventsOf(error), [{
    object: { kind: "Pod", namespace: "default", name: "web", uid: "u1" },
    type: "Warning",
    reason: "AddressRefused",
    message: 'Cannot bind address "10.0.0.1": it is taken',
  }]);
  for (
    const [code, reason] of [
      [CniCode.poolExhausted, "AddressPoolExhausted"],
      [CniCode.annotationInvalid, "AnnotationRefused"],
      [CniCode.familyDisabled, "AnnotationRefused"],
      [CniCode.policyNotInForce, "PolicyNotInForce"],
    ] as const
  ) {
    const [event] = await eventsOf(new CniError(code, "no", { details: "because" }));
    assertEquals([event?.reason, event?.message], [reason, "no: because"]);
  }
});

Deno.test("withPodEvents() says nothing of what is not the pod's or the operator's to mend", async () => {
  assertEquals(await eventsOf(undefined), []);
  assertEquals(await eventsOf(new CniError(CniCode.tryAgainLater, "later")), []);
  assertEquals(await eventsOf(new Error("broken")), []);
  assertEquals(await eventsOf(new CniError(CniCode.poolExhausted, "full"), ""), [], "of no pod");
});
