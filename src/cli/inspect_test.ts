/**
 * Operators' commands against an agent's socket: what is printed, and the exit status.
 *
 * @module
 */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { CniCode, CniError } from "../core/errors.ts";
import type { Inspection, RouteList } from "../core/inspection.ts";
import { type AgentHandler, serveAgent } from "../io/socket.ts";
import { inspect, type Terminal } from "./inspect.ts";
import { INSPECT_COMMANDS, type InspectOptions } from "./inspect_commands.ts";

const ROUTES: RouteList = {
  kind: "RouteList",
  items: [{
    family: "ipv6",
    dst: "2001:db8:f001::/64",
    purpose: "prefix",
    pods: [],
    announce: true,
    exportedTo: [],
    differences: ["the kernel does not have it"],
  }],
  objects: [],
  computed: true,
  birdRunning: true,
};

/** A terminal that remembers. */
class FakeTerminal implements Terminal {
  out = "";
  err = "";
  readonly isTerminal: boolean = false;
  readonly colour = false;
  /** Looks of `--watch` before it is interrupted. */
  looks = 1;
  /** Called before each further look. */
  beforeLook: () => void | Promise<void> = () => {};
  isRead = true;

  write(text: string): boolean {
    this.out += text;
    return this.isRead;
  }
  writeError(text: string): void {
    this.err += text;
  }
  now(): Date {
    return new Date("2026-01-01T00:01:00Z");
  }
  async sleep(): Promise<boolean> {
    await this.beforeLook();
    return --this.looks > 0;
  }
  yaml(value: unknown): Promise<string> {
    return Promise.resolve(`yaml ${JSON.stringify(value)}\n`);
  }
}

function options(name: string, change: Partial<InspectOptions> = {}): InspectOptions {
  const command = INSPECT_COMMANDS.find((known) => known.name === name)!;
  const socket = "/nowhere/flock.sock";
  return { command, output: "table", socket, watch: false, check: false, ...change };
}

/** Runs a command against an agent that answers so. */
async function against(
  handler: AgentHandler,
  name: string,
  change: Partial<InspectOptions> = {},
  terminal = new FakeTerminal(),
): Promise<{ readonly status: number; readonly out: string; readonly err: string }> {
  const dir = await Deno.makeTempDir();
  const socket = `${dir}/flock.sock`;
  const server = await serveAgent(socket, handler, () => {});
  try {
    const status = await inspect(options(name, { socket, ...change }), terminal);
    return { status, out: terminal.out, err: terminal.err.replaceAll(socket, "SOCKET") };
  } finally {
    await server.stop(0);
    await Deno.remove(dir, { recursive: true });
  }
}

const answer = (value: Inspection): AgentHandler => () => Promise.resolve(value);

Deno.test("inspect() prints an answer as a table, as JSON and as YAML", async () => {
  const table = await against(answer(ROUTES), "routes");
  assertEquals(table.status, 0);
  assertEquals(table.out.split("\n")[1]?.split(/ {2,}/), [
    "2001:db8:f001::/64",
    "prefix",
    "-",
    "-",
    "NO",
    "none",
    "-",
    "the kernel does not have it",
  ]);
  const json = await against(answer(ROUTES), "routes", { output: "json" });
  assertEquals(JSON.parse(json.out), ROUTES);
  const yaml = await against(answer(ROUTES), "routes", { output: "yaml" });
  assertEquals(yaml.out, `yaml ${JSON.stringify(ROUTES)}\n`);
});

Deno.test("inspect() ends with 1 where --check finds something", async () => {
  assertEquals((await against(answer(ROUTES), "routes", { check: true })).status, 1);
  const good = { ...ROUTES, items: [] };
  assertEquals((await against(answer(good), "routes", { check: true })).status, 0);
  const unknown = { ...good, computed: false };
  assertEquals((await against(answer(unknown), "routes", { check: true })).status, 1);
  const objects = { ...good, objects: ["link x"] };
  assertEquals((await against(answer(objects), "routes", { check: true })).status, 1);
});

Deno.test("inspect() hands the argument to the agent", async () => {
  const asked: unknown[] = [];
  const handler: AgentHandler = ({ op, args }) => {
    asked.push([op, args]);
    return Promise.resolve({ kind: "Rendered", what: "bird", text: "router id x;\n" });
  };
  const { out } = await against(handler, "render", { argument: "bird" });
  assertEquals([asked, out], [[["render", "bird"]], "router id x;\n"]);
});

