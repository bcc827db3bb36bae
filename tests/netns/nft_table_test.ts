/**
 * Tables of policies in a kernel: `nft` takes each difference, prints what it was given, and tells of
 * what somebody else does to it.
 *
 * @module
 */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { FilterTable } from "../../src/agent/filter_table.ts";
import { NFT_TABLE } from "../../src/core/config.ts";
import {
  EMPTY_TABLE,
  isListing,
  type NftTable,
  renderDifference,
  renderTable,
} from "../../src/core/nftables.ts";
import { PeerSets } from "../../src/core/peer_sets.ts";
import { PolicyCompiler } from "../../src/core/policy_ruleset.ts";
import { CommandError } from "../../src/io/command.ts";
import { createNft, type Nft } from "../../src/io/nft.ts";
import { until } from "../../src/lab/wait.ts";
import { inputOf, type PolicyMoment, PolicySteps } from "../policy_steps.ts";
import { seededRandom, seedOfRun } from "../seed.ts";
import { testWith } from "../support.ts";
import { Namespace } from "./namespace.ts";

const STEPS = 60;

function compileAnew(moment: PolicyMoment): NftTable {
  return new PolicyCompiler().compile(inputOf(moment, new PeerSets())).table;
}

/** What the kernel has, in an order of its own: a table that was changed has another one. */
function sortedListing(listing: string | undefined): readonly string[] {
  return (listing ?? "").split(/^(?=\t\S)/m).map((block) =>
    block.split(/,\s+|(?<=elements = \{) | \}$/m).sort().join("\n")
  ).sort();
}

testWith("netns: differences of policies, one after the other, are as the whole table", [
  "root",
], async () => {
  const seed = seedOfRun();
  const steps = new PolicySteps(seededRandom(seed));
  await using changed = await Namespace.create();
  await using whole = await Namespace.create();
  const nft = createNft(changed.command);
  const nftOfWhole = createNft(whole.command);
  const [compiler, peers] = [new PolicyCompiler(), new PeerSets()];
  let before = EMPTY_TABLE;
  await nft.run(renderTable(NFT_TABLE, before));
  let changes = 0;
  for (let n = 0; n < STEPS; n++) {
    const moment = steps.step();
    const { table } = compiler.compile(inputOf(moment, peers));
    const script = renderDifference(NFT_TABLE, before, table);
    const at = `step ${n} of seed ${seed}`;
    try {
      if (script !== "") await nft.run(script);
    } catch (error) {
      throw new Error(`Cannot take ${at}: nft refused\n${script}`, { cause: error });
    }
    const listing = await nft.list();
    assert(isListing(listing ?? "", table), `${at}:\n${listing}\n${renderTable(NFT_TABLE, table)}`);
    await nftOfWhole.run(renderTable(NFT_TABLE, compileAnew(moment)));
    assertEquals(sortedListing(listing), sortedListing(await nftOfWhole.list()), at);
    assertEquals(renderDifference(NFT_TABLE, table, compileAnew(moment)), "", at);
    if (script !== "") changes++;
    before = table;
  }
  assert(changes > STEPS / 2, `${changes} changes`);
  assert(before.chains.size > 4 || changes > 0);
});
