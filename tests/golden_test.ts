/**
 * Golden files: the texts that flock renders, in the syntax of the tool that reads them. Compared byte
 * by byte, and given to the tool itself where it is installed. `GOLDEN_UPDATE=1` writes them anew
 * instead of comparing; a diff of them is reviewed like code.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { renderBirdConfig, renderMinimalBirdConfig } from "../src/core/bird_config.ts";
import { CommandError, runCommand } from "../src/io/command.ts";
import { BIRD_STATES } from "./bird_states.ts";
import { testWith } from "./support.ts";

const DIR = `${import.meta.dirname}/golden`;
const UPDATE = Deno.env.get("GOLDEN_UPDATE") === "1";

const birdTexts: readonly (readonly [string, string])[] = [
  ...Object.entries(BIRD_STATES).map(([name, input]) => [name, renderBirdConfig(input)] as const),
  ["minimal", renderMinimalBirdConfig("198.51.100.11")],
];

Deno.test("golden: BIRD configurations are what they were", async (t) => {
  for (const [name, text] of birdTexts) {
    const path = `${DIR}/bird/${name}.conf`;
    await t.step(name, async () => {
      if (UPDATE) await Deno.writeTextFile(path, text);
      assertEquals(text, await Deno.readTextFile(path), `${path} (GOLDEN_UPDATE=1 writes it anew)`);
    });
  }
  await t.step("no file is left over", () => {
    const files = [...Deno.readDirSync(`${DIR}/bird`)].map((entry) => entry.name)
      .filter((name) => !name.endsWith(".refused.conf")).sort();
    assertEquals(files, birdTexts.map(([name]) => `${name}.conf`).sort());
  });
});

testWith(
  "golden: bird accepts each configuration and refuses the refused ones",
  ["bird"],
  async (t) => {
    const files = [...Deno.readDirSync(`${DIR}/bird`)].map((entry) => entry.name).sort();
    assert(files.some((name) => name.endsWith(".refused.conf")), "there is no refused file");
    for (const name of files) {
      await t.step(name, async () => {
        const said = await birdCheck(`${DIR}/bird/${name}`);
        if (!name.endsWith(".refused.conf")) assertEquals(said, undefined);
        else assert(said?.includes(name), `bird accepted it: ${said}`);
      });
    }
  },
);

/** What `bird -p` has against a file; undefined when it accepts it. */
async function birdCheck(path: string): Promise<string | undefined> {
  try {
    await runCommand("bird", ["-p", "-c", path]);
    return undefined;
  } catch (error) {
    if (error instanceof CommandError && error.exitCode === 1) return error.stderr;
    throw error;
  }
}
