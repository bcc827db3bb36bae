import { assert, assertEquals, assertRejects } from "@std/assert";
import fc from "fast-check";
import { attachment, linkName, readyPod, snapshot } from "../../tests/attachments.ts";
import { FakeIp } from "../../tests/fakes/fake_ip.ts";
import type { Attachment } from "../core/attachment.ts";
import { GROUP_BUCKETS, GROUP_IDS, NEXTHOP_IDS } from "../core/config.ts";
import { desiredState, type Snapshot } from "../core/desired_state.ts";
import { configureLog } from "../log.ts";
import { IdTakenError, KernelSync } from "./kernel_sync.ts";

const ANY = "2001:db8:ffff::53";
const PODS = [1, 2, 3].map((n) =>
  attachment(n, { ip6: `2001:db8:f001::${n}`, ip4: `10.244.1.${n + 1}`, anycast: [ANY] })
);
const FOREIGN = [
  `route add 198.18.0.0/24 dev eth0 proto static metric 16`,
  `route add ${ANY}/128 dev eth0 proto static metric 50`,
  `nexthop add id ${GROUP_IDS + 7} via 2001:db8:25::1 dev eth0 proto static`,
];

const NO_LOG = { note: () => {} };

class Fixture implements Disposable {
  readonly ip = new FakeIp();
  readonly kernel: KernelSync;
  /** Level, message and subject of each line above `debug`. */
  logged: string[] = [];
  readonly raw: string[] = [];

  constructor(options: { readonly sticky?: boolean } = {}) {
    configureLog({
      level: "info",
      format: "json",
      write: (line) => {
        const { level, msg, prefix, link, id } = JSON.parse(line);
        this.logged.push(`${level} ${msg} ${prefix ?? link ?? id ?? ""}`.trim());
        this.raw.push(line);
      },
    });
    for (const name of ["eth0", ...PODS.map(({ hostIfname }) => hostIfname)]) this.ip.addLink(name);
    this.ip.foreign(...FOREIGN);
    this.kernel = new KernelSync({ ip: this.ip, sticky: options.sticky ?? true, changes: NO_LOG });
  }

  /** Makes what is there what it should be; without reading it first where that is not needed. */
  async sync(
    attachments: readonly Attachment[],
    change: Partial<Snapshot> & { readonly read?: boolean } = {},
  ): Promise<void> {
    const { read = true, ...rest } = change;
    if (read || this.kernel.present === undefined) await this.kernel.read();
    const links = new Map(this.ip.links);
    const desired = desiredState(snapshot(attachments, { links, ...rest }));
    await this.kernel.apply(this.kernel.plan(desired, () => false));
  }

  take(): string[] {
    const taken = this.logged.sort();
    this.logged = [];
    return taken;
  }

  [Symbol.dispose](): void {
    this.ip[Symbol.dispose]();
  }
}

function ready(...numbers: readonly number[]): Partial<Snapshot> {
  const uids = numbers.map((n) => `u${n}`);
  return { podOf: (a) => ({ ...readyPod(a), ready: uids.includes(a.podUid) }) };
}

Deno.test("KernelSync makes what is wanted, and a second time nothing", async () => {
  using f = new Fixture();
  await f.sync(PODS.slice(0, 2));
  assertEquals(f.ip.routes, [
    "10.244.1.0/24 unreachable 143 1000",
    `10.244.1.2/32 ${linkName(1)} 143 16`,
    `10.244.1.3/32 ${linkName(2)} 143 16`,
    "198.18.0.0/24 eth0 static 16",
    "2001:db8:f001::/64 unreachable 143 2000",
    `2001:db8:f001::1/128 ${linkName(1)} 143 16`,
    `2001:db8:f001::2/128 ${linkName(2)} 143 16`,
    `${ANY}/128 eth0 static 50`,
    `${ANY}/128 group 144 16`,
  ]);
  const before = f.ip.batches.length;
  await f.sync(PODS.slice(0, 2));
  await f.sync(PODS.slice(0, 2), { read: false });
  assertEquals(f.ip.batches.length, before);
});

