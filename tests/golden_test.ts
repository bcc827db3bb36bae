/**
 * Golden files: the texts that flock renders, in the syntax of the tool that reads them. Compared byte
 * by byte, and given to the tool itself where it is installed. `GOLDEN_UPDATE=1` writes them anew
 * instead of comparing; a diff of them is reviewed like code.
 *
 * @module
 */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { renderBirdConfig, renderMinimalBirdConfig } from "../src/core/bird_config.ts";
import { NFT_TABLE } from "../src/core/config.ts";
import { type NftTable, renderDifference, renderTable } from "../src/core/nftables.ts";
import { PeerSets } from "../src/core/peer_sets.ts";
import { PolicyCompiler } from "../src/core/policy_ruleset.ts";
import { CommandError, runCommand } from "../src/io/command.ts";
import { BIRD_STATES } from "./bird_states.ts";
import { Namespace } from "./netns/namespace.ts";
import { POLICY_CHANGE, POLICY_STATES } from "./policy_states.ts";
import { inputOf, type PolicyMoment } from "./policy_steps.ts";
import { testWith } from "./support.ts";

const DIR = `${import.meta.dirname}/golden`;
const UPDATE = Deno.env.get("GOLDEN_UPDATE") === "1";

const birdTexts: readonly (readonly [string, string])[] = [
  ...Object.entries(BIRD_STATES).map(([name, input]) => [name, renderBirdConfig(input)] as const),
  ["minimal", renderMinimalBirdConfig("198.51.100.11")],
];

/** Texts of `nft`, by name. */
const nftTexts: readonly (readonly [string, string])[] = [
  ...Object.entries(POLICY_STATES).map(([name, moment]) =>
    [name, renderTable(NFT_TABLE, tableOf(moment))] as const
  ),
  ["change", changeText()],
];

Deno.test("golden: BIRD configurations are what they were", async (t) => {
  await compareAll(t, "bird", ".conf", birdTexts);
});

Deno.test("golden: tables of policies are what they were", async (t) => {
  await compareAll(t, "nft", ".nft", nftTexts);
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

testWith(
  "golden: nft accepts each table and refuses the refused ones",
  ["root", "nft"],
  async (t) => {
    await using ns = await Namespace.create();
    const nftCheck = (text: string): Promise<unknown> =>
      ns.command("nft", ["-c", "-f", "-"], { stdin: text });
    const files = [...Deno.readDirSync(`${DIR}/nft`)].map((entry) => entry.name).sort();
    assert(files.some((name) => name.endsWith(".refused.nft")), "there is no refused file");
    // What a change begins with.
    const shop = await Deno.readTextFile(`${DIR}/nft/shop.nft`);
    for (const name of files) {
      await t.step(name, async () => {
        const own = await Deno.readTextFile(`${DIR}/nft/${name}`);
        const text = own.startsWith("add table") ? own : `${shop}${own}`;
        if (!name.endsWith(".refused.nft")) await nftCheck(text);
        else await assertRejects(() => nftCheck(text), CommandError, "/dev/stdin");
      });
    }
  },
);

/** Compares texts with the files of a directory, or writes them. */
async function compareAll(
  t: Deno.TestContext,
  dir: string,
  extension: string,
  texts: readonly (readonly [string, string])[],
): Promise<void> {
  for (const [name, text] of texts) {
    const path = `${DIR}/${dir}/${name}${extension}`;
    await t.step(name, async () => {
      if (UPDATE) await Deno.writeTextFile(path, text);
      assertEquals(text, await Deno.readTextFile(path), `${path} (GOLDEN_UPDATE=1 writes it anew)`);
    });
  }
  await t.step("no file is left over", () => {
    const files = [...Deno.readDirSync(`${DIR}/${dir}`)].map((entry) => entry.name)
      .filter((name) => !name.endsWith(`.refused${extension}`)).sort();
    assertEquals(files, texts.map(([name]) => `${name}${extension}`).sort());
  });
}

function tableOf(moment: PolicyMoment): NftTable {
  return new PolicyCompiler().compile(inputOf(moment, new PeerSets())).table;
}

function changeText(): string {
  const [compiler, peers] = [new PolicyCompiler(), new PeerSets()];
  const [before, after] = POLICY_CHANGE.map((moment) =>
    compiler.compile(inputOf(moment, peers)).table
  );
  return renderDifference(NFT_TABLE, before!, after!);
}

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
