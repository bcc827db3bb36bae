import { assert, assertEquals, assertFalse, assertStringIncludes } from "@std/assert";
import { mirror } from "../../tests/fakes/fake_source.ts";
import { attachment, readyPod } from "../../tests/attachments.ts";
import { ANY, CONFIG, gate, ReconcilerFixture } from "../../tests/fakes/reconciler_fixture.ts";

const ROUTE_DEL = `route del ${ANY}/128 metric 16`;

/** True for a line that announces the shared address, or would have somebody serve it. */
function announces(line: string): boolean {
  return /^route (add|replace) /.test(line) && line.includes(`${ANY}/128`);
}

Deno.test("a pod that is not Ready any more is not announced by a pass that began before", async () => {
  await using f = await ReconcilerFixture.create();
  f.start();
  await f.settle();
  assert(f.isRouted);
  f.ip.foreign(ROUTE_DEL);
  const read = gate();
  f.ip.readGate = read.held;
  await f.advance(20);
  f.reconciler.markDirty({ repair: true });
  await f.settle();
  assertEquals(f.ip.reads, 2, "the kernel is being read, without the route");
  const before = f.ip.lines.length;
  f.setReady(1, false);
  await f.settle();
  read.release();
  await f.settle();
  assertFalse(f.isRouted);
  const since = f.ip.lines.slice(before);
  assertEquals(since.filter(announces), [], "not even for a moment");
  assert(since.some((line) => line.startsWith("nexthop del ")), since.join("\n"));
  f.setReady(1, true);
  await f.settle();
  assert(f.isRouted);
});

Deno.test("a pod that is being detached is not announced by a pass that began before", async () => {
  await using f = await ReconcilerFixture.create();
  f.start();
  await f.settle();
  f.ip.foreign(ROUTE_DEL);
  const read = gate();
  f.ip.readGate = read.held;
  await f.advance(20);
  f.reconciler.markDirty({ repair: true });
  await f.settle();
  const before = f.ip.lines.length;
  const withdrawn = f.reconciler.withdraw(f.attachments.get(1)!);
  await f.settle();
  assertEquals(f.ip.lines.length, before, "it waits for the pass under way");
  read.release();
  await withdrawn;
  assertFalse(f.isRouted);
  assertEquals(f.ip.lines.slice(before).filter(announces), [], "not even for a moment");
  assertEquals(f.ip.nexthops.size, 0);
});

Deno.test("what goes with a DEL is nobody's stray route", async (t) => {
  /** A fixture with a pod that no pass has seen yet: its routes are those of its ADD. */
  const attached = async (): Promise<ReconcilerFixture> => {
    const f = await ReconcilerFixture.create({ pods: 0 });
    await f.reconciler.pass();
    f.logged.length = 0;
    const { hostIfname, ip6 } = f.attach(1, { anycast: undefined });
    f.ip.foreign(`route add ${ip6}/128 dev ${hostIfname} proto 143 metric 16`);
    return f;
  };
  const del = async (f: ReconcilerFixture): Promise<void> => {
    const one = f.attachments.get(1)!;
    await f.reconciler.withdraw(one);
    f.ip.foreign(`link del ${one.hostIfname}`);
    f.attachments.delete(1);
  };
  const assertSilent = (f: ReconcilerFixture): void => {
    assertEquals(f.logged.filter((line) => line.startsWith("warn")), []);
    assertEquals(f.ip.lines.filter((line) => / del /.test(line)), []);
    assertEquals(f.ip.routes.filter((line) => line.includes(" 16")), []);
  };

  await t.step("while a pass reads the kernel", async () => {
    await using f = await attached();
    const read = gate();
    f.ip.readGate = read.held;
    const pass = f.reconciler.pass();
    await f.settle();
    await del(f);
    read.release();
    await pass;
    assertSilent(f);
  });

  await t.step("before a pod's change, by what was read before the DEL", async () => {
    await using f = await attached();
    const one = f.attachments.get(1)!;
    f.attachments.delete(1);
    const read = gate();
    f.ip.readGate = read.held;
    const pass = f.reconciler.pass();
    await f.settle();
    // Its ADD ends while the kernel is read: it is left to the next pass.
    f.attachments.set(1, one);
    read.release();
    await pass;
    f.start();
    await del(f);
    f.reconciler.markPodsChanged();
    await f.settle();
    assertSilent(f);
  });

  await t.step("and what a DEL left behind is one at the next look", async () => {
    await using f = await attached();
    const { ip6 } = f.attachments.get(1)!;
    await del(f);
    f.ip.foreign(`route add ${ip6}/128 dev eth0 proto 143 metric 16`);
    await f.reconciler.pass();
    assertEquals(f.logged.filter((line) => line.startsWith("warn")), ["warn Removed stray route"]);
  });
});

