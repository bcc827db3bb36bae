import { assert, assertEquals, assertRejects } from "@std/assert";
import { CniError } from "../core/errors.ts";
import type { AgentRequest } from "../io/socket.ts";
import { configureLog, type Level } from "../log.ts";
import { cniOperations, createHandler, type Operation } from "./server.ts";
import type { Tracing } from "./tracing.ts";

type Call = readonly [name: string, ...args: unknown[]];

const CONF = { cniVersion: "1.1.0", name: "flock", type: "flock" };
const ARGS = "K8S_POD_UID=u1;K8S_POD_NAME=web;IgnoreUnknown=1;K8S_POD_NAMESPACE=default";
const RESULT = { interfaces: [], ips: [], routes: [] };
const TRACEPARENT = `00-${"1".repeat(32)}-${"2".repeat(16)}-01`;
const ID = { container_id: "c1", ifname: "eth0" };

Deno.test("createHandler() gives each verb what it needs", async () => {
  const f = new Fixture();
  await f.ask("ADD", { ...ID, netns: "/run/netns/x", args: ARGS, stdin_data: encode(CONF) });
  await f.ask("DEL", ID);
  const prevResult = { cniVersion: "1.1.0", interfaces: [], ips: [], routes: [] };
  await f.ask("CHECK", {
    ...ID,
    netns: "/run/netns/x",
    stdin_data: encode({ ...CONF, prevResult }),
  });
  const valid = [{ containerID: "c1", ifname: "eth0" }];
  await f.ask("GC", { stdin_data: encode({ ...CONF, "cni.dev/valid-attachments": valid }) });
  await f.ask("STATUS", {});
  const [add, del, check, gc] = f.calls;
  const { conf, ...rest } = add![1] as { conf: { requirePod: boolean } };
  assertEquals(rest as unknown, {
    containerId: "c1",
    ifname: "eth0",
    netns: "/run/netns/x",
    pod: { namespace: "default", name: "web", uid: "u1" },
  });
  assertEquals(conf.requirePod, true);
  assertEquals(del, ["del", { containerId: "c1", ifname: "eth0" }]);
  assertEquals(check?.slice(0, 3), [
    "check",
    { containerId: "c1", ifname: "eth0" },
    "/run/netns/x",
  ]);
  assertEquals(gc, ["collectGarbage", "flock", [{ containerId: "c1", ifname: "eth0" }]]);
  assertEquals(f.calls.length, 4);
});

Deno.test("createHandler() answers CHECK and GC whatever became of keys they do not use", async () => {
  const f = new Fixture();
  const edited = { ...CONF, mut: 1, ipam: { type: "host-local" }, ipMasq: true };
  const prevResult = { cniVersion: "1.1.0", interfaces: [], ips: [], routes: [] };
  const check = { ...ID, netns: "/run/netns/x", stdin_data: encode({ ...edited, prevResult }) };
  await f.ask("CHECK", check);
  await f.ask("GC", { stdin_data: encode({ ...edited, "cni.dev/valid-attachments": null }) });
  assertEquals(f.calls.map(([name]) => name), ["check", "collectGarbage"]);
});

Deno.test("createHandler() refuses bad requests by code, and does nothing", async () => {
  const f = new Fixture();
  const cases: readonly (readonly [string, Partial<AgentRequest>, number, string])[] = [
    ["toString", {}, 4, 'operation "toString" is unknown'],
    ["add", {}, 4, 'operation "add" is unknown'],
    ["DEL", { ifname: "eth0" }, 4, "container_id or ifname is missing or malformed"],
    ["DEL", { ...ID, ifname: "" }, 4, "container_id or ifname is missing"],
    ["DEL", { ...ID, container_id: "../x" }, 4, "malformed"],
    ["DEL", { ...ID, container_id: "a\nb" }, 4, "malformed"],
    ["ADD", { ...ID, stdin_data: encode(CONF) }, 4, "CNI_ARGS names no pod"],
    ["ADD", { ...ID, args: ARGS }, 6, ""],
    ["ADD", { ...ID, args: ARGS, stdin_data: "%%%" }, 6, "stdin_data is not base64 of UTF-8"],
    ["ADD", { ...ID, args: ARGS, stdin_data: btoa("\xff\xfe") }, 6, "stdin_data is not base64"],
    ["GC", { stdin_data: encode(CONF) }, 7, '"cni.dev/valid-attachments" is missing'],
  ];
  for (const [op, request, code, words] of cases) {
    const error = await f.refused(op, request);
    assertEquals(error.code, code, `${op} ${error.message}`);
    assert(error.message.includes(words), error.message);
  }
  assertEquals(f.calls, []);
});

