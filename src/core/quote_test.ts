import { assertEquals } from "@std/assert";
import { quote } from "./quote.ts";

Deno.test("quote() shows a value on one line and cuts it when it is long", () => {
  assertEquals(quote("a"), '"a"');
  assertEquals(quote('}\n\0"'), '"}\\n\\u0000\\""');
  assertEquals(quote("x".repeat(80)), `"${"x".repeat(80)}"`);
  assertEquals(quote("x".repeat(1 << 20)), `"${"x".repeat(80)}…"`);
  assertEquals(quote({ asn: 1 }), '{"asn":1}');
  assertEquals(quote(Array(1000).fill(1)).length, 81);
  assertEquals(quote(undefined), "undefined");
});
