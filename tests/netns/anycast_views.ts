/**
 * What kernel, BIRD and router have, in the lines of `anycast_model.ts`.
 *
 * @module
 */
import { runCommand } from "../../src/io/command.ts";
import type { Lab } from "../../src/lab/lab.ts";
import { gatewaysOf } from "../../src/lab/host.ts";
import type { Node } from "../../src/lab/node.ts";

/** A next-hop object or a group of them, as `ip -j -N nexthop` prints it. */
export interface KernelNexthop {
  readonly id: number;
  readonly protocol: string;
  readonly gateway?: string;
  readonly dev?: string;
  readonly flags: readonly string[];
  readonly group?: readonly { readonly id: number; readonly weight?: number }[];
  readonly type?: string;
}

/** Every next-hop object of a node, whoever made it. */
export async function nexthopsOf(node: Node): Promise<readonly KernelNexthop[]> {
  return await node.ipJson("-N", "nexthop", "show") as unknown as KernelNexthop[];
}

/** The routes that are ours, and all next-hop objects. */
export async function observedKernel(node: Node): Promise<readonly string[]> {
  const [nexthops, ...routes] = await Promise.all([
    nexthopsOf(node),
    node.routes("ipv6"),
    node.routes("ipv4"),
  ]);
  const byId = new Map(nexthops.map((nexthop) => [nexthop.id, nexthop]));
  const used = new Set<number>();
  const lines = routes.flat().filter(({ protocol }) => protocol === "143" || protocol === "144")
    .map(({ type, dst, dev, protocol, metric, nexthopId }) => {
      const group = nexthopId === undefined ? undefined : byId.get(nexthopId);
      if (nexthopId !== undefined) used.add(nexthopId);
      const to = `${type === "unicast" ? "" : `${type} `}${dst}`;
      const how = `proto ${protocol} metric ${metric}`;
      if (nexthopId !== undefined) return `route ${to} ${how} by ${groupText(group, byId)}`;
      return `route ${to}${dev && type === "unicast" ? ` dev ${dev}` : ""} ${how}`;
    });
  for (const nexthop of nexthops) {
    if (nexthop.group === undefined) lines.push(`next hop ${legText(nexthop)}`);
    else if (!used.has(nexthop.id)) lines.push(`unused ${groupText(nexthop, byId)}`);
    if (nexthop.protocol !== "144") lines.push(`next hop ${nexthop.id} proto ${nexthop.protocol}`);
  }
  return lines.sort();
}

function groupText(
  group: KernelNexthop | undefined,
  byId: ReadonlyMap<number, KernelNexthop>,
): string {
  if (group?.group === undefined) return `${group === undefined ? "no object" : legText(group)}`;
  const members = group.group.map(({ id, weight = 1 }) => {
    const member = byId.get(id);
    return `${member === undefined ? id : legText(member)} weight ${weight}`;
  });
  return `${group.type} group of ${members.sort().join(", ")}`;
}

function legText({ gateway, dev, flags }: KernelNexthop): string {
  return [`via ${gateway} dev ${dev}`, ...flags].join(" ");
}

/** The routes that a node's BIRD learned from the kernel. */
export async function observedLearned(node: Node): Promise<readonly string[]> {
  const lists = await Promise.all(["flock_kernel6", "flock_kernel4"].map(async (protocol) => {
    const ask = ["-r", "-s", node.birdSocket, "show", "route", "protocol", protocol];
    const { stdout } = await runCommand("birdc", ask, { timeoutMs: 2_000 });
    return Array.from(stdout.matchAll(/^([0-9a-f.:]+\/\d+) .*\[/gm), ([, prefix]) => prefix!);
  }));
  return lists.flat().sort();
}

/** What the router's daemon wrote into its kernel table. */
export async function observedRouter(lab: Lab): Promise<readonly string[]> {
  const routes = (await Promise.all([lab.router.routes("ipv6"), lab.router.routes("ipv4")])).flat();
  return routes.filter(({ protocol }) => protocol === "bird" || protocol === "bgp")
    .map((route) => `${route.dst} via ${gatewaysOf(route).join(", ")}`).sort();
}

/** Lines that should be there and are not (`- `), and that are there and should not be (`+ `). */
export function difference(
  expected: readonly string[],
  observed: readonly string[],
): readonly string[] {
  return [
    ...expected.filter((line) => !observed.includes(line)).map((line) => `- ${line}`),
    ...observed.filter((line) => !expected.includes(line)).map((line) => `+ ${line}`),
    ...observed.filter((line, i) => observed.indexOf(line) !== i).map((line) => `twice ${line}`),
  ];
}