Deno.test("createHandler() adds a container without a pod where the configuration allows it", async () => {
  const f = new Fixture();
  await f.ask("ADD", { ...ID, stdin_data: encode({ ...CONF, requirePod: false }) });
  assertEquals((f.calls[0]![1] as { pod?: unknown }).pod, undefined);
});

Deno.test("STATUS fails only when ADD cannot be served, with 51 when the data path is degraded too", async () => {
  const f = new Fixture();
  await f.ask("STATUS", {});
  f.degraded = "no BGP peer is up";
  await f.ask("STATUS", {});
  f.notReady = 'there is no NodeConfig "n1"';
  const both = await f.refused("STATUS", {});
  assertEquals([both.code, both.details], [51, "no BGP peer is up"]);
  assert(both.message.includes('there is no NodeConfig "n1"'));
  f.degraded = undefined;
  assertEquals((await f.refused("STATUS", {})).code, 50);
});

Deno.test("createHandler() hides no failure behind another code", async () => {
  const f = new Fixture();
  f.fail = new CniError(104, "Cannot run ip", { details: "as the kernel said" });
  const known = await f.refused("DEL", ID);
  assertEquals([known.code, known.details], [104, "as the kernel said"]);
  f.fail = new Error("Cannot store it", { cause: new Error("no space left on device") });
  const unknown = await f.refused("DEL", ID);
  assertEquals([unknown.code, unknown.message, unknown.details], [
    999,
    "Cannot store it",
    "no space left on device",
  ]);
});

Deno.test("createHandler() ends a request at its deadline, or when the client is gone, with code 11", async () => {
  const hang: Operation = (_, signal) =>
    new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
  const handler = createHandler({ HANG: hang });
  const request = { version: 1, op: "HANG" };
  const late = await assertRejects(
    () => handler({ ...request, deadline_ms: 5 }, new AbortController().signal),
    CniError,
  ) as CniError;
  const client = new AbortController();
  const left = assertRejects(() => handler(request, client.signal), CniError) as Promise<CniError>;
  client.abort(new Error("The client went away"));
  assertEquals([late.code, (await left).code], [11, 11]);
});

Deno.test("createHandler() passes on why an ADD was cancelled", async () => {
  const client = new AbortController();
  const handler = createHandler({
    ADD: () => Promise.reject(new CniError(3, "it was deleted meanwhile")),
  });
  client.abort();
  const error = await assertRejects(
    () => handler({ version: 1, op: "ADD" }, client.signal),
    CniError,
  ) as CniError;
  assertEquals(error.code, 3);
});

Deno.test("createHandler() logs every answer with pod, code and duration", async () => {
  const f = new Fixture();
  await f.ask("DEL", { ...ID, args: ARGS, traceparent: TRACEPARENT });
  f.fail = new CniError(104, "Cannot run ip");
  await f.refused("DEL", { ...ID, traceparent: "00-a-b-01" });
  f.fail = undefined;
  await f.ask("STATUS", {});
  const [served, refused, ...more] = f.logged;
  assertEquals([served?.level, served?.msg, served?.op, served?.pod, served?.code], [
    "info",
    "Served request",
    "DEL",
    "default/web",
    0,
  ]);
  assertEquals([served?.containerId, served?.traceparent], ["c1", TRACEPARENT]);
  assert(typeof served?.durationMs === "number");
  assertEquals([refused?.level, refused?.code, refused?.err], ["warn", 104, "Cannot run ip"]);
  // A malformed one is ignored.
  assertEquals(refused?.traceparent, undefined);
  // STATUS comes every five seconds: at level debug.
  assertEquals(more, []);
});

