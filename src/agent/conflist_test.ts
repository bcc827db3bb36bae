import { assert, assertEquals, assertRejects } from "@std/assert";
import { configureLog } from "../log.ts";
import { hasHostProgram } from "../io/cni_plugin.ts";
import { until } from "../lab/wait.ts";
import { testWith } from "../../tests/support.ts";
import { ConflistKeeper, type ConflistOptions } from "./conflist.ts";

const PATHS = { socket: "/run/flock/flock.sock", stateDir: "/var/lib/flock" };
const PORTMAP = "/usr/lib/cni/portmap";

Deno.test("ConflistKeeper writes a list that everybody may read, and nothing beside it", async () => {
  await using dir = await tempDir();
  await dir.conflist().update();
  assertEquals((await dir.list()).plugins, [{ type: "flock", ...PATHS }]);
  assertEquals((await Deno.stat(dir.file)).mode! & 0o7777, 0o644);
  // A runtime reads every file of the directory.
  assertEquals(await namesIn(`${dir.path}/net.d`), ["01-flock.conflist"]);
});

Deno.test("ConflistKeeper leaves a list alone that is as it should be", async () => {
  await using dir = await tempDir();
  await dir.conflist().update();
  const before = await Deno.stat(dir.file);
  await dir.conflist().update();
  const after = await Deno.stat(dir.file);
  assertEquals([after.ino, after.mtime], [before.ino, before.mtime]);
});

Deno.test("ConflistKeeper replaces a list that differs, at once", async () => {
  await using dir = await tempDir();
  await Deno.writeTextFile(dir.file, "{}");
  using reader = await Deno.open(dir.file);
  await dir.conflist({ socket: "/run/other.sock" }).update();
  assertEquals((await dir.list()).plugins[0]!.socket, "/run/other.sock");
  // Renamed over it: whoever had the old one open still reads it whole.
  assertEquals(await new Response(reader.readable).text(), "{}");
});

Deno.test("ConflistKeeper replaces what is no file of text", async () => {
  await using dir = await tempDir();
  await Deno.symlink("/nonexistent/list", dir.file);
  await dir.conflist().update();
  assertEquals((await Deno.lstat(dir.file)).isFile, true);
  await Deno.remove(dir.file);
  await new Deno.Command("mkfifo", { args: [dir.file] }).output();
  await dir.conflist().update();
  assertEquals((await Deno.lstat(dir.file)).isFile, true);
});

Deno.test("ConflistKeeper names the file that it cannot write", async () => {
  await using dir = await tempDir();
  const file = `${dir.path}/missing/01-flock.conflist`;
  const error = await assertRejects(() => dir.conflist({ file }).update(), Error);
  assert(error.message.includes(file), error.message);
});

testWith(
  "ConflistKeeper offers no version that the real portmap lacks",
  ["referencePlugins"],
  async () => {
    await using dir = await tempDir();
    await Deno.symlink(PORTMAP, dir.portmap);
    await dir.conflist().update();
    const { cniVersion, cniVersions, plugins } = await dir.list();
    // 1.1.1 of Debian 12 speaks up to 1.0.0, and knows of no backend.
    assertEquals([cniVersion, cniVersions], ["1.0.0", ["0.3.1", "0.4.0", "1.0.0"]]);
    assertEquals(plugins[1], { type: "portmap", capabilities: { portMappings: true }, snat: true });
  },
);

Deno.test("ConflistKeeper looks again when the plugin's file changes", async () => {
  await using dir = await tempDir();
  const conflist = dir.conflist();
  await conflist.update();
  assertEquals((await dir.list()).cniVersions.at(-1), "1.1.0");
  await dir.install("v1.1.1", ["0.4.0", "1.0.0"]);
  await conflist.update();
  assertEquals((await dir.list()).cniVersions, ["0.4.0", "1.0.0"]);
  await dir.install("v1.6.0", ["0.4.0", "1.0.0", "1.1.0"]);
  await conflist.update();
  assertEquals((await dir.list()).cniVersions, ["0.4.0", "1.0.0", "1.1.0"]);
  const backend = await hasHostProgram("nft") ? "nftables" : undefined;
  assertEquals((await dir.list()).plugins[1]!.backend, backend);
  await Deno.remove(dir.portmap);
  await conflist.update();
  assertEquals((await dir.list()).plugins.length, 1);
});

Deno.test("ConflistKeeper asks a plugin once while its file stays the same", async () => {
  await using dir = await tempDir();
  await dir.install("v1.6.0", ["1.0.0"]);
  const conflist = dir.conflist();
  for (let i = 0; i < 3; i++) await conflist.update();
  assertEquals(await Deno.readTextFile(`${dir.path}/calls`), "VERSION\n\n");
});

