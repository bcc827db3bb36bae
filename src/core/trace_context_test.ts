import { assertEquals } from "@std/assert";
import { parseTraceparent } from "./trace_context.ts";

const TRACE = "0af7651916cd43dd8448eb211c80319c";
const SPAN = "b7ad6b7169203331";

Deno.test("parseTraceparent() reads the caller's place in a trace", () => {
  const text = `00-${TRACE}-${SPAN}-01`;
  assertEquals(parseTraceparent(text), { text, traceId: TRACE, spanId: SPAN, flags: 1 });
  assertEquals(parseTraceparent(`00-${TRACE}-${SPAN}-00`)?.flags, 0);
});

Deno.test("parseTraceparent() takes what it knows of a version to come", () => {
  const expected = `00-${TRACE}-${SPAN}-03`;
  assertEquals(parseTraceparent(`01-${TRACE}-${SPAN}-03`)?.text, expected);
  assertEquals(parseTraceparent(`cc-${TRACE}-${SPAN}-03-what-the-future-brings`)?.text, expected);
});

Deno.test("parseTraceparent() ignores what is malformed", () => {
  const malformed: readonly unknown[] = [
    undefined,
    7,
    "",
    "00-a-b-01",
    `00-${TRACE}-${SPAN}`,
    `00-${TRACE}-${SPAN}-1`,
    `00-${TRACE}-${SPAN}-01-more`,
    `ff-${TRACE}-${SPAN}-01`,
    `00-${"0".repeat(32)}-${SPAN}-01`,
    `00-${TRACE}-${"0".repeat(16)}-01`,
    `00-${TRACE.toUpperCase()}-${SPAN}-01`,
    ` 00-${TRACE}-${SPAN}-01`,
    `00-${TRACE}-${SPAN}-01\n`,
    `01-${TRACE}-${SPAN}-01.more`,
  ];
  for (const text of malformed) assertEquals(parseTraceparent(text), undefined, String(text));
});
