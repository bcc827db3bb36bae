/**
 * `deno task bench`: measures, and says of each value whether its budget is met. Run it on an idle
 * machine; each value is the best of three runs.
 *
 *     --json     print the values as JSON
 *     --strict   exit 1 when a budget is missed
 *
 * @module
 */
import { requireKnown } from "../../scripts/options.ts";
import { benchAllocator } from "./allocator_bench.ts";
import { benchAnycast } from "./anycast_bench.ts";
import { benchInspection } from "./inspection_bench.ts";
import { benchKube } from "./kube_bench.ts";
import { benchPlugin } from "./plugin_bench.ts";
import { benchPolicies } from "./policy_bench.ts";
import { benchPolicyTraffic } from "./policy_traffic_bench.ts";
import { bestOf, isMissed, type Measurement, renderTable } from "./report.ts";

const RUNS = 3;

if (import.meta.main) Deno.exit(await main(Deno.args));

async function main(args: readonly string[]): Promise<number> {
  requireKnown(args, ["--json", "--strict"]);
  const executable = new URL("../../dist/flock", import.meta.url).pathname;
  const runs: (readonly Measurement[])[] = [];
  for (let run = 1; run <= RUNS; run++) {
    print(Deno.stderr, `run ${run} of ${RUNS} …\n`);
    runs.push([
      ...await benchPlugin(executable),
      ...await benchKube(executable),
      ...await benchAnycast(executable),
      ...await benchInspection(executable),
      ...await benchPolicies(executable),
      ...await benchPolicyTraffic(executable),
      ...benchAllocator(),
    ]);
  }
  const best = bestOf(runs);
  const missed = best.filter(isMissed).length;
  print(
    Deno.stdout,
    args.includes("--json")
      ? JSON.stringify(best.map((m) => ({ ...m, missed: isMissed(m) })), null, 2) + "\n"
      : renderTable(best) + `\n${missed} of ${best.length} budgets missed\n`,
  );
  return args.includes("--strict") && missed > 0 ? 1 : 0;
}

function print(to: { writeSync(bytes: Uint8Array): number }, text: string): void {
  to.writeSync(new TextEncoder().encode(text));
}
