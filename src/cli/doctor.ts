/**
 * `flock doctor`: looks at the host for what makes flock fail, and says how to mend it. It changes
 * nothing. The checks are in `core/doctor/`.
 *
 * @module
 */
import { exitStatusOf, renderReport, reportOf } from "../core/doctor/report.ts";
import { renderYaml } from "../std.ts";
import { type DoctorPaths, gatherFacts } from "./doctor_facts.ts";

export interface DoctorOptions extends DoctorPaths {
  readonly output: "table" | "json" | "yaml";
  /** Takes what is printed. */
  readonly print: (text: string) => void;
}

/**
 * Looks at the host and prints what it found.
 *
 * @returns exit status: 1 when it found an error, else 0
 * @throws {Error} when this is not root
 */
export async function doctor(options: DoctorOptions): Promise<number> {
  // To others everything looks unwritable or absent: findings that are not so.
  if (Deno.uid() !== 0) throw new Error("Cannot look at the host: only root may; run it with sudo");
  const report = reportOf(await gatherFacts(options));
  switch (options.output) {
    case "table":
      options.print(renderReport(report));
      break;
    case "json":
      options.print(`${JSON.stringify(report, null, 2)}\n`);
      break;
    case "yaml":
      options.print(renderYaml(report));
      break;
    default:
      throw new RangeError(`Cannot print as "${options.output satisfies never}": it is no format`);
  }
  return exitStatusOf(report);
}
