/**
 * Tables of policies in a kernel: `nft` takes each difference, prints what it was given, and tells of
 * what somebody else does to it.
 *
 * @module
 */
import { assert, assertEquals, assertNotEquals, assertRejects } from "@std/assert";
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
import { createNft } from "../../src/io/nft.ts";
import { until } from "../../src/lab/wait.ts";
import { POLICY_CHANGE, POLICY_STATES } from "../policy_states.ts";
import { inputOf, type PolicyMoment, PolicySteps } from "../policy_steps.ts";
import { seededRandom, seedOfRun } from "../seed.ts";
import { testWith } from "../support.ts";
import { Namespace } from "./namespace.ts";

/** So many differences; steps that change nothing come besides. */
const CHANGES = 40;

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
  "nft",
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
  for (let n = 0; changes < CHANGES; n++) {
    const moment = steps.step();
    const { table } = compiler.compile(inputOf(moment, peers));
    const script = renderDifference(NFT_TABLE, before, table);
    const at = `step ${n} of seed ${seed}`;
    assert(n < 20 * CHANGES, `${at}: ${changes} changes`);
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
});

/** What others do to a table of the state `shop`. */
const FOREIGN: Readonly<Record<string, string>> = {
  "the table is deleted": "delete table inet flock",
  "every rule is gone": "flush table inet flock",
  "every rule of a chain is gone": "flush chain inet flock ingress",
  "a rule is added": "add rule inet flock drop-ingress accept",
  "a rule is put before the others": "insert rule inet flock ingress accept",
  "an element is deleted": 'delete element inet flock sources4 { "flock00000001" . 10.244.1.2 }',
  "every element of a set is gone": "flush set inet flock spoofed",
  "an element is added": "add element inet flock pods4-51958e82 { 10.244.9.9 }",
  "a range is added": "add element inet flock blocks4-2ad7a6a8 { 10.1.0.0/16 }",
  "a verdict is another one": 'delete element inet flock ingress { "flock00000002" }\n' +
    'add element inet flock ingress { "flock00000002" : accept }',
  "a link has no verdict": 'delete element inet flock egress { "flock00000001" }',
  "a policy of a chain is another one": "add chain inet flock egress { policy drop; }",
  "a chain is added":
    "add chain inet flock extra { type filter hook forward priority -5; policy drop; }",
  "a set is added": "add set inet flock extra { type ipv4_addr; }",
  "an object of another kind is added": "add counter inet flock extra",
  "the table is dormant": "add table inet flock { flags dormant; }",
};

testWith("netns: what somebody else changes in the table is noticed and mended", [
  "root",
  "nft",
], async (t) => {
  await using ns = await Namespace.create();
  const nft = createNft(ns.command);
  const { table } = new PolicyCompiler().compile(inputOf(POLICY_STATES.shop!, new PeerSets()));
  await nft.run(OTHER_TABLE);
  const other = await handles(ns, "other");
  const filter = new FilterTable(nft);
  await filter.apply(table);
  const whole = sortedListing(await nft.list());
  for (const [n, [what, script]] of Object.entries(FOREIGN).entries()) {
    await t.step(what, async () => {
      assertEquals(await filter.verify(), false, "nothing is changed yet");
      await nft.run(script);
      assertEquals(isListing(await nft.list() ?? "", table), false, "it is noticed");
      assertEquals(await filter.verify(), true);
      assertEquals(sortedListing(await nft.list()), whole);
      assertEquals(filter.restored, n + 1);
      assertEquals(await handles(ns, "other"), other, "another table is let alone");
    });
  }
  await t.step("a rule is replaced by one that is alike", async () => {
    const { stdout } = await ns.command("nft", ["-a", "list", "chain", "inet", "flock", "egress"]);
    const handle = /established,related accept # handle (\d+)/.exec(stdout)?.[1];
    await nft.run(`replace rule inet flock egress handle ${handle} ct state established accept`);
    assertEquals(await filter.verify(), true);
    assertEquals(sortedListing(await nft.list()), whole);
  });
});

