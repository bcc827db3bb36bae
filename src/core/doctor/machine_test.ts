import { assertEquals, assertMatch } from "@std/assert";
import { idsOf, link, network } from "../../../tests/doctor_facts.ts";
import type { ClockFacts, HostFacts, RuntimeFacts, StateDirFacts, ToolVersion } from "./facts.ts";
import {
  judgeAgent,
  judgeClock,
  judgeFeatures,
  judgeKernelVersion,
  judgeRuntime,
  judgeStateDir,
  judgeSynchronized,
  judgeTools,
  TIMESYNC_FILE,
} from "./machine.ts";

Deno.test("judgeAgent() misses an agent where there are pods", () => {
  const absent = { unknown: "no agent answers on /s" };
  assertEquals(judgeAgent(network(), absent).map(({ finding }) => finding), [
    "no agent answers on /s, and 1 pod links are there",
  ]);
  assertEquals(judgeAgent(network({ links: [link("eth0")] }), absent), []);
  assertEquals(judgeAgent(network(), { known: "" }), []);
  assertEquals(judgeAgent(network(), { known: "no NodeConfig" }), []);
});

Deno.test("judgeFeatures() names what failed, with what was said", () => {
  const problems = judgeFeatures([
    { name: "next-hop objects" },
    { name: "resilient next-hop groups", problem: "Error: Unsupported" },
  ]);
  assertEquals(problems.map(({ finding }) => finding), [
    "resilient next-hop groups: Error: Unsupported",
  ]);
});

Deno.test("judgeTools() compares with the tested versions", async (t) => {
  const cases: readonly (readonly [ToolVersion, string | undefined])[] = [
    [{ tool: "ip", version: "6.1.0" }, undefined],
    [{ tool: "ip", version: "6.1.12" }, undefined],
    [{ tool: "ip", version: "5.15.0" }, "tool-version"],
    [{ tool: "ip", version: "6.9.0" }, "tool-newer"],
    [{ tool: "ip", version: "7.0.0" }, "tool-newer"],
    [{ tool: "ip" }, "tool-missing"],
    [{ tool: "conntrack", version: "1.4.7" }, undefined],
    [{ tool: "conntrack" }, "tool-optional"],
    [{ tool: "bird", version: "2.0.12" }, undefined],
    [{ tool: "bird", version: "2.0.9" }, "tool-version"],
    [{ tool: "bird", version: "2.17.1" }, "tool-newer"],
    [{ tool: "bird", version: "3.0.1" }, "tool-version"],
    [{ tool: "nft", version: "0.9.8" }, "tool-version"],
    [{ tool: "nft", version: "1.1.1" }, "tool-newer"],
  ];
  for (const [tool, id] of cases) {
    await t.step(`${tool.tool} ${tool.version}`, () => {
      assertEquals(idsOf(judgeTools([tool])), id === undefined ? [] : [id]);
    });
  }
});

Deno.test("judgeKernelVersion() wants resilient next-hop groups", () => {
  assertEquals(judgeKernelVersion("6.1.0-32-amd64"), []);
  assertEquals(judgeKernelVersion("5.13.0"), []);
  assertEquals(idsOf(judgeKernelVersion("5.10.0-28-amd64")), ["tool-version"]);
});

Deno.test("judgeSynchronized() asks who can tell", async (t) => {
  const host = (file: boolean, ...names: readonly string[]): HostFacts => ({
    processes: names.map((name) => ({ name, commandLine: name })),
    files: file ? [{ path: TIMESYNC_FILE, text: "" }] : [],
  });
  const cases: readonly (readonly [string, string | undefined, HostFacts, RegExp | undefined])[] = [
    ["chrony is content", "Normal", host(false), undefined],
    ["chrony is not", "Not synchronised", host(true), /^chrony has not/],
    ["timesyncd is content", undefined, host(true, "systemd-timesyn"), undefined],
    ["timesyncd is not", undefined, host(false, "systemd-timesyn"), /^systemd-timesyncd has not/],
    ["nobody", undefined, host(false), /^neither/],
  ];
  for (const [name, chrony, facts, says] of cases) {
    await t.step(name, () => {
      const clock: ClockFacts = { now: 0, chrony };
      const problems = judgeSynchronized(clock, facts);
      const text = typeof problems === "string" ? problems : problems[0]?.finding;
      if (says === undefined) assertEquals(problems, []);
      else assertMatch(text ?? "", says);
    });
  }
});

