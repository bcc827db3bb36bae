/**
 * `flock demo` of the executable, with exactly its baked permissions: that all holds, and that it ends
 * well when it is not let to its end.
 *
 * @module
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { tracesOf } from "../../src/lab/traces.ts";
import { until } from "../../src/lab/wait.ts";
import { EXECUTABLE } from "../executable.ts";
import { testWith } from "../support.ts";

const NEEDS = ["root", "bird", "ping"] as const;

testWith("e2e: the demo holds and leaves nothing", NEEDS, async () => {
  const demo = start([EXECUTABLE, "demo"]);
  const text = await demo.rest();
  assertEquals((await demo.child.status).code, 0, text);
  assertMatch(text, /\n11 of 11 steps held/);
  assert(!text.includes("\x1b"), "no colours where it is not a terminal");
  assertEquals(await tracesOf(idIn(text)), []);
});

testWith("e2e: the demo ends by Ctrl-C, twice, with 130 and leaves nothing", NEEDS, async () => {
  const demo = start([EXECUTABLE, "demo"]);
  await demo.until("Start BIRD and the agent");
  // To the process group, as a terminal does it.
  for (let i = 0; i < 2; i++) await run("/bin/kill", "-INT", "--", `-${demo.child.pid}`);
  const text = await demo.rest();
  assertEquals((await demo.child.status).code, 130, text);
  assert(text.includes("SIGINT received: removing the lab"), text);
  assert(!text.includes("11 of 11"), "it did not go on");
  assertEquals(await tracesOf(idIn(text)), []);
});

testWith("e2e: the demo ends when its parent is gone and leaves nothing", NEEDS, async () => {
  const demo = start(["sh", "-c", '"$0" demo; exit', EXECUTABLE]);
  await demo.until("Make router, client and two nodes");
  demo.child.kill("SIGKILL");
  const text = await demo.rest();
  assert(text.includes("The parent process is gone: removing the lab"), text);
  await until("nothing of the lab", async () => (await tracesOf(idIn(text))).length === 0);
});

testWith("e2e: the demo names the tool that is missing, exit 3", NEEDS, async () => {
  const { code, stderr } = await run(
    ...["unshare", "--mount", "sh", "-c"] as const,
    'mount --bind /dev/null "$(command -v birdc)" && exec "$0" demo',
    EXECUTABLE,
  );
  assertEquals(code, 3, stderr);
  assertEquals(stderr, "Cannot run the demo: it misses birdc (Debian package bird2)\n");
});

testWith("e2e: the demo refuses to run without root", NEEDS, async () => {
  // In a user namespace without a mapping nobody is root.
  const { code, stderr } = await run("unshare", "--user", EXECUTABLE, "demo");
  assertEquals(code, 1, stderr);
  assertMatch(stderr, /^Cannot run the demo: it needs root, .* this is user \d+\n$/);
});

/** A program in a process group of its own, and what it prints. */
function start(argv: readonly string[]): {
  readonly child: Deno.ChildProcess;
  until(text: string): Promise<void>;
  rest(): Promise<string>;
} {
  const child = new Deno.Command("setsid", { args: [...argv], stdout: "piped", stderr: "inherit" })
    .spawn();
  const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  const read = async (): Promise<boolean> => {
    const { value, done } = await reader.read();
    text += value ?? "";
    return !done;
  };
  return {
    child,
    async until(wanted) {
      while (!text.includes(wanted)) {
        if (!await read()) throw new Error(`Cannot see "${wanted}": it printed ${text}`);
      }
    },
    async rest() {
      while (await read());
      await child.status;
      return text;
    },
  };
}

async function run(...argv: readonly [string, ...string[]]): Promise<{
  code: number;
  stderr: string;
}> {
  const [command, ...args] = argv;
  const { code, stderr } = await new Deno.Command(command, { args }).output();
  return { code, stderr: new TextDecoder().decode(stderr) };
}

function idIn(text: string): string {
  const id = /network namespaces (fl[0-9a-f]{4})-/.exec(text)?.[1];
  if (id === undefined) throw new Error(`Cannot find the lab's name in: ${text}`);
  return id;
}