Deno.test("a link that goes while a pass runs costs neither a failure nor a warning", async () => {
  await using f = await ReconcilerFixture.create({ pods: 1 });
  f.attach(2, { anycast: undefined });
  const change = gate();
  f.ip.changeGate = change.held;
  const pass = f.reconciler.pass();
  await f.settle();
  // The pod's namespace went, and nobody has said so yet.
  f.ip.foreign(`link del ${f.attachments.get(2)!.hostIfname}`);
  change.release();
  await pass;
  assert(f.isRouted);
  assertEquals(f.kernel.counters.installFailures, 0);
  assertEquals(f.logged.filter((line) => line.includes("Could not")), []);
});

Deno.test("a change of readiness while a batch is under way is in the next one", async () => {
  await using f = await ReconcilerFixture.create();
  const change = gate();
  f.ip.changeGate = change.held;
  f.start();
  await f.settle();
  assert(f.ip.lines.some(announces), "the batch is under way, and announces it");
  f.setReady(1, false);
  await f.settle();
  assertEquals(f.ip.batches.length, 1);
  change.release();
  await f.settle();
  assertFalse(f.isRouted);
  assertEquals(f.ip.batches.length, 2);
  assertEquals(f.ip.batches[1]!.filter(announces), []);
});

Deno.test("from reading to changing the kernel there is one at a time", async () => {
  await using f = await ReconcilerFixture.create({ pods: 2 });
  const read = gate();
  f.ip.readGate = read.held;
  const passes = [f.reconciler.pass(), f.reconciler.pass()];
  await f.settle();
  assertEquals(f.ip.reads, 1);
  const change = gate();
  f.ip.changeGate = change.held;
  f.ip.readGate = undefined;
  read.release();
  await f.settle();
  const withdrawn = f.reconciler.withdraw(f.attachments.get(1)!);
  await f.settle();
  assertEquals([f.ip.reads, f.ip.batches.length], [1, 1], "the second waits for the first's batch");
  change.release();
  await Promise.all([...passes, withdrawn]);
  assertEquals(f.ip.reads, 2);
  assert(f.isRouted);
});

Deno.test("a change of readiness reads nothing of a kernel that is known", async () => {
  await using f = await ReconcilerFixture.create({ pods: 2 });
  f.start();
  await f.settle();
  assertEquals(f.ip.reads, 1);
  for (const ready of [false, true, false]) {
    f.setReady(2, ready);
    await f.settle();
    assertEquals(f.ip.reads, 1);
  }
  assertEquals(f.ip.batches.length, 4);
  // A pod whose link is not among those that were read.
  f.attach(3);
  await f.settle();
  assertEquals(f.ip.reads, 2);
  assert(f.ip.lines.some((line) => line.includes("via 2001:db8:f001::3 ")));
  // After a failure nobody knows what is there.
  f.ip.foreign(`link set ${f.attachments.get(2)!.hostIfname} down`);
  f.setReady(2, true);
  await f.settle();
  assertEquals(f.logged.filter((line) => line.includes("Could not reconcile")).length, 1);
  f.setReady(1, false);
  await f.settle();
  assertEquals(f.ip.reads, 3);
  assert(f.ip.nexthops.values().some((dev) => dev === f.attachments.get(2)!.hostIfname));
});

