/**
 * Packet filter tables, through `nft`.
 *
 * @module
 */
import { NFT_TABLE } from "../core/config.ts";
import { COUNTER_SETS, type LinkCounter, parseCounterSet } from "../core/policy_counters.ts";
import {
  CommandError,
  type FollowCommand,
  followCommand,
  type RunCommand,
  runCommand,
} from "./command.ts";

/** Milliseconds that a look at counters may take: listing a set of some hundred links takes 5. */
const COUNTERS_MS = 5_000;

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
  /** What was counted on pods' links so far; nothing where there is no table. */
  counters(): Promise<readonly LinkCounter[]>;
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
      if (isAbsent(error)) return undefined;
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
    async counters() {
      // A process for each: of several "list set" in one file nft 1.0.6 finds only the last one's set, and
      // the whole table takes thirty times as long.
      const lists = await Promise.all(COUNTER_SETS.map(async (set) => {
        try {
          const args = ["-j", "list", "set", "inet", NFT_TABLE, set];
          const { stdout } = await run("nft", args, { timeoutMs: COUNTERS_MS });
          return parseCounterSet(set, stdout);
        } catch (error) {
          if (isAbsent(error)) return [];
          throw error;
        }
      }));
      return lists.flat();
    },
  };
}

/** There is no such table or set. */
function isAbsent(error: unknown): boolean {
  return error instanceof CommandError && /No such file or directory/.test(error.stderr);
}
