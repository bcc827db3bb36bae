import { assertEquals } from "@std/assert";
import { Trouble } from "./trouble.ts";

Deno.test("Trouble lasts from its first failure to its end, with the last reason", () => {
  const trouble = new Trouble();
  assertEquals(trouble.reason(0), undefined);
  trouble.note("first", 100);
  trouble.note("last", 150);
  assertEquals([trouble.reason(150), trouble.reason(199, 100)], ["last", undefined]);
  assertEquals(trouble.reason(200, 100), "last");
  trouble.end();
  assertEquals(trouble.reason(1_000), undefined);
  trouble.note("again", 1_000);
  assertEquals([trouble.reason(1_050, 100), trouble.reason(1_100, 100)], [undefined, "again"]);
});
