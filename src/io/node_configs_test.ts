import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { readDirState } from "./disk.ts";
import { readNodeConfigs } from "./node_configs.ts";

async function withFiles(
  files: Readonly<Record<string, string>>,
  test: (dir: string) => Promise<void>,
): Promise<void> {
  const dir = await Deno.makeTempDir();
  try {
    for (const [name, text] of Object.entries(files)) {
      await Deno.writeTextFile(`${dir}/${name}`, text);
    }
    await test(dir);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

const HEAD = "apiVersion: flock.fritzlab.net/v1alpha1\nkind: NodeConfig\n";

Deno.test("readNodeConfigs() reads what kubectl prints, and what people write", async () => {
  const list = {
    apiVersion: "v1",
    kind: "List",
    items: ["n1", "n2"].map((name) => ({
      apiVersion: "flock.fritzlab.net/v1alpha1",
      kind: "NodeConfig",
      metadata: { name },
    })),
  };
  await withFiles({
    "all.json": JSON.stringify(list),
    "b.yaml":
      `${HEAD}metadata: { name: n3 }\n---\n${HEAD}metadata: { name: n1 }\nspec: { mtu: 9000 }\n`,
    "broken.yml": "a: [",
    "notes.txt": "no",
    ".hidden.yaml": "a: [",
    "pod.yaml": "apiVersion: v1\nkind: Pod\nmetadata: { name: p, namespace: d }\n",
  }, async (dir) => {
    const { objects, problems } = await readNodeConfigs(dir);
    assertEquals(objects.map(({ name }) => name), ["n1", "n2", "n3"]);
    assertEquals(objects[0]?.spec, {}, "the first file's");
    assertEquals(problems.length, 1);
    assertStringIncludes(problems[0]!, `Cannot read manifest "${dir}/broken.yml": `);
  });
  const absent = "/nonexistent/flock";
  await assertRejects(() => readNodeConfigs(absent), Error, `Cannot list manifests "${absent}": `);
});

Deno.test("readDirState() has mode, owner and what is left", async () => {
  await withFiles({}, async (dir) => {
    await Deno.chmod(dir, 0o750);
    const state = await readDirState(dir);
    assertEquals([state?.mode, state?.uid, state?.writable], [0o750, Deno.uid() ?? 0, true]);
    assertEquals((state?.freeBytes ?? 0) > 0, true);
    assertEquals(state?.freeInodes === undefined || state.freeInodes > 0, true);
  });
  assertEquals(await readDirState("/nonexistent/flock"), undefined);
});
