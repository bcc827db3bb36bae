import { assert, assertEquals, assertRejects } from "@std/assert";
import {
  type Deletion,
  enqueueDeletion,
  listDeletions,
  removeDeletion,
  watchDeletions,
} from "./deletion_queue.ts";

Deno.test("enqueueDeletion() and listDeletions() keep every deletion, oldest first", async () => {
  await using dir = await tempDir();
  const ids = ["c-new", "c.old", "x".repeat(400), "x".repeat(401)];
  for (const [n, containerId] of ids.entries()) {
    await enqueueDeletion(dir.path, deletion(containerId, "eth0", 10 - n));
  }
  await enqueueDeletion(dir.path, deletion("c-new", "et\u00e9@%:0", 20));
  const { deletions, damaged } = await listDeletions(dir.path);
  assertEquals(deletions.map((d) => `${d.containerId.slice(0, 5)}/${d.ifname}`), [
    "xxxxx/eth0",
    "xxxxx/eth0",
    "c.old/eth0",
    "c-new/eth0",
    "c-new/et\u00e9@%:0",
  ]);
  assertEquals(deletions[1]!.containerId.length, 400);
  assertEquals(damaged, []);
});

Deno.test("enqueueDeletion() writes the documented fields, for root only", async () => {
  await using dir = await tempDir();
  await enqueueDeletion(`${dir.path}/state`, deletion("c1", "eth0", 1));
  const queue = `${dir.path}/state/deletions`;
  assertEquals((await Deno.stat(queue)).mode! & 0o777, 0o700);
  assertEquals(JSON.parse(await Deno.readTextFile(`${queue}/c1@eth0.json`)), {
    version: 1,
    container_id: "c1",
    ifname: "eth0",
    queued_at: "2026-01-01T00:00:01.000Z",
  });
});

Deno.test("enqueueDeletion() fails when it cannot write", async () => {
  await using dir = await tempDir();
  await Deno.writeTextFile(`${dir.path}/deletions`, "a file where the directory belongs");
  await assertRejects(
    () => enqueueDeletion(dir.path, deletion("c1", "eth0", 1)),
    Error,
    `Cannot make directory "${dir.path}/deletions": it is not a directory`,
  );
});

Deno.test("listDeletions() is empty without a queue", async () => {
  await using dir = await tempDir();
  assertEquals(await listDeletions(dir.path), { deletions: [], damaged: [] });
});

Deno.test("listDeletions() moves damaged files aside and names them once", async (t) => {
  const good = { version: 1, container_id: "c", ifname: "eth0", queued_at: "2026-01-01T00:00:00Z" };
  const cases: Record<string, [string | Uint8Array, string]> = {
    "empty": ["", "it is not JSON"],
    "cut off": [JSON.stringify(good).slice(0, 30), "it is not JSON"],
    "not UTF-8": [new Uint8Array([0x22, 0xff, 0x22]), "it is not UTF-8"],
    "null": ["null", 'field "version" is missing or wrong'],
    "later version": [JSON.stringify({ ...good, version: 2 }), 'field "version"'],
    "no container": [JSON.stringify({ ...good, container_id: "" }), 'field "container_id"'],
    "ifname a number": [JSON.stringify({ ...good, ifname: 1 }), 'field "ifname"'],
    "no time": [JSON.stringify({ ...good, queued_at: "yesterday" }), 'field "queued_at"'],
  };
  for (const [name, [content, message]] of Object.entries(cases)) {
    await t.step(name, async () => {
      await using dir = await tempDir();
      await enqueueDeletion(dir.path, deletion("kept", "eth0", 1));
      const path = `${dir.path}/deletions/c@eth0.json`;
      await Deno.writeFile(
        path,
        typeof content === "string" ? new TextEncoder().encode(content) : content,
      );
      const first = await listDeletions(dir.path);
      assertEquals(first.deletions.map((d) => d.containerId), ["kept"]);
      assertEquals(first.damaged.map((d) => d.path), [`${path}.damaged`]);
      assert(first.damaged[0]!.error.message.includes(message), first.damaged[0]!.error.message);
      assert(first.damaged[0]!.error.message.includes(path));
      assert((await Deno.stat(`${path}.damaged`)).isFile);
      assertEquals((await listDeletions(dir.path)).damaged, []);
    });
  }
});

Deno.test("removeDeletion() keeps one that was queued again meanwhile", async () => {
  await using dir = await tempDir();
  const [first, second] = [deletion("c", "eth0", 1), deletion("c", "eth0", 2)];
  await enqueueDeletion(dir.path, first);
  await enqueueDeletion(dir.path, second);
  await removeDeletion(dir.path, first);
  assertEquals((await listDeletions(dir.path)).deletions, [second]);
  await removeDeletion(dir.path, second);
  await removeDeletion(dir.path, second);
  assertEquals((await listDeletions(dir.path)).deletions, []);
});

Deno.test("watchDeletions() tells of a deletion at once, also in a queue made again", async () => {
  await using dir = await tempDir();
  const stop = new AbortController();
  const watch = watchDeletions(dir.path, stop.signal, { pollMs: 100 });
  let next = watch.next();
  await until(() => exists(`${dir.path}/deletions`));
  await enqueueDeletion(dir.path, deletion("c1", "eth0", 1));
  assertEquals((await next).done, false);
  await removeDeletion(dir.path, deletion("c1", "eth0", 1));
  next = watch.next();
  await Deno.remove(`${dir.path}/deletions`);
  await enqueueDeletion(dir.path, deletion("c2", "eth0", 1));
  assertEquals((await next).done, false);
  assertEquals((await listDeletions(dir.path)).deletions.map((d) => d.containerId), ["c2"]);
  // What is left in the queue is offered again.
  assertEquals((await watch.next()).done, false);
  stop.abort();
  assertEquals((await watch.next()).done, true);
});

Deno.test("watchDeletions() does not wait for its poll", async () => {
  await using dir = await tempDir();
  const stop = new AbortController();
  const watch = watchDeletions(dir.path, stop.signal, { pollMs: 60_000 });
  const next = watch.next();
  await until(() => exists(`${dir.path}/deletions`));
  await enqueueDeletion(dir.path, deletion("c", "eth0", 1));
  assertEquals((await next).done, false);
  stop.abort();
  assertEquals((await watch.next()).done, true);
});

Deno.test("the plugin's share loads nothing from npm", async () => {
  const module = new URL("./deletion_queue.ts", import.meta.url).pathname;
  const output = await new Deno.Command(Deno.execPath(), {
    args: ["info", "--json", module],
    stderr: "null",
  }).output();
  const info = JSON.parse(new TextDecoder().decode(output.stdout));
  const modules = info.modules.map((m: { specifier: string }) => m.specifier.split("/").pop());
  assertEquals(modules.sort(), ["deletion_queue.ts", "fs.ts", "temp_files.ts"]);
});

function deletion(containerId: string, ifname: string, second: number): Deletion {
  return { containerId, ifname, queuedAt: new Date(Date.UTC(2026, 0, 1, 0, 0, second)).toJSON() };
}

async function until(condition: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 5_000;
  while (!await condition()) {
    assert(Date.now() < deadline, "it did not happen within 5 s");
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

async function exists(path: string): Promise<boolean> {
  return await Deno.stat(path).then(() => true, () => false);
}

async function tempDir(): Promise<AsyncDisposable & { path: string }> {
  const path = await Deno.makeTempDir({ prefix: "flock-del-" });
  return { path, [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }) };
}