Deno.test("judgeClock() knows that files are not of the future", () => {
  const at = (writtenAt: number): ClockFacts => ({ now: 1e6, newest: { path: "/f", writtenAt } });
  assertEquals(judgeClock({ now: 1e6 }), []);
  assertEquals(judgeClock(at(1e6 + 60_000)), []);
  assertEquals(idsOf(judgeClock(at(1e6 + 60_001))), ["clock-past"]);
});

Deno.test("judgeStateDir() wants it root's, writable and not full", () => {
  const good: StateDirFacts = {
    path: "/s",
    mode: 0o755,
    uid: 0,
    writable: true,
    freeBytes: 1e9,
    freeInodes: 1e5,
  };
  const cases: readonly (readonly [Partial<StateDirFacts>, readonly string[]])[] = [
    [{}, []],
    [{ mode: 0o700 }, []],
    [{ freeInodes: undefined }, []],
    [{ mode: 0o775 }, ["state-permissions"]],
    [{ mode: 0o757 }, ["state-permissions"]],
    [{ uid: 1000 }, ["state-permissions"]],
    [{ writable: false }, ["state-permissions"]],
    [{ freeBytes: 1e6 }, ["state-space"]],
    [{ freeInodes: 10 }, ["state-space"]],
  ];
  for (const [change, ids] of cases) {
    assertEquals(idsOf(judgeStateDir({ ...good, ...change })), ids, JSON.stringify(change));
  }
});

Deno.test("judgeRuntime() wants flock's configuration first, with its plugins", async (t) => {
  const versions = ["1.0.0", "1.1.0"];
  const own = { name: "01-flock.conflist", own: true, plugins: ["flock", "portmap"], versions };
  const other = (name: string): typeof own => ({ ...own, name, own: false, plugins: ["bridge"] });
  const good: RuntimeFacts = {
    dir: "/c",
    configs: [own, other("10-b.conf")],
    pluginDir: "/p",
    plugins: { flock: { versions }, portmap: { versions } },
  };
  const old = { versions: ["0.4.0", "1.0.0"] };
  const alone = { ...own, plugins: ["flock"] };
  const cases: readonly (readonly [string, Partial<RuntimeFacts>, readonly string[]])[] = [
    ["first", {}, []],
    ["second", { configs: [other("00-a.conf"), own] }, ["conflist-order"]],
    ["first is broken", { configs: [{ ...other("00-a.conf"), plugins: [] }, own] }, [
      "conflist-order",
    ]],
    ["none", { configs: [] }, ["conflist-missing"]],
    ["only others", { configs: [other("00-a.conf")] }, ["conflist-missing"]],
    ["versions", { plugins: { ...good.plugins, portmap: old } }, ["conflist-versions"]],
    ["versions of another, first", {
      configs: [other("00-a.conf"), own],
      plugins: { ...good.plugins, bridge: old },
    }, ["conflist-order", "conflist-versions"]],
    ["versions of another, alone", { configs: [other("00-a.conf")], plugins: { bridge: old } }, [
      "conflist-missing",
      "conflist-versions",
    ]],
    ["versions of another, behind", { plugins: { ...good.plugins, bridge: old } }, []],
    ["silent", { plugins: { ...good.plugins, portmap: { problem: "it hangs" } } }, ["plugin"]],
    ["left out", { configs: [alone], plugins: { ...good.plugins, portmap: { problem: "no" } } }, [
      "host-ports",
    ]],
    ["no portmap", { configs: [alone], plugins: { flock: { versions } } }, []],
    ["plugins", { plugins: { flock: "missing", portmap: "not executable" } }, ["plugin", "plugin"]],
  ];
  for (const [name, change, ids] of cases) {
    await t.step(name, () => assertEquals(idsOf(judgeRuntime({ ...good, ...change })), ids));
  }
});
