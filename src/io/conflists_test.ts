import { assertEquals } from "@std/assert";
import { listAside, listConfigs, putBack, setOthersAside } from "./conflists.ts";

const OWN = JSON.stringify({
  cniVersion: "1.0.0",
  cniVersions: ["0.4.0", "1.10.0", "1.9.0"],
  plugins: [{ type: "flock" }, { type: "portmap" }],
});

Deno.test("listConfigs() has what a runtime reads, in its order", async () => {
  await using dir = await tempDir({
    "20-flock.conflist": OWN,
    "10-old.conf": '{ "cniVersion": "0.3.1", "type": "bridge" }',
    "15-broken.json": "{",
    "00-set.conflist.flock-aside": OWN,
    "17-flock.conf": '{ "type": "flock" }',
    "18-odd.json": '{ "plugins": "none" }',
  });
  await makeOddities(dir.path);
  const none = { own: false, plugins: [], versions: [] };
  assertEquals(await listConfigs(dir.path), [
    { name: "10-old.conf", own: false, plugins: ["bridge"], versions: ["0.3.1"] },
    { name: "11-nowhere.conf", ...none },
    { name: "12-pipe.conflist", ...none },
    { name: "13-to-dir.json", ...none },
    { name: "15-broken.json", ...none },
    { name: "17-flock.conf", own: false, plugins: ["flock"], versions: [] },
    { name: "18-odd.json", ...none },
    {
      name: "20-flock.conflist",
      own: true,
      plugins: ["flock", "portmap"],
      versions: ["1.0.0", "1.10.0"],
    },
  ]);
  assertEquals(await listConfigs("/nonexistent/flock"), []);
});

Deno.test("setOthersAside() takes what a runtime reads, whatever it is, and leaves directories", async () => {
  await using dir = await tempDir({ "20-flock.conflist": OWN, "10-old.conf": "{}", "README": "" });
  await makeOddities(dir.path);
  const taken = ["10-old.conf", "11-nowhere.conf", "12-pipe.conflist", "13-to-dir.json"];
  assertEquals(await setOthersAside(dir.path), taken);
  assertEquals((await listConfigs(dir.path)).map(({ name }) => name), ["20-flock.conflist"]);
  assertEquals((await Deno.stat(`${dir.path}/10-dir.conf`)).isDirectory, true);
  assertEquals(await setOthersAside(dir.path), []);
  assertEquals(await listAside(dir.path), taken);
  for (const name of taken) await putBack(dir.path, name);
  assertEquals((await Deno.lstat(`${dir.path}/11-nowhere.conf`)).isSymlink, true);
  assertEquals(await setOthersAside("/nonexistent/flock"), []);
});

/** What is no regular file although its name says so. */
async function makeOddities(dir: string): Promise<void> {
  await Deno.mkdir(`${dir}/10-dir.conf`);
  await Deno.symlink("/nonexistent/list", `${dir}/11-nowhere.conf`);
  await new Deno.Command("mkfifo", { args: [`${dir}/12-pipe.conflist`] }).output();
  await Deno.symlink("10-dir.conf", `${dir}/13-to-dir.json`);
}

async function tempDir(
  files: Readonly<Record<string, string>>,
): Promise<{ readonly path: string } & AsyncDisposable> {
  const path = await Deno.makeTempDir({ prefix: "flock-conflists-" });
  for (const [name, text] of Object.entries(files)) {
    await Deno.writeTextFile(`${path}/${name}`, text);
  }
  return { path, [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }) };
}
