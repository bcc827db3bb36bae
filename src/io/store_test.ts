import { assert, assertEquals, assertRejects } from "@std/assert";
import { type Attachment, attachmentKey, parseState } from "../core/attachment.ts";
import { TerminalError } from "../core/errors.ts";
import { testWith } from "../../tests/support.ts";
import { writeFileDurable } from "./fs.ts";
import { openStore } from "./store.ts";

const NODE = { node: "host001", bootId: "b1" };

Deno.test("put() and remove() are on the disk when they resolve", async () => {
  await using dir = await tempDir();
  {
    await using store = await openStore(`${dir.path}/new/state`, NODE);
    assertEquals(store.rebooted, false);
    assertEquals(store.list(), []);
    await store.put(attachment(1, "pending"));
    await store.put(attachment(1), { pool: "172.25.214.0/24", address: "172.25.214.7" });
    await store.put(attachment(2));
    assertEquals(onDisk(`${dir.path}/new/state`), ["c1/eth0 committed", "c2/eth0 committed"]);
    await store.remove("c2/eth0");
    await store.remove("c2/eth0");
    await store.remove("unknown/eth0");
    assertEquals(onDisk(`${dir.path}/new/state`), ["c1/eth0 committed"]);
  }
  await using store = await openStore(`${dir.path}/new/state`, NODE);
  assertEquals(store.list(), [attachment(1)]);
  assertEquals(store.get("c1/eth0"), attachment(1));
  assertEquals(store.get("c2/eth0"), undefined);
  assertEquals(store.lastGiven()["172.25.214.0/24"], "172.25.214.7");
  assertEquals(store.lastGiven()["10.0.0.0/8"], undefined);
  assertEquals(store.rebooted, false);
  assertEquals(store.previous, []);
});

Deno.test("the pools that are remembered do not grow without end", async () => {
  await using dir = await tempDir();
  {
    await using store = await openStore(dir.path, NODE);
    const pools = Array.from({ length: 1_100 }, (_, n) => ({ pool: `p${n}`, address: `a${n}` }));
    await store.put(attachment(1), pools[0]!);
    await store.put(attachment(1), ...pools.slice(1), pools[0]!);
  }
  await using store = await openStore(dir.path, NODE);
  const kept = store.lastGiven();
  assertEquals(Object.keys(kept).length, 1024);
  assertEquals([kept.p0, kept.p76, kept.p77], ["a0", undefined, "a77"]);
});

Deno.test("concurrent changes share a write", async () => {
  await using dir = await tempDir();
  const gates: PromiseWithResolvers<void>[] = [];
  await using store = await openStore(dir.path, {
    ...NODE,
    write: async (path, text) => {
      gates.push(Promise.withResolvers());
      await gates.at(-1)!.promise;
      await writeFileDurable(path, text);
    },
  });
  const first = store.put(attachment(0));
  await until(() => gates.length === 1);
  const done = new Set<number>();
  const others = Array.from({ length: 100 }, async (_, n) => {
    await store.put(attachment(n + 1));
    done.add(n);
  });
  await Promise.resolve();
  assertEquals(store.list().length, 101);
  gates[0]!.resolve();
  await first;
  await until(() => gates.length === 2);
  assertEquals(done.size, 0);
  assertEquals(onDisk(dir.path), ["c0/eth0 committed"]);
  gates[1]!.resolve();
  await Promise.all(others);
  assertEquals(gates.length, 2);
  assertEquals(onDisk(dir.path).length, 101);
});

Deno.test("remove() waits for a removal that is under way", async () => {
  await using dir = await tempDir();
  let fail = false;
  await using store = await openStore(dir.path, {
    ...NODE,
    write: (path, text) => fail ? Promise.reject(new Error("no")) : writeFileDurable(path, text),
  });
  await store.put(attachment(1));
  fail = true;
  const removals = [store.remove("c1/eth0"), store.remove("c1/eth0")];
  for (const removal of await Promise.allSettled(removals)) {
    assertEquals(removal.status, "rejected");
  }
  assertEquals(store.list(), [attachment(1)]);
});

Deno.test("a change that cannot be written fails alone and leaves everything as it was", async () => {
  await using dir = await tempDir();
  await using store = await openStore(dir.path, {
    ...NODE,
    write: (path, text) =>
      text.includes('"poison"')
        ? Promise.reject(new Error("the disk said no"))
        : writeFileDurable(path, text),
  });
  const poisoned = (n: number): Attachment => ({ ...attachment(n), netns: "poison" });
  await store.put(attachment(1), { pool: "p", address: "a1" });
  await store.put(attachment(2));
  const results = await Promise.allSettled([
    store.put(attachment(3)),
    store.put(poisoned(1), { pool: "p", address: "a2" }),
    store.put(poisoned(4)),
    store.remove("c2/eth0"),
    store.put(attachment(5)),
    store.put(poisoned(6)),
    store.put(attachment(6)),
  ]);
  assertEquals(results.map((r) => r.status === "rejected" ? r.reason.message : "ok"), [
    "ok",
    'Cannot store attachment "c1/eth0": the disk said no',
    'Cannot store attachment "c4/eth0": the disk said no',
    "ok",
    "ok",
    'Cannot store attachment "c6/eth0": the disk said no',
    "ok",
  ]);
  const expected = [
    "c1/eth0 committed",
    "c3/eth0 committed",
    "c5/eth0 committed",
    "c6/eth0 committed",
  ];
  assertEquals(onDisk(dir.path), expected);
  assertEquals(store.list().map((a) => `${attachmentKey(a)} ${a.state}`).sort(), expected);
  assertEquals(store.get("c1/eth0"), attachment(1));
  assertEquals(store.get("c6/eth0"), attachment(6));
  assertEquals(store.lastGiven()["p"], "a1");
});

