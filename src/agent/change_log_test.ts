import { assertEquals } from "@std/assert";
import { ChangeLog } from "./change_log.ts";

function createLog(): ChangeLog {
  let second = 0;
  return new ChangeLog(() => new Date(1_000 * second++));
}

Deno.test("ChangeLog keeps the newest changes of an address, which is the same as its host route", () => {
  const log = createLog();
  for (let n = 0; n < 10; n++) log.note({ subject: "2001:db8::1/128", what: `w${n}`, why: "y" });
  const known = log.of("2001:db8::1");
  assertEquals(known.map(({ what }) => what), ["w9", "w8", "w7", "w6", "w5", "w4", "w3", "w2"]);
  assertEquals(known[0]!.at, "1970-01-01T00:00:09.000Z");
  assertEquals(log.of("2001:db8::2"), []);
});

Deno.test("ChangeLog forgets the address whose last change is the oldest", () => {
  const log = createLog();
  const at = (n: number): string => `10.0.${n >> 8}.${n & 255}`;
  for (let n = 0; n < 1_024; n++) log.note({ subject: at(n), what: "w", why: "y" });
  log.note({ subject: at(0), what: "again", why: "y" });
  log.note({ subject: "10.1.0.0", what: "w", why: "y" });
  assertEquals(log.of(at(1)), []);
  assertEquals(log.of(at(0)).map(({ what }) => what), ["again", "w"]);
  assertEquals(log.of("10.1.0.0").length, 1);
});

Deno.test("ChangeLog records what became of shared addresses since it was last told", () => {
  const log = createLog();
  const pod = { pod: "web/a", weight: 1 };
  const address = "2001:db8:ffff::53";
  log.noteAnycast([{ address, legs: [], pods: [pod] }]);
  log.noteAnycast([{ address, legs: [], pods: [pod] }]);
  log.noteAnycast([{ address, legs: [], pods: [{ ...pod, heldBack: "it is not Ready" }] }]);
  assertEquals(log.of(address).map(({ what, why }) => [what, why]), [
    ["web/a stopped serving it", "it is not Ready"],
    ["web/a began to serve it", "it was attached"],
  ]);
});
