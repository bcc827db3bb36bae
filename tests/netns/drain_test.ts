/**
 * Draining a node as routers and clients see it: two nodes announce the same anycast addresses, and n1 is
 * drained. The real executables, with BIRD and with FRR as the router.
 *
 * @module
 */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { parseDrainReport } from "../../src/core/drain_state.ts";
import { readTextIfPresent } from "../../src/io/fs.ts";
import { callAgent } from "../../src/io/socket.ts";
import type { Background } from "../../src/lab/background.ts";
import { gatewaysOf } from "../../src/lab/host.ts";
import type { Lab } from "../../src/lab/lab.ts";
import type { Node } from "../../src/lab/node.ts";
import { until } from "../../src/lab/wait.ts";
import { EXECUTABLE } from "../executable.ts";
import { testWith } from "../support.ts";
import { pathsTo } from "./router_paths.ts";
import { holdTcp, serveTcp, tryTcp } from "./tcp_echo.ts";
import { createTestLab } from "./test_lab.ts";

const ADDRESSES = ["2001:db8:ffff::53", "203.0.113.200"] as const;
const PREFIXES = ADDRESSES.map((address) => `${address}/${address.includes(":") ? 128 : 32}`);
const ANNOTATIONS = { "flock.fritzlab.net/anycast": ADDRESSES.join(",") };
/** A node's paths to the anycast addresses: marked with GRACEFUL_SHUTDOWN, or not. */
type Marks = Readonly<Record<string, boolean>>;

for (const router of ["bird", "frr"] as const) {
  testWith(`netns: a node is drained, with ${router} as router`, [
    "root",
    "bird",
    "ping",
    ...(router === "frr" ? ["frr" as const] : []),
  ], async (t) => {
    await using lab = await createTestLab({ executable: EXECUTABLE, router, nodes: 2 });
    try {
      await testDrain(t, lab);
    } catch (error) {
      throw new Error(`${await lab.tails(15)}\n${error}`, { cause: error });
    }
  });
}

