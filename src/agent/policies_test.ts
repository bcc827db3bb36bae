import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { attachment } from "../../tests/attachments.ts";
import { DENY, EnforcerFixture, link, SOON, SPEC } from "../../tests/fakes/enforcer_fixture.ts";
import { refused } from "../../tests/fakes/fake_nft.ts";
import { fakePod } from "../../tests/fakes/fake_source.ts";
import { gate } from "../../tests/fakes/reconciler_fixture.ts";
import { CniError } from "../core/errors.ts";
import { parseNodeConfig } from "../core/node_config.ts";
import { delay, until } from "../lab/wait.ts";
import { sizeOf } from "../core/nftables.ts";

/** Why an ADD was refused. */
async function refusal(adding: Promise<void>): Promise<CniError> {
  const error = await assertRejects(() => adding, CniError);
  assertEquals(error.code, 105);
  return error;
}

Deno.test("PolicyEnforcer.admit() returns when the pod's rules are in the kernel", async () => {
  await using f = new EnforcerFixture();
  assertEquals([f.enforcer.inForce, f.enforcer.enforced], [false, undefined]);
  await f.admit(1);
  assertEquals(f.denied, [link(1)]);
  assertEquals(f.nft.elements("ingress")[0]?.startsWith(`${link(1)} : goto pods-ingress-`), true);
  assertEquals(f.nft.elements("sources4"), [`${link(1)} . 10.244.1.1`]);
  assertEquals([f.enforcer.inForce, f.enforcer.error], [true, undefined]);
  assertEquals(f.enforcer.enforced?.selections.map(({ podName, ingress }) => [podName, ingress]), [
    ["p1", [DENY]],
  ]);
  assertEquals(sizeOf(f.enforcer.enforced?.table).chains, f.nft.chains.length);
  assertEquals(f.results, ["success"]);
});

Deno.test("PolicyEnforcer.admit() shares a transaction with all that wait for one", async () => {
  await using f = new EnforcerFixture();
  const { held, release } = gate();
  f.nft.held = held;
  const first = f.admit(1);
  await until("a transaction", () => Promise.resolve(f.nft.scripts.length === 1), SOON);
  let done = 0;
  const others = [2, 3, 4, 5].map((n) => f.admit(n).then(() => void done++));
  await delay(20);
  assertEquals([f.nft.scripts.length, done], [1, 0]);
  release();
  await Promise.all([first, ...others]);
  assertEquals(f.nft.scripts.length, 2);
  assertEquals(f.denied, [1, 2, 3, 4, 5].map(link));
  assertEquals(f.looks, 2, "what is computed is shared, too");
  // What is in force already needs none.
  await f.enforcer.admit(f.source.pod("default", "p3")!, new AbortController().signal);
  assertEquals(f.nft.scripts.length, 2);
});

Deno.test("PolicyEnforcer.admit() says whose rules nft refused, and why", async () => {
  await using f = new EnforcerFixture();
  f.nft.failure = refused("Error: Operation not permitted");
  const error = await refusal(f.admit(1));
  assertEquals(
    error.message,
    'Cannot enforce policies of pod "default/p1": Cannot run "nft -f -": exit status 1: ' +
      "Error: Operation not permitted",
  );
  assertEquals([error.details, error.cause], ["", f.nft.failure], "it is said once");
  assertEquals([f.enforcer.inForce, f.results], [false, ["failure"]]);
  assertStringIncludes(f.enforcer.error ?? "", "Operation not permitted");
  f.nft.failure = undefined;
  await f.admit(2);
  assertEquals(f.denied, [link(1), link(2)]);
  assertEquals([f.enforcer.inForce, f.enforcer.error], [true, undefined]);
  const alone = fakePod({ namespace: "", name: "c9" });
  f.nft.failure = refused("no");
  f.attachments.push(attachment(9, { namespace: "", podName: "", podUid: "" }));
  const other = await refusal(f.enforcer.admit(alone, new AbortController().signal));
  assertStringIncludes(other.message, 'of pod "c9"');
});

