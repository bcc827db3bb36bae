import { assert, assertEquals, assertMatch } from "@std/assert";
import type { BirdStatus } from "../io/birdc.ts";
import { configureLog } from "../log.ts";
import { answerHealth, birdAnswer, type HealthInput, serveHealth } from "./health.ts";
import type { LoopState } from "./turns.ts";

function loops(...list: readonly LoopState[]): HealthInput["turns"] {
  return { list: () => list };
}

const well: HealthInput = {
  notReady: () => undefined,
  reconciler: { settled: true },
  turns: loops({ loop: "routes", busyMs: 0 }),
  bird: { look: () => Promise.resolve("") },
  page: () => Promise.resolve("<!DOCTYPE html>"),
  metrics: { contentType: "text/plain", render: () => Promise.resolve("flock_x_total 1\n") },
};

async function ask(path: string, input: Partial<HealthInput> = {}): Promise<[number, string]> {
  const response = await answerHealth(new Request(`http://node${path}`), { ...well, ...input });
  return [response.status, await response.text()];
}

Deno.test("answerHealth() says ok when all is well", async () => {
  assertEquals(await ask("/healthz"), [200, "ok\n"]);
  assertEquals(await ask("/readyz"), [200, "ok\n"]);
});

Deno.test("answerHealth() serves the page, which is not kept", async () => {
  const response = await answerHealth(new Request("http://node/"), well);
  assertEquals([response.status, await response.text()], [200, "<!DOCTYPE html>"]);
  assertEquals(response.headers.get("content-type"), "text/html; charset=utf-8");
  assertEquals(response.headers.get("cache-control"), "no-store");
});

Deno.test("answerHealth() is alive but not ready while something lacks, and names all of it", async () => {
  const input: Partial<HealthInput> = {
    notReady: () => 'there is no NodeConfig "a"',
    reconciler: { settled: false },
    turns: loops({ loop: "routes", busyMs: 119_000 }, { loop: "leaks", busyMs: 599_000 }),
    bird: birdAnswer({
      status: () => Promise.reject(new Error("Cannot reach BIRD: no such file")),
    }),
  };
  assertEquals(await ask("/healthz", input), [200, "ok\n"]);
  assertEquals(await ask("/readyz", input), [
    503,
    'there is no NodeConfig "a"\nthe node\'s routes have not been made yet\n' +
    "Cannot reach BIRD: no such file\n",
  ]);
});

Deno.test("answerHealth() starts one birdc for all that ask at the same time", async () => {
  let started = 0;
  const { promise, resolve } = Promise.withResolvers<BirdStatus>();
  const bird = birdAnswer({ status: () => (started++, promise) });
  const asked = Array.from({ length: 500 }, () => ask("/readyz", { bird }));
  resolve({} as BirdStatus);
  assertEquals(new Set((await Promise.all(asked)).map(String)), new Set(["200,ok\n"]));
  assertEquals(started, 1);
});

Deno.test("answerHealth() is neither alive nor ready when loops hang", async () => {
  const turns = loops(
    { loop: "routes", busyMs: 121_000 },
    { loop: "cluster", busyMs: 121_000 },
    { loop: "leaks", busyMs: 601_000 },
  );
  const input = { turns };
  const reason = 'loop "routes" has been at one turn for 121 s\n' +
    'loop "leaks" has been at one turn for 601 s\n';
  assertEquals(await ask("/healthz", input), [503, reason]);
  assertEquals(await ask("/readyz", input), [503, reason]);
});

Deno.test("answerHealth() tells each loop's last turn when it is asked to be verbose", async () => {
  const now = Date.now();
  const turns = loops(
    { loop: "routes", busyMs: 0, endedAt: now - 3_000, succeededAt: now - 3_000 },
    { loop: "leaks", busyMs: 0, endedAt: now - 60_000, succeededAt: now - 120_000 },
    { loop: "cluster", busyMs: 40 },
  );
  const [status, body] = await ask("/healthz?verbose", { turns });
  assertEquals(status, 200);
  assertMatch(
    body,
    new RegExp(
      '^ok\nloop "routes": last turn \\d+\\.\\d s ago\n' +
        'loop "leaks": last turn \\d+\\.\\d s ago, which failed\n' +
        'loop "cluster": at a turn for 0.0 s, none ended so far\n$',
    ),
  );
  const notReady = (): string => "nothing";
  assertMatch((await ask("/readyz?verbose", { turns, notReady }))[1], /^nothing\nloop "routes"/);
});

Deno.test("answerHealth() serves the metrics, also while something lacks", async () => {
  assertEquals(await ask("/metrics", { notReady: () => "nothing" }), [200, "flock_x_total 1\n"]);
});

Deno.test("answerHealth() refuses other paths and methods", async () => {
  assertEquals((await ask("/metricz"))[0], 404);
  const post = new Request("http://node/healthz", { method: "POST" });
  assertEquals((await answerHealth(post, well)).status, 405);
});

Deno.test("serveHealth() answers on its address, and only says so when it cannot have it", async () => {
  const lines: string[] = [];
  configureLog({ level: "info", format: "json", write: (line) => lines.push(line) });
  using taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = taken.addr;
  {
    await using _none = serveHealth({ hostname: "127.0.0.1", port }, well);
    assert(lines[0]?.includes("Could not serve health"), lines[0]);
  }
  taken.close();
  {
    await using _served = serveHealth({ hostname: "127.0.0.1", port }, well);
    const response = await fetch(`http://127.0.0.1:${port}/readyz`);
    assertEquals([response.status, await response.text()], [200, "ok\n"]);
  }
});