async function testDrain(t: Deno.TestContext, lab: Lab): Promise<void> {
  const [n1, n2] = lab.nodes as [Node, Node];
  await lab.start();
  for (const node of [n1, n2]) {
    const pod = await node.createPod({ name: `web-${node.name}`, annotations: ANNOTATIONS });
    await node.add(pod);
    await serveTcp(pod, node.name);
    for (const address of Object.values(lab.plan.client.addresses)) {
      await until(`${address} from ${pod.key}`, async () => await pod.ping(address) !== undefined);
    }
  }
  await heard(lab, { n1: false, n2: false });
  for (const prefix of PREFIXES) await waitBothWays(lab, prefix);
  const monitor = await lab.router.spawn("monitor", ["ip", "-o", "monitor", "route"]);
  const pings = await Promise.all(
    ADDRESSES.map((address, i) =>
      lab.client.spawn(`ping${i}`, ["ping", "-n", "-i", "0.02", address])
    ),
  );
  const held = await Promise.all(ADDRESSES.map((address) => holdTcp(lab.client, address, 16)));

  await t.step("an agent that is told to stop, and starts again, withdraws nothing", async () => {
    await quiet(lab, monitor, async () => {
      await n1.stopAgent("SIGTERM");
      await heard(lab, { n1: false, n2: false });
      await startAgent(n1);
    });
    await heard(lab, { n1: false, n2: false });
  });

  await t.step("drain announces with GRACEFUL_SHUTDOWN, then withdraws", async () => {
    const draining = await n1.spawn("drain", command(n1, "drain", "--wait", "3s"));
    await heard(lab, { n1: true, n2: false });
    const begun = performance.now();
    for (const prefix of Object.values(n1.plan.prefixes)) {
      assertEquals(await marksOf(lab, prefix), { n1: false }, "the node's prefix");
    }
    await until("the kernel of the router to prefer n2", () => servedBy(lab, 1, "n2"));
    assert(await servedBy(lab, 10, "n2"), "new connections go to the other node");
    assertEquals(await exitOf(draining), 0, await draining.tail(20));
    const took = performance.now() - begun;
    assert(took > 2_500 && took < 15_000, `it took ${took} ms`);
    const said = (await Deno.readTextFile(draining.log)).trim().split("\n");
    assertStringIncludes(
      said.slice(0, -1).join("\n"),
      "2 anycast addresses are announced with GRACEFUL_SHUTDOWN",
    );
    assertEquals(
      said.at(-1),
      "Withdrawn: 2 anycast addresses are not announced; flock undrain takes it back",
    );
    for (const prefix of PREFIXES) {
      assertEquals((await n1.route(prefix))?.protocol === "144", false, prefix);
    }
    await heard(lab, { n2: false });
    for (const prefix of Object.values(n1.plan.prefixes)) {
      assertEquals(await marksOf(lab, prefix), { n1: false }, "the node's prefix stays");
    }
    assert(await servedBy(lab, 10, "n2"), "new connections go to the other node");
  });

  await t.step("clients of the other node notice nothing", async () => {
    for (const { lines, process } of held) {
      await process.assertRunning();
      const seen = await lines();
      assert(seen.includes("open n2"), "some went to n2");
      assert(!seen.includes("lost n2"), seen.join("\n"));
      await process.stop();
    }
  });

  await t.step("an agent that starts again leaves it withdrawn", async () => {
    await quiet(lab, monitor, async () => {
      for (const signal of ["SIGTERM", "SIGKILL"] as const) {
        await n1.stopAgent(signal);
        await startAgent(n1);
      }
      // Nor is a pod announced that comes now.
      const late = await n1.createPod({ name: "late", annotations: ANNOTATIONS });
      await n1.add(late);
      await n1.stopAgent();
      await startAgent(n1);
      await n1.del(late);
    });
    await heard(lab, { n2: false });
    const again = await n1.attempt(command(n1, "drain"), { env: {} });
    assertEquals([again.code, again.stdout.split(":")[0]], [0, "Withdrawn"], again.stderr);
  });

  await t.step("undrain announces again", async () => {
    const { code, stdout, stderr } = await n1.attempt(command(n1, "undrain"), { env: {} });
    assertEquals(
      [code, stdout],
      [0, "Not drained: 2 anycast addresses are announced while their pods are ready\n"],
      stderr,
    );
    await heard(lab, { n1: false, n2: false });
    assertEquals(await readTextIfPresent(`${n1.stateDir}/drain.json`), undefined);
    // The router's kernel follows its BGP daemon a moment later.
    for (const prefix of PREFIXES) await waitBothWays(lab, prefix);
    await quiet(lab, monitor, async () => {
      await n1.stopAgent();
      await startAgent(n1);
    });
  });

  await t.step("no packet was lost in all of it", async () => {
    for (const ping of pings) {
      await ping.stop("SIGINT");
      const replies = await Deno.readTextFile(ping.log);
      const numbers = Array.from(
        replies.matchAll(/bytes from .* icmp_seq=(\d+)/g),
        ([, number]) => Number(number),
      );
      assert(numbers.length > 100, `${numbers.length} replies`);
      const gaps = numbers.filter((n, i) => n !== (i === 0 ? 1 : numbers[i - 1]! + 1));
      // For IPv6 zebra removes a route and adds the new one: a packet in those 50 µs is lost.
      const isReplaced = lab.router.kind === "frr" && ping.log.includes("ping0");
      assert(gaps.length <= (isReplaced ? 2 : 0), `replies are missing before ${gaps}`);
    }
  });
  await monitor.stop();

  await t.step("an agent that is killed in the middle of the wait goes on with it", async () => {
    const draining = await n1.spawn("drain-killed", command(n1, "drain", "--wait", "6s"));
    await heard(lab, { n1: true, n2: false });
    const begun = performance.now();
    await n1.killAgent();
    await until("the command notices", async () => {
      const said = await draining.tail(2);
      if (said.includes("The agent does not answer")) return true;
      throw new Error(`it says ${said}`);
    });
    await startAgent(n1);
    await heard(lab, { n1: true, n2: false });
    assertEquals(await exitOf(draining), 0, await draining.tail(20));
    const took = performance.now() - begun;
    assert(took > 5_000 && took < 15_000, `it took ${took} ms`);
    await heard(lab, { n2: false });
  });

  await t.step("a wait that passed while no agent ran is over when one starts", async () => {
    await n1.exec(command(n1, "undrain"), { env: {} });
    await heard(lab, { n1: false, n2: false });
    await callAgent(n1.socket, { op: "drain", wait_ms: 2_000 }, CALL);
    await heard(lab, { n1: true, n2: false });
    const end = await until("the wait to begin", async () => (await reportOf(n1)).withdrawsAt);
    await n1.killAgent();
    await until("its time to pass", () => Promise.resolve(Date.now() > Date.parse(end)));
    await heard(lab, { n1: true, n2: false });
    await startAgent(n1);
    await heard(lab, { n2: false });
  });

  await t.step("a command that is interrupted leaves the agent at it", async () => {
    await n1.exec(command(n1, "undrain"), { env: {} });
    const draining = await n1.spawn("drain-int", command(n1, "drain", "--wait", "1h"));
    await heard(lab, { n1: true, n2: false });
    await until("it said so", async () => (await draining.tail(1)).startsWith("Announcing"));
    assertEquals((await draining.stop("SIGINT")).code, 130);
    assertEquals(
      await draining.tail(1),
      "Interrupted: the agent goes on draining; flock undrain takes it back",
    );
    assertEquals((await reportOf(n1)).phase, "announcing");
  });

  await t.step("a command that may not reach the socket says so", async () => {
    const dir = `${n1.dir}/closed`;
    await Deno.mkdir(dir, { mode: 0o700 });
    await Deno.chown(dir, 65534, 65534);
    const { code, stderr } = await n1.attempt([
      ...["setpriv", "--bounding-set=-dac_override,-dac_read_search"],
      ...[EXECUTABLE, "drain", "--socket", `${dir}/flock.sock`],
    ]);
    assertEquals(code, 1);
    assertStringIncludes(stderr, `/closed/flock.sock\\": permission denied; this needs root`);
  });

  await t.step("a damaged file keeps it drained, and undrain mends it", async () => {
    await n1.stopAgent();
    await Deno.writeTextFile(`${n1.stateDir}/drain.json`, '{"version": 1, "since": "2026-');
    await startAgent(n1);
    await heard(lab, { n2: false });
    const log = await Deno.readTextFile(`${n1.dir}/agent.log`);
    const line = log.split("\n").find((line) => line.includes("Could not read the state of drain"));
    assertEquals(JSON.parse(line!).level, "error");
    assertEquals(JSON.parse(line!).path, `${n1.stateDir}/drain.json`);
    await n1.exec(command(n1, "undrain"), { env: {} });
    await heard(lab, { n1: false, n2: false });
  });
}

