import { assert, assertEquals, assertRejects } from "@std/assert";
import { installFile } from "./install_file.ts";

async function withDir(fn: (dir: string) => Promise<void>): Promise<void> {
  const dir = await Deno.makeTempDir();
  try {
    await fn(dir);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

async function listing(dir: string): Promise<string[]> {
  return (await Array.fromAsync(Deno.readDir(dir), ({ name }) => name)).sort();
}

/** More than one piece, with a difference at the end only. */
function program(last: number): Uint8Array {
  const bytes = new Uint8Array((1 << 20) * 2 + 17);
  bytes[bytes.length - 1] = last;
  return bytes;
}

Deno.test("installFile() copies what is missing, and then leaves it alone", async () => {
  await withDir(async (dir) => {
    await Deno.mkdir(`${dir}/bin`);
    await Deno.writeFile(`${dir}/source`, program(1), { mode: 0o600 });
    assertEquals(await installFile(`${dir}/source`, `${dir}/bin/flock`), true);
    assertEquals(await Deno.readFile(`${dir}/bin/flock`), program(1));
    const { ino, mode } = await Deno.stat(`${dir}/bin/flock`);
    assertEquals(mode! & 0o7777, 0o755);
    assertEquals(await installFile(`${dir}/source`, `${dir}/bin/flock`), false);
    assertEquals((await Deno.stat(`${dir}/bin/flock`)).ino, ino);
    assertEquals(await listing(`${dir}/bin`), ["flock"]);
  });
});

Deno.test("installFile() replaces another content, another mode and a link, by a new file", async (t) => {
  const before: Readonly<Record<string, (target: string) => Promise<void>>> = {
    "one byte": (target) => Deno.writeFile(target, program(2), { mode: 0o755 }),
    "shorter": (target) => Deno.writeFile(target, new Uint8Array(3), { mode: 0o755 }),
    "not executable": (target) => Deno.writeFile(target, program(1), { mode: 0o644 }),
    "link": (target) => Deno.symlink("/etc/hostname", target),
  };
  for (const [name, make] of Object.entries(before)) {
    await t.step(name, () =>
      withDir(async (dir) => {
        await Deno.mkdir(`${dir}/bin`);
        await Deno.writeFile(`${dir}/source`, program(1), { mode: 0o755 });
        await make(`${dir}/bin/flock`);
        const old = await Deno.lstat(`${dir}/bin/flock`);
        assertEquals(await installFile(`${dir}/source`, `${dir}/bin/flock`), true);
        const now = await Deno.lstat(`${dir}/bin/flock`);
        assert(now.isFile && now.ino !== old.ino);
        assertEquals(now.mode! & 0o7777, 0o755);
        assertEquals(await Deno.readFile(`${dir}/bin/flock`), program(1));
      }));
  }
});

Deno.test("installFile() replaces a program that runs", async () => {
  await withDir(async (dir) => {
    await Deno.copyFile("/bin/sleep", `${dir}/flock`);
    const child = new Deno.Command(`${dir}/flock`, { args: ["60"] }).spawn();
    try {
      await Deno.writeFile(`${dir}/source`, program(1));
      assertEquals(await installFile(`${dir}/source`, `${dir}/flock`), true);
    } finally {
      child.kill("SIGKILL");
      await child.status;
    }
  });
});

Deno.test("installFile() removes what a killed installer left, and nothing of others", async () => {
  await withDir(async (dir) => {
    await Deno.writeFile(`${dir}/source`, program(1));
    for (const name of [".flock-x.tmp", ".flock-y.tmp", "other.tmp"]) {
      await Deno.writeTextFile(`${dir}/${name}`, "");
    }
    using held = await Deno.open(`${dir}/.flock-y.tmp`);
    await held.lock(true);
    await installFile(`${dir}/source`, `${dir}/flock`);
    assertEquals(await listing(dir), [".flock-y.tmp", "flock", "other.tmp", "source"]);
  });
});

Deno.test("installFile() leaves all as it was when it fails, and says why", async () => {
  await withDir(async (dir) => {
    await Deno.mkdir(`${dir}/bin/flock`, { recursive: true });
    await Deno.writeFile(`${dir}/source`, program(1));
    const target = `${dir}/bin/flock`;
    const error = await assertRejects(() => installFile(`${dir}/source`, target), Error);
    assert(error.message.startsWith(`Cannot install "${target}": `), error.message);
    assertEquals(await listing(`${dir}/bin`), ["flock"]);
    await assertRejects(() => installFile(`${dir}/none`, `${dir}/bin/x`), Error, "Cannot install");
    await assertRejects(
      () => installFile(`${dir}/source`, `${dir}/none/x`),
      Error,
      "Cannot install",
    );
  });
});
