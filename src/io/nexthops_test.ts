import { assertEquals, assertRejects } from "@std/assert";
import { CommandError, type RunCommand } from "./command.ts";
import { listNexthops, probeNexthops } from "./nexthops.ts";

/** A kernel of some age, with the next hops that it has. */
class Kernel {
  readonly ids: Set<number>;
  readonly lines: string[] = [];
  constructor(readonly age: "new" | "no groups" | "old", ids: readonly number[] = []) {
    this.ids = new Set(ids);
  }

  readonly run: RunCommand = (command, args) => {
    const line = [command, ...args].join(" ");
    this.lines.push(line);
    const refuse = (reason: string): Promise<never> =>
      Promise.reject(new CommandError(line, 2, undefined, "", reason, 1));
    if (this.age === "old") return refuse('Object "nexthop" is unknown, try "ip help".');
    if (args.includes("show")) {
      const stdout = JSON.stringify([...this.ids].map((id) => ({ id, flags: [] })));
      return Promise.resolve({ stdout, stderr: "" });
    }
    const id = Number(args[args.indexOf("id") + 1]);
    const isGroup = args.includes("group");
    if (args.includes("add")) {
      if (this.ids.has(id)) return refuse("RTNETLINK answers: File exists");
      if (isGroup && this.age !== "new") return refuse("RTNETLINK answers: Invalid argument");
      // A group goes with its only member, so it need not be kept.
      if (!isGroup) this.ids.add(id);
    } else if (!this.ids.delete(id)) return refuse("RTNETLINK answers: No such file or directory");
    return Promise.resolve({ stdout: "", stderr: "" });
  };
}

Deno.test("probeNexthops() finds out what the kernel can do, and leaves nothing", async () => {
  for (const [age, support] of [["new", "resilient"], ["no groups", "objects"], ["old", "none"]]) {
    const kernel = new Kernel(age as Kernel["age"], [7]);
    assertEquals(await probeNexthops(kernel.run), support, age);
    assertEquals([...kernel.ids], [7], age);
  }
});

Deno.test("probeNexthops() takes ids that nobody has", async () => {
  const taken = [0x666cffff, 0x666cfffe, 0x666dffff];
  const kernel = new Kernel("new", taken);
  assertEquals(await probeNexthops(kernel.run), "resilient");
  assertEquals([...kernel.ids], taken);
  const added = kernel.lines.filter((line) => line.includes(" add "))
    .map((line) => Number(/ id (\d+)/.exec(line)![1]));
  assertEquals(added, [0x666cfffd, 0x666dfffe]);
});

Deno.test("probeNexthops() does not take a killed ip for an old kernel", async () => {
  const killed: RunCommand = (command) =>
    Promise.reject(new CommandError(command, 137, "SIGKILL", "", "", 2_000));
  await assertRejects(() => probeNexthops(killed), CommandError);
  const kernel = new Kernel("new");
  const killedLater: RunCommand = (command, args, options) =>
    args.includes("group") ? killed(command, args) : kernel.run(command, args, options);
  await assertRejects(() => probeNexthops(killedLater), CommandError);
  assertEquals([...kernel.ids], [], "what was made is removed all the same");
});

Deno.test("listNexthops() tells next hops from groups", async () => {
  const seen: (readonly string[])[] = [];
  const run: RunCommand = (_command, args) => {
    seen.push(args);
    const stdout = '[{"id":1,"gateway":"fe80::1","dev":"eth0"},{"id":2,"group":[{"id":1}]}]';
    return Promise.resolve({ stdout, stderr: "" });
  };
  assertEquals(await listNexthops(144, run), [{ id: 1, group: false }, { id: 2, group: true }]);
  assertEquals(seen, [["-j", "-N", "nexthop", "show", "protocol", "144"]]);
  const empty: RunCommand = () => Promise.resolve({ stdout: "", stderr: "" });
  assertEquals(await listNexthops(undefined, empty), []);
});
