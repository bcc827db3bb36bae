/**
 * What a lab's router has heard so far, by its daemon's own counters: nothing that was sent stays unseen,
 * also what changed nothing.
 *
 * @module
 */
import { runCommand } from "../../src/io/command.ts";
import type { Lab } from "../../src/lab/lab.ts";
import { frrJson } from "./frr_sessions.ts";

/** Updates that the router received on each session: of routes with BIRD, BGP messages with FRR. */
export async function receivedUpdates(lab: Lab): Promise<Readonly<Record<string, number>>> {
  const { kind, plan } = lab.router;
  const sessions = plan.nodes.flatMap(({ name, addresses }) =>
    plan.families.map((family) => ({ name: `${name}_${family}`, address: addresses[family]! }))
  );
  if (kind === "frr") {
    const neighbors = await frrJson<Record<string, FrrCounters>>(lab, "show bgp neighbors");
    return Object.fromEntries(
      sessions.map(({ name, address }) => [name, neighbors[address]!.messageStats.updatesRecv]),
    );
  }
  const counts = await Promise.all(sessions.map(async ({ name }) => {
    const ask = ["-s", `${lab.router.dir}/bird.ctl`, "show", "protocols", "all", name];
    const { stdout } = await runCommand("birdc", ask, { timeoutMs: 2_000 });
    const received = Array.from(stdout.matchAll(/Import (?:updates|withdraws): +(\d+)/g));
    if (received.length !== 2) throw new Error(`Cannot count updates of "${name}": ${stdout}`);
    return [name, received.reduce((sum, [, count]) => sum + Number(count), 0)] as const;
  }));
  return Object.fromEntries(counts);
}

/** Of FRR's `show bgp neighbors`, what is looked at. */
interface FrrCounters {
  readonly messageStats: { readonly updatesRecv: number };
}
