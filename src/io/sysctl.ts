/**
 * The node's sysctls, by their paths below /proc/sys.
 *
 * @module
 */
import { parseSysctls, READ_SYSCTLS, WRITE_SYSCTLS } from "../core/sysctl.ts";
import { type RunCommand, runCommand } from "./command.ts";

/** Reads and writes sysctls. */
export interface Sysctl {
  /** Path → value; without an entry when there is no such sysctl. */
  read(paths: readonly string[]): Promise<Record<string, string>>;
  /**
   * Writes in the given order; a sysctl that does not exist is skipped.
   *
   * @throws {CommandError} after having tried all
   */
  write(values: readonly (readonly [path: string, value: string])[]): Promise<void>;
}

/** The real sysctls. */
export function createSysctl(run: RunCommand = runCommand): Sysctl {
  return {
    async read(paths) {
      const { stdout } = await run("sh", ["-c", `${READ_SYSCTLS}\nexit 0`, "flock", ...paths]);
      return parseSysctls(stdout);
    },
    async write(values) {
      await run("sh", ["-c", WRITE_SYSCTLS, "flock", ...values.flat()]);
    },
  };
}
