import { assertEquals, assertRejects } from "@std/assert";
import { ANY, ReconcilerFixture } from "../../tests/fakes/reconciler_fixture.ts";
import { CniCode, CniError } from "../core/errors.ts";
import type { Explanation } from "../core/inspection.ts";
import type { NodeClaim } from "../core/node_claims.ts";
import { BirdAbsentError } from "../io/birdc.ts";
import { explain, type ExplainSources } from "./explain.ts";

/** An agent with one pod, whose routes are made; BIRD is away. */
async function createSources(
  f: ReconcilerFixture,
  claims: () => Promise<readonly NodeClaim[]>,
): Promise<ExplainSources> {
  const absent = (): Promise<never> => Promise.reject(new BirdAbsentError("Cannot reach BIRD"));
  await f.reconciler.pass();
  return {
    nodeName: "n1",
    node: f.node,
    source: { pod: (...given) => f.source.pod(...given), claims },
    reconciler: f.reconciler,
    kernel: f.kernel,
    ip: {
      observe: () => f.ip.observe(),
      routesTo: (prefix) => f.ip.routesTo(prefix),
      routesToward: () => Promise.resolve(new Map()),
    },
    birdc: { protocols: absent, exports: absent, routesAt: absent, rejects: absent },
    speaker: { state: { applied: true, reloads: 0, failures: 0 } },
    bgpInput: { leftOut: [], waitingFor: undefined },
    changes: f.changes,
  };
}

const ask = (target: string, sources: ExplainSources): Promise<Explanation> =>
  explain(target, sources, new AbortController().signal);

Deno.test("explain() reads the world where it can be read", async () => {
  await using f = await ReconcilerFixture.create();
  const sources = await createSources(f, () => Promise.reject(new Error("no API server")));
  const { items: [item] } = await ask(ANY, sources);
  assertEquals(item?.facts.map(({ fact, state }) => `${fact} ${state}`), [
    "pod ok",
    "allocation ok",
    "eligible ok",
    "nextHop ok",
    "kernelRoute ok",
    "birdRoute broken",
    "filter unknown",
    "exported broken",
    "lastChange ok",
  ]);
  assertEquals((await ask("default/p1", sources)).items.map(({ address }) => address), [
    "2001:db8:f001::1",
    "10.244.1.2",
    ANY,
  ]);
});

Deno.test("explain() does without other nodes' claims when nobody says them", async () => {
  await using f = await ReconcilerFixture.create();
  const sources = await createSources(f, () => Promise.reject(new Error("no API server")));
  assertEquals((await ask("2001:db8:f002::1", sources)).items[0]?.role, "unknown");
});

Deno.test("explain() asks for claims only where no pod has the address", async () => {
  await using f = await ReconcilerFixture.create();
  let asked = 0;
  const sources = await createSources(f, () => Promise.resolve((asked++, [])));
  for (const target of [ANY, "10.244.1.2", "default/p1"]) await ask(target, sources);
  assertEquals(asked, 0);
  await ask("10.244.1.9", sources);
  assertEquals(asked, 1);
});

Deno.test("explain() refuses what is neither an address nor a pod, and what it cannot know yet", async () => {
  await using f = await ReconcilerFixture.create();
  const sources = await createSources(f, () => Promise.resolve([]));
  const refused = await assertRejects(() => ask("x", sources), CniError);
  assertEquals(refused.code, CniCode.invalidEnvironment);
  const unplanned = { ...sources, kernel: { wanted: new Map(), planned: false } };
  const unread = await assertRejects(() => ask(ANY, unplanned), CniError);
  assertEquals(unread.code, CniCode.tryAgainLater);
  const early = { ...sources, reconciler: { snapshot: () => undefined, anycast: [] } };
  const unknown = await assertRejects(() => ask(ANY, early), CniError);
  assertEquals(unknown.code, CniCode.tryAgainLater);
});
