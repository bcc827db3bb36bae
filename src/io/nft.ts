/**
 * Packet filter tables, through `nft`.
 *
 * @module
 */
import { NFT_TABLE } from "../core/config.ts";
import {
  CommandError,
  type FollowCommand,
  followCommand,
  type RunCommand,
  runCommand,
} from "./command.ts";

/** The kernel's tables. */
export interface Nft {
  /** @throws {Deno.errors.NotFound} when there is no `nft` */
  hasTable(family: string, name: string): Promise<boolean>;
  /** Deletes a table with everything in it; one that is not there is no error. */
  deleteTable(family: string, name: string): Promise<void>;
  /** What our table holds, without values of counters; undefined when it is not there. */
  list(): Promise<string | undefined>;
  /**
   * Runs commands in one transaction.
   *
   * @throws {CommandError} when one of them cannot be done; then none was
   */
  run(script: string): Promise<void>;
  /** Follows deletions of our table, by whomever, until the signal aborts or `nft` ends. */
  follow(onDeleted: () => void, signal: AbortSignal): Promise<void>;
}

/** Thousands of sets take a moment. */
const TIMEOUT_MS = 30_000;

/** The real `nft`. */
export function createNft(
  run: RunCommand = runCommand,
  follow: FollowCommand = followCommand,
): Nft {
  async function list(family: string, name: string): Promise<string | undefined> {
    try {
      const args = ["--stateless", "list", "table", family, name];
      return (await run("nft", args, { timeoutMs: TIMEOUT_MS })).stdout;
    } catch (error) {
      if (error instanceof CommandError && /No such file or directory/.test(error.stderr)) {
        return undefined;
      }
      throw error;
    }
  }
  return {
    async hasTable(family, name) {
      return await list(family, name) !== undefined;
    },
    async deleteTable(family, name) {
      // One transaction; nft 1.0.6 has no "destroy".
      const table = `table ${family} ${name}`;
      await run("nft", ["-f", "-"], { stdin: `add ${table}\ndelete ${table}\n` });
    },
    list: () => list("inet", NFT_TABLE),
    async run(script) {
      await run("nft", ["-f", "-"], { stdin: script, timeoutMs: TIMEOUT_MS });
    },
    async follow(onDeleted, signal) {
      const said: string[] = [];
      const line = `delete table inet ${NFT_TABLE}`;
      const args = ["monitor", "destroy", "tables"];
      const status = await follow("nft", args, {
        signal,
        onLine: (text) => text.trim() === line && onDeleted(),
        onErrorLine: (text) => said.push(text),
      });
      throw new CommandError(
        `nft ${args.join(" ")}`,
        status.code,
        status.signal ?? undefined,
        "",
        said.join("\n"),
        0,
      );
    },
  };
}
