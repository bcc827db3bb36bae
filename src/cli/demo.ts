/**
 * `flock demo`: the main job on one machine, with real routers, nodes and pods in network namespaces, and
 * without a cluster. What it shows is in `demo_steps.ts`; here are the conditions, the order, and the end:
 * whatever happens, it removes what it made, and looks whether it did.
 *
 * @module
 */
import { TOOL_DIRS } from "../io/command.ts";
import { causeChain } from "../core/errors.ts";
import { tracesOf } from "../lab/traces.ts";
import { DemoOutput } from "./demo_output.ts";
import { createDemo, type Demo, STEPS } from "./demo_steps.ts";
import { Interruption } from "./interruption.ts";

/** What the demo runs, and the Debian package that each is in. */
const NEEDED = {
  bird: "bird2",
  birdc: "bird2",
  ip: "iproute2",
  nft: "nftables",
  nsenter: "util-linux",
  ping: "iputils-ping",
  setsid: "util-linux",
} as const;

const EXIT = { ok: 0, failure: 1, missing: 3 } as const;

export interface DemoOptions {
  /** Path of the flock executable that is shown. */
  readonly executable: string;
  /** Colours, where standard output is a terminal. */
  readonly colour: boolean;
}

/**
 * Runs the demo.
 *
 * @returns exit status: 0 when all held and nothing is left; 1; 3 when a tool is missing; 128 and the
 *   signal's number when it was interrupted
 */
export async function demo(options: DemoOptions): Promise<number> {
  const output = new DemoOutput(options.colour && Deno.stdout.isTerminal());
  const obstacle = Deno.uid() === 0
    ? undefined
    : `it needs root, for network namespaces; this is user ${Deno.uid()}`;
  const missing = Object.entries(NEEDED).filter(([tool]) => !isPresent(tool));
  if (obstacle !== undefined || missing.length > 0) {
    const tools = missing.map(([tool, name]) => `${tool} (Debian package ${name})`).join(", ");
    output.refuse(`Cannot run the demo: ${obstacle ?? `it misses ${tools}`}`);
    return obstacle === undefined ? EXIT.missing : EXIT.failure;
  }
  using interruption = new Interruption();
  return await run(options.executable, output, interruption);
}

async function run(
  executable: string,
  output: DemoOutput,
  interruption: Interruption,
): Promise<number> {
  const { signal } = interruption;
  let demo: Demo | undefined;
  output.title("flock demo: a router and two nodes on this machine, without a cluster");
  let held = await output.step("Make router, client and two nodes", async () => {
    // Not raced against the interruption: it ends by itself, and has then removed what it made.
    demo = await createDemo({ executable, signal });
    return [`network namespaces ${demo.lab.id}-*, files in ${demo.lab.dir}`];
  });
  for (const step of demo === undefined ? [] : STEPS) {
    if (!held) break;
    held = await output.step(step.title, () => interruption.race(() => step.run(demo!)));
  }
  if (!held && !signal.aborted && demo !== undefined) {
    output.details("The last lines of the logs:", (await demo.lab.tails(8)).split("\n"));
  }
  if (signal.aborted) output.note(`${causeChain(signal.reason)}: removing the lab`);
  const clean = demo === undefined || await output.step("Remove the lab", () => remove(demo!));
  output.summary(STEPS.length + 2);
  if (signal.aborted) return interruption.exitCode;
  return held && clean ? EXIT.ok : EXIT.failure;
}

async function remove(demo: Demo): Promise<string[]> {
  await demo.lab[Symbol.asyncDispose]();
  const traces = await tracesOf(demo.lab.id);
  if (traces.length > 0) throw new Error(`Cannot remove lab: left is ${traces.join(", ")}`);
  return ["looked: no namespace, no process and no file of it is left"];
}

function isPresent(tool: string): boolean {
  return TOOL_DIRS.some((dir) => {
    try {
      return Deno.statSync(`${dir}/${tool}`).isFile;
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return false;
      throw error;
    }
  });
}
