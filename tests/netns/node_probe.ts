/**
 * What a test asks of a lab's node: a call straight to the agent's socket, what is stored, and what is
 * left of attachments in the kernel.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import { type Attachment, parseState } from "../../src/core/attachment.ts";
import type { CniResult } from "../../src/core/cni_result.ts";
import { CniError } from "../../src/core/errors.ts";
import { hostIfnameOf } from "../../src/core/wiring.ts";
import { readTextIfPresent } from "../../src/io/fs.ts";
import { callAgent } from "../../src/io/socket.ts";
import type { Lab, LabOptions } from "../../src/lab/lab.ts";
import type { Node } from "../../src/lab/node.ts";
import type { Pod } from "../../src/lab/pod.ts";
import { delay } from "../../src/lab/wait.ts";
import { EXECUTABLE } from "../executable.ts";
import { METRICS_ADDRESS, parseScrape, scrape } from "./scrape.ts";
import { createTestLab } from "./test_lab.ts";

/** A lab with one node, whose agent is for the test to start. */
export async function createNodeLab(
  options: Partial<LabOptions> = {},
): Promise<{ readonly lab: Lab; readonly node: Node }> {
  const lab = await createTestLab({ executable: EXECUTABLE, nodes: 1, ...options });
  return { lab, node: lab.node("n1") };
}

/** Name of the host veth of a pod's attachment. */
export function hostIfname(pod: Pod): string {
  return hostIfnameOf({ containerId: pod.containerId, ifname: "eth0" }, () => false);
}

/** Asks the agent as the plugin does, without the plugin's process. */
export async function ask(node: Node, verb: "ADD" | "DEL", pod: Pod): Promise<CniResult> {
  const times = { connectMs: 2_000, timeoutMs: 30_000 };
  return await callAgent(node.socket, requestOf(node, verb, pod), times) as CniResult;
}

/** An ADD whose runtime closes the connection once something has come about. */
export async function abandonAdd(
  node: Node,
  pod: Pod,
  reached: () => Promise<unknown>,
): Promise<void> {
  using conn = await Deno.connect({ transport: "unix", path: node.socket });
  const line = `${JSON.stringify({ version: 1, ...requestOf(node, "ADD", pod) })}\n`;
  await conn.write(new TextEncoder().encode(line));
  await reached();
}

function requestOf(node: Node, verb: "ADD" | "DEL", pod: Pod) {
  return {
    op: verb,
    container_id: pod.containerId,
    netns: pod.netnsPath,
    ifname: "eth0",
    args: pod.cniArgs,
    stdin_data: btoa(JSON.stringify(node.netConf())),
  };
}

/** The error of a call that must fail. */
export async function refusal(answer: Promise<unknown>): Promise<CniError> {
  try {
    await answer;
  } catch (error) {
    if (error instanceof CniError) return error;
    throw error;
  }
  throw new Error("Cannot see a refusal: the call succeeded");
}

/**
 * Has an agent hear nothing of the kernel's events any more. Once it is deaf, nothing but the periodic
 * pass, ADD and DEL has it look at the kernel.
 */
export async function deafen(node: Node): Promise<void> {
  // A second after it begins to listen it looks once more.
  await delay(1_500);
  Deno.kill(await monitorOf(node), "SIGSTOP");
}

/** Does something of which an agent hears only when all of it is done. */
export async function unheard(node: Node, what: () => Promise<unknown>): Promise<void> {
  const monitor = await monitorOf(node);
  Deno.kill(monitor, "SIGSTOP");
  try {
    // A pass that was asked for before is over then.
    await delay(600);
    await what();
  } finally {
    Deno.kill(monitor, "SIGCONT");
  }
}

/** Process id of the `ip monitor` that an agent follows, or of its `nft monitor`. */
export async function monitorOf(node: Node, tool: "ip" | "nft" = "ip"): Promise<number> {
  const agent = node.agent!.pid;
  // A child belongs to the thread that started it.
  for await (const { name } of Deno.readDir(`/proc/${agent}/task`)) {
    const children = await Deno.readTextFile(`/proc/${agent}/task/${name}/children`);
    for (const pid of children.trim().split(" ").filter((text) => text !== "")) {
      const command = await Deno.readTextFile(`/proc/${pid}/cmdline`);
      if (new RegExp(`/${tool}\\0.*monitor`).test(command)) return Number(pid);
    }
  }
  throw new Error(`Cannot find the ${tool} monitor of agent ${agent}`);
}

