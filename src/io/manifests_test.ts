import { assert, assertEquals, assertRejects } from "@std/assert";
import type { Pod } from "../core/objects.ts";
import { formatPrefix } from "../core/cidr.ts";
import { manifestPod as pod, manifestsFixture as fixture } from "../../tests/fakes/manifest_dir.ts";

Deno.test("run() reads what is there, and a rename into the directory at once", async () => {
  await using f = await fixture();
  await f.write("a.yaml", pod("one"), nodeConfig("host001", 7));
  f.start();
  await f.until(() => f.source.synced);
  assertEquals(f.pods(), ["default/one"]);
  assertEquals(f.source.pod("default", "one")?.annotations, { note: "" });
  assertEquals(f.source.pod("shop", "one"), undefined);
  assertEquals(f.source.nodeConfig("host001")?.generation, 7);
  assertEquals(f.source.nodeConfig("host002"), undefined);
  assertEquals(f.changes(), 1);
  const started = performance.now();
  await f.write("b.json", pod("two"));
  await f.until(() => f.pods().length === 2);
  assert(performance.now() - started < 1_000, "it was not seen quickly");
  await f.write("b.json", pod("two", "changed"));
  await f.until(() => f.source.pod("default", "two")?.annotations.note === "changed");
  await Deno.remove(`${f.dir}/b.json`);
  await f.until(() => f.pods().length === 1);
  assertEquals(f.changes(), 4);
  assertEquals(f.logs, []);
});

Deno.test("run() tells of real changes only", async () => {
  await using f = await fixture();
  await f.write("a.yaml", pod("one"));
  f.start();
  await f.until(() => f.source.synced);
  await f.write("a.yaml", "# another text, the same object", pod("one"));
  await f.write("b.yaml", "# nothing");
  await f.write("c.yaml", { apiVersion: "v1", kind: "Secret", metadata: { name: "x" } });
  await f.write("a.yaml.orig", pod("ignored"));
  await f.write(".hidden.yaml", pod("hidden"));
  await f.write("z.yaml", pod("last"));
  await f.until(() => f.pods().length === 2);
  assertEquals(f.pods(), ["default/last", "default/one"]);
  assertEquals(f.changes(), 2);
  assertEquals(f.logs.map(({ msg }) => msg), ["Ignored object"]);
});

Deno.test("only manifests of the directory itself are read, through links too", async () => {
  await using f = await fixture();
  await Deno.mkdir(`${f.dir}/sub.yaml`);
  await Deno.writeTextFile(`${f.dir}/sub.yaml/a.yaml`, pod("sub"));
  await Deno.mkdir(`${f.dir}/..data`);
  await Deno.writeTextFile(`${f.dir}/..data/x.yaml`, pod("linked"));
  await Deno.symlink("..data/x.yaml", `${f.dir}/x.yaml`);
  await Deno.symlink("nowhere", `${f.dir}/dangling.yaml`);
  await Deno.symlink("loop.yaml", `${f.dir}/loop.yaml`);
  await f.write("b.yml", pod("yml"));
  f.start();
  await f.until(() => f.source.synced);
  assertEquals(f.pods(), ["default/linked", "default/yml"]);
  assertEquals(f.logs.map((line) => line.msg), ["Could not read manifest"]);
  assert(String(f.logs[0]?.file).endsWith("/loop.yaml"));
});

Deno.test("a directory that is missing at the start is waited for", async () => {
  await using f = await fixture({ pollMs: 20 });
  await Deno.remove(f.dir);
  f.start();
  await f.until(() => f.logs.length > 0);
  assertEquals(f.logs.map((line) => [line.msg, line.dir]), [["Could not list manifests", f.dir]]);
  assertEquals(f.source.synced, false);
  await Deno.mkdir(f.dir);
  await f.until(() => f.source.synced);
  assertEquals([f.pods(), f.changes(), f.logs.length], [[], 1, 1]);
});