Deno.test("inspect() says what to do when no agent answers", async () => {
  const terminal = new FakeTerminal();
  assertEquals(await inspect(options("status"), terminal), 1);
  assertStringIncludes(terminal.err, 'nothing answers at "/nowhere/flock.sock"');
  assertStringIncludes(terminal.err, "There is no such socket");
  assertStringIncludes(terminal.err, "--socket PATH or FLOCK_SOCKET");
  assertEquals(terminal.out, "");
});

Deno.test("inspect() tells a socket that an ended agent left from one that is not there", async () => {
  const dir = await Deno.makeTempDir();
  try {
    const socket = `${dir}/flock.sock`;
    // What a kill leaves: closing removes the file only where it was made.
    const listener = Deno.listen({ transport: "unix", path: `${socket}.new` });
    await Deno.rename(`${socket}.new`, socket);
    listener.close();
    const terminal = new FakeTerminal();
    assertEquals(await inspect(options("status", { socket }), terminal), 1);
    assertStringIncludes(terminal.err, "The socket is there, and nobody behind it");
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

Deno.test("inspect() says that the agent is of another release, and passes its other errors on", async () => {
  const unknown = await against(() => {
    const why = 'Cannot answer request: operation "bgp" is unknown';
    return Promise.reject(new CniError(CniCode.invalidEnvironment, why));
  }, "bgp");
  assertEquals(unknown.status, 1);
  assertStringIncludes(unknown.err, 'Cannot ask the agent for "bgp": it is of another release');
  const other = await against(
    () => Promise.reject(new CniError(CniCode.tryAgainLater, "Cannot render: it waits")),
    "bgp",
  );
  assertEquals([other.status, other.err], [1, "error: Cannot render: it waits\n"]);
});

Deno.test("flock version needs no agent, and has its version when one answers", async () => {
  const terminal = new FakeTerminal();
  assertEquals(await inspect(options("version"), terminal), 0);
  assertEquals([terminal.out.split("\n").length, terminal.err], [2, ""]);
  const agent = { version: "9.9.9", node: "n1", startedAt: "2026-01-01T00:00:00Z" };
  const value: Inspection = { kind: "Version", version: "9.9.9", agent };
  const { out } = await against(answer(value), "version");
  assertEquals(out.split("\n")[1], "agent 9.9.9 on n1, up 1m");
});

Deno.test("--watch prints one JSON object on a line for each change", async () => {
  let items = ROUTES.items;
  const terminal = new FakeTerminal();
  terminal.looks = 4;
  terminal.beforeLook = () => {
    if (terminal.looks === 3) items = [];
  };
  const { status, out } = await against(
    () => Promise.resolve({ ...ROUTES, items }),
    "routes",
    { watch: true, output: "json" },
    terminal,
  );
  const lines = out.trimEnd().split("\n").map((line) => JSON.parse(line).items.length);
  assertEquals([status, lines], [0, [1, 0]]);
});

Deno.test("--watch goes on while an agent is restarted, and ends when nobody reads", async () => {
  let away = false;
  const terminal = new FakeTerminal();
  terminal.looks = 4;
  terminal.beforeLook = () => void (away = terminal.looks > 2);
  const { status, out, err } = await against(
    () => away ? Promise.reject(new Error("restarting")) : Promise.resolve(ROUTES),
    "routes",
    { watch: true, output: "json" },
    terminal,
  );
  assertEquals([status, out.trimEnd().split("\n").length], [0, 1]);
  assertEquals(err.match(/restarting/g)?.length, 1);

  const closed = new FakeTerminal();
  closed.looks = 100;
  closed.isRead = false;
  closed.beforeLook = () => assert(false, "it goes on");
  assertEquals((await against(answer(ROUTES), "routes", { watch: true }, closed)).status, 0);
});

Deno.test("--watch clears a terminal's screen each time", async () => {
  const terminal = new class extends FakeTerminal {
    override readonly isTerminal = true;
  }();
  terminal.looks = 2;
  const { out } = await against(answer(ROUTES), "routes", { watch: true }, terminal);
  assertEquals(out.split("\x1b[H\x1b[2J").length, 3);
});
