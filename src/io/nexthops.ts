/**
 * Next-hop objects of the kernel (`ip nexthop`).
 *
 * @module
 */
import { type RunCommand, runCommand } from "./command.ts";

/** A next-hop object, or a group of them. */
export interface Nexthop {
  readonly id: number;
  readonly group: boolean;
}

/** The objects of a route protocol. */
export async function listNexthops(
  protocol: number,
  run: RunCommand = runCommand,
): Promise<readonly Nexthop[]> {
  const { stdout } = await run("ip", ["-j", "-N", "nexthop", "show", "protocol", `${protocol}`]);
  const items = JSON.parse(stdout || "[]") as readonly { id: number; group?: unknown }[];
  return items.map(({ id, group }) => ({ id, group: group !== undefined }));
}
