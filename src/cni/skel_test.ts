import { assert, assertEquals, assertMatch } from "@std/assert";
import { CNI_VERSIONS, type CniVerb } from "../core/cni.ts";
import type { CniResult } from "../core/cni_result.ts";
import { CniError } from "../core/errors.ts";
import { listDeletions } from "../io/deletion_queue.ts";
import { type AgentRequest, serveAgent } from "../io/socket.ts";
import { type PluginOutcome, runPlugin } from "./skel.ts";

const ENVIRONMENT = {
  CNI_CONTAINERID: "c0ffee",
  CNI_NETNS: "/run/netns/x",
  CNI_IFNAME: "eth0",
  CNI_ARGS: "K8S_POD_NAMESPACE=a;K8S_POD_NAME=b",
  CNI_PATH: "/opt/cni/bin",
};

const RESULT: CniResult = {
  interfaces: [
    { name: "flock1a2b3c4d", mac: "02:f0:1a:2b:3c:4d", mtu: 1500 },
    { name: "eth0", mac: "06:f0:1a:2b:3c:4d", mtu: 1500, sandbox: "/run/netns/x" },
  ],
  ips: [{ address: "2001:db8:f001::a/128", gateway: "fe80::1", interface: 1 }],
  routes: [{ dst: "::/0", gw: "fe80::1" }],
};

/** The verbs that print nothing when all is well. */
const QUIET = ["DEL", "CHECK", "GC", "STATUS"] as const;

Deno.test("runPlugin() hands a call on to the agent as it came", async () => {
  await using host = await createHost();
  await using agent = await host.agent(() => RESULT);
  const conf = host.conf({ args: { text: "\u00e9\n}\u0000" } });
  await host.run("ADD", { conf, env: { TRACEPARENT: "00-trace" } });
  const [request] = agent.requests;
  assertEquals({ ...request, deadline_ms: 0, stdin_data: "" }, {
    version: 1,
    op: "ADD",
    container_id: "c0ffee",
    netns: "/run/netns/x",
    ifname: "eth0",
    args: ENVIRONMENT.CNI_ARGS,
    path: "/opt/cni/bin",
    stdin_data: "",
    cni_version: "1.1.0",
    traceparent: "00-trace",
    deadline_ms: 0,
  });
  const stdin = new TextDecoder().decode(Uint8Array.fromBase64(request!.stdin_data!));
  assertEquals(stdin, JSON.stringify(conf));
  assert(request!.deadline_ms! > 28_000 && request!.deadline_ms! <= 30_000);
});

Deno.test("runPlugin() prints the result of ADD in the version's shape, and only that", async () => {
  await using host = await createHost();
  await using _agent = await host.agent(() => RESULT);
  for (const cniVersion of CNI_VERSIONS) {
    const { exitCode, stdout, stderr } = await host.run("ADD", { conf: host.conf({ cniVersion }) });
    assertEquals([exitCode, stderr], [0, ""]);
    const printed = JSON.parse(stdout);
    assertEquals(printed.cniVersion, cniVersion);
    assertEquals("ip6" in printed, cniVersion < "0.3.0");
    assertMatch(stdout, /^\{.*\}\n$/, "one line");
  }
  const prevResult = {
    cniVersion: "1.1.0",
    interfaces: [{ name: "br0" }],
    ips: [{ address: "192.168.0.2/24", interface: 0 }],
  };
  const chained = await host.run("ADD", { conf: host.conf({ prevResult }) });
  const { interfaces, ips } = JSON.parse(chained.stdout);
  assertEquals(interfaces.map((i: { name: string }) => i.name), ["br0", "flock1a2b3c4d", "eth0"]);
  assertEquals(ips.map((ip: { interface: number }) => ip.interface), [0, 2]);
});

