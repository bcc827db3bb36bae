import { assertEquals, assertRejects } from "@std/assert";
import { attachment } from "../../tests/attachments.ts";
import { FakeSource } from "../../tests/fakes/fake_source.ts";
import type { Attachment } from "../core/attachment.ts";
import { attachmentKey } from "../core/attachment.ts";
import { parseNetConf } from "../core/cni.ts";
import { CniError } from "../core/errors.ts";
import { Ipam } from "../core/ipam.ts";
import { PodNetwork, type PodNetworkOptions } from "./pod_network.ts";

const ATTACHED = attachment(1, { ip4: "10.244.1.1", allocatedAt: "2099-01-01T00:00:00.000Z" });
const AGAIN = { ...ATTACHED, conf: parseNetConf('{"name": "flock"}') };

Deno.test("an ADD makes the DEL true that it finds in the queue, and nobody makes it true again", async () => {
  const f = fixture();
  f.queue.add("c1/eth0");
  // What is attached was to be detached: its answer is not given again. No other is possible yet.
  const error = await assertRejects(() => f.network.add(AGAIN, f.signal), CniError) as CniError;
  assertEquals([error.code, f.queue.size, f.store.size], [11, 0, 0]);
  f.store.set("c1/eth0", ATTACHED);
  assertEquals([await f.network.replay(ATTACHED), f.store.size], [false, 1]);
});

Deno.test("a queued DEL is made true whatever the clock said at the ADD, and while an ADD waits", async () => {
  const f = fixture();
  f.queue.add("c1/eth0");
  assertEquals([await f.network.replay(ATTACHED), f.queue.size, f.store.size], [true, 0, 0]);
  f.store.set("c1/eth0", ATTACHED);
  f.queue.add("c1/eth0");
  // The first takes it; the second finds it gone.
  const both = await Promise.all([f.network.replay(ATTACHED), f.network.replay(ATTACHED)]);
  assertEquals(both, [true, false]);
});

Deno.test("a DEL that cannot be made true stays in the queue", async () => {
  const f = fixture({ withdraw: () => Promise.reject(new Error("kernel is busy")) });
  f.queue.add("c1/eth0");
  await assertRejects(() => f.network.replay(ATTACHED), Error, "kernel is busy");
  await assertRejects(() => f.network.add(AGAIN, f.signal), Error, "kernel is busy");
  assertEquals([f.queue.size, f.store.size], [1, 1]);
});

/** What attaching and detaching touches, in memory; one container is attached, and the source knows nothing. */
function fixture(change: Partial<PodNetworkOptions> = {}) {
  const store = new Map<string, Attachment>([["c1/eth0", ATTACHED]]);
  const queue = new Set<string>();
  const source = new FakeSource();
  source.synced = false;
  const options = {
    nodeName: "n1",
    source,
    ipam: new Ipam(() => 0n),
    store: {
      get: (key: string) => store.get(key),
      list: () => [...store.values()],
      remove: (key: string) => Promise.resolve(void store.delete(key)),
      lastGiven: () => ({}),
    },
    ip: {
      link: () => Promise.resolve({}),
      deleteLink: () => Promise.resolve(),
    },
    netns: { isSame: () => Promise.resolve(true), gone: () => Promise.resolve(new Set()) },
    queue: {
      has: (id: Attachment) => Promise.resolve(queue.has(attachmentKey(id))),
      remove: (id: Attachment) => Promise.resolve(void queue.delete(attachmentKey(id))),
    },
    onChange: () => {},
    withdraw: () => Promise.resolve(),
    forget: () => Promise.resolve(),
    ...change,
  } as unknown as PodNetworkOptions;
  const { signal } = new AbortController();
  return { network: new PodNetwork(options), store, queue, signal };
}
