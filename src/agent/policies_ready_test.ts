import { assert, assertEquals, assertRejects } from "@std/assert";
import { EnforcerFixture, SOON } from "../../tests/fakes/enforcer_fixture.ts";
import { FakeNft, refused } from "../../tests/fakes/fake_nft.ts";
import { CniError } from "../core/errors.ts";
import { until } from "../lab/wait.ts";

Deno.test("PolicyEnforcer is not ready while no table came to be, nor when changes fail for long", async () => {
  const nft = new FakeNft();
  nft.failure = refused("no");
  let first = 0;
  await using f = new EnforcerFixture({
    kernel: nft,
    retryMinMs: 5,
    patienceMs: 150,
    onFirst: () => first++,
  });
  assertEquals(f.enforcer.notReady, "policies are not in force yet");
  f.run();
  const reason = (): Promise<boolean> =>
    Promise.resolve(
      f.enforcer.notReady?.startsWith("policies cannot be enforced: Cannot") ?? false,
    );
  await until("a reason", reason, SOON);
  assertEquals(first, 0);
  nft.failure = undefined;
  await f.inForce();
  assertEquals([f.enforcer.notReady, first], [undefined, 1]);
  // A blip is no reason, a lasting failure is, until it is over.
  nft.failure = refused("no");
  f.attach(1);
  await until("a failure", () => Promise.resolve(f.enforcer.error !== undefined), SOON);
  const failedAt = performance.now();
  assertEquals(f.enforcer.notReady, undefined);
  await until("a reason", reason, SOON);
  assert(performance.now() - failedAt >= 100, "it was a blip");
  nft.failure = undefined;
  await f.inForce();
  assertEquals([f.enforcer.notReady, first], [undefined, 1]);
});

Deno.test("PolicyEnforcer is not ready when an ADD failed, although nothing is left to be done", async () => {
  await using f = new EnforcerFixture({ retryMinMs: 5, patienceMs: 50 });
  f.run();
  await f.inForce();
  const run = f.nft.run.bind(f.nft);
  // Only what writes fails.
  f.nft.run = () => Promise.reject(refused("no"));
  await assertRejects(() => f.admit(1), CniError);
  f.attachments.pop();
  f.enforcer.wake();
  await until("a reason", () => Promise.resolve(f.enforcer.notReady !== undefined), SOON);
  await f.inForce();
  assertEquals(
    f.enforcer.notReady,
    'policies cannot be enforced: Cannot run "nft -f -": exit status 1: no',
  );
  f.nft.run = run;
  await until("readiness", () => Promise.resolve(f.enforcer.notReady === undefined), SOON);
  await f.admit(2);
});