Deno.test("a directory removed and made again is followed", async () => {
  await using f = await fixture({ pollMs: 100 });
  await f.write("a.yaml", pod("one"));
  f.start();
  await f.until(() => f.source.synced);
  for (let n = 0; n < 3; n++) {
    await Deno.remove(f.dir, { recursive: true });
    await f.until(() => f.pods().length === 0);
    await f.until(() => f.logs.length === n + 1);
    await Deno.mkdir(f.dir);
    await f.write("b.yaml", pod(`again${n}`));
    await f.until(() => f.pods()[0] === `default/again${n}`);
    await f.write("b.yaml", pod(`more${n}`));
    await f.until(() => f.pods()[0] === `default/more${n}`);
  }
  assertEquals(f.logs.map((line) => line.msg), Array(3).fill("Could not list manifests"));
  assertEquals(f.source.synced, true);
});

Deno.test("a directory exchanged for another one loses nothing between", async () => {
  await using f = await fixture({ pollMs: 20 });
  await f.write("a.yaml", pod("one"));
  await Deno.mkdir(`${f.dir}-next`);
  await Deno.writeTextFile(`${f.dir}-next/b.yaml`, `${pod("one")}\n---\n${pod("two")}`);
  let fewest = 1;
  f.source.onChange(() => fewest = Math.min(fewest, f.pods().length));
  f.start();
  await f.until(() => f.source.synced);
  await Deno.rename(f.dir, `${f.dir}-old`);
  await Deno.rename(`${f.dir}-next`, f.dir);
  await f.until(() => f.pods().length === 2);
  assertEquals([fewest, f.logs], [1, []]);
});

Deno.test("a file that fails keeps its last good objects, and is warned of on change", async (t) => {
  const bad: Record<string, [string, string]> = {
    "YAML": ["kind: Pod\n  name: [", "at line 2"],
    "no object": ["just text", "not an object"],
    "wrong field": [pod("one").replace('"name":"one"', '"name":1'), "metadata.name is 1"],
    "second document": [`${pod("one")}\n---\n{"kind":1}`, "document 2: kind is 1"],
    "empty": ["", "it is empty"],
    "deep": ["[".repeat(500_000), ""],
    "1 MB of braces": ["{".repeat(1_000_000), ""],
    "1 MB of text": [`kind: "${"x".repeat(1_000_000)}"`, "apiVersion is missing"],
    "aliases": [bomb(), "more than 1000000 values"],
    "itself": ["&a [*a]", "nested more than 100 deep"],
    "NUL": ["\0\0\0\0", ""],
    "too large": ["x".repeat(16 * 1024 * 1024 + 1), "it is larger than 16777216 bytes"],
  };
  for (const [name, [text, message]] of Object.entries(bad)) {
    await t.step(name, async () => {
      await using f = await fixture();
      await f.write("a.yaml", pod("one"));
      await f.write("b.yaml", pod("two"));
      f.start();
      await f.until(() => f.source.synced);
      await f.write("a.yaml", text);
      await f.until(() => f.logs.length === 1);
      const { level, msg, file, err, kept } = f.logs[0] as Record<string, unknown>;
      assertEquals([level, msg, file, kept], [
        "warn",
        "Could not read manifest",
        `${f.dir}/a.yaml`,
        1,
      ]);
      assert(String(err).includes(message), String(err));
      // It is still bad, and that is no news.
      await f.write("b.yaml", pod("three"));
      await f.until(() => f.pods().includes("default/three"));
      assertEquals([f.pods(), f.logs.length], [["default/one", "default/three"], 1]);
      await f.write("a.yaml", pod("four"));
      await f.until(() => f.pods().includes("default/four"));
      await f.write("a.yaml", text);
      await f.until(() => f.logs.length === 2);
      assertEquals(f.pods(), ["default/four", "default/three"]);
    });
  }
});

Deno.test("a file that was never good does not keep the others from being read", async () => {
  await using f = await fixture();
  await f.write("a.json", "{");
  await f.write("b.json", "");
  await f.write("c.yaml", pod("one"));
  f.start();
  await f.until(() => f.source.synced);
  assertEquals(f.pods(), ["default/one"]);
  assertEquals(f.logs.map((line) => line.file), [`${f.dir}/a.json`]);
});

