import { assert, assertEquals } from "@std/assert";
import { testWith } from "../../tests/support.ts";
import { askPlugin, hasHostProgram, readAbout } from "./cni_plugin.ts";

testWith("askPlugin() and readAbout() of a real portmap", ["referencePlugins"], async () => {
  const asked = await askPlugin("/usr/lib/cni/portmap");
  assert("versions" in asked && asked.versions.includes("1.0.0"), JSON.stringify(asked));
  assert((await readAbout("/usr/lib/cni/portmap")).startsWith("CNI portmap plugin "));
});

Deno.test("askPlugin() says what is wrong with a plugin, and never waits for it", async (t) => {
  const dir = await Deno.makeTempDir({ prefix: "flock-plugin-" });
  const plugin = async (name: string, text: string, mode = 0o755): Promise<string> => {
    await Deno.writeTextFile(`${dir}/${name}`, text, { mode });
    return `${dir}/${name}`;
  };
  try {
    const cases: readonly (readonly [string, string, string])[] = [
      ["fails", await plugin("a", "#!/bin/sh\necho no >&2; exit 3"), "exit status 3: no"],
      ["says nothing", await plugin("b", "#!/bin/sh"), "answers VERSION without"],
      ["says something else", await plugin("c", "#!/bin/sh\necho '{}'"), "answers VERSION without"],
      ["may not be executed", await plugin("d", "#!/bin/sh", 0o644), "cannot be executed"],
      ["has no interpreter", await plugin("e", "#!/nonexistent/sh"), "cannot be executed"],
      ["is another machine's", await plugin("f", "\x7fELF\x00\x01"), "cannot be executed"],
      ["is a directory", dir, "cannot be executed"],
      ["is not there", `${dir}/none`, "cannot be executed"],
    ];
    for (const [name, path, expected] of cases) {
      await t.step(name, async () => {
        const asked = await askPlugin(path);
        assert("problem" in asked && asked.problem.includes(expected), JSON.stringify(asked));
      });
    }
    await t.step("hangs, with a child that holds its output open", async () => {
      const pid = `${dir}/pid`;
      const path = await plugin("h", `#!/bin/sh\nsleep 600 & echo $! >${pid}; wait`);
      assertEquals(await askPlugin(path, 1), { problem: "it did not answer VERSION within 1 s" });
      const state = await Deno.readTextFile(`/proc/${(await Deno.readTextFile(pid)).trim()}/stat`)
        .catch(() => "gone");
      assert(state === "gone" || / Z /.test(state), state);
    });
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

Deno.test("hasHostProgram() looks where the host's programs are", async () => {
  assertEquals(await hasHostProgram("sh"), true);
  assertEquals(await hasHostProgram("no-such-program"), false);
});
