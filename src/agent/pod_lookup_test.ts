import { assert, assertEquals, assertRejects } from "@std/assert";
import { fakePod, FakeSource, mirror } from "../../tests/fakes/fake_source.ts";
import { CniError } from "../core/errors.ts";
import type { Pod } from "../core/objects.ts";
import { findPod } from "./pod_lookup.ts";

const WAIT_MS = 30;
const WEB = { namespace: "default", name: "web", uid: "u1" };

function find(
  source: FakeSource,
  reference = WEB,
  signal = new AbortController().signal,
): Promise<Pod> {
  return findPod(source, reference, { node: "n1", signal, waitMs: WAIT_MS });
}

async function codeOf(answer: Promise<Pod>, words: string): Promise<number> {
  return (await assertRejects(() => answer, CniError, words) as CniError).code;
}

Deno.test("findPod() takes a cached pod at once, without asking the API", async () => {
  const source = new FakeSource();
  source.put(fakePod());
  const started = performance.now();
  assertEquals(await find(source), fakePod());
  assert(performance.now() - started < WAIT_MS);
  assertEquals([source.fetches, source.listeners], [0, 0]);
});

Deno.test("findPod() waits for a pod that the watch is about to bring", async () => {
  const source = new FakeSource();
  const answer = find(source);
  source.put(fakePod({ name: "other" }));
  source.put(fakePod({ uid: "u0" }));
  source.put(fakePod());
  assertEquals((await answer).uid, "u1");
  assertEquals([source.fetches, source.listeners], [0, 0]);
});

Deno.test("findPod() asks the API once when the watch is behind, also for a pod made again", async () => {
  for (const cached of [undefined, fakePod({ uid: "u0" })]) {
    const source = new FakeSource();
    if (cached) source.put(cached);
    source.api = [fakePod()];
    assertEquals((await find(source)).uid, "u1");
    assertEquals([source.fetches, source.listeners], [1, 0]);
  }
});

Deno.test("findPod() is content with any UID when the runtime names none", async () => {
  const source = new FakeSource();
  source.put(fakePod({ uid: "u7" }));
  assertEquals((await find(source, { ...WEB, uid: "" })).uid, "u7");
});

Deno.test("findPod() answers 3 for a pod that does not exist", async () => {
  const source = new FakeSource();
  assertEquals(await codeOf(find(source), 'Cannot find pod "default/web": there is none'), 3);
});

Deno.test("findPod() answers 3 for a pod of another node", async () => {
  const source = new FakeSource();
  source.put(fakePod({ nodeName: "n2" }));
  assertEquals(await codeOf(find(source), 'it belongs to node "n2"'), 3);
  source.put(fakePod({ nodeName: "n1" }));
  assertEquals((await find(source)).nodeName, "n1");
});

Deno.test("findPod() answers 11 when only an earlier pod of the name is there", async () => {
  const source = new FakeSource();
  source.put(fakePod({ uid: "u0" }));
  assertEquals(await codeOf(find(source), 'with UID "u1": the one there has UID "u0"'), 11);
});

Deno.test("findPod() takes a mirror pod for its static pod, by the UID that the runtime has, and no other", async () => {
  const source = new FakeSource();
  source.put(fakePod({ uid: "m1", annotations: mirror("hash1") }));
  for (const uid of ["hash1", "m1"]) {
    // Not the mirror pod's own: that is another one when it is made again.
    assertEquals((await find(source, { ...WEB, uid })).uid, uid);
  }
  for (const uid of ["hash2", "file", "2026-01-01T00:00:00.000000000Z"]) {
    assertEquals(await codeOf(find(source, { ...WEB, uid }), `with UID "${uid}"`), 11);
  }
  // Anybody may write this one on a pod of his own; the kubelet's own mark is what makes it a mirror.
  const annotations = { "kubernetes.io/config.hash": "hash1" };
  source.put(fakePod({ uid: "m1", annotations }));
  assertEquals(await codeOf(find(source, { ...WEB, uid: "hash1" }), 'with UID "hash1"'), 11);
});

Deno.test("findPod() answers 11 when the API is away, with what it said", async () => {
  const source = new FakeSource();
  source.api = new Error("connection refused");
  const error = await assertRejects(() => find(source), CniError) as CniError;
  assertEquals([error.code, error.details], [11, "connection refused"]);
});

Deno.test("findPod() gives up at once when nobody waits for it any more", async () => {
  const source = new FakeSource();
  const gone = new AbortController();
  const answer = find(source, WEB, gone.signal);
  gone.abort(new Error("the client went away"));
  await assertRejects(() => answer, Error, "the client went away");
  assertEquals([source.fetches, source.listeners], [0, 0]);
});
