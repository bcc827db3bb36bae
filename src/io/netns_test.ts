import { assertEquals } from "@std/assert";
import { createNetns } from "./netns.ts";

Deno.test("gone() and isSame() look at paths, also below /proc", async () => {
  const dir = await Deno.makeTempDir({ prefix: "flock-netns-" });
  try {
    const netns = createNetns();
    const own = `/proc/${Deno.pid}/ns/net`;
    await Deno.writeTextFile(`${dir}/file`, "");
    await Deno.symlink(own, `${dir}/link`);
    const paths = [own, "/proc/0/ns/net", `${dir}/file`, `${dir}/none`, `${dir}/file/below`];
    assertEquals([...await netns.gone(paths)].sort(), ["/proc/0/ns/net", `${dir}/none`].sort());
    assertEquals(await netns.isSame(own, `${dir}/link`), true);
    assertEquals(await netns.isSame(own, `${dir}/file`), false);
    assertEquals(await netns.isSame(`${dir}/none`, `${dir}/nothing`), false);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

Deno.test("gone() starts a process for what flock may not read, and for nothing else", async () => {
  const asked: (readonly string[])[] = [];
  const netns = createNetns((_, args) => {
    asked.push(args.slice(3));
    return Promise.resolve({ stdout: "", stderr: "" });
  });
  await netns.gone([]);
  await netns.gone(["/nowhere/at/all"]);
  assertEquals(asked, []);
});