const CALL = { connectMs: 2_000, timeoutMs: 10_000 };

async function reportOf(node: Node): Promise<ReturnType<typeof parseDrainReport>> {
  return parseDrainReport(await callAgent(node.socket, { op: "drain" }, CALL));
}

function command(node: Node, name: "drain" | "undrain", ...args: string[]): readonly string[] {
  return [EXECUTABLE, name, "--socket", node.socket, ...args];
}

/** A command's exit status, when it has ended. */
async function exitOf(process: Background): Promise<number> {
  await until("the command ended", () => Promise.resolve(!process.running), { timeoutMs: 30_000 });
  return (await process.ended).code;
}

/** Starts an agent and waits until it has made one pass. */
async function startAgent(node: Node): Promise<void> {
  const log = `${node.dir}/agent.log`;
  const { size } = await Deno.stat(log);
  await node.startAgent();
  await node.waitReady();
  await until(
    "a pass",
    async () => (await Deno.readTextFile(log)).slice(size).includes('"msg":"Reconciled"'),
  );
}

/** Waits until the router has exactly these paths to both addresses. */
async function heard(lab: Lab, marks: Marks): Promise<void> {
  for (const prefix of PREFIXES) {
    await until(`paths to ${prefix}: ${JSON.stringify(marks)}`, async () => {
      assertEquals(await marksOf(lab, prefix), marks);
      return true;
    });
  }
}

/**
 * Waits until the router's kernel sends to both nodes, and knows where they are: of a group of next hops
 * it leaves out those whose link address it does not know yet, so that flows move when it does.
 */
async function waitBothWays(lab: Lab, prefix: string): Promise<void> {
  await until(`both next hops of ${prefix} at the router`, async () => {
    const gateways = gatewaysOf(await lab.router.route(prefix));
    const known = await Promise.all(
      gateways.map((gateway) =>
        lab.router.ping(gateway.startsWith("fe80:") ? `${gateway}%eth0` : gateway)
      ),
    );
    return known.length === 2 && !known.includes(undefined);
  });
}

async function marksOf(lab: Lab, prefix: string): Promise<Marks> {
  const paths = await pathsTo(lab, prefix);
  return Object.fromEntries(paths.map(({ node, gracefulShutdown }) => [node, gracefulShutdown]));
}

/** Nothing about the anycast addresses happens in the router's kernel during some work. */
async function quiet(lab: Lab, monitor: Background, work: () => Promise<void>): Promise<void> {
  const { size } = await Deno.stat(monitor.log);
  const before = size + (await toldUntilNow(lab, monitor, size)).length;
  await work();
  const text = await toldUntilNow(lab, monitor, before);
  const events = text.split("\n").filter((line) => ADDRESSES.some((a) => line.includes(a)));
  assertEquals(events, []);
}

/** What the monitor has told beyond a length of its log, until a mark that is made now: it comes after all else. */
async function toldUntilNow(lab: Lab, monitor: Background, from: number): Promise<string> {
  await lab.router.ip("route", "add", "unreachable", "198.51.100.255/32");
  const text = await until("the mark", async () => {
    const text = (await Deno.readTextFile(monitor.log)).slice(from);
    return /^unreachable 198\.51\.100\.255 /m.test(text) ? text : undefined;
  });
  await lab.router.ip("route", "del", "unreachable", "198.51.100.255/32");
  return text;
}

/** Whether new connections to every address are answered by one node. */
async function servedBy(lab: Lab, count: number, node: string): Promise<boolean> {
  for (const address of ADDRESSES) {
    const names = await tryTcp(lab.client, address, count);
    if (names.some((name) => name !== node)) throw new Error(`${address}: ${names}`);
  }
  return true;
}