Deno.test("PolicyEnforcer tries again what failed, later each time, and then writes the whole", async () => {
  await using f = new EnforcerFixture({ retryMinMs: 60 });
  await f.admit(1);
  f.run();
  await f.inForce();
  f.nft.failure = refused("Error: busy");
  // The ADD's caller may be unable to undo it: nobody calls again.
  await refusal(f.admit(2));
  const failures = (): number => f.results.filter((result) => result === "failure").length;
  await until("four failures", () => Promise.resolve(failures() >= 4), SOON);
  // The first is the ADD's own, the second comes at once.
  const gaps = f.at.slice(-3).map((time, n, times) => time - (times[n - 1] ?? time));
  assert(gaps[1]! >= 59 && gaps[2]! >= 119, gaps.join(" "));
  assertEquals(f.denied, [link(1)], "what was in force stays");
  f.nft.failure = undefined;
  await f.inForce();
  assertEquals(f.denied, [link(1), link(2)]);
  assertStringIncludes(f.nft.scripts.at(-1)!, "delete table inet flock");
  assertEquals(
    f.logged.filter((msg) => msg === "Could not enforce policies").length < failures(),
    true,
  );
});

Deno.test("PolicyEnforcer.admit() waits for an nft that hangs only so long", async () => {
  await using f = new EnforcerFixture({ admitMs: 30 });
  const { held, release } = gate();
  f.nft.held = held;
  const began = performance.now();
  const { message } = await refusal(f.admit(1));
  assert(performance.now() - began >= 29);
  assertEquals(
    message,
    'Cannot enforce policies of pod "default/p1": nft has not finished within 0.03 s',
  );
  // Nobody waits for it any more; the next one does not wait longer for that.
  await refusal(f.admit(2));
  release();
  await f.admit(3);
  assertEquals(f.denied, [1, 2, 3].map(link));
});

Deno.test("PolicyEnforcer.admit() ends with the reason of its signal", async () => {
  await using f = new EnforcerFixture();
  const { held, release } = gate();
  f.nft.held = held;
  const stop = new AbortController();
  const gone = new Error("nobody waits");
  const admitted = f.enforcer.admit(f.attach(1), stop.signal);
  stop.abort(gone);
  assertEquals(await assertRejects(() => admitted), gone);
  const after = f.enforcer.admit(f.attach(2), stop.signal);
  assertEquals(await assertRejects(() => after), gone);
  release();
  await f.admit(3);
});

Deno.test("PolicyEnforcer: nothing is touched until everything is known, and an ADD waits for it", async (t) => {
  for (
    const [what, set] of [
      ["pods", (f: EnforcerFixture, known: boolean) => void (f.source.synced = known)],
      ["policies", (f: EnforcerFixture, known: boolean) => void (f.source.policiesSynced = known)],
      ["the NodeConfig", (f: EnforcerFixture, known: boolean) => {
        f.config = known
          ? parseNodeConfig({ name: "n1", annotations: {}, spec: SPEC }).config
          : undefined;
      }],
    ] as const
  ) {
    await t.step(what, async () => {
      // An agent before this one left its table.
      await using before = new EnforcerFixture();
      await before.admit(1);
      const { nft } = before;
      await using f = new EnforcerFixture({ kernel: nft, admitMs: 50 });
      set(f, false);
      f.run();
      f.attach(2);
      const { message } = await refusal(f.admit(3));
      assertStringIncludes(message, "within 0.05 s");
      assertEquals([nft.scripts.length, nft.lists, f.denied], [1, 1, [link(1)]]);
      assertEquals(f.enforcer.inForce, false);
      const admitted = f.admit(4);
      set(f, true);
      f.enforcer.wake();
      await admitted;
      assertEquals(f.denied, [2, 3, 4].map(link));
    });
  }
});