/** What the agent has on disk. */
export async function stored(node: Node): Promise<readonly Attachment[]> {
  const text = await readTextIfPresent(`${node.stateDir}/allocations.json`);
  return text === undefined ? [] : parseState(text).attachments;
}

/** What the kernel has of attachments on a node: links, routes to them, neighbour entries. */
export async function tracesOnNode(node: Node): Promise<readonly string[]> {
  const texts = await Promise.all([
    node.ip("-o", "link", "show"),
    node.ip("-o", "route", "show", "table", "all"),
    node.ip("-o", "-6", "route", "show", "table", "all"),
    node.ip("-o", "neigh", "show"),
  ]);
  return texts.join("").split("\n").filter((line) => /\bflock[0-9a-f]{8}\b/.test(line));
}

/** What the kernel has of an attachment in a pod: the link, and addresses and routes beyond `lo`'s own. */
export async function tracesInPod(pod: Pod): Promise<readonly string[]> {
  const texts = await Promise.all([
    pod.ip("-o", "addr", "show"),
    pod.ip("-o", "link", "show", "type", "veth"),
    pod.ip("-o", "route", "show"),
    pod.ip("-o", "-6", "route", "show"),
    pod.ip("-o", "neigh", "show"),
  ]);
  return texts.join("").split("\n").filter((line) =>
    line !== "" && !/ (127\.0\.0\.1\/8|::1\/128) | ?::1 dev lo/.test(line)
  );
}

/** Nothing of any attachment is left: on disk, on the node, in these pods. */
export async function assertNothingLeft(
  node: Node,
  pods: readonly Pod[],
  what = "",
): Promise<void> {
  const inPods = await Promise.all(pods.map(tracesInPod));
  assertEquals([await stored(node), await tracesOnNode(node), inPods.flat()], [[], [], []], what);
}

/** Where agents of `counters` have to serve their metrics. */
export const METRICS_ARGS = ["--metrics-address", METRICS_ADDRESS];

/** What an agent has counted of routes. */
export interface Counted {
  readonly reinstalls: number;
  readonly installFailures: number;
  readonly repairs: number;
}

/** The agent's counters, as it serves them at /metrics. */
export async function counted(node: Node): Promise<Counted> {
  const values = parseScrape(await scrape(node));
  const value = (name: string): number => {
    const found = values[name];
    if (found === undefined) throw new Error(`Cannot find metric "${name}"`);
    return found;
  };
  return {
    reinstalls: value('flock_route_reinstalls_total{reason="deleted"}') +
      value('flock_route_reinstalls_total{reason="changed"}'),
    installFailures: value("flock_route_install_failures_total"),
    repairs: value("flock_link_repairs_total"),
  };
}

/** Every route and next hop that is marked as ours, and what is on the node's ends of links; sorted. */
export async function ownTraces(node: Node): Promise<readonly string[]> {
  const marked = ["143", "144"].flatMap((proto) =>
    ["-4", "-6"].map(async (family) => {
      const text = await node.ip("-o", family, "route", "show", "proto", proto);
      return text.replaceAll(/^(?=.)/gm, `${proto} `);
    })
  );
  const texts = await Promise.all([
    ...marked,
    node.ip("-o", "nexthop", "show", "protocol", "144"),
    node.ip("-o", "neigh", "show", "nud", "permanent"),
    node.ip("-o", "addr", "show").then((text) =>
      text.split("\n").filter((line) => / flock[0-9a-f]{8} /.test(line))
        .map((line) => `${line.replace(/^\d+: /, "")}\n`).join("")
    ),
  ]);
  return texts.join("").split("\n")
    // How long a group has been out of balance is no state.
    .map((line) => line.replace(/ unbalanced_time [\d.]+/, "").replaceAll(/\s+/g, " ").trim())
    .filter((line) => line !== "").sort();
}