Deno.test("a result that cannot be written is refused and does not stop the store", async () => {
  await using dir = await tempDir();
  await using store = await openStore(dir.path, NODE);
  await assertRejects(
    () => store.put({ ...attachment(1), result: { mtu: 1500n } }),
    Error,
    'Cannot store attachment "c1/eth0"',
  );
  await store.put(attachment(2));
  assertEquals(onDisk(dir.path), ["c2/eth0 committed"]);
});

testWith("a full disk gives a clear error and loses nothing", ["root"], async () => {
  await using dir = await tempDir();
  await tmpfs(dir.path, "mount");
  try {
    await using store = await openStore(dir.path, NODE);
    const stored: string[] = [];
    let failure: Error | undefined;
    for (let n = 0; n < 1_000 && failure === undefined; n++) {
      try {
        await store.put(attachment(n));
        stored.push(`c${n}/eth0 committed`);
      } catch (error) {
        failure = error as Error;
      }
    }
    assertEquals(
      failure?.message,
      `Cannot store attachment "c${stored.length}/eth0": ` +
        `Cannot write file "${dir.path}/allocations.json": no space left on device`,
    );
    assert(stored.length > 10);
    assertEquals(onDisk(dir.path), stored.sort());
    assertEquals(store.list().length, stored.length);
    assertEquals([...Deno.readDirSync(dir.path)].map((e) => e.name).sort(), [
      "allocations.json",
      "lock",
    ]);
    await store.remove("c0/eth0");
    assertEquals(onDisk(dir.path).length, stored.length - 1);
  } finally {
    await tmpfs(dir.path, "umount");
  }
});

Deno.test("openStore() refuses a damaged file and leaves it alone", async (t) => {
  const good = '{"version":1,"node":"host001","boot_id":"b1","allocations":[]}';
  const cases: Record<string, [string | Uint8Array, string]> = {
    "cut off": [good.slice(0, -3), `it is not JSON at line 1 column ${good.length - 2}`],
    "not UTF-8": [new Uint8Array([0x7b, 0xc3, 0x28]), "it is not UTF-8"],
    "later version": [good.replace("1", "9"), "version is 9, not 1"],
    "a field": [good.replace("[]", '[{"state":"committed"}]'), "allocations[0].container_id is"],
    "another node": [good.replace("host001", "host002"), 'it belongs to node "host002"'],
  };
  for (const [name, [content, message]] of Object.entries(cases)) {
    await t.step(name, async () => {
      await using dir = await tempDir();
      const path = `${dir.path}/allocations.json`;
      const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
      await Deno.writeFile(path, bytes);
      const error = await assertRejects(() => openStore(dir.path, NODE), TerminalError);
      assert(error.message.includes(message), error.message);
      assert(error.message.includes(path), error.message);
      assertEquals(await Deno.readFile(path), bytes);
      // It does not hold the lock.
      await Deno.writeTextFile(path, good);
      await (await openStore(dir.path, NODE))[Symbol.asyncDispose]();
    });
  }
});

Deno.test("openStore() takes an empty file for none: what was in it is found in the kernel", async () => {
  for (const content of ["", "\n", "\0".repeat(4096)]) {
    await using dir = await tempDir();
    await Deno.writeTextFile(`${dir.path}/allocations.json`, content);
    await using store = await openStore(dir.path, NODE);
    assertEquals([store.list(), store.rebooted, store.lastGiven()], [[], false, {}]);
  }
});

Deno.test("after a reboot nothing is alive, and what was is known", async () => {
  await using dir = await tempDir();
  {
    await using store = await openStore(dir.path, NODE);
    await store.put(attachment(1), { pool: "p", address: "a" });
  }
  for (let starts = 0; starts < 2; starts++) {
    await using store = await openStore(dir.path, { ...NODE, bootId: "b2" });
    assertEquals(store.rebooted, true);
    assertEquals(store.list(), []);
    assertEquals(store.previous, [attachment(1)]);
    assertEquals(store.lastGiven()["p"], "a");
  }
  {
    await using store = await openStore(dir.path, { ...NODE, bootId: "b2" });
    await store.put(attachment(2));
  }
  await using store = await openStore(dir.path, { ...NODE, bootId: "b2" });
  assertEquals(store.rebooted, false);
  assertEquals(store.list(), [attachment(2)]);
});