Deno.test("a route in the place of ours keeps nothing else from being done", async () => {
  await using f = await ReconcilerFixture.create({ pods: 2 });
  f.ip.foreign("route add 10.244.1.2/32 dev eth0 proto static metric 16");
  f.start();
  await f.settle();
  assertEquals(f.kernel.counters.installFailures, 1);
  assert(f.isRouted);
  assert(f.ip.routes.includes("10.244.1.2/32 eth0 static 16"));
  assertEquals(f.birdTexts.length, 1, "BIRD is told of the node's prefixes");
  assertStringIncludes(f.birdTexts[0]!, "2001:db8:f001::/64");
  await f.configure({ ...CONFIG, cidr6: ["2001:db8:f001::/64", "2001:db8:f009::/64"] });
  f.reconciler.markDirty();
  await f.advance(500);
  assertStringIncludes(f.birdTexts.at(-1)!, "2001:db8:f009::/64");
  assert(f.ip.routes.includes("2001:db8:f009::/64 unreachable 143 2000"));
  assert(f.reconciler.settled, "it is counted and logged, and the node is ready");
  f.ip.foreign("route del 10.244.1.2/32 metric 16");
  f.reconciler.heed({
    kind: "route",
    deleted: true,
    dst: "10.244.1.2/32",
    family: "ipv4",
    table: "main",
    protocol: "static",
    metric: 16,
    dev: "eth0",
  });
  await f.advance(20);
  assert(f.ip.routes.includes(`10.244.1.2/32 ${f.attachments.get(1)!.hostIfname} 143 16`));
  assert(f.reconciler.settled);
});

Deno.test("nothing is touched before the source is in sync, or without a NodeConfig", async () => {
  await using f = await ReconcilerFixture.create();
  f.source.synced = false;
  f.ip.foreign(`route add 10.244.1.99/32 dev eth0 proto 143 metric 16`);
  f.start();
  await f.settle();
  f.reconciler.markPodsChanged();
  await f.advance(500);
  f.reconciler.markDirty();
  await f.advance(500);
  await f.reconciler.withdraw(f.attachments.get(1)!);
  assert(f.ip.reads > 1);
  assertEquals([f.ip.batches, f.birdTexts], [[], []]);
  f.source.synced = true;
  f.reconciler.markDirty();
  await f.advance(500);
  assertFalse(f.ip.routes.includes("10.244.1.99/32 eth0 143 16"), "strays go once in sync");

  await using bare = await ReconcilerFixture.create({ config: { cidr6: ["not a prefix"] } });
  assertEquals(bare.node.config, undefined);
  bare.ip.foreign(`route add 10.244.1.99/32 dev eth0 proto 143 metric 16`);
  bare.start();
  await bare.settle();
  bare.setReady(1, false);
  await bare.settle();
  assertEquals([bare.ip.batches, bare.birdTexts], [[], []]);
});

Deno.test("what waits for BIRD waits in quick passes too", async () => {
  const former = { ...CONFIG, cidr6: ["2001:db8:f002::/64"] };
  await using f = await ReconcilerFixture.create({ pods: 2, config: former });
  f.start();
  await f.settle();
  const route = (protocol: number): string =>
    `2001:db8:f001::1/128 ${f.attachments.get(1)!.hostIfname} ${protocol} 16`;
  assert(f.ip.routes.includes(route(144)), "announced by itself");
  // The pod's prefix comes back: the pod is announced by itself until BIRD has the prefix.
  f.birdApplied = false;
  await f.configure(CONFIG);
  f.reconciler.markDirty();
  await f.advance(500);
  for (const ready of [false, true, false]) {
    f.setReady(2, ready);
    await f.settle();
    assert(f.ip.routes.includes(route(144)), `${f.ip.routes}`);
  }
  await f.reconciler.withdraw(f.attachments.get(2)!);
  assert(f.ip.routes.includes(route(144)));
  await f.advance(250);
  assert(f.ip.routes.includes(route(144)), "BIRD is still not there");
  f.birdApplied = true;
  await f.advance(250);
  assert(f.ip.routes.includes(route(143)));
  assertEquals(f.logged.filter((line) => line.includes("stray")), []);
  assertEquals(f.kernel.counters.reinstalls, 0);
});

Deno.test("what becomes of an address is timed from the news of it, also where the kernel was not at hand", async () => {
  await using f = await ReconcilerFixture.create({ pods: 2 });
  f.start();
  await f.settle();
  // No news: they were Ready when the agent started.
  assertEquals(f.timed, []);
  const take = (): unknown => f.timed.splice(0);
  f.setReady(1, false);
  await f.settle();
  assertEquals(take(), [["unready_to_withdrawn", 0]]);
  f.ip.readError = new Error("Cannot run ip: killed by SIGKILL");
  f.attach(3);
  await f.settle();
  assertEquals(take(), [], "the kernel cannot be read");
  await f.advance(999);
  f.ip.readError = undefined;
  await f.advance(1);
  assertEquals(take(), [["ready_to_announced", 1]]);
  f.setReady(1, true);
  await f.settle();
  assertEquals(take(), [["ready_to_announced", 0]]);
  await f.advance(10_000);
  await f.reconciler.withdraw(f.attachments.get(2)!);
  assertEquals(take(), [["detached_to_withdrawn", 0]]);
  assertEquals(f.turns.list().map(({ loop, busyMs }) => [loop, busyMs]), [["routes", 0], [
    "pods",
    0,
  ]]);
});