Deno.test("ConflistKeeper keeps the backend while pods are attached whose rules it made", async () => {
  await using dir = await tempDir();
  let attached = true;
  const conflist = dir.conflist({ attached: () => attached });
  await dir.install("v1.5.0", ["1.0.0", "1.1.0"]);
  await conflist.update();
  await dir.install("v1.6.0", ["1.0.0", "1.1.0"]);
  await conflist.update();
  assertEquals((await dir.list()).plugins[1]!.backend, undefined);
  attached = false;
  await conflist.update();
  const backend = await hasHostProgram("nft") ? "nftables" : undefined;
  assertEquals((await dir.list()).plugins[1]!.backend, backend);
});

Deno.test("ConflistKeeper leaves a plugin out that does not answer or speaks nothing of ours, and says so once", async () => {
  await using dir = await tempDir();
  const lines: string[] = [];
  configureLog({ level: "warn", format: "text", write: (line) => lines.push(line) });
  try {
    const conflist = dir.conflist();
    for (const text of ["#!/bin/sh\nexit 1\n", "no program", portmapOf("v9", ["9.0.0"])]) {
      lines.length = 0;
      await Deno.writeTextFile(dir.portmap, text, { mode: 0o755 });
      for (let i = 0; i < 2; i++) await conflist.update();
      const { cniVersions, plugins } = await dir.list();
      assertEquals([cniVersions.at(-1), plugins.length], ["1.1.0", 1]);
      assertEquals(lines.length, 1, lines.join(""));
      assert(lines[0]!.includes("Left plugin out") && lines[0]!.includes(dir.portmap), lines[0]);
    }
  } finally {
    configureLog({ level: "info", format: "json" });
  }
});

Deno.test("ConflistKeeper writes once pods can be attached, and again when the list was removed", async () => {
  await using dir = await tempDir();
  let ready = false;
  let asked = 0;
  const stop = new AbortController();
  const conflist = dir.conflist({ ready: () => (asked++, ready) });
  const running = conflist.run(stop.signal);
  await until("the first look", () => Promise.resolve(asked === 1));
  conflist.wake();
  await until("another look", () => Promise.resolve(asked === 2));
  assertEquals(await namesIn(`${dir.path}/net.d`), []);
  ready = true;
  conflist.wake();
  await until("the list", async () => (await namesIn(`${dir.path}/net.d`)).length > 0);
  await Deno.remove(dir.file);
  conflist.wake();
  await until("the list", async () => (await namesIn(`${dir.path}/net.d`)).length > 0);
  stop.abort();
  await running;
});

interface List {
  readonly cniVersion: string;
  readonly cniVersions: readonly string[];
  readonly plugins: readonly Readonly<Record<string, unknown>>[];
}

/** A stand-in for portmap: it says what it is told, and writes down how it was called. */
function portmapOf(version: string, supportedVersions: readonly string[]): string {
  return `#!/bin/sh
echo "$CNI_COMMAND" >>"\${0%/*}/../calls"
if [ -n "$CNI_COMMAND" ]; then echo '${JSON.stringify({ supportedVersions })}'
else echo 'CNI portmap plugin ${version}' >&2; fi
`;
}

async function tempDir() {
  const path = await Deno.makeTempDir({ prefix: "flock-conflist-" });
  const file = `${path}/net.d/01-flock.conflist`;
  const pluginDir = `${path}/bin`;
  for (const dir of [`${path}/net.d`, pluginDir]) await Deno.mkdir(dir);
  const portmap = `${pluginDir}/portmap`;
  return {
    ...{ path, file, portmap },
    conflist: (options: Partial<ConflistOptions> = {}): ConflistKeeper =>
      new ConflistKeeper({
        ...{ file, ...PATHS, pluginDir, ready: () => true, attached: () => false },
        ...options,
      }),
    list: async (): Promise<List> => JSON.parse(await Deno.readTextFile(file)),
    /** Replaces the plugin as an installer does. */
    install: async (version: string, versions: readonly string[]): Promise<void> => {
      await Deno.writeTextFile(`${portmap}.new`, portmapOf(version, versions), { mode: 0o755 });
      await Deno.rename(`${portmap}.new`, portmap);
    },
    [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }),
  };
}

async function namesIn(dir: string): Promise<string[]> {
  return (await Array.fromAsync(Deno.readDir(dir), ({ name }) => name)).sort();
}