Deno.test("runPlugin() prints nothing for a success of the other verbs", async (t) => {
  await using host = await createHost();
  await using agent = await host.agent(() => ({ chatty: true }));
  for (const verb of QUIET) {
    await t.step(verb, async () => {
      assertEquals(await host.run(verb), { exitCode: 0, stdout: "", stderr: "" });
      assertEquals(agent.requests.at(-1)?.op, verb);
    });
  }
});

Deno.test("runPlugin() turns the agent's errors into an error object and one line", async (t) => {
  await using host = await createHost();
  await using _agent = await host.agent(() => {
    throw new CniError(104, "Cannot do it\nat all", { details: "because\u001b[31m" });
  });
  for (const verb of ["ADD", ...QUIET] as const) {
    await t.step(verb, async () => {
      const { exitCode, stdout, stderr } = await host.run(verb);
      assertEquals(exitCode, 1);
      assertEquals(JSON.parse(stdout), {
        cniVersion: "1.1.0",
        code: 104,
        msg: "Cannot do it\nat all",
        details: "because\u001b[31m",
      });
      assertMatch(stdout, /^[^\n]*\n$/);
      assertMatch(stderr, new RegExp(`^flock: ${verb}[ -~]*\\(code 104\\)\n$`));
    });
  }
  await t.step("in the version that was asked for", async () => {
    const { stdout } = await host.run("ADD", { conf: host.conf({ cniVersion: "0.3.1" }) });
    assertEquals(JSON.parse(stdout).cniVersion, "0.3.1");
  });
});

Deno.test("runPlugin() without an agent: ADD, CHECK and GC are to be tried again, STATUS fails", async (t) => {
  await using host = await createHost();
  const codes = { ADD: 11, CHECK: 11, GC: 11, STATUS: 50 } as const;
  // Each waits for the agent: all at once.
  const verbs = Object.keys(codes) as (keyof typeof codes)[];
  const started = performance.now();
  const outcomes = await Promise.all(verbs.map((verb) => host.run(verb)));
  const took = performance.now() - started;
  for (const [i, verb] of verbs.entries()) {
    await t.step(verb, () => {
      const { code, msg } = errorOf(outcomes[i]!);
      assertEquals(code, codes[verb]);
      assertEquals(msg, `Cannot call agent at "${host.socket}": nobody answers there`);
    });
  }
  await t.step("after 2 s of waiting", () => assert(took > 1_500 && took < 4_000, `${took}`));
});

Deno.test("runPlugin() finds an agent that comes up within 2 s", async () => {
  await using host = await createHost();
  const call = host.run("ADD");
  await new Promise((resolve) => setTimeout(resolve, 50));
  await using _agent = await host.agent(() => RESULT);
  assertEquals((await call).exitCode, 0);
});

Deno.test("runPlugin() queues a DEL without an agent, and says so only when it cannot", async (t) => {
  await using host = await createHost();
  await using full = await createHost();
  await Deno.writeTextFile(full.stateDir, "a file where the directory belongs");
  // Both wait for the agent: at once.
  const unqueued = full.run("DEL");
  await t.step("queued", async () => {
    const before = new Date().toISOString();
    assertEquals(await host.run("DEL"), { exitCode: 0, stdout: "", stderr: "" });
    const { deletions, damaged } = await listDeletions(host.stateDir);
    assertEquals(damaged, []);
    assertEquals(deletions.map((d) => [d.containerId, d.ifname]), [["c0ffee", "eth0"]]);
    assert(deletions[0]!.queuedAt >= before);
  });
  await t.step("not when the agent refuses it", async () => {
    await using other = await createHost();
    await using _agent = await other.agent(() => {
      throw new CniError(999, "bug");
    });
    assertEquals(errorOf(await other.run("DEL")).code, 999);
    assertEquals((await listDeletions(other.stateDir)).deletions, []);
  });
  await t.step("cannot be queued", async () => {
    const { code, msg } = errorOf(await unqueued);
    assertEquals(code, 11);
    assert(String(msg).startsWith('Cannot queue deletion of "c0ffee/eth0": '), String(msg));
  });
});

