import { assertEquals } from "@std/assert";
import { renderFacts, renderTable } from "./table.ts";

const ROWS = [["a", { text: "long cell", tone: "bad" }, ""], ["bbb", "x", "end"]] as const;

Deno.test("renderTable() aligns columns and leaves no space at the end", () => {
  assertEquals(
    renderTable(["ONE", "TWO", "THREE"], ROWS, false),
    "ONE  TWO        THREE\na    long cell\nbbb  x          end\n",
  );
  assertEquals(renderTable(["ONE"], [], false), "ONE\n");
});

Deno.test("renderTable() colours text only, where colours are wanted", () => {
  assertEquals(
    renderTable(["ONE", "TWO", "THREE"], ROWS, true),
    "\x1b[1mONE\x1b[0m  \x1b[1mTWO\x1b[0m        \x1b[1mTHREE\x1b[0m\n" +
      "a    \x1b[31mlong cell\x1b[0m\nbbb  x          end\n",
  );
});

Deno.test("tables show control characters of a value instead of obeying them", () => {
  assertEquals(renderTable(["A"], [["\x1b[2Jx\n"]], false), "A\n�[2Jx�\n");
  assertEquals(renderFacts([["A", "\x9b31m"], ["Long", ""]], false), "A     �31m\nLong\n");
});
