import { assert, assertEquals, assertRejects } from "@std/assert";
import { writeConflist } from "./conflist.ts";

const PATHS = { socket: "/run/flock/flock.sock", stateDir: "/var/lib/flock" };

Deno.test("writeConflist() writes a list that everybody may read, and nothing beside it", async () => {
  await using dir = await tempDir();
  const file = `${dir.path}/01-flock.conflist`;
  await writeConflist(file, PATHS);
  assertEquals(JSON.parse(await Deno.readTextFile(file)).plugins[0], { type: "flock", ...PATHS });
  assertEquals((await Deno.stat(file)).mode! & 0o7777, 0o644);
  // A runtime reads every file of the directory.
  assertEquals((await Array.fromAsync(Deno.readDir(dir.path))).map(({ name }) => name), [
    "01-flock.conflist",
  ]);
});

Deno.test("writeConflist() leaves a list alone that is as it should be", async () => {
  await using dir = await tempDir();
  const file = `${dir.path}/01-flock.conflist`;
  await writeConflist(file, PATHS);
  const before = await Deno.stat(file);
  await writeConflist(file, PATHS);
  const after = await Deno.stat(file);
  assertEquals([after.ino, after.mtime], [before.ino, before.mtime]);
});

Deno.test("writeConflist() replaces a list that differs, at once", async () => {
  await using dir = await tempDir();
  const file = `${dir.path}/01-flock.conflist`;
  await Deno.writeTextFile(file, "{}");
  using reader = await Deno.open(file);
  await writeConflist(file, { ...PATHS, socket: "/run/other.sock" });
  assertEquals(
    JSON.parse(await Deno.readTextFile(file)).plugins[0].socket,
    "/run/other.sock",
  );
  // Renamed over it: whoever had the old one open still reads it whole.
  assertEquals(await new Response(reader.readable).text(), "{}");
});

Deno.test("writeConflist() names the file that it cannot write", async () => {
  await using dir = await tempDir();
  const file = `${dir.path}/missing/01-flock.conflist`;
  const error = await assertRejects(() => writeConflist(file, PATHS), Error);
  assert(error.message.includes(file), error.message);
});

async function tempDir(): Promise<{ readonly path: string } & AsyncDisposable> {
  const path = await Deno.makeTempDir({ prefix: "flock-conflist-" });
  return { path, [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }) };
}
