/**
 * The kernel agrees with the verdict: random worlds with real pods on two nodes, every pair of addresses,
 * every protocol and port, with real packets.
 *
 *     FLOCK_SEED     repeats a run; each prints its own
 *     FLOCK_WORLDS   how many worlds
 *
 * @module
 */
import fc from "fast-check";
import { EXECUTABLE } from "../executable.ts";
import { testSource, testWith } from "../support.ts";
import { type DrawnWorld, worldOf, worldRuns } from "../policy_worlds.ts";
import { describeWorld, type PodPlan, PolicyLab } from "./policy_lab.ts";
import { describeDisagreements } from "./policy_questions.ts";
import { createTestLab } from "./test_lab.ts";

/** What the source does is the same; it only takes longer with an API server between. */
const WORLDS = { manifests: 50, kubernetes: 10 };
/** So many with the same pods; then some of these are replaced. */
const BATCH = 10;
/** How long a world that disagrees is made smaller, in milliseconds. */
const SHRINK_MS = 30_000;

const ANYCAST = ["2001:db8:ffff::7", "203.0.113.207"];
const PODS: readonly PodPlan[] = [
  { node: "n1", name: "a", namespace: "x" },
  { node: "n1", name: "b", namespace: "y", annotations: { ipv4: "false" } },
  { node: "n1", name: "c", namespace: "x", annotations: { anycast: "2001:db8:ffff::1" } },
  { node: "n1", name: "d", namespace: "y", annotations: { anycast: ANYCAST.join(",") } },
  { node: "n2", name: "e", namespace: "x" },
  { node: "n2", name: "f", namespace: "y", annotations: { ipv6: "false" } },
  {
    node: "n2",
    name: "g",
    namespace: "z",
    annotations: { addresses: "2001:db8:ffff::61,203.0.113.206,2001:db8:ffff::62" },
  },
  { node: "n2", name: "h", namespace: "x", annotations: { anycast: ANYCAST.join(",") } },
  { node: "n2", name: "i", namespace: "x", annotations: { "policy-mode": "audit" } },
];

function hasPolicies({ policies }: DrawnWorld): boolean {
  return policies.length > 0;
}

testWith(
  "netns: in random worlds the kernel lets through what the verdict allows, and nothing else",
  [
    "root",
    "bird",
  ],
  async () => {
    const { seed, numRuns } = worldRuns(WORLDS[testSource()]);
    await using lab = await createTestLab({ executable: EXECUTABLE });
    await lab.start();
    using policyLab = await PolicyLab.create(lab, PODS, ([first = []]) => [
      {
        node: "n1",
        name: "of-the-node",
        namespace: "x",
        hostNetwork: true,
        addresses: Object.values(lab.plan.nodes[0]!.addresses),
      },
      // What it had is the first pod's now.
      { node: "n2", name: "finished", namespace: "z", finished: true, addresses: first },
    ]);
    for (let done = 0; done < numRuns; done += BATCH) {
      // No API server lets in what is refused.
      const refused = testSource() === "manifests";
      const frame = policyLab.frame({ maxPolicies: 6, refused });
      let failed = 0;
      const agree = async (drawn: DrawnWorld): Promise<void> => {
        if (failed > 0 && performance.now() - failed > SHRINK_MS) return;
        try {
          await policyLab.become(drawn);
          const { disagreements } = await policyLab.compare(drawn);
          if (disagreements.length > 0) throw new Error(describeDisagreements(disagreements));
        } catch (error) {
          failed ||= performance.now();
          const tables = `${await policyLab.tables()}\n${await lab.tails(20)}`;
          throw new Error(`${error}\n${describeWorld(drawn)}\n${tables}`, { cause: error });
        }
      };
      await fc.assert(fc.asyncProperty(worldOf(frame).filter(hasPolicies), agree), {
        seed: seed + done,
        numRuns: Math.min(BATCH, numRuns - done),
      });
      await policyLab.replace(done / BATCH % PODS.length);
    }
  },
);