Deno.test("a file that is replaced again and again is never taken for gone", async () => {
  await using f = await fixture({ pollMs: 1 });
  for (const name of ["a", "b", "c", "d"]) await f.write(`${name}.yaml`, pod(name));
  let fewest = 4;
  f.source.onChange(() => fewest = Math.min(fewest, f.pods().length));
  f.start();
  await f.until(() => f.source.synced);
  const names = ["a", "b", "c", "d"];
  for (let n = 0; n < 1_000; n++) {
    const name = names[n % 4]!;
    await f.write(`${name}.yaml`, pod(name, String(n)));
  }
  await f.until(() => f.source.pod("default", "d")?.annotations.note === "999");
  assertEquals(fewest, 4);
});

Deno.test("a file written in place loses nothing half-way", async () => {
  await using f = await fixture();
  await f.write("a.yaml", pod("one"), pod("two"), pod("three"));
  let fewest = 3;
  f.source.onChange(() => fewest = Math.min(fewest, f.pods().length));
  f.start();
  await f.until(() => f.source.synced);
  {
    using file = await Deno.open(`${f.dir}/a.yaml`, { write: true, truncate: true });
    for (const part of [pod("one"), "\n---\n", pod("two"), "\n---\n", pod("three", "new")]) {
      await file.write(new TextEncoder().encode(part));
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }
  await f.until(() => f.source.pod("default", "three")?.annotations.note === "new");
  assertEquals(f.pods().length, 3);
  assertEquals(fewest, 3);
  assertEquals(f.logs, []);
});

Deno.test("a change that leaves size and time as they were is seen", async () => {
  await using f = await fixture({ pollMs: 20 });
  // As after a clock that was set back: the content is younger than the time that the file carries.
  const time = new Date(Date.now() + 3_600_000);
  f.start();
  for (const name of ["one", "two", "six"]) {
    await Deno.writeTextFile(`${f.dir}/a.yaml`, pod(name));
    await Deno.utime(`${f.dir}/a.yaml`, time, time);
    await f.until(() => f.pods()[0] === `default/${name}`);
  }
});

Deno.test("of two objects with one name the first file's counts, with one warning", async () => {
  await using f = await fixture();
  await f.write("b.yaml", pod("one", "from b"));
  f.start();
  await f.until(() => f.source.synced);
  await f.write("c.yaml", pod("one", "from c"), pod("two"));
  await f.until(() => f.pods().length === 2);
  assertEquals(f.source.pod("default", "one")?.annotations.note, "from b");
  await f.write("a.yaml", pod("one", "from a"));
  await f.until(() => f.source.pod("default", "one")?.annotations.note === "from a");
  await Deno.remove(`${f.dir}/a.yaml`);
  await Deno.remove(`${f.dir}/b.yaml`);
  await f.until(() => f.source.pod("default", "one")?.annotations.note === "from c");
  const told = f.logs.map(({ msg, file, object, first }) => [msg, file, object, first].join(" "));
  assert(told.includes("Ignored second object c.yaml Pod default/one b.yaml"), told.join("\n"));
  assert(told.includes("Ignored second object b.yaml Pod default/one a.yaml"), told.join("\n"));
});

Deno.test("objects of unknown kinds are named once", async () => {
  await using f = await fixture();
  await f.write("a.yaml", { apiVersion: "v1", kind: "Secret" }, pod("one"));
  f.start();
  await f.until(() => f.source.synced);
  await f.write("b.yaml", pod("two"));
  await f.until(() => f.pods().length === 2);
  assertEquals(f.logs.map(({ msg, object }) => [msg, object]), [["Ignored object", "v1 Secret"]]);
});

Deno.test("a NodeConfig without a generation gets one that counts its changes", async () => {
  await using f = await fixture();
  await f.write("n.yaml", nodeConfig("host001"));
  f.start();
  await f.until(() => f.source.synced);
  assertEquals(f.source.nodeConfig("host001")?.generation, 1);
  await f.write("p.yaml", pod("one"));
  await f.until(() => f.pods().length === 1);
  assertEquals(f.source.nodeConfig("host001")?.generation, 1);
  await f.write("n.yaml", nodeConfig("host001", undefined, { mtu: 1400 }));
  await f.until(() => f.source.nodeConfig("host001")?.generation === 2);
  await Deno.remove(`${f.dir}/n.yaml`);
  await f.until(() => f.source.nodeConfig("host001") === undefined);
  await f.write("n.yaml", nodeConfig("host001", undefined, { mtu: 1300 }));
  await f.until(() => f.source.nodeConfig("host001")?.generation === 3);
});

Deno.test("claims() are those of all NodeConfigs, as they are now", async () => {
  await using f = await fixture();
  await f.write("a.yaml", nodeConfig("n1", 1, { cidr4: ["10.1.0.0/24"] }));
  f.start();
  await f.until(() => f.source.synced);
  const claims = async (): Promise<string[]> =>
    (await f.source.claims(new AbortController().signal)).map(({ kind, node, prefix }) =>
      `${kind} ${node} ${formatPrefix(prefix)}`
    );
  assertEquals(await claims(), ["prefix n1 10.1.0.0/24"]);
  await f.write("b.yaml", nodeConfig("n2", 1, { bgp: { peers: [{ address: "198.51.100.1" }] } }));
  await f.until(() => f.source.nodeConfig("n2") !== undefined);
  assertEquals(await claims(), ["prefix n1 10.1.0.0/24", "peer n2 198.51.100.1/32"]);
});

Deno.test("fetchPod() reads the directory first", async () => {
  await using f = await fixture();
  const { signal } = new AbortController();
  assertEquals(await f.source.fetchPod("default", "one", signal), undefined);
  for (let n = 0; n < 20; n++) {
    await f.write(`${n}.yaml`, pod(`p${n}`));
    const found = await Promise.all(
      Array.from({ length: 10 }, () => f.source.fetchPod("default", `p${n}`, signal)),
    );
    assertEquals(found.map((p?: Pod) => p?.name), Array(10).fill(`p${n}`));
  }
  // Also one that is being written in place.
  await Deno.writeTextFile(`${f.dir}/0.yaml`, `${pod("p0")}\n---\n${pod("added")}`);
  assertEquals((await f.source.fetchPod("default", "added", signal))?.name, "added");
  await assertRejects(() => f.source.fetchPod("default", "p0", AbortSignal.abort()), DOMException);
});

Deno.test("a thousand documents in one file, and a thousand files", async () => {
  await using f = await fixture();
  const names = Array.from({ length: 1_000 }, (_, n) => `p${n}`);
  await f.write("all.yaml", ...names.map((name) => pod(name)));
  f.start();
  await f.until(() => f.source.synced);
  assertEquals(f.pods().length, 1_000);
  for (const name of names) await Deno.writeTextFile(`${f.dir}/${name}.yaml`, pod(`x${name}`));
  await f.until(() => f.pods().length === 2_000);
  await Deno.remove(`${f.dir}/all.yaml`);
  await f.until(() => f.pods().length === 1_000);
});

Deno.test("onChange() can be cancelled, and run() ends with its signal", async () => {
  await using f = await fixture();
  let calls = 0;
  const subscription = f.source.onChange(() => calls++);
  const stop = new AbortController();
  const running = f.source.run(stop.signal);
  await f.until(() => f.source.synced);
  subscription[Symbol.dispose]();
  await f.write("a.yaml", pod("one"));
  await f.until(() => f.pods().length === 1);
  assertEquals(calls, 1);
  stop.abort();
  await running;
});

function nodeConfig(name: string, generation?: number, spec: object = {}): object {
  return {
    apiVersion: "flock.fritzlab.net/v1alpha1",
    kind: "NodeConfig",
    metadata: { name, generation },
    spec,
  };
}

/** A small text that is 10^9 values. */
function bomb(): string {
  const lines = ["l0: &l0 [x, x, x, x, x, x, x, x, x, x]"];
  for (let n = 1; n < 9; n++) {
    lines.push(`l${n}: &l${n} [${Array(10).fill(`*l${n - 1}`).join(", ")}]`);
  }
  return lines.join("\n");
}
