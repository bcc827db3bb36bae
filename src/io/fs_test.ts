import { assert, assertEquals, assertRejects } from "@std/assert";
import { ensureDir, readTextIfPresent, watchDir, writeFileDurable } from "./fs.ts";

Deno.test("writeFileDurable() replaces a file and leaves nothing else", async () => {
  await using dir = await tempDir();
  const path = `${dir.path}/a.json`;
  await writeFileDurable(path, "one");
  await writeFileDurable(path, new TextEncoder().encode("two"), { mode: 0o644 });
  assertEquals(await readTextIfPresent(path), "two");
  assertEquals((await Deno.stat(path)).mode! & 0o777, 0o644);
  assertEquals(names(dir.path), ["a.json"]);
});

Deno.test("writeFileDurable() sets the mode whatever the umask", async () => {
  await using dir = await tempDir();
  const before = Deno.umask(0o077);
  try {
    await writeFileDurable(`${dir.path}/x`, "", { mode: 0o755 });
    await writeFileDurable(`${dir.path}/y`, "");
  } finally {
    Deno.umask(before);
  }
  assertEquals((await Deno.stat(`${dir.path}/x`)).mode! & 0o777, 0o755);
  assertEquals((await Deno.stat(`${dir.path}/y`)).mode! & 0o777, 0o600);
});

Deno.test("writeFileDurable() takes a name of 255 bytes", async () => {
  await using dir = await tempDir();
  await writeFileDurable(`${dir.path}/${"n".repeat(255)}`, "x");
  assertEquals(names(dir.path), ["n".repeat(255)]);
});

Deno.test("writeFileDurable() removes its temporary file when the rename fails", async () => {
  await using dir = await tempDir();
  await Deno.mkdir(`${dir.path}/d`);
  await assertRejects(
    () => writeFileDurable(`${dir.path}/d`, "x"),
    Error,
    `Cannot write file "${dir.path}/d": is a directory`,
  );
  assertEquals(names(dir.path), ["d"]);
});

Deno.test("writeFileDurable() names the file when its directory is missing", async () => {
  await using dir = await tempDir();
  await assertRejects(
    () => writeFileDurable(`${dir.path}/none/x`, "x"),
    Error,
    `Cannot write file "${dir.path}/none/x": no such file or directory`,
  );
});

Deno.test("readTextIfPresent() tells absence from damage", async () => {
  await using dir = await tempDir();
  assertEquals(await readTextIfPresent(`${dir.path}/none`), undefined);
  await Deno.writeFile(`${dir.path}/bad`, new Uint8Array([0x7b, 0xff]));
  await assertRejects(() => readTextIfPresent(`${dir.path}/bad`), SyntaxError, "it is not UTF-8");
  await assertRejects(() => readTextIfPresent(dir.path), Error, `Cannot read file "${dir.path}":`);
});

Deno.test("ensureDir() makes parents, sets the mode of what it makes, refuses a file", async () => {
  await using dir = await tempDir();
  const path = `${dir.path}/a/b`;
  await ensureDir(path, 0o700);
  assertEquals((await Deno.stat(path)).mode! & 0o777, 0o700);
  assertEquals((await Deno.stat(`${dir.path}/a`)).mode! & 0o777, 0o700);
  await Deno.chmod(path, 0o755);
  await ensureDir(path, 0o700);
  assertEquals((await Deno.stat(path)).mode! & 0o777, 0o755);
  await ensureDir(`${dir.path}/c`);
  assertEquals((await Deno.stat(`${dir.path}/c`)).mode! & 0o777, 0o755);
  await Deno.writeTextFile(`${dir.path}/f`, "");
  await assertRejects(
    () => ensureDir(`${dir.path}/f`, 0o700),
    Error,
    `Cannot make directory "${dir.path}/f": it is not a directory`,
  );
});

Deno.test("ensureDir() works when several make the same directory", async () => {
  await using dir = await tempDir();
  await Promise.all(Array.from({ length: 20 }, () => ensureDir(`${dir.path}/p/q/r`, 0o700)));
  assertEquals(names(`${dir.path}/p/q`), ["r"]);
});

Deno.test("writeFileDurable() writes apart: a reader of the directory sees no half of it", async () => {
  await using dir = await tempDir();
  const path = `${dir.path}/01-flock.conflist`;
  const seen: string[] = [];
  using watcher = Deno.watchFs(dir.path, { recursive: false });
  const watched = (async () => {
    for await (const { kind, paths } of watcher) {
      seen.push(`${kind} ${paths[0]!.replace(dir.path, "").replace(/-[-0-9a-f]+\.tmp/, "-.tmp")}`);
      if (kind === "remove") return;
    }
  })();
  await writeFileDurable(path, "x", { apart: true, mode: 0o644 });
  await watched;
  // containerd reads the directory after "modify", "rename" (away) and "remove", not after "create".
  assertEquals(seen.filter((event) => event.startsWith("modify")), []);
  assertEquals(seen.at(-1), "remove /.flock-.tmp");
  assertEquals(names(dir.path), ["01-flock.conflist"]);
  assertEquals((await Deno.stat(path)).mode! & 0o7777, 0o644);
});

Deno.test("watchDir() tells of a rename at once, and not of reading", async () => {
  await using dir = await tempDir();
  const stop = new AbortController();
  const watch = watchDir(dir.path, { signal: stop.signal, pollMs: 60_000 });
  await watch.next();
  const changed = watch.next();
  await writeFileDurable(`${dir.path}/a`, "x");
  assertEquals((await changed).done, false);
  let idle = watch.next();
  while (await within(50, idle)) idle = watch.next();
  await readTextIfPresent(`${dir.path}/a`);
  assertEquals(await within(50, idle), undefined);
  stop.abort();
  assertEquals((await idle).done, true);
});

Deno.test("watchDir() follows a directory that comes, goes and comes again", async () => {
  await using dir = await tempDir();
  const stop = new AbortController();
  const path = `${dir.path}/d`;
  const watch = watchDir(path, { signal: stop.signal, pollMs: 400 });
  assertEquals((await watch.next()).done, false);
  for (let n = 0; n < 2; n++) {
    await Deno.mkdir(path);
    await watch.next();
    let idle = watch.next();
    while (await within(100, idle)) idle = watch.next();
    await Deno.writeTextFile(`${path}/x`, "");
    assert(await within(250, idle), "it waited for the poll");
    await Deno.remove(path, { recursive: true });
  }
  stop.abort();
  for await (const _ of watch);
});

/** What a promise gives within some milliseconds; undefined when it does not. */
async function within<T>(ms: number, promise: Promise<T>): Promise<T | undefined> {
  const { promise: late, resolve } = Promise.withResolvers<undefined>();
  const timer = setTimeout(() => resolve(undefined), ms);
  return await Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

function names(dir: string): string[] {
  return [...Deno.readDirSync(dir)].map((entry) => entry.name).sort();
}

async function tempDir(): Promise<AsyncDisposable & { path: string }> {
  const path = await Deno.makeTempDir({ prefix: "flock-fs-" });
  return { path, [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }) };
}