Deno.test("a container that is attached again is announced again", async () => {
  await using f = await ReconcilerFixture.create();
  f.start();
  await f.settle();
  const first = f.attachments.get(1)!;
  await f.reconciler.withdraw(first);
  assertFalse(f.isRouted);
  // Detached, and attached under the same key before anything was computed in between.
  const again = { ...first, allocatedAt: "2026-01-01T00:00:01.000Z" };
  f.attachments.set(1, { ...again, state: "pending" });
  f.attachments.set(1, again);
  f.reconciler.markDirty();
  f.reconciler.markPodsChanged();
  await f.settle();
  assert(f.isRouted, JSON.stringify(f.reconciler.anycast));
  const { reads } = f.ip;
  await f.advance(500);
  f.reconciler.heed({ kind: "link", deleted: false, ifname: first.hostIfname, up: false });
  await f.advance(500);
  assert(f.ip.reads > reads, "and its link is watched");
});

Deno.test("heed() looks at what others change, and not at what flock does itself", async () => {
  await using f = await ReconcilerFixture.create();
  const { hostIfname } = f.attachments.get(1)!;
  f.start();
  await f.settle();
  await f.advance(10_000);
  const route = {
    kind: "route",
    deleted: false,
    dst: "10.244.1.2/32",
    family: "ipv4",
    table: "main",
    protocol: "143",
    metric: 16,
    dev: hostIfname,
  } as const;
  const id = f.ip.nexthops.keys().toArray().at(-1)!;
  const reads = async (event: Parameters<typeof f.reconciler.heed>[0]): Promise<number> => {
    const { reads } = f.ip;
    f.reconciler.heed(event);
    await f.advance(500);
    return f.ip.reads - reads;
  };
  assertEquals(await reads(route), 0, "as it should be");
  assertEquals(await reads({ ...route, deleted: true }), 1);
  assertEquals(await reads({ ...route, dev: "eth0" }), 1, "to another device");
  assertEquals(await reads({ ...route, dev: undefined }), 1, "to none");
  assertEquals(await reads({ ...route, protocol: "static" }), 1);
  const elsewhere = { ...route, dst: "10.244.2.2/32" };
  assertEquals(await reads({ ...elsewhere, table: "100", deleted: true }), 0);
  assertEquals(await reads({ ...elsewhere, metric: 50, protocol: "static" }), 0);
  assertEquals(await reads({ ...route, metric: 0, protocol: "static" }), 1, "a better one");
  assertEquals(await reads({ ...route, dst: "10.244.1.99/32" }), 1, "a stray");
  assertEquals(await reads({ kind: "nexthop", deleted: true, id, protocol: "144" }), 1);
  assertEquals(await reads({ kind: "nexthop", deleted: true, id: 7, protocol: "static" }), 0);
  assertEquals(await reads({ kind: "link", deleted: false, ifname: hostIfname, up: false }), 1);
  assertEquals(await reads({ kind: "address", deleted: true, ifname: hostIfname }), 1);
  await f.reconciler.withdraw(f.attachments.get(1)!);
  assertEquals(await reads({ ...route, deleted: true }), 0, "it is being detached");
  assertEquals(await reads({ kind: "link", deleted: true, ifname: hostIfname, up: false }), 0);
});

Deno.test("addresses that are not allowed any more are told of, and withdrawn", async () => {
  await using f = await ReconcilerFixture.create();
  f.start();
  await f.settle();
  assertEquals([f.isRouted, f.refused], [true, []]);
  await f.configure({ ...CONFIG, announce: { allowed: [] } });
  f.reconciler.markDirty();
  await f.advance(500);
  assertEquals([f.isRouted, f.refused.map(({ address }) => address)], [false, [ANY]]);
  await f.configure(CONFIG);
  f.reconciler.markDirty();
  await f.advance(500);
  assertEquals([f.isRouted, f.refused], [true, []]);
});