Deno.test("runPlugin() VERSION echoes the version and needs neither stdin nor an agent", async () => {
  await using host = await createHost();
  for (
    const [stdin, cniVersion] of [
      ["", "1.1.0"],
      ["{}", "1.1.0"],
      ['{"cniVersion": "0.4.0"}', "0.4.0"],
      ['{"cniVersion": "2.0.0"}', "2.0.0"],
    ]
  ) {
    const outcome = await host.run("VERSION", { stdin, env: { CNI_CONTAINERID: undefined } });
    assertEquals([outcome.exitCode, outcome.stderr], [0, ""]);
    assertEquals(JSON.parse(outcome.stdout), { cniVersion, supportedVersions: [...CNI_VERSIONS] });
  }
  assertEquals(errorOf(await host.run("VERSION", { stdin: "{" })).code, 6);
});

Deno.test("runPlugin() refuses bad input itself, before it asks the agent", async (t) => {
  await using host = await createHost();
  await using agent = await host.agent(() => RESULT);
  const cases: Record<string, [outcome: () => Promise<PluginOutcome>, code: number]> = {
    "no such verb": [() => host.run("ADD", { env: { CNI_COMMAND: "FROB" } }), 4],
    "no container id": [() => host.run("ADD", { env: { CNI_CONTAINERID: undefined } }), 4],
    "an ifname with a newline": [() => host.run("DEL", { env: { CNI_IFNAME: "a\nb" } }), 4],
    "no JSON": [() => host.run("ADD", { stdin: "\n\n{nope\n" }), 6],
    "no such version": [() => host.run("ADD", { conf: host.conf({ cniVersion: "3" }) }), 1],
    "CHECK before 0.4.0": [
      () => host.run("CHECK", { conf: host.conf({ cniVersion: "0.3.1" }) }),
      1,
    ],
    "GC before 1.1.0": [() => host.run("GC", { conf: host.conf({ cniVersion: "1.0.0" }) }), 1],
    "STATUS before 1.1.0": [
      () => host.run("STATUS", { conf: host.conf({ cniVersion: "1.0.0" }) }),
      1,
    ],
    "CHECK without prevResult": [() => host.run("CHECK", { conf: host.conf() }), 7],
    "CHECK with a damaged one": [
      () => host.run("CHECK", { conf: host.conf({ prevResult: { ips: 1 } }) }),
      6,
    ],
    "ADD with a damaged one": [
      () => host.run("ADD", { conf: host.conf({ prevResult: "x" }) }),
      6,
    ],
    "GC without a list": [() => host.run("GC", { conf: host.conf() }), 7],
    "1 MB of configuration": [
      () => host.run("ADD", { conf: host.conf({ args: "x".repeat(1 << 20) }) }),
      5,
    ],
    "stdin that cannot be read": [
      () => runPlugin(host.env("ADD"), () => Promise.reject(new Error("broken pipe"))),
      5,
    ],
  };
  for (const [name, [run, code]] of Object.entries(cases)) {
    await t.step(name, async () => {
      const outcome = await run();
      const error = errorOf(outcome);
      assertEquals(error.code, code, outcome.stdout.slice(0, 300));
      assertMatch(String(error.msg), /^Cannot \w+ .*: /);
      assertMatch(outcome.stderr, /^flock: [ -~]*\(code \d+\)\n$/);
      assert(outcome.stdout.length < 2_000, "a long value is cut");
    });
  }
  assertEquals(agent.requests, []);
});

