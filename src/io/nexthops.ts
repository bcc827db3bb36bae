/**
 * Next-hop objects of the kernel (`ip nexthop`): which there are, and what the kernel can do with them.
 *
 * @module
 */
import { GROUP_IDS, NEXTHOP_IDS, PROTO_ANNOUNCED } from "../core/config.ts";
import { CommandError, type RunCommand, runCommand } from "./command.ts";

/** A next-hop object, or a group of them. */
export interface Nexthop {
  readonly id: number;
  readonly group: boolean;
}

/** What the kernel can do for routes that several pods share. */
export type NexthopSupport =
  /** Groups that keep flows where they are. */
  | "resilient"
  /** Next-hop objects, but no such groups. */
  | "objects"
  | "none";

/** Next-hop objects; of one route protocol, when it is given. */
export async function listNexthops(
  protocol: number | undefined,
  run: RunCommand = runCommand,
): Promise<readonly Nexthop[]> {
  const only = protocol === undefined ? [] : ["protocol", `${protocol}`];
  const { stdout } = await run("ip", ["-j", "-N", "nexthop", "show", ...only]);
  const items = JSON.parse(stdout || "[]") as readonly { id: number; group?: unknown }[];
  return items.map(({ id, group }) => ({ id, group: group !== undefined }));
}

/** Next-hop objects of one route protocol, or of all; undefined where the kernel has no such objects. */
export async function listNexthopsIfAny(
  protocol: number | undefined,
  run: RunCommand = runCommand,
): Promise<readonly Nexthop[] | undefined> {
  try {
    return await listNexthops(protocol, run);
  } catch (error) {
    if (error instanceof CommandError && error.signal === undefined) return undefined;
    throw error;
  }
}

/** Finds out what the kernel can do, by making a group that leads nowhere and removing it. */
export async function probeNexthops(run: RunCommand = runCommand): Promise<NexthopSupport> {
  const succeeds = async (...args: string[]): Promise<boolean> => {
    try {
      await run("ip", ["nexthop", ...args]);
      return true;
    } catch (error) {
      if (!(error instanceof CommandError) || error.signal !== undefined) throw error;
      return false;
    }
  };
  const present = await listNexthopsIfAny(undefined, run);
  if (present === undefined) return "none";
  const used = new Set(present.map(({ id }) => id));
  const free = (base: number): string => {
    let id = base + 0xffff;
    while (used.has(id)) id--;
    return String(id);
  };
  const [hop, group, protocol] = [free(NEXTHOP_IDS), free(GROUP_IDS), String(PROTO_ANNOUNCED)];
  if (!await succeeds("add", "id", hop, "blackhole", "protocol", protocol)) return "none";
  try {
    const kind = ["type", "resilient", "buckets", "2", "protocol", protocol];
    return await succeeds("add", "id", group, "group", hop, ...kind) ? "resilient" : "objects";
  } finally {
    // The group goes with its only member.
    await succeeds("del", "id", hop);
  }
}
