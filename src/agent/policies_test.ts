import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { attachment } from "../../tests/attachments.ts";
import { FakeNft, refused } from "../../tests/fakes/fake_nft.ts";
import { fakePod, FakeSource } from "../../tests/fakes/fake_source.ts";
import { gate } from "../../tests/fakes/reconciler_fixture.ts";
import type { Attachment } from "../core/attachment.ts";
import { parsePrefix } from "../core/cidr.ts";
import { CniError } from "../core/errors.ts";
import type { NetworkPolicy } from "../core/network_policy.ts";
import { type NodeConfig, parseNodeConfig } from "../core/node_config.ts";
import type { Pod } from "../core/objects.ts";
import { delay, until } from "../lab/wait.ts";
import { configureLog } from "../log.ts";
import { PolicyEnforcer, type PolicyEnforcerOptions, sizeOf } from "./policies.ts";

const SPEC = { cidr6: ["2001:db8:f001::/64"], cidr4: ["10.244.1.0/24"] };
const SOON = { everyMs: 2, timeoutMs: 5_000 };
const DENY: NetworkPolicy = {
  namespace: "default",
  name: "deny",
  uid: "",
  podSelector: [{ key: "app", operator: "In", values: ["a"] }],
  ingress: [],
  problems: [],
};

/** Node `n1` with a policy that nothing reaches pods with the label `app=a`. */
class Fixture implements AsyncDisposable {
  readonly source = new FakeSource();
  readonly nft: FakeNft;
  readonly attachments: Attachment[] = [];
  config: NodeConfig | undefined = parseNodeConfig({ name: "n1", annotations: {}, spec: SPEC })
    .config;
  /** How often everything was looked at. */
  looks = 0;
  /** Outcomes of changes that were tried, and when they were. */
  readonly results: string[] = [];
  readonly at: number[] = [];
  readonly logged: string[] = [];
  readonly enforcer: PolicyEnforcer;
  readonly #stop = new AbortController();
  #running: Promise<void> | undefined;

  constructor(options: Partial<PolicyEnforcerOptions> & { readonly kernel?: FakeNft } = {}) {
    const { kernel = new FakeNft(), ...others } = options;
    this.nft = kernel;
    configureLog({
      level: "warn",
      format: "json",
      write: (line) => void this.logged.push(JSON.parse(line).msg),
    });
    this.source.putPolicy(DENY);
    const config = (): NodeConfig | undefined => this.config;
    this.enforcer = new PolicyEnforcer({
      source: this.source,
      store: {
        list: () => {
          this.looks++;
          return [...this.attachments];
        },
      },
      node: {
        get config() {
          return config();
        },
        nodePrefixes: [...SPEC.cidr6, ...SPEC.cidr4].map(parsePrefix),
        reserved: [],
      },
      nodeName: "n1",
      nft: this.nft,
      intervalMs: 0,
      onApply: (result) => {
        this.results.push(result);
        this.at.push(performance.now());
      },
      ...others,
    });
  }

  /** Stores an attachment of pod `p<n>`, and has the source know the pod. */
  attach(n: number, change: Partial<Pod> = {}): Pod {
    const pod = fakePod({
      name: `p${n}`,
      uid: `u${n}`,
      labels: { app: "a" },
      nodeName: "n1",
      ...change,
    });
    this.attachments.push(attachment(n, { ip4: `10.244.1.${n}`, state: "pending" }));
    this.source.put(pod);
    return pod;
  }

  /** Attaches a pod and waits for its rules. */
  async admit(n: number): Promise<void> {
    await this.enforcer.admit(this.attach(n), new AbortController().signal);
  }

  run(): void {
    this.source.onChange(() => this.enforcer.wake());
    this.#running = this.enforcer.run(this.#stop.signal);
  }

  async inForce(): Promise<void> {
    await until("policies in force", () => Promise.resolve(this.enforcer.inForce), SOON);
  }

  /** The links whose pods nothing reaches. */
  get denied(): readonly string[] {
    return this.nft.elements("dropped-ingress");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#running;
    assert(this.nft.mostAtOnce <= 1, "transactions are made one after the other");
  }
}

const link = (n: number): string => `"flock0000000${n}"`;

/** Why an ADD was refused. */
async function refusal(adding: Promise<void>): Promise<CniError> {
  const error = await assertRejects(() => adding, CniError);
  assertEquals(error.code, 105);
  return error;
}

Deno.test("PolicyEnforcer.admit() returns when the pod's rules are in the kernel", async () => {
  await using f = new Fixture();
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
  await using f = new Fixture();
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
  await using f = new Fixture();
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
  await using f = new Fixture({ retryMinMs: 60 });
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
  await using f = new Fixture({ admitMs: 30 });
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
  await using f = new Fixture();
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
      ["pods", (f: Fixture, known: boolean) => void (f.source.synced = known)],
      ["policies", (f: Fixture, known: boolean) => void (f.source.policiesSynced = known)],
      ["the NodeConfig", (f: Fixture, known: boolean) => {
        f.config = known
          ? parseNodeConfig({ name: "n1", annotations: {}, spec: SPEC }).config
          : undefined;
      }],
    ] as const
  ) {
    await t.step(what, async () => {
      // An agent before this one left its table.
      await using before = new Fixture();
      await before.admit(1);
      const { nft } = before;
      await using f = new Fixture({ kernel: nft, admitMs: 50 });
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
  await using before = new Fixture();
  await before.admit(1);
  await using f = new Fixture({ kernel: before.nft });
  f.attach(1);
  f.run();
  await f.inForce();
  assertEquals(f.nft.scripts.length, 1);
  assertEquals(f.results, []);
});

Deno.test("PolicyEnforcer: a pod that nobody knows after a restart is let nothing through to", async () => {
  await using before = new Fixture();
  await before.admit(1);
  before.source.remove("default", "p1");
  before.enforcer.wake();
  before.run();
  await before.inForce();
  // As long as this agent runs it knows whom the policies select.
  const selections = (f: Fixture): unknown =>
    f.enforcer.enforced?.selections.map(({ ingress }) => ingress?.map(({ name }) => name));
  assertEquals(selections(before), [["deny"]]);
  await using f = new Fixture({ kernel: before.nft });
  f.attachments.push(...before.attachments);
  f.source.putPolicy({ ...DENY, name: "of-others", podSelector: [], ingress: [{}] });
  f.run();
  await f.inForce();
  assertEquals(selections(f), [[]]);
  assertEquals(f.denied, [link(1)]);
  assertEquals(f.nft.chains.filter((name) => name.startsWith("ingress/")), []);
});

Deno.test("PolicyEnforcer follows changes, many with few transactions", async () => {
  await using f = new Fixture();
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
  await using f = new Fixture();
  await f.admit(1);
  f.run();
  await f.inForce();
  f.nft.deleteTable();
  await until("the table", () => Promise.resolve(f.denied.length === 1), SOON);
  assertEquals(f.enforcer.restored, 1);
});

Deno.test("PolicyEnforcer looks again at a table that it could not look at", async () => {
  await using f = new Fixture({ retryMinMs: 20 });
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
  await using f = new Fixture({ intervalMs: 20 });
  await f.admit(1);
  f.run();
  await f.inForce();
  f.nft.change("flush chain inet flock ingress");
  await until("the table restored", () => Promise.resolve(f.enforcer.restored === 1), SOON);
  const { lists } = f.nft;
  await until("three looks", () => Promise.resolve(f.nft.lists >= lists + 3), SOON);
  assertEquals(f.nft.scripts.length, 2, "what is right is not written");
});