Deno.test("closing waits for what is being written and refuses more", async () => {
  await using dir = await tempDir();
  const store = await openStore(dir.path, NODE);
  const last = store.put(attachment(1));
  await store[Symbol.asyncDispose]();
  assertEquals(onDisk(dir.path), ["c1/eth0 committed"]);
  await last;
  await assertRejects(() => store.put(attachment(2)), Error, "the store is closed");
  await store[Symbol.asyncDispose]();
});

Deno.test("a second agent is refused, naming the holder, until the first ends", async () => {
  await using dir = await tempDir();
  await using holder = await startAgent(dir.path, "setInterval(() => {}, 1000);");
  await until(() => holder.lines.length > 0);
  const error = await assertRejects(() => openStore(dir.path, NODE), TerminalError);
  const named = `it is held by pid ${holder.pid}, node host001, since 20`;
  assert(
    error.message.startsWith(`Cannot lock state directory "${dir.path}": ${named}`),
    error.message,
  );
  await holder.kill();
  await using _store = await openStore(dir.path, NODE);
});

Deno.test("an agent killed while it writes leaves a whole file with all it acknowledged", async () => {
  await using dir = await tempDir();
  const code = `for (let n = 0;; n++) {
    await store.put({ ...attachment, containerId: "c" + n, ip6: "2001:db8::" + n.toString(16) });
    console.log(n);
    if (n >= 20) await store.remove("c" + (n - 20) + "/eth0");
  }`;
  for (let round = 0; round < 5; round++) {
    await using agent = await startAgent(dir.path, code);
    await until(() => agent.lines.length > 10 + 17 * round);
    await agent.kill();
    await using store = await openStore(dir.path, NODE);
    const last = Number(agent.lines.at(-1));
    for (let n = Math.max(0, last - 18); n <= last; n++) {
      assert(store.get(`c${n}/eth0`), `c${n} of ${last} was acknowledged and is not there`);
    }
    for (const { containerId, ifname } of store.list()) {
      await store.remove(`${containerId}/${ifname}`);
    }
  }
});

interface Agent extends AsyncDisposable {
  readonly pid: number;
  /** What it printed: "open", then what the code prints. */
  readonly lines: readonly string[];
  /** Kills it (SIGKILL); all it printed is in `lines` then. */
  kill(): Promise<void>;
}

/** Another process that opens the store and runs some code. */
async function startAgent(stateDir: string, code: string): Promise<Agent> {
  const program = await Deno.makeTempFile({ suffix: ".ts" });
  const module = JSON.stringify(new URL("./store.ts", import.meta.url));
  await Deno.writeTextFile(
    program,
    `import { openStore } from ${module};
    const store = await openStore(${JSON.stringify(stateDir)}, ${JSON.stringify(NODE)});
    const attachment = ${JSON.stringify(attachment(0))};
    console.log("open");
    ${code}`,
  );
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", `--config=${CONFIG}`, program],
    stdin: "null",
    stdout: "piped",
  }).spawn();
  const lines: string[] = [];
  const ended = (async () => {
    let text = "";
    for await (const chunk of child.stdout.pipeThrough(new TextDecoderStream())) {
      text += chunk;
      lines.splice(0, lines.length, ...text.split("\n").slice(0, -1));
    }
    await child.status;
    await Deno.remove(program);
  })();
  async function kill(): Promise<void> {
    try {
      child.kill("SIGKILL");
    } catch { /* it has ended */ }
    await ended;
  }
  let killed: Promise<void> | undefined;
  return {
    pid: child.pid,
    lines,
    kill: () => killed ??= kill(),
    [Symbol.asyncDispose]: () => killed ??= kill(),
  };
}

function attachment(n: number, state: Attachment["state"] = "committed"): Attachment {
  return {
    containerId: `c${n}`,
    ifname: "eth0",
    namespace: "shop",
    podName: `web-${n}`,
    podUid: `u${n}`,
    hostIfname: `flock${n.toString(16).padStart(8, "0")}`,
    netns: `/run/netns/n${n}`,
    ip6: `2001:db8::${n.toString(16)}`,
    state,
    allocatedAt: "2026-01-01T00:00:00Z",
    ...(state === "committed" ? { result: { ips: [] } } : {}),
  };
}

function onDisk(stateDir: string): string[] {
  const { attachments } = parseState(Deno.readTextFileSync(`${stateDir}/allocations.json`));
  return attachments.map((a) => `${attachmentKey(a)} ${a.state}`).sort();
}

const CONFIG = new URL("../../deno.json", import.meta.url).pathname;

async function until(condition: () => boolean): Promise<void> {
  const deadline = Date.now() + 20_000;
  while (!condition()) {
    assert(Date.now() < deadline, "it did not happen within 20 s");
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

async function tmpfs(path: string, verb: "mount" | "umount"): Promise<void> {
  const args = verb === "mount" ? ["-t", "tmpfs", "-o", "size=64k", "none", path] : [path];
  const { success, stderr } = await new Deno.Command(verb, { args }).output();
  assert(success, new TextDecoder().decode(stderr));
}

async function tempDir(): Promise<AsyncDisposable & { path: string }> {
  const path = await Deno.makeTempDir({ prefix: "flock-store-" });
  return { path, [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }) };
}
