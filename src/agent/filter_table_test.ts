import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { FakeNft, refused } from "../../tests/fakes/fake_nft.ts";
import { POLICY_CHANGE } from "../../tests/policy_states.ts";
import { inputOf } from "../../tests/policy_steps.ts";
import { NFT_TABLE } from "../core/config.ts";
import { isListing, type NftTable, renderDifference, renderTable } from "../core/nftables.ts";
import { PeerSets } from "../core/peer_sets.ts";
import { PolicyCompiler } from "../core/policy_ruleset.ts";
import { CommandError } from "../io/command.ts";
import type { Nft } from "../io/nft.ts";
import { configureLog } from "../log.ts";
import { FilterTable } from "./filter_table.ts";

const [BEFORE, AFTER] = tables();
const WHOLE = renderTable(NFT_TABLE, BEFORE);
const CHANGE = renderDifference(NFT_TABLE, BEFORE, AFTER);

function tables(): readonly [NftTable, NftTable] {
  const [compiler, peers] = [new PolicyCompiler(), new PeerSets()];
  const [before, after] = POLICY_CHANGE.map((moment) =>
    compiler.compile(inputOf(moment, peers)).table
  );
  return [before!, after!];
}

/** Level and message of what is logged from now on. */
function logged(): readonly string[] {
  const lines: string[] = [];
  configureLog({
    level: "info",
    format: "json",
    write: (line) => {
      const { level, msg } = JSON.parse(line);
      lines.push(`${level} ${msg}`);
    },
  });
  return lines;
}

Deno.test("FilterTable writes a table whole once, and then what is different", async () => {
  const lines = logged();
  const nft = new FakeNft();
  const filter = new FilterTable(nft);
  assertEquals(await filter.apply(BEFORE), true);
  assertEquals(await filter.apply(structuredClone(BEFORE)), false);
  assertEquals(await filter.apply(AFTER), true);
  assertEquals(nft.scripts, [WHOLE, CHANGE]);
  assertEquals(await filter.verify(), false);
  assertEquals([filter.restored, nft.scripts.length], [0, 2]);
  assertEquals(lines, ["info Wrote packet filter table"]);
});

Deno.test("FilterTable leaves alone what an agent before it wrote, and no other table", async () => {
  const nft = new FakeNft();
  await new FilterTable(nft).apply(BEFORE);
  const lines = logged();
  assertEquals(await new FilterTable(nft).apply(BEFORE), false);
  assertEquals(nft.scripts.length, 1);
  // What it should be now is another one.
  assertEquals(await new FilterTable(nft).apply(AFTER), true);
  assertEquals(nft.scripts[1], renderTable(NFT_TABLE, AFTER));
  assertEquals(lines, [
    "info Found packet filter table in force",
    "info Wrote packet filter table",
  ]);
});

Deno.test("FilterTable writes its table again when somebody deleted or changed it", async () => {
  const nft = new FakeNft();
  const filter = new FilterTable(nft);
  assertEquals(await filter.verify(), false, "there is nothing to compare with yet");
  await filter.apply(BEFORE);
  const lines = logged();
  nft.deleteTable();
  assertEquals(await filter.verify(), true);
  assertEquals(await filter.verify(), false);
  nft.change("flush chain inet flock ingress");
  assertEquals(await filter.verify(), true);
  assertEquals(nft.scripts, [WHOLE, WHOLE, WHOLE]);
  assertEquals(filter.restored, 2);
  const line = "warn Restored packet filter table that somebody else changed";
  assertEquals(lines, [line, line]);
});

Deno.test("FilterTable writes the whole when a change meets what is not its table any more", async () => {
  const nft = new FakeNft();
  const filter = new FilterTable(nft);
  await filter.apply(BEFORE);
  nft.deleteTable();
  assertEquals(await filter.apply(AFTER), true);
  assertEquals(nft.scripts.slice(1), [CHANGE, renderTable(NFT_TABLE, AFTER)]);
  assertEquals([filter.restored, await filter.verify()], [1, false]);
});

Deno.test("FilterTable: a change that is refused leaves what was, and the next one begins with a look", async () => {
  const nft = new FakeNft();
  const filter = new FilterTable(nft);
  await filter.apply(BEFORE);
  const list = (): Promise<string | undefined> => Promise.resolve(listing);
  const listing = await nft.list();
  const run = (): Promise<void> => Promise.reject(refused("Error: Out of memory"));
  const broken = Object.assign(Object.create(nft), { run, list }) as Nft;
  const failing = new FilterTable(broken);
  assertEquals(await failing.apply(BEFORE), false);
  const error = await assertRejects(() => failing.apply(AFTER), CommandError);
  assertStringIncludes(error.message, "Out of memory");
  assertEquals(failing.restored, 0, "nobody else changed it");
  // It works again.
  broken.run = (script) => nft.run(script);
  assertEquals(await failing.apply(BEFORE), false, "it is the one still");
  assertEquals(await failing.apply(AFTER), true);
  assertEquals(nft.scripts, [WHOLE, CHANGE]);
});

Deno.test("FilterTable asks nothing more of an nft that was killed", async () => {
  const nft = new FakeNft();
  const filter = new FilterTable(nft);
  await filter.apply(BEFORE);
  const { lists } = nft;
  nft.failure = new CommandError("nft -f -", 137, "SIGKILL", "", "", 30_000);
  assertEquals(await assertRejects(() => filter.apply(AFTER)), nft.failure);
  assertEquals(nft.lists, lists);
  nft.failure = undefined;
  // Nobody knows how far it came.
  assertEquals(await filter.apply(AFTER), true);
  assertEquals(nft.scripts.at(-1), renderTable(NFT_TABLE, AFTER));
});

Deno.test("FilterTable: where nft prints another form, it writes once and then compares what was printed", async () => {
  const nft = new FakeNft();
  const list = nft.list.bind(nft);
  nft.list = async () => (await list())?.replaceAll("accept", "ACCEPT");
  const filter = new FilterTable(nft);
  await filter.apply(BEFORE);
  const lines = logged();
  assertEquals(await filter.verify(), true);
  assertEquals(
    lines.at(-1),
    "warn Found nft to print the table in a form of its own",
  );
  assertEquals(await filter.verify(), false);
  await filter.apply(AFTER);
  assertEquals(
    await filter.verify(),
    false,
    "what is printed after a change of ours is taken for it",
  );
  nft.change("flush chain inet flock ingress");
  assertEquals(await filter.verify(), true);
  assertEquals(await filter.verify(), false);
  assertEquals(filter.restored, 2);
});

Deno.test("FilterTable: who changes the table while it is written again does not get away with it", async () => {
  const nft = new FakeNft();
  const filter = new FilterTable(nft);
  await filter.apply(BEFORE);
  await filter.verify();
  const harm = "flush chain inet flock ingress";
  nft.change(harm);
  const run = nft.run.bind(nft);
  nft.run = async (script) => {
    await run(script);
    nft.run = run;
    nft.change(harm);
  };
  assertEquals(await filter.verify(), true);
  assertEquals(isListing((await nft.list())!, BEFORE), true);
  assertEquals(await filter.verify(), false);
});
