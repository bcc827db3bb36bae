/**
 * Packet filter tables, through `nft`.
 *
 * @module
 */
import { CommandError, type RunCommand, runCommand } from "./command.ts";

/** The kernel's tables. */
export interface Nft {
  /** @throws {Deno.errors.NotFound} when there is no `nft` */
  hasTable(family: string, name: string): Promise<boolean>;
  /** Deletes a table with everything in it; one that is not there is no error. */
  deleteTable(family: string, name: string): Promise<void>;
}

/** The real `nft`. */
export function createNft(run: RunCommand = runCommand): Nft {
  return {
    async hasTable(family, name) {
      try {
        await run("nft", ["list", "table", family, name]);
        return true;
      } catch (error) {
        if (error instanceof CommandError && /No such file or directory/.test(error.stderr)) {
          return false;
        }
        throw error;
      }
    },
    async deleteTable(family, name) {
      // One transaction; nft 1.0.6 has no "destroy".
      const table = `table ${family} ${name}`;
      await run("nft", ["-f", "-"], { stdin: `add ${table}\ndelete ${table}\n` });
    },
  };
}