Deno.test("KernelSync logs what is planned as information, and what others did as warnings", async () => {
  using f = new Fixture();
  await f.sync(PODS.slice(0, 1));
  assertEquals(f.take().filter((line) => !line.includes(" Repaired ")), [
    "info Installed route 10.244.1.0/24",
    "info Installed route 10.244.1.2/32",
    "info Installed route 2001:db8:f001::/64",
    "info Installed route 2001:db8:f001::1/128",
    `info Installed route ${ANY}/128`,
  ]);
  await f.sync(PODS.slice(0, 1), ready());
  assertEquals(f.take(), [`info Removed route ${ANY}/128`]);
  await f.sync(PODS.slice(0, 1), ready(1));
  assertEquals(f.take(), [`info Installed route ${ANY}/128`]);
  f.ip.foreign(`route del 10.244.1.2/32`.concat(" metric 16"));
  f.ip.foreign(`route add 10.244.1.99/32 dev eth0 proto 143 metric 16`);
  await f.sync(PODS.slice(0, 1));
  assertEquals(f.take(), [
    "warn Reinstalled route that somebody else removed 10.244.1.2/32",
    "warn Removed stray route 10.244.1.99/32",
  ]);
});

Deno.test("KernelSync logs what waited as planned, too", async () => {
  using f = new Fixture();
  await f.sync(PODS.slice(0, 1));
  f.take();
  // The prefix goes; its route waits in one pass and goes in the next.
  await f.kernel.read();
  const links = new Map(f.ip.links);
  const desired = desiredState(snapshot(PODS.slice(0, 1), { links, nodePrefixes: [] }));
  const isHeld = (line: string): boolean => line.includes("unreachable");
  const first = f.kernel.plan(desired, () => false);
  assertEquals(first.filter(({ line }) => isHeld(line)).length, 2);
  await f.kernel.apply(first.filter(({ line }) => !isHeld(line)));
  f.take();
  await f.kernel.apply(f.kernel.plan(desired, () => false));
  assertEquals(f.take(), [
    "info Removed route 10.244.1.0/24",
    "info Removed route 2001:db8:f001::/64",
  ]);
});

Deno.test("KernelSync counts exactly what others took away", async () => {
  using f = new Fixture();
  await f.sync(PODS);
  const none = { reinstalls: 0, changed: 0, installFailures: 0 };
  assertEquals({ ...f.kernel.counters, repairs: 0 }, { ...none, repairs: 0 });
  const groupOf = (): number =>
    f.ip.nexthops.keys().find((id) => id >> 16 === GROUP_IDS >> 16 && id !== GROUP_IDS + 7)!;
  const hopOf = (n: number): number =>
    f.ip.nexthops.entries().find(([, to]) => to === linkName(n))![0];
  const cases: Record<
    string,
    readonly [lines: () => string[], reinstalls: number, repairs: number]
  > = {
    "a route": [() => ["route del 10.244.1.2/32 metric 16"], 1, 0],
    "a shared route": [() => [`route del ${ANY}/128 metric 16`], 1, 0],
    "two routes, one replaced": [
      () => [
        "route del unreachable 10.244.1.0/24 metric 1000",
        "route replace 10.244.1.3/32 dev eth0 proto 143 metric 16",
      ],
      2,
      0,
    ],
    "a group, and its route with it": [() => [`nexthop del id ${groupOf()}`], 1, 1],
    "a next hop, out of its group": [() => [`nexthop del id ${hopOf(2)}`], 0, 2],
    "a group's weights": [
      () => [
        `nexthop replace id ${groupOf()} group ${hopOf(1)},9/${hopOf(2)},1/${hopOf(3)},1 ` +
        `type resilient buckets ${GROUP_BUCKETS} idle_timer 10 unbalanced_timer 60 proto 144`,
      ],
      0,
      1,
    ],
    "a link's addresses and a neighbour": [
      () => [
        `addr del fe80::1/64 dev ${linkName(1)}`,
        `addr del 169.254.1.1/32 dev ${linkName(1)}`,
        `neigh del 10.244.1.2 dev ${linkName(1)}`,
      ],
      0,
      3,
    ],
    // Up, fe80::1, two neighbours; two routes; a next hop, its group.
    "a link, set down": [() => [`link set ${linkName(3)} down`], 2, 6],
    // The group cannot be made what it was: it gets another id, and the route is the same to others.
    "a group of other buckets in place of ours": [
      () => [
        `nexthop del id ${groupOf()}`,
        `nexthop add id ${groupOf()} group ${hopOf(1)},1 type resilient buckets ${
          GROUP_BUCKETS / 2
        } ` +
        "idle_timer 10 unbalanced_timer 60 proto 144",
      ],
      1,
      0,
    ],
  };
  for (const [what, [lines, reinstalls, repairs]] of Object.entries(cases)) {
    const before = { ...f.kernel.counters };
    const routes = f.ip.routes;
    // The ids that are asked for are those before the first line.
    f.ip.foreign(...lines());
    f.take();
    await f.sync(PODS);
    assertEquals(f.ip.routes, routes, what);
    assertEquals(
      [
        f.kernel.counters.reinstalls - before.reinstalls,
        f.kernel.counters.repairs - before.repairs,
      ],
      [reinstalls, repairs],
      what,
    );
    assertEquals(f.take().filter((line) => line.startsWith("info")), [], what);
  }
  assertEquals(f.kernel.counters.installFailures, 0);
});