Deno.test("the Pod of an attachment is the one with its UID", async () => {
  await using f = await ReconcilerFixture.create();
  f.start();
  await f.settle();
  f.source.put({ ...readyPod(attachment(1)), uid: "another" });
  await f.settle();
  assertFalse(f.isRouted);
  assertEquals(f.reconciler.anycast[0]?.pods, [
    { pod: "default/p1", weight: 1, heldBack: "its Pod is gone" },
  ]);
});

Deno.test("the Pod of a static pod's attachment is its mirror pod", async () => {
  await using f = await ReconcilerFixture.create();
  f.start();
  await f.settle();
  const pod = readyPod(attachment(1));
  f.source.put({ ...pod, uid: "m1", annotations: mirror(pod.uid) });
  await f.settle();
  assert(f.isRouted);
  assertEquals(f.reconciler.anycast[0]?.pods.map(({ heldBack }) => heldBack), [undefined]);
});

Deno.test("ids that somebody else has are left to him, at once", async () => {
  await using f = await ReconcilerFixture.create();
  f.start();
  await f.settle();
  const ids = [...f.ip.nexthops.keys()];
  f.setReady(1, false);
  await f.settle();
  f.ip.foreign(...ids.map((id) => `nexthop add id ${id} via 2001:db8:25::1 dev eth0 proto static`));
  f.setReady(1, true);
  await f.settle();
  assert(f.isRouted);
  const { hostIfname } = f.attachments.get(1)!;
  const hop = f.ip.nexthops.entries().find(([, to]) => to === hostIfname)![0];
  const ours = f.ip.nexthops.entries().filter(([id]) => !ids.includes(id)).map(([, to]) => to);
  assertEquals([...ours].sort(), [hostIfname, `${hop},1`].sort());
  assertEquals(ids.map((id) => f.ip.nexthops.get(id)), ["eth0", "eth0"]);
  assertEquals(f.logged.filter((line) => line.includes("Could not reconcile")), []);
});

Deno.test("what is attached while the kernel is read is left to the pass after it", async () => {
  await using f = await ReconcilerFixture.create();
  f.start();
  await f.settle();
  await f.advance(10_000);
  // It has its link already when the kernel is read, and no more.
  const added = f.attach(2);
  f.attachments.set(2, { ...added, state: "pending" });
  await f.settle();
  const read = gate();
  f.ip.readGate = read.held;
  f.reconciler.markDirty();
  await f.settle();
  const before = f.ip.lines.length;
  const [v6, v4] = [added.ip6, added.ip4].map((ip) => `${ip}/${ip!.includes(":") ? 128 : 32}`);
  for (const dst of [v6, v4]) {
    f.ip.foreign(`route add ${dst} dev ${added.hostIfname} proto 143 metric 16`);
  }
  f.attachments.set(2, added);
  read.release();
  await f.settle();
  assertEquals(f.ip.lines.slice(before).filter((line) => line.includes(added.hostIfname)), []);
  assertEquals(f.kernel.counters.installFailures, 0);
  // An ADD asks for both kinds of pass.
  f.reconciler.markDirty();
  f.reconciler.markPodsChanged();
  await f.settle();
  const routed = f.ip.lines.slice(before).filter((line) => line.includes(`via ${added.ip6} `));
  assertEquals(routed.length, 1);
  assertEquals(f.kernel.counters.installFailures, 0);
});

Deno.test("what is being detached is not made whole, nor is that a failure", async () => {
  await using f = await ReconcilerFixture.create({ pods: 2 });
  f.start();
  await f.settle();
  await f.advance(10_000);
  const { counters } = f.kernel;
  const repairs = counters.repairs;
  const gone = f.attachments.get(1)!;
  await f.reconciler.withdraw(gone);
  // Its routes were read after they had gone, its link before.
  f.ip.foreign(`route del ${gone.ip4}/32 metric 16`);
  const read = gate();
  f.ip.readGate = read.held;
  f.reconciler.markDirty();
  await f.settle();
  const before = f.ip.lines.length;
  f.ip.foreign(`link del ${gone.hostIfname}`);
  read.release();
  await f.settle();
  assertEquals(f.ip.lines.slice(before), []);
  assertEquals([counters.installFailures, counters.repairs], [0, repairs]);
  f.attachments.delete(1);
  f.reconciler.markDirty();
  await f.advance(500);
  assertEquals([counters.installFailures, counters.reinstalls], [0, 0]);
  assert(f.isRouted);
  assertEquals(f.logged.filter((line) => line.includes("Could not")), []);
});
