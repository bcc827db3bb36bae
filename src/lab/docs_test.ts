/**
 * The page on routers shows what the lab's routers run.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { type Design, planLab } from "./plan.ts";
import { renderBirdRouter } from "./router_bird.ts";
import { renderFrrRouter } from "./router_frr.ts";

const page = await Deno.readTextFile(new URL("../../docs/routers.md", import.meta.url));

for (const [name, render] of [["bird", renderBirdRouter], ["frr", renderFrrRouter]] as const) {
  const rendered = (design: Design): string[] => linesOf(render(planLab({ design })));

  Deno.test(`docs: ${name}'s configuration of design b is what is tested`, () => {
    assertEquals(block(name), rendered("b"));
  });

  Deno.test(`docs: what design c needs of ${name} is in design c, and in no other`, () => {
    for (const line of block(`${name}-c`)) {
      assert(rendered("c").includes(line), line);
      assert(!rendered("b").includes(line) && !rendered("a").includes(line), line);
    }
  });
}

Deno.test("docs: design a differs from design b in the nodes' AS numbers only", () => {
  const bird = (design: Design): string => renderBirdRouter(planLab({ design }));
  assertEquals(bird("a"), bird("b").replaceAll("as 65002", "as 65001"));
  assertEquals(renderFrrRouter(planLab({ design: "a" })), renderFrrRouter(planLab({})));
});

/** The lines of a marked code block. */
function block(name: string): string[] {
  const pattern = new RegExp(`<!-- ${name}(?:: [^>]*)? -->\\s*\`\`\`text\\n([^]*?)\`\`\``);
  const lines = linesOf(pattern.exec(page)?.[1] ?? "");
  assert(lines.length > 0, `docs/routers.md has no block "${name}"`);
  return lines;
}

function linesOf(text: string): string[] {
  return text.split("\n").map((line) => line.trim()).filter((line) => line !== "");
}