Deno.test("createHandler() logs each verb, done and refused, so that a plugin's failure can be found", async () => {
  const f = new Fixture("debug");
  const prevResult = { cniVersion: "1.1.0", interfaces: [], ips: [], routes: [] };
  const valid = [{ containerID: "c1", ifname: "eth0" }];
  const requests: Readonly<Record<string, Partial<AgentRequest>>> = {
    ADD: { ...ID, netns: "/run/netns/x", args: ARGS, stdin_data: encode(CONF) },
    DEL: { ...ID, args: ARGS },
    CHECK: {
      ...ID,
      netns: "/run/netns/x",
      args: ARGS,
      stdin_data: encode({ ...CONF, prevResult }),
    },
    GC: { stdin_data: encode({ ...CONF, "cni.dev/valid-attachments": valid }) },
    STATUS: {},
  };
  for (const [op, request] of Object.entries(requests)) {
    const changes = ["ADD", "DEL", "GC"].includes(op);
    const of = Object.hasOwn(request, "args") ? ["default/web", "c1", "eth0"] : Array(3);
    await f.ask(op, request);
    const served = f.logged.pop();
    assertEquals(
      [served?.level, served?.msg, served?.op, served?.code],
      [changes ? "info" : "debug", "Served request", op, 0],
    );
    assertEquals([served?.pod, served?.containerId, served?.ifname], [...of], op);
    assert(typeof served?.durationMs === "number");

    f.fail = new CniError(104, "Cannot run ip", { details: "no such device" });
    f.notReady = "its caches are not in sync yet";
    const { code } = await f.refused(op, request);
    const refused = f.logged.pop();
    assertEquals(
      [refused?.level, refused?.msg, refused?.op, refused?.code],
      ["warn", "Refused request", op, code],
    );
    assertEquals([refused?.pod, refused?.containerId, refused?.ifname], [...of], op);
    assertEquals(
      [refused?.err, refused?.details],
      op === "STATUS"
        ? ["Cannot attach containers: its caches are not in sync yet", undefined]
        : ["Cannot run ip", "no such device"],
    );
    assert(typeof refused?.durationMs === "number");
    f.fail = f.notReady = undefined;
  }
  assertEquals(f.logged, []);
});

Deno.test("createHandler() does not warn of what an operator mistyped", async () => {
  const f = new Fixture("debug");
  const typo = new CniError(4, 'Cannot explain "x"');
  const handler = createHandler({ explain: () => Promise.reject(typo) });
  const { signal } = new AbortController();
  for (const op of ["explain", "expalin"]) {
    await assertRejects(() => handler({ version: 1, op, args: "x" }, signal), CniError);
  }
  assertEquals(f.logged.map(({ op, level }) => [op, level]), [
    ["explain", "debug"],
    ["expalin", "warn"],
  ]);
});

Deno.test("cniOperations() has an ADD traced below the caller's span, and nothing else", async () => {
  const traced: unknown[] = [];
  const f = new Fixture("info", {
    trace: (name, options, work) => {
      traced.push([name, options]);
      return work({ step: (_name, run) => run() });
    },
  });
  await f.ask("ADD", { ...ID, args: ARGS, stdin_data: encode(CONF), traceparent: TRACEPARENT });
  await f.ask("DEL", { ...ID, traceparent: TRACEPARENT });
  assertEquals(traced, [["ADD", {
    parent: { text: TRACEPARENT, traceId: "1".repeat(32), spanId: "2".repeat(16), flags: 1 },
    attributes: {
      "k8s.namespace.name": "default",
      "k8s.pod.name": "web",
      "k8s.pod.uid": "u1",
      "container.id": "c1",
      "flock.ifname": "eth0",
    },
  }]]);
});

class Fixture {
  readonly calls: Call[] = [];
  readonly logged: Record<string, unknown>[] = [];
  notReady: string | undefined;
  degraded: string | undefined;
  fail: Error | undefined;
  readonly #handler: ReturnType<typeof createHandler>;

  constructor(level: Level = "info", tracing?: Tracing) {
    const write = (line: string): void => void this.logged.push(JSON.parse(line));
    configureLog({ level, format: "json", write });
    // deno-lint-ignore no-this-alias
    const f = this;
    const record = (name: string) => (...args: unknown[]): Promise<void> => {
      if (f.fail) return Promise.reject(f.fail);
      f.calls.push([name, ...args]);
      return Promise.resolve();
    };
    const network = {
      get notReady() {
        return f.notReady;
      },
      add: (request: unknown) => record("add")(request).then(() => RESULT),
      del: record("del"),
      check: record("check"),
      collectGarbage: record("collectGarbage"),
    };
    this.#handler = createHandler(cniOperations(
      network,
      { degraded: () => Promise.resolve(f.degraded) },
      tracing,
    ));
  }

  ask(op: string, request: Partial<AgentRequest>): Promise<unknown> {
    return this.#handler({ version: 1, op, ...request }, new AbortController().signal);
  }

  async refused(op: string, request: Partial<AgentRequest>): Promise<CniError> {
    return await assertRejects(() => this.ask(op, request), CniError) as CniError;
  }
}

function encode(conf: unknown): string {
  return btoa(JSON.stringify(conf));
}