Deno.test("runPlugin() answers a refusal in the caller's version, where it is known", async (t) => {
  await using host = await createHost();
  const cases: Record<string, [call: Call & { verb?: CniVerb }, version: string]> = {
    "a key": [{ conf: host.conf({ cniVersion: "0.3.1", mut: 1 }) }, "0.3.1"],
    "a name": [{ conf: host.conf({ cniVersion: "1.0.0", name: 7 }) }, "1.0.0"],
    "an environment": [
      { conf: host.conf({ cniVersion: "0.3.1" }), env: { CNI_IFNAME: "a\nb" } },
      "0.3.1",
    ],
    "no verb": [
      { conf: host.conf({ cniVersion: "0.3.1" }), env: { CNI_COMMAND: undefined } },
      "0.3.1",
    ],
    "a verb": [{ verb: "CHECK", conf: host.conf({ cniVersion: "0.3.1" }) }, "0.3.1"],
    "no version": [{ conf: host.conf({ cniVersion: undefined, name: 7 }) }, "0.1.0"],
    "a version of the future": [{ conf: host.conf({ cniVersion: "9" }) }, "1.1.0"],
    "no configuration": [{ stdin: "{" }, "1.1.0"],
  };
  for (const [name, [{ verb = "ADD", ...call }, version]] of Object.entries(cases)) {
    await t.step(name, async () => {
      assertEquals(errorOf(await host.run(verb, call)).cniVersion, version);
    });
  }
});

Deno.test("runPlugin() asks for a DEL whatever became of the configuration", async () => {
  await using host = await createHost();
  await using agent = await host.agent(() => null);
  for (const edit of [{ mut: 1 }, { ipam: { type: "x" } }, { name: 7 }, { cniVersion: "9" }]) {
    assertEquals((await host.run("DEL", { conf: host.conf(edit) })).stdout, "");
  }
  assertEquals(agent.requests.map(({ op }) => op), ["DEL", "DEL", "DEL", "DEL"]);
});

/** The error object of an outcome that is a failure. */
function errorOf({ exitCode, stdout }: PluginOutcome): Record<string, unknown> {
  assertEquals(exitCode, 1, stdout);
  return JSON.parse(stdout);
}

interface Call {
  readonly conf?: unknown;
  /** Instead of the configuration. */
  readonly stdin?: string;
  /** Over the usual variables; `undefined` takes one away. */
  readonly env?: Readonly<Record<string, string | undefined>>;
}

/** A directory for socket and state, and the plugin run against it. */
class TestHost implements AsyncDisposable {
  constructor(readonly dir: string) {}

  get socket(): string {
    return `${this.dir}/flock.sock`;
  }
  get stateDir(): string {
    return `${this.dir}/state`;
  }

  conf(over: Readonly<Record<string, unknown>> = {}): Record<string, unknown> {
    const { socket, stateDir } = this;
    return { cniVersion: "1.1.0", name: "flock", type: "flock", socket, stateDir, ...over };
  }

  env(verb: string, over: Call["env"] = {}): (name: string) => string | undefined {
    const values = { ...ENVIRONMENT, CNI_COMMAND: verb, ...over };
    return (name) => (values as Readonly<Record<string, string | undefined>>)[name];
  }

  /** Runs the plugin; CHECK and GC get what they need. */
  run(verb: string, call: Call = {}): Promise<PluginOutcome> {
    const conf = call.conf ?? this.conf({
      ...(verb === "CHECK" ? { prevResult: { cniVersion: "1.1.0", ...RESULT } } : {}),
      ...(verb === "GC" ? { "cni.dev/valid-attachments": [] } : {}),
    });
    const stdin = call.stdin ?? JSON.stringify(conf);
    return runPlugin(this.env(verb, call.env), () => Promise.resolve(stdin));
  }

  /** Something that answers as the agent does, on a real socket. */
  async agent(
    answer: (request: AgentRequest) => unknown,
  ): Promise<AsyncDisposable & { readonly requests: AgentRequest[] }> {
    const requests: AgentRequest[] = [];
    const server = await serveAgent(this.socket, (request) => {
      requests.push(request);
      return Promise.resolve().then(() => answer(request));
    }, (error) => {
      throw error;
    });
    return { requests, [Symbol.asyncDispose]: () => server.stop(0) };
  }

  [Symbol.asyncDispose](): Promise<void> {
    return Deno.remove(this.dir, { recursive: true });
  }
}

async function createHost(): Promise<TestHost> {
  return new TestHost(await Deno.makeTempDir());
}
