/**
 * What can be told of a lab's agent from outside: its log, its memory, its processor time.
 *
 * @module
 */
import type { Node } from "../../src/lab/node.ts";

/** Milliseconds since the epoch, with fractions. */
export function now(): number {
  return performance.timeOrigin + performance.now();
}

/** The lines of an agent's log with a message, from all of its lives; `ts` is RFC 3339. */
export async function logged(
  node: Node,
  msg: string,
): Promise<readonly Readonly<Record<string, unknown>>[]> {
  return (await Deno.readTextFile(node.agent!.log)).split("\n")
    .filter((line) => line.includes(`"msg":${JSON.stringify(msg)}`))
    .map((line) => JSON.parse(line));
}

/** What the agent logged as the milliseconds of each ADD. */
export async function addShares(node: Node): Promise<readonly number[]> {
  return (await logged(node, "Served request")).filter(({ op }) => op === "ADD")
    .map(({ durationMs }) => Number(durationMs));
}

/** Memory of an agent's process that is resident, or was at most; 10^6 bytes. */
export async function megabytesOf(node: Node, what: "VmRSS" | "VmHWM"): Promise<number> {
  const status = await Deno.readTextFile(`/proc/${node.agent!.pid}/status`);
  return Number(new RegExp(`^${what}:\\s+(\\d+) kB$`, "m").exec(status)?.[1] ?? NaN) * 1024 / 1e6;
}

/** Processor seconds of an agent and of what it ran to its end. */
export async function cpuSecondsOf(node: Node): Promise<number> {
  const stat = await Deno.readTextFile(`/proc/${node.agent!.pid}/stat`);
  // proc(5): utime, stime, cutime, cstime are 14 to 17, in hundredths of a second.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return fields.slice(11, 15).reduce((sum, field) => sum + Number(field), 0) / 100;
}
