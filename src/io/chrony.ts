/**
 * chrony, the time service of many hosts.
 *
 * @module
 */
import { type RunCommand, runCommand } from "./command.ts";

/**
 * What chrony says of the clock (`Leap status` of `chronyc tracking`): `Normal`, `Not synchronised`, …
 *
 * @returns undefined when it is not installed or does not answer
 */
export async function chronyStatus(run: RunCommand = runCommand): Promise<string | undefined> {
  const script = "command -v chronyc >/dev/null && chronyc -n tracking 2>/dev/null; exit 0";
  const { stdout } = await run("sh", ["-c", script]);
  return /^Leap status\s*:\s*(.*)$/m.exec(stdout)?.[1]?.trim();
}
