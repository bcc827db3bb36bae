import { assertEquals } from "@std/assert";
import { writeFileDurable } from "./fs.ts";
import { makeTemp, removeTemps } from "./temp_files.ts";

const MODULE = new URL("./temp_files.ts", import.meta.url).href;

Deno.test("removeTemps() removes what a killed writer left, however young, and nothing else", async () => {
  await using dir = await tempDir();
  for (const name of [".flock-1.tmp", ".other.tmp", "a"]) {
    await Deno.writeTextFile(`${dir.path}/${name}`, "");
  }
  await Deno.mkdir(`${dir.path}/.flock-2.tmp`);
  await Deno.writeTextFile(`${dir.path}/.flock-2.tmp/content`, "");
  await Deno.symlink("a", `${dir.path}/.flock-3.tmp`);
  await removeTemps(dir.path);
  assertEquals(await names(dir.path), [".flock-3.tmp", ".other.tmp", "a"]);
  await removeTemps(`${dir.path}/none`);
});

for (const kind of ["file", "directory"] as const) {
  Deno.test(`removeTemps() leaves a ${kind} alone while its process lives, and no longer`, async () => {
    await using dir = await tempDir();
    const code = `import { makeTemp } from "${MODULE}";
      const temp = await makeTemp("${dir.path}", "${kind}");
      console.log(temp.path);
      await new Promise((resolve) => setTimeout(resolve, 60_000));`;
    const child = new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "--no-config", `data:text/typescript,${encodeURIComponent(code)}`],
      stdout: "piped",
    }).spawn();
    const reader = child.stdout.getReader();
    try {
      const path = new TextDecoder().decode((await reader.read()).value).trim();
      // A clock that was set makes no difference.
      await Deno.utime(path, 0, 0);
      await removeTemps(dir.path);
      assertEquals((await names(dir.path)).length, 1);
    } finally {
      child.kill("SIGKILL");
      await reader.cancel();
      await child.status;
    }
    await removeTemps(dir.path);
    assertEquals(await names(dir.path), []);
  });
}

Deno.test("removeTemps() disturbs no writer that is at work", async () => {
  await using dir = await tempDir();
  let writing = true;
  const sweeping = (async () => {
    while (writing) await removeTemps(dir.path);
  })();
  for (let i = 0; i < 100; i++) {
    await Promise.all(
      ["a", "b", "c"].map((name) =>
        writeFileDurable(`${dir.path}/${name}`, String(i), { apart: name === "c" })
      ),
    );
  }
  writing = false;
  await sweeping;
  assertEquals(await names(dir.path), ["a", "b", "c"]);
  assertEquals(await Deno.readTextFile(`${dir.path}/c`), "99");
});

Deno.test("makeTemp() removes what was left before, and is for its owner alone", async () => {
  await using dir = await tempDir();
  await Deno.writeTextFile(`${dir.path}/.flock-1.tmp`, "password");
  {
    await using temp = await makeTemp(dir.path);
    assertEquals(await names(dir.path), [temp.path.slice(dir.path.length + 1)]);
    assertEquals((await Deno.stat(temp.path)).mode! & 0o7777, 0o600);
  }
  assertEquals(await names(dir.path), []);
});

async function names(dir: string): Promise<string[]> {
  return (await Array.fromAsync(Deno.readDir(dir), ({ name }) => name)).sort();
}

async function tempDir(): Promise<{ readonly path: string } & AsyncDisposable> {
  const path = await Deno.makeTempDir({ prefix: "flock-temps-" });
  return { path, [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }) };
}