Deno.test("KernelSync leaves a route of somebody else in place of ours, and says whose it is", async () => {
  using f = new Fixture();
  await f.sync(PODS.slice(0, 1));
  f.ip.foreign(
    "route replace 10.244.1.2/32 dev eth0 proto static metric 16",
    // Not in its place.
    "route add 10.244.1.2/32 dev eth0 proto static metric 160",
  );
  f.take();
  for (const tries of [1, 2, 3]) {
    const error = await f.sync(PODS.slice(0, 1)).catch((error) => error.message);
    assertEquals(error, "Cannot make 1 changes of routes");
    assertEquals(f.kernel.counters.installFailures, tries);
    assert(f.ip.routes.includes("10.244.1.2/32 eth0 static 16"));
    assertEquals(f.kernel.present, undefined, "what is there is not known after a failure");
  }
  // Once, not at each try.
  assertEquals(f.take(), [
    "warn Could not install route: another one is in its place 10.244.1.2/32",
  ]);
  assertEquals(JSON.parse(f.raw.at(-1)!).others, ["proto static dev eth0 metric 16"]);
  f.ip.foreign("route del 10.244.1.2/32 metric 16");
  await f.sync(PODS.slice(0, 1));
  assert(f.ip.routes.includes(`10.244.1.2/32 ${linkName(1)} 143 16`));
  assertEquals([f.kernel.counters.installFailures, f.kernel.counters.reinstalls], [3, 1]);
  f.take();
  // News again, when it happens again.
  f.ip.foreign("route replace 10.244.1.2/32 dev eth0 proto 199 metric 16");
  await f.sync(PODS.slice(0, 1)).catch(() => {});
  assertEquals(f.take().length, 1);
  // And only what is new, when there is more of it.
  f.ip.foreign("route replace 2001:db8:f001::1/128 dev eth0 proto static metric 16");
  await f.sync(PODS.slice(0, 1)).catch(() => {});
  assertEquals(f.take(), [
    "warn Could not install route: another one is in its place 2001:db8:f001::1/128",
  ]);
});

Deno.test("KernelSync asks for what is in the way of a few routes only", async () => {
  using f = new Fixture();
  const many = Array.from({ length: 60 }, (_, i) => `2001:db8:f001::${i + 10}`);
  const pod = { ...PODS[0]!, addresses: many };
  f.ip.foreign(...many.map((text) => `route add ${text}/128 dev eth0 proto static metric 16`));
  let asked = 0;
  const { ip } = f;
  const kernel = new KernelSync({
    ip: {
      observe: () => ip.observe(),
      change: (batch) => ip.change(batch),
      routesTo: (prefix) => (asked++, ip.routesTo(prefix)),
    },
    sticky: true,
    changes: NO_LOG,
  });
  await kernel.read();
  const links = new Map(ip.links);
  const plan = kernel.plan(desiredState(snapshot([pod], { links })), () => false);
  const error = await kernel.apply(plan).catch((error) => error.message);
  assertEquals(error, "Cannot make 60 changes of routes");
  assertEquals(f.take().filter((line) => line.includes("Could not ")).length, 60);
  assert(asked > 0 && asked <= 16, `${asked} processes`);
});

Deno.test("KernelSync makes a group again that the kernel changed when a link went", async () => {
  using f = new Fixture();
  await f.sync(PODS);
  f.ip.foreign(`link del ${PODS[0]!.hostIfname}`);
  const before = f.ip.lines.length;
  await f.sync(PODS.slice(1));
  assertEquals(
    f.ip.lines.slice(before).filter((line) => /^nexthop replace .* group /.test(line)).length,
    1,
  );
  assertEquals(f.ip.lines.slice(before).filter((line) => line.startsWith("route add")), []);
  // Once.
  const after = f.ip.lines.length;
  await f.sync(PODS.slice(1));
  assertEquals(f.ip.lines.slice(after), []);
});

