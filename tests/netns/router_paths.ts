/**
 * The paths that a lab's router has heard to a prefix, as its own daemon tells.
 *
 * @module
 */
import { parsePrefix } from "../../src/core/cidr.ts";
import type { Lab } from "../../src/lab/lab.ts";
import { frrJson, type FrrPath } from "./frr_sessions.ts";

/** A path from one node. */
export interface RouterPath {
  /** `n1` */
  readonly node: string;
  /** It has the community 65535:0 (RFC 8326). */
  readonly gracefulShutdown: boolean;
  /** As far as the router knows one. */
  readonly localPref?: number;
}

/** The paths to a prefix, by node. */
export async function pathsTo(lab: Lab, prefix: string): Promise<readonly RouterPath[]> {
  const paths = lab.router.kind === "frr"
    ? await frrPaths(lab, prefix)
    : await birdPaths(lab, prefix);
  return paths.toSorted((a, b) => a.node < b.node ? -1 : 1);
}

async function frrPaths(lab: Lab, prefix: string): Promise<RouterPath[]> {
  const { family } = parsePrefix(prefix);
  const command = `show bgp ${family} unicast ${prefix}`;
  const { paths = [] } = await frrJson<{ paths?: readonly FrrPath[] }>(lab, command);
  return paths.map(({ peer, community, locPrf }) => ({
    node: lab.plan.nodes.find(({ addresses }) => addresses[family] === peer.peerId)?.name ?? "?",
    gracefulShutdown: community?.string.includes("graceful-shutdown") ?? false,
    localPref: locPrf,
  }));
}

async function birdPaths(lab: Lab, prefix: string): Promise<RouterPath[]> {
  const { stdout } = await lab.router.attempt(
    ["birdc", "-s", `${lab.router.dir}/bird.ctl`, "show", "route", "all", prefix],
  );
  // Each path begins with the protocol that it was heard from.
  const [, ...parts] = stdout.split(/ \[(n\d+)_ipv[46] /);
  return parts.flatMap((node, i) => {
    const attributes = parts[i + 1];
    if (i % 2 === 1 || attributes === undefined) return [];
    const localPref = /BGP\.local_pref: (\d+)/.exec(attributes)?.[1];
    return [{
      node,
      gracefulShutdown: /BGP\.community:.*\(65535,0\)/.test(attributes),
      localPref: localPref === undefined ? undefined : Number(localPref),
    }];
  });
}