Deno.test("PolicyEnforcer: after a restart a table that is right is not written again", async () => {
  await using before = new EnforcerFixture();
  await before.admit(1);
  await using f = new EnforcerFixture({ kernel: before.nft });
  f.attach(1);
  f.run();
  await f.inForce();
  assertEquals(f.nft.scripts.length, 1);
  assertEquals(f.results, []);
});

Deno.test("PolicyEnforcer: a pod that nobody knows after a restart is let nothing through to", async () => {
  await using before = new EnforcerFixture();
  await before.admit(1);
  before.source.remove("default", "p1");
  before.enforcer.wake();
  before.run();
  await before.inForce();
  // As long as this agent runs it knows whom the policies select.
  const selections = (f: EnforcerFixture): unknown =>
    f.enforcer.enforced?.selections.map(({ ingress }) => ingress?.map(({ name }) => name));
  assertEquals(selections(before), [["deny"]]);
  await using f = new EnforcerFixture({ kernel: before.nft });
  f.attachments.push(...before.attachments);
  f.source.putPolicy({ ...DENY, name: "of-others", podSelector: [], ingress: [{}] });
  f.run();
  await f.inForce();
  assertEquals(selections(f), [[]]);
  assertEquals(f.denied, [link(1)]);
  assertEquals(f.nft.chains.filter((name) => name.startsWith("ingress/")), []);
});

Deno.test("PolicyEnforcer follows changes, many with few transactions", async () => {
  await using f = new EnforcerFixture();
  await f.admit(1);
  f.run();
  await f.inForce();
  const before = f.nft.scripts.length;
  for (let n = 0; n < 200; n++) {
    f.source.put(
      fakePod({ name: `far${n}`, uid: `f${n}`, nodeName: "n2", addresses: [`10.9.0.${n}`] }),
    );
    f.source.putPolicy({
      ...DENY,
      ingress: [{
        peers: [{ kind: "pods", pods: [{ key: "n", operator: "NotIn", values: [`${n}`] }] }],
      }],
    });
    if (n % 50 === 0) await delay(1);
  }
  await f.inForce();
  const set = /ip saddr @(pods4-\w+) accept/.exec(f.nft.scripts.at(-1)!)?.[1] ?? "";
  assertEquals(f.nft.elements(set).length, 201);
  assert(f.nft.scripts.length - before <= 10, `${f.nft.scripts.length - before} transactions`);
  // A pod that goes takes its element, and nothing else.
  f.source.remove("default", "far7");
  await f.inForce();
  assertEquals(f.nft.scripts.at(-1), `delete element inet flock ${set} { 10.9.0.7 }\n`);
});

Deno.test("PolicyEnforcer writes a table again that somebody deleted", async () => {
  await using f = new EnforcerFixture();
  await f.admit(1);
  f.run();
  await f.inForce();
  f.nft.deleteTable();
  await until("the table", () => Promise.resolve(f.denied.length === 1), SOON);
  assertEquals(f.enforcer.restored, 1);
});

Deno.test("PolicyEnforcer looks again at a table that it could not look at", async () => {
  await using f = new EnforcerFixture({ retryMinMs: 20 });
  await f.admit(1);
  f.run();
  await f.inForce();
  f.nft.failure = refused("Error: busy");
  const { lists } = f.nft;
  f.nft.deleteTable();
  await until("a look", () => Promise.resolve(f.nft.lists > lists), SOON);
  f.nft.failure = undefined;
  await until("the table", () => Promise.resolve(f.denied.length === 1), SOON);
});

Deno.test("PolicyEnforcer looks at the table now and then", async () => {
  await using f = new EnforcerFixture({ intervalMs: 20 });
  await f.admit(1);
  f.run();
  await f.inForce();
  f.nft.change("flush chain inet flock ingress");
  await until("the table restored", () => Promise.resolve(f.enforcer.restored === 1), SOON);
  const { lists } = f.nft;
  await until("three looks", () => Promise.resolve(f.nft.lists >= lists + 3), SOON);
  assertEquals(f.nft.scripts.length, 2, "what is right is not written");
});
