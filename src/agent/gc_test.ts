import { assertEquals, assertRejects } from "@std/assert";
import { fakePod, FakeSource, mirror } from "../../tests/fakes/fake_source.ts";
import { type Attachment, attachmentKey } from "../core/attachment.ts";
import { LeakCollector } from "./gc.ts";

const MINUTE = 60_000;

Deno.test("collect() releases a leak only after the grace period", async () => {
  const f = new Fixture();
  f.attachments.push(attachment(1));
  await f.collectAt(0, 1, 4.9);
  assertEquals(f.deleted, []);
  await f.collectAt(5);
  assertEquals(f.deleted, ["c1/eth0"]);
});

Deno.test("collect() leaves alone what still has its link or its pod, or is being wired", async () => {
  const f = new Fixture();
  f.attachments.push(attachment(1), attachment(2), attachment(3, { state: "pending" }));
  f.links.push("flock00000001");
  f.source.put(fakePod({ name: "p2", uid: "u2" }));
  await f.collectAt(0, 10, 20);
  assertEquals(f.deleted, []);
});

Deno.test("collect() takes a pod made again under the same name for another pod", async () => {
  const f = new Fixture();
  f.attachments.push(attachment(1));
  f.source.put(fakePod({ name: "p1", uid: "u9" }));
  await f.collectAt(0, 5);
  assertEquals(f.deleted, ["c1/eth0"]);
});

Deno.test("collect() takes a container without a pod for leaked when its link is gone", async () => {
  const f = new Fixture();
  f.attachments.push(attachment(1, { namespace: "", podName: "c1", podUid: "" }));
  await f.collectAt(0, 5);
  assertEquals(f.deleted, ["c1/eth0"]);
});

Deno.test("collect() releases a dead sandbox of a living pod at once", async () => {
  const f = new Fixture();
  f.attachments.push(attachment(1), attachment(2));
  f.source.put(fakePod({ name: "p1", uid: "u1" }));
  f.source.put(fakePod({ name: "p2", uid: "u2" }));
  f.gone.push("/run/netns/p1", "/run/netns/p2");
  // Processes may still be in the namespace of a link that is there.
  f.links.push("flock00000002");
  await f.collectAt(0);
  assertEquals([f.deleted, f.leaks], [["c1/eth0"], ["sandbox"]]);
});

Deno.test("collect() knows a static pod by the hash of its configuration", async () => {
  const f = new Fixture();
  f.attachments.push(attachment(1, { podUid: "h1" }), attachment(2, { podUid: "h2" }));
  f.source.put(fakePod({ name: "p1", uid: "m1", annotations: mirror("h1") }));
  f.source.put(fakePod({ name: "p2", uid: "m2", annotations: mirror("h9") }));
  await f.collectAt(0, 5);
  assertEquals(f.deleted, ["c2/eth0"]);
});

Deno.test("collect() begins to count again when a leak was none meanwhile", async () => {
  const f = new Fixture();
  f.attachments.push(attachment(1));
  await f.collectAt(0, 4);
  f.source.put(fakePod({ name: "p1", uid: "u1" }));
  await f.collectAt(4.5);
  f.source.remove("default", "p1");
  await f.collectAt(5, 9.9);
  assertEquals(f.deleted, []);
  await f.collectAt(10);
  assertEquals([f.deleted, f.leaks], [["c1/eth0"], ["api"]]);
});

Deno.test("collect() judges nothing before the caches are in sync", async () => {
  const f = new Fixture();
  f.attachments.push(attachment(1));
  f.source.synced = false;
  await f.collectAt(0, 100);
  f.source.synced = true;
  await f.collectAt(101);
  assertEquals(f.deleted, []);
});

Deno.test("collect() tries unfinished attachments again each time, and failures reach the caller", async () => {
  const f = new Fixture();
  await f.collectAt(0, 1);
  assertEquals(f.pendingTries, 2);
  f.pendingError = new Error("device busy");
  await assertRejects(() => f.collectAt(2), Error, "device busy");
});

Deno.test("run() ends with its signal", async () => {
  const f = new Fixture();
  const stop = new AbortController();
  const running = f.collector.run(stop.signal);
  stop.abort();
  await running;
  await f.collector.run(stop.signal);
  assertEquals(f.pendingTries, 0);
});

class Fixture {
  readonly source = new FakeSource();
  readonly attachments: Attachment[] = [];
  readonly links: string[] = [];
  /** Paths of namespaces that are gone. */
  readonly gone: string[] = [];
  readonly deleted: string[] = [];
  pendingTries = 0;
  readonly leaks: string[] = [];
  pendingError: Error | undefined;
  #now = 0;
  readonly collector: LeakCollector;

  constructor() {
    // deno-lint-ignore no-this-alias
    const f = this;
    this.collector = new LeakCollector({
      network: {
        del: (id) => {
          f.deleted.push(attachmentKey(id));
          f.attachments.splice(
            f.attachments.findIndex((a) => attachmentKey(a) === attachmentKey(id)),
            1,
          );
          return Promise.resolve();
        },
        detachPending: () => {
          f.pendingTries++;
          return f.pendingError ? Promise.reject(f.pendingError) : Promise.resolve();
        },
      },
      store: { list: () => [...f.attachments] },
      source: f.source,
      ip: {
        observe() {
          const link = { up: true, carrier: true, mtu: 1500, mac: "", addresses: [] };
          return Promise.resolve({
            links: f.links.map((ifname) => ({ ifname, ...link })),
            routes: [],
            defaultRoutes: [],
          });
        },
      },
      netns: {
        gone: (paths) => Promise.resolve(new Set(paths.filter((path) => f.gone.includes(path)))),
      },
      now: () => f.#now,
      onLeak: (source) => f.leaks.push(source),
    });
  }

  /** One look at each of these minutes. */
  async collectAt(...minutes: readonly number[]): Promise<void> {
    for (const minute of minutes) {
      this.#now = minute * MINUTE;
      await this.collector.collect();
    }
  }
}

function attachment(n: number, of: Partial<Attachment> = {}): Attachment {
  return {
    containerId: `c${n}`,
    ifname: "eth0",
    namespace: "default",
    podName: `p${n}`,
    podUid: `u${n}`,
    hostIfname: `flock0000000${n}`,
    netns: `/run/netns/p${n}`,
    state: "committed",
    allocatedAt: "2026-01-01T00:00:00.000Z",
    ...of,
  };
}
