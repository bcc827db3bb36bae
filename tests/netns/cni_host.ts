/**
 * For the tests of the CNI contract: one node with its agent, the real executable, and a picture of all
 * that an attachment can change.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import { parseState } from "../../src/core/attachment.ts";
import type { Lab, LabOptions } from "../../src/lab/lab.ts";
import type { CniAnswer, Node } from "../../src/lab/node.ts";
import type { Pod, PodOptions } from "../../src/lab/pod.ts";
import { ROOT } from "../../scripts/run.ts";
import { createTestLab } from "./test_lab.ts";

/** The executable, as `deno task build` makes it. */
export const EXECUTABLE = `${ROOT}/dist/flock`;

/** A lab with one node, whose agent is ready; BIRD does not run on it. */
export async function createCniHost(
  options: Omit<Partial<LabOptions>, "executable" | "nodes"> = {},
): Promise<{ readonly lab: Lab; readonly node: Node } & AsyncDisposable> {
  await using undo = new AsyncDisposableStack();
  const lab = undo.use(
    await createTestLab({
      ...options,
      executable: EXECUTABLE,
      nodes: 1,
      // Nothing is repaired behind a test's back but what is repaired at once.
      agentArgs: ["--route-reconcile-interval", "0", ...options.agentArgs ?? []],
    }),
  );
  const node = lab.node("n1");
  await node.startAgent();
  await node.waitReady();
  // The first reconcile is over: what changes from now on is the test's doing.
  await Promise.all(Object.values(node.plan.prefixes).map((prefix) => node.waitRoute(prefix)));
  const stack = undo.move();
  return { lab, node, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

let pods = 0;

/** A pod with a name of its own; detached and removed at the end. */
export async function createTestPod(
  node: Node,
  options: Partial<PodOptions> = {},
): Promise<{ readonly pod: Pod } & AsyncDisposable> {
  const pod = await node.createPod({ name: `pod-${++pods}`, ...options });
  return {
    pod,
    async [Symbol.asyncDispose]() {
      await node.cni("DEL", pod);
      await node.removePod(pod);
    },
  };
}

/**
 * Links, addresses, routes, permanent neighbour entries and rules of a node and of pods, and what the
 * agent has stored: two equal texts mean that nothing changed.
 */
export async function picture(node: Node, ...pods: readonly Pod[]): Promise<string> {
  const kernel = await Promise.all([node, ...pods].map(async (host) => {
    const all = await Promise.all([
      host.ip("-d", "addr", "show"),
      host.ip("-4", "route", "show", "table", "all"),
      host.ip("-6", "route", "show", "table", "all"),
      host.ip("neigh", "show", "nud", "permanent"),
      host.ip("rule", "show"),
    ]);
    return `--- ${host.name}\n${all.join("")}`;
  }));
  return [...kernel, "--- stored\n", JSON.stringify(await storedAttachments(node), null, 1)].join(
    "",
  );
}

/** A picture without what concerns `lo`, which stays up when an attachment goes. */
export function withoutLo(text: string): string {
  const about = /\blo\b|127\.0\.0\.1|::1\b|valid_lft|loopback/;
  return text.split("\n").filter((line) => !about.test(line)).join("\n");
}

/** The attachments in the agent's file. */
export async function storedAttachments(node: Node): Promise<readonly unknown[]> {
  const path = `${node.stateDir}/allocations.json`;
  try {
    return parseState(await Deno.readTextFile(path)).attachments;
  } catch (error) {
    // Nothing was ever stored.
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}

/** Asserts that the plugin failed as it should: exit status 1, one error object, one line on stderr. */
export function assertRefused(
  answer: CniAnswer,
  code: number,
  says: string | RegExp = "",
  cniVersion = "1.1.0",
): void {
  const { json, stderr, stdout } = answer;
  const shown = `${stdout.slice(0, 1_000)}${stderr.slice(0, 1_000)}`;
  assertEquals([answer.code, json?.code], [1, code], shown);
  assertEquals(json?.cniVersion, cniVersion, shown);
  const msg = String(json?.msg);
  const matches = typeof says === "string" ? msg.includes(says) : says.test(msg);
  assertEquals(matches, true, `${says} is in: ${shown}`);
  assertEquals(/^Cannot [^\n]*: [^\n]+$/.test(msg), true, shown);
  assertEquals(/^flock: [ -~]*\(code \d+\)\n$/.test(stderr), true, shown);
  assertEquals(stdout.length < 4_000, true, "a long value is cut");
}