testWith("netns: a table that is as it should be is not written", ["root", "nft"], async () => {
  await using ns = await Namespace.create();
  const nft = createNft(ns.command);
  const [before, after] = POLICY_CHANGE.map((moment) =>
    new PolicyCompiler().compile(inputOf(moment, new PeerSets())).table
  );
  const filter = new FilterTable(nft);
  assertEquals(await filter.apply(before!), true);
  const written = await handles(ns, NFT_TABLE);
  assertEquals(await filter.apply(before!), false);
  assertEquals(await filter.verify(), false);
  // As after a restart of the agent.
  const restarted = new FilterTable(nft);
  assertEquals(await restarted.apply(before!), false);
  assertEquals(await handles(ns, NFT_TABLE), written);
  // A change leaves alone what it is not about.
  assertEquals(await restarted.apply(after!), true);
  const kept = await handles(ns, NFT_TABLE);
  assertNotEquals(kept, written);
  const ingress = (listing: string): string | undefined =>
    /\tchain ingress .*$/m.exec(listing)?.[0];
  assertEquals(ingress(kept), ingress(written));
  assertEquals([filter.restored, restarted.restored], [0, 0]);
});

testWith("netns: a transaction with an error in it changes nothing", ["root", "nft"], async () => {
  await using ns = await Namespace.create();
  const nft = createNft(ns.command);
  const { table } = new PolicyCompiler().compile(inputOf(POLICY_STATES.shop!, new PeerSets()));
  await nft.run(renderTable(NFT_TABLE, table));
  const before = await nft.list();
  for (
    const wrong of [
      "add element inet flock pods4-51958e82 { 2001:db8::1 }",
      'delete element inet flock sources4 { "flock00000009" . 10.244.1.9 }',
      "delete chain inet flock drop-ingress",
      "add rule inet flock ingress jump nowhere",
      "nonsense",
    ]
  ) {
    const script = `flush chain inet flock ingress\n${wrong}\n`;
    await assertRejects(() => nft.run(script), CommandError, "exit status 1");
    assertEquals(await nft.list(), before, wrong);
  }
});

testWith("netns: a change meets a table that somebody else changed", ["root", "nft"], async () => {
  await using ns = await Namespace.create();
  const nft = createNft(ns.command);
  const [compiler, peers] = [new PolicyCompiler(), new PeerSets()];
  const filter = new FilterTable(nft);
  for (
    const [n, foreign] of ["delete table inet flock", "flush set inet flock spoofed"].entries()
  ) {
    const [before, after] = POLICY_CHANGE.map((moment) =>
      compiler.compile(inputOf(moment, peers)).table
    );
    await filter.apply(before!);
    await nft.run(foreign);
    assertEquals(await filter.apply(after!), true, "who waits for the change need not wait longer");
    assert(isListing(await nft.list() ?? "", after!));
    assertEquals(filter.restored, n + 1);
  }
});

testWith("netns: nft tells at once when the table is deleted", ["root", "nft"], async () => {
  await using ns = await Namespace.create();
  const nft = createNft(ns.command, ns.follow);
  const stop = new AbortController();
  let deletions = 0;
  const following = assertRejects(
    () => nft.follow(() => void deletions++, stop.signal),
    CommandError,
    "nft monitor destroy tables",
  );
  const remake = (table: string): Promise<void> =>
    nft.run(`add table inet ${table}\ndelete table inet ${table}\nadd table inet ${table}\n`);
  // Until it listens, nothing is told.
  await until("a first deletion", async () => {
    await remake(NFT_TABLE);
    return deletions > 0;
  }, { everyMs: 20 });
  const before = deletions;
  await remake("other");
  await nft.deleteTable("inet", NFT_TABLE);
  const deletedAt = performance.now();
  const look = (): Promise<boolean> => Promise.resolve(deletions > before);
  await until("a deletion", look, { everyMs: 5, timeoutMs: 5_000 });
  const tookMs = performance.now() - deletedAt;
  assert(tookMs < 1_000, `${tookMs} ms`);
  stop.abort();
  await following;
  assertEquals(await ns.pids(), []);
});

/** Of a family that is nobody's, with a set of ours' name. */
const OTHER_TABLE = `table inet other {
  set spoofed { type ipv4_addr; elements = { 10.0.0.1 }; }
  chain ingress { type filter hook forward priority 0; ip saddr @spoofed drop; }
}
`;

/** A table with the handles of its chains, sets and rules: what is written anew has others. */
async function handles(ns: Namespace, table: string): Promise<string> {
  return (await ns.command("nft", ["-a", "list", "table", "inet", table])).stdout;
}
