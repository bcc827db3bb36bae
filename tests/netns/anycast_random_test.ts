/**
 * A thousand random events. Whenever it is quiet, router, BIRD, kernel and what the rules demand agree;
 * and nothing is left when the last pod is gone.
 *
 *     FLOCK_SEED     repeats a walk; each run prints its own
 *     FLOCK_EVENTS   how many events
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import type { Lab } from "../../src/lab/lab.ts";
import { delay, until } from "../../src/lab/wait.ts";
import { EXECUTABLE } from "../executable.ts";
import { seededRandom, seedOfRun, wholeNumber } from "../seed.ts";
import { testSource, testWith } from "../support.ts";
import { expectedKernel, expectedLearned, expectedRouter } from "./anycast_model.ts";
import {
  difference,
  nexthopsOf,
  observedKernel,
  observedLearned,
  observedRouter,
} from "./anycast_views.ts";
import { AnycastWalk } from "./anycast_walk.ts";
import { assertNothingLeft } from "./node_probe.ts";
import { createTestLab } from "./test_lab.ts";

/** What the source does is the same; it only takes longer with an API server between. */
const EVENTS = { manifests: 1_000, kubernetes: 200 };

testWith("netns: after random events router, BIRD and kernel have what they should", [
  "root",
  "bird",
], async () => {
  const events = wholeNumber(
    "FLOCK_EVENTS",
    Deno.env.get("FLOCK_EVENTS") ?? String(EVENTS[testSource()]),
    1_000_000,
  );
  const seed = seedOfRun();
  const random = seededRandom(seed);
  await using lab = await createTestLab({
    executable: EXECUTABLE,
    // What is repaired must be repaired by what the kernel tells, not by a pass that happens to come.
    agentArgs: ["--route-reconcile-interval", "0"],
  });
  const walk = await AnycastWalk.begin(lab, random);
  await lab.start();
  let done = 0;
  while (done < events) {
    const where = (): string => `FLOCK_SEED=${seed}, event ${done}`;
    for (let left = Math.min(25 + random(26), events - done); left > 0; left--, done++) {
      await walk.step();
      // Some events meet, some do not.
      if (random(3) === 0) await delay(random(60));
    }
    await agree(lab, walk, where());
    // Alone: after others, a pass that comes anyway would hide that nobody noticed.
    if (done < events) {
      await walk.spoil();
      done++;
      await agree(lab, walk, where());
    }
  }
  await walk.removeAll();
  await agree(lab, walk, `FLOCK_SEED=${seed}, the end`);
  for (const { node } of walk.nodes) {
    await assertNothingLeft(node, []);
    assertEquals(await nexthopsOf(node), [], `next hops of ${node.name}`);
  }
});

/** How long BIRD may take for what it has to see by itself, or to start again. */
const AGREE_MS = 30_000;

/**
 * Waits until all views agree, twice in a row: the first time something may still be on its way that the
 * walk has taken back meanwhile.
 */
async function agree(lab: Lab, walk: AnycastWalk, where: string): Promise<void> {
  try {
    await walk.settle();
    let looks = 0;
    await until("agreement", async () => {
      const different = await differences(lab, walk);
      looks = different.length === 0 ? looks + 1 : 0;
      if (different.length > 0) throw new Error(`\n${different.join("\n")}`);
      return looks === 2;
    }, { timeoutMs: AGREE_MS });
    for (const pod of walk.nodes.flatMap(({ pods }) => pods)) {
      await until(`CHECK of ${pod.name}`, async () => (await pod.check(), true));
    }
  } catch (error) {
    const events = walk.events.map((event) => `  ${event}\n`).join("");
    const told = `Since the last agreement:\n${events}${await lab.tails(20)}`;
    throw new Error(`${where}: ${error}\n${told}`, { cause: error });
  }
  walk.agreed();
}

/** Where a view is not what the rules demand: what is missing (-) and what should not be there (+). */
async function differences(lab: Lab, walk: AnycastWalk): Promise<readonly string[]> {
  const models = walk.nodes.map(({ model }) => model);
  const views = await Promise.all([
    observedRouter(lab).then((lines) =>
      ["router", difference(expectedRouter(models), lines)] as const
    ),
    ...walk.nodes.flatMap(({ node, model }) => [
      observedKernel(node).then((lines) =>
        [`kernel of ${node.name}`, difference(expectedKernel(model), lines)] as const
      ),
      observedLearned(node).then((lines) =>
        [`BIRD of ${node.name}`, difference(expectedLearned(model), lines)] as const
      ),
    ]),
  ]);
  return views.flatMap(([what, lines]) => lines.map((line) => `${what}: ${line}`));
}
