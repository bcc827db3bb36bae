/**
 * The node's whole network at once, for a look at the host: links, the main table, neighbour entries,
 * and the ways to some addresses. What the agent asks of `ip` is in `ip.ts`.
 *
 * @module
 */
import { FAMILIES, type Family, familyOf } from "../core/cidr.ts";
import {
  type IpLink,
  type IpRoute,
  type Json,
  parseIpBatch,
  parseLinks,
  parseNeighbors,
  parseRoutes,
} from "../core/ip_state.ts";
import { CommandError, type RunCommand, runCommand } from "./command.ts";

/** What `ip` shows. */
export interface IpSurvey {
  readonly links: readonly IpLink[];
  /** The main table, both families. */
  readonly routes: readonly IpRoute[];
  /** Entries that the kernel may drop, by family. */
  readonly neighbors: Readonly<Record<Family, number>>;
}

/** Reads everything. */
export async function surveyIp(run: RunCommand = runCommand): Promise<IpSurvey> {
  const { stdout } = await run("ip", ["-j", "-batch", "-"], {
    stdin: "addr show\nlink show\nroute show table all\nneigh show\n",
  });
  const [addresses, links, routes, neighbors] = parseIpBatch(stdout, 4);
  const entries = parseNeighbors(neighbors!).filter(({ permanent }) => !permanent);
  const count = (family: Family): number =>
    entries.filter(({ address }) => familyOf(address) === family).length;
  return {
    links: parseLinks(addresses!, links!),
    routes: parseRoutes(routes!).filter(({ table }) => table === "main"),
    neighbors: Object.fromEntries(FAMILIES.map((f) => [f, count(f)])) as Record<Family, number>,
  };
}

/** The way the kernel takes to an address, with the MTU of the route where it has one of its own. */
export async function pathTo(
  address: string,
  run: RunCommand = runCommand,
): Promise<{ readonly route: IpRoute | undefined; readonly mtu?: number }> {
  let items: Json[];
  try {
    items = JSON.parse((await run("ip", ["-j", "route", "get", address])).stdout);
  } catch (error) {
    if (error instanceof CommandError && error.exitCode === 2) return { route: undefined };
    throw error;
  }
  const metrics = items[0]?.metrics;
  const mtus = (Array.isArray(metrics) ? metrics : []).map((metric: Json) => Number(metric.mtu))
    .filter((mtu) => mtu > 0);
  return { route: parseRoutes(items)[0], mtu: mtus[0] };
}
