/**
 * The lab leaves nothing behind, however it ends.
 *
 * @module
 */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { createLab } from "../../src/lab/lab.ts";
import { LAB_ROOT } from "../../src/lab/reaper.ts";
import { tracesOf } from "../../src/lab/traces.ts";
import { until } from "../../src/lab/wait.ts";
import { testWith } from "../support.ts";

/** No lab needs an executable until agents are started. */
const NO_EXECUTABLE = { executable: "/bin/true" };

testWith("netns: a lab that is disposed leaves nothing", ["root", "bird", "ping"], async () => {
  let id: string;
  let pids: number[];
  {
    await using lab = await createLab(NO_EXECUTABLE);
    id = lab.id;
    await lab.client.spawn("sleep", ["sleep", "1000"]);
    pids = lab.processes.map((process) => process.pid);
    const traces = await tracesOf(id);
    // Switch, router, client, two nodes; the directory; reaper, BIRD, sleep.
    assertEquals(traces.length, 5 + 1 + 3, traces.join("\n"));
    assert(await lab.client.ping("198.51.100.1") !== undefined, "client reaches the router");
    assert(await lab.client.ping("198.51.100.12") === undefined, "n2 has no way back");
    assert(await lab.node("n1").ping("198.51.100.12") !== undefined, "n1 reaches n2");
  }
  assertEquals(await tracesOf(id), []);
  assertEquals(await running(pids), []);
});

testWith("netns: a lab with a default route is reached over both families", [
  "root",
  "bird",
  "ping",
], async () => {
  await using lab = await createLab({ ...NO_EXECUTABLE, design: "a", nodes: 1 });
  for (const address of ["2001:db8:25::11", "198.51.100.11"]) {
    assert(await lab.client.ping(address) !== undefined, address);
  }
});

testWith("netns: a lab whose creation fails leaves nothing", ["root", "bird"], async () => {
  const error = String(
    await assertRejects(() =>
      createLab({ ...NO_EXECUTABLE, extraRouterConfig: "this is no BIRD configuration" })
    ),
  );
  const [id = ""] = /fl[0-9a-f]{4}/.exec(error) ?? [];
  assert(id !== "" && error.includes("syntax error"), `it says why: ${error}`);
  assertEquals(await tracesOf(id), []);
});

testWith("netns: a lab whose creation is aborted leaves nothing", ["root", "bird"], async () => {
  const signal = AbortSignal.abort(new Error("as asked"));
  const before = await labs();
  await assertRejects(() => createLab({ ...NO_EXECUTABLE, signal }), Error, "as asked");
  const made = (await labs()).filter((lab) => !before.includes(lab));
  // Other tests may make labs at the same time; ours would have no process by now.
  for (const id of made) assert((await tracesOf(id)).length > 0, id);
});

const ENDS: Readonly<Record<string, (child: Deno.ChildProcess) => Promise<void> | void>> = {
  "SIGINT twice": async (child) => {
    // To its process group, as a terminal does it; the second right behind the first.
    for (let i = 0; i < 2; i++) {
      await new Deno.Command("/bin/kill", { args: ["-INT", "--", `-${child.pid}`] }).output();
    }
  },
  "SIGHUP": (child) => child.kill("SIGHUP"),
  "SIGKILL": (child) => child.kill("SIGKILL"),
  "crash": () => {},
  "exit": () => {},
};

for (const [how, end] of Object.entries(ENDS)) {
  testWith(`netns: a lab leaves nothing when its process ends by ${how}`, [
    "root",
    "bird",
  ], async () => {
    // A process group of its own, and not the test's.
    const child = new Deno.Command("setsid", {
      args: [Deno.execPath(), "run", "-A", new URL("hold_lab.ts", import.meta.url).pathname, how],
      stdout: "piped",
      stderr: "null",
    }).spawn();
    const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
    const { id, pids } = JSON.parse((await reader.read()).value ?? "{}");
    assert(
      await running(pids).then((all) => all.length >= 6),
      `its processes run: ${pids} ${await running(pids)}`,
    );
    await end(child);
    const status = await child.status;
    assert(how === "exit" || !status.success, "it ended as it was told");
    await reader.cancel();
    await until(`nothing of lab ${id}`, async () => {
      const traces = [...await tracesOf(id), ...await running(pids), ...await mounts(id)];
      if (traces.length > 0) throw new Error(traces.join("\n"));
      return true;
    }, { timeoutMs: 10_000 });
  });
}

testWith("netns: a lab whose reaper was killed is removed by the next one", [
  "root",
  "bird",
], async () => {
  let id: string;
  {
    const lab = await createLab({ ...NO_EXECUTABLE, nodes: 1 });
    id = lab.id;
    const [pid] = (await Deno.readTextFile(`${lab.dir}/reaper.pid`)).split(" ");
    Deno.kill(Number(pid), "SIGKILL");
    await assertRejects(() => lab[Symbol.asyncDispose]());
  }
  assert((await tracesOf(id)).length > 0, "it is still there");
  await (await createLab({ ...NO_EXECUTABLE, nodes: 1 }))[Symbol.asyncDispose]();
  assertEquals(await tracesOf(id), []);
});

async function running(pids: readonly number[]): Promise<string[]> {
  const found = await Promise.all(pids.map(async (pid) => {
    const stat = await Deno.readTextFile(`/proc/${pid}/stat`).catch(() => undefined);
    // Not "Z", a dead process that its parent has not taken note of.
    return stat === undefined || / \(.*\) Z /.test(stat) ? [] : [`process ${pid}: ${stat}`];
  }));
  return found.flat();
}

async function mounts(id: string): Promise<string[]> {
  const all = await Deno.readTextFile("/proc/self/mounts");
  return all.split("\n").filter((line) => line.includes(`${LAB_ROOT}/${id}/`));
}

async function labs(): Promise<string[]> {
  try {
    return (await Array.fromAsync(Deno.readDir(LAB_ROOT))).map((entry) => entry.name);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}