Deno.test("KernelSync takes no id that somebody else has", async () => {
  using f = new Fixture();
  await f.sync(PODS.slice(0, 2));
  const ours = [...f.ip.nexthops.keys()].filter((id) => id !== GROUP_IDS + 7);
  assertEquals(ours.length, 3);
  await f.sync(PODS.slice(0, 2), ready());
  f.ip.foreign(
    ...ours.map((id) => `nexthop add id ${id} via 2001:db8:25::1 dev eth0 proto static`),
  );
  await assertRejects(() => f.sync(PODS.slice(0, 2)), IdTakenError);
  await f.sync(PODS.slice(0, 2));
  assert(f.ip.routes.includes(`${ANY}/128 group 144 16`));
  const now = [...f.ip.nexthops].filter(([id]) => id !== GROUP_IDS + 7);
  assertEquals(now.filter(([, to]) => to === "eth0").map(([id]) => id).sort(), ours.sort());
  const more = now.filter(([, to]) => to !== "eth0").map(([id]) => id);
  assertEquals(
    more.map((id) => id >> 16).sort(),
    [NEXTHOP_IDS, NEXTHOP_IDS, GROUP_IDS].map((id) => id >> 16),
  );
});

Deno.test("KernelSync counts a route once whose group's id somebody else has taken meanwhile", async () => {
  using f = new Fixture();
  await f.sync(PODS.slice(0, 1));
  const [hop, group] = [...f.ip.nexthops.keys()].filter((id) => id !== GROUP_IDS + 7).sort();
  f.ip.foreign(`nexthop del id ${group}`);
  await f.kernel.read();
  f.ip.foreign(
    `nexthop add id ${group} group ${hop},1 type resilient buckets ${GROUP_BUCKETS / 2} ` +
      "idle_timer 10 unbalanced_timer 60 proto 144",
  );
  const links = new Map(f.ip.links);
  const desired = desiredState(snapshot(PODS.slice(0, 1), { links }));
  const plan = f.kernel.plan(desired, () => false);
  await assertRejects(() => f.kernel.apply(plan), IdTakenError);
  assertEquals(f.kernel.counters.reinstalls, 0);
  await f.sync(PODS.slice(0, 1));
  assertEquals(f.kernel.counters.reinstalls, 1);
  assertEquals(f.ip.nexthops.size, 3, "two of ours, and the one of others");
});

Deno.test("KernelSync walks between states of pods, whatever others do in between", async () => {
  const step = fc.record({
    attached: fc.uniqueArray(fc.integer({ min: 1, max: 3 })),
    notReady: fc.uniqueArray(fc.integer({ min: 1, max: 3 })),
    drained: fc.boolean(),
    read: fc.boolean(),
    damage: fc.option(fc.nat(), { nil: undefined }),
  });
  const property = fc.asyncProperty(
    fc.array(step, { maxLength: 10 }),
    fc.boolean(),
    async (steps, sticky) => {
      using f = new Fixture({ sticky });
      const theirs = f.ip.routes;
      const wantedOf = async (pods: readonly Attachment[], change: Partial<Snapshot>) => {
        using fresh = new Fixture({ sticky });
        await fresh.sync(pods, change);
        return fresh.ip.routes;
      };
      for (const { attached, notReady, drained, read, damage } of steps) {
        const pods = PODS.filter((_, i) => attached.includes(i + 1));
        const readyOnes = [1, 2, 3].filter((n) => !notReady.includes(n));
        const change = { ...ready(...readyOnes), drained };
        if (damage !== undefined) breakOne(f.ip, damage);
        await f.sync(pods, { ...change, read: read || damage !== undefined });
        assertEquals(f.ip.routes, await wantedOf(pods, change));
        const { length } = f.ip.batches;
        await f.sync(pods, change);
        assertEquals(f.ip.batches.length, length, "a second time there is nothing to do");
      }
      await f.sync([], { nodePrefixes: [] });
      assertEquals(f.ip.routes, theirs);
      assertEquals([...f.ip.nexthops.keys()], [GROUP_IDS + 7]);
    },
  );
  await fc.assert(property, { numRuns: 60 });
});

/** Somebody takes away one of the routes and next hops that are there, or sets a link down and up. */
function breakOne(ip: FakeIp, which: number): void {
  const routes = ip.routes.filter((text) => / 14[34] /.test(text)).map((text) => {
    const [dst, way, , metric] = text.split(" ");
    return [`route del ${way === "unreachable" ? `${way} ` : ""}${dst} metric ${metric}`];
  });
  const nexthops = [...ip.nexthops.keys()].filter((id) => id !== GROUP_IDS + 7)
    .map((id) => [`nexthop del id ${id}`]);
  const links = PODS.map(({ hostIfname: dev }) => [`link set ${dev} down`, `link set ${dev} up`]);
  const all = [...routes, ...nexthops, ...links];
  ip.foreign(...all[which % all.length]!);
}
