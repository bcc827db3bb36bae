import { assertEquals } from "@std/assert";
import { attachment } from "../../tests/attachments.ts";
import type { Refusal } from "../core/anycast.ts";
import type { ClusterEvent } from "../core/objects.ts";
import { configureLog } from "../log.ts";
import { RefusalReport } from "./refusals.ts";

const ADDRESS = "2001:db8:ffff::53";
const WHY = "is outside what may be announced (spec.announce.allowed)";

function refusal(n: number, change: Partial<Refusal> = {}): Refusal {
  return { attachment: attachment(n), address: ADDRESS, why: WHY, ...change };
}

Deno.test("update() tells of a refusal once for as long as it lasts, in the log and by an event", () => {
  const logged: unknown[] = [];
  configureLog({
    level: "info",
    format: "json",
    write: (line) => {
      const { level, msg, pod, address, reason } = JSON.parse(line);
      logged.push([level, msg, pod, address, reason]);
    },
  });
  const events: ClusterEvent[] = [];
  const report = new RefusalReport({ recordEvent: (event) => void events.push(event) });
  const take = (): readonly number[] => [logged.splice(0).length, events.splice(0).length];
  report.update([]);
  report.update([refusal(1)]);
  assertEquals(logged, [
    ["warn", "Withdrew address that is not allowed any more", "default/p1", ADDRESS, WHY],
  ]);
  assertEquals(events, [{
    object: { kind: "Pod", namespace: "default", name: "p1", uid: "u1" },
    type: "Warning",
    reason: "AddressWithdrawn",
    message: `Address ${ADDRESS} is not announced any more: it ${WHY}`,
  }]);
  take();
  report.update([refusal(1)]);
  assertEquals(take(), [0, 0]);
  report.update([refusal(1), refusal(2), refusal(1, { address: "203.0.113.200" })]);
  assertEquals(take(), [2, 2]);
  // Another reason is news, and so is another pod of the same name.
  const other = refusal(1, { attachment: attachment(1, { podUid: "u9" }) });
  report.update([refusal(1, { why: "is reserved (2001:db8:ffff::/64)" }), other]);
  assertEquals(take(), [2, 2]);
  report.update([]);
  assertEquals(take(), [0, 0]);
  report.update([refusal(1)]);
  assertEquals(take(), [1, 1]);
});

Deno.test("update() logs where there is nobody to send events to", () => {
  let lines = 0;
  configureLog({ level: "info", format: "json", write: () => void lines++ });
  new RefusalReport(undefined).update([refusal(1)]);
  assertEquals(lines, 1);
});
