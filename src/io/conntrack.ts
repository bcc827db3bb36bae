/**
 * The kernel's table of tracked connections, through `conntrack`: addresses change hands, and what the
 * kernel knows of their connections must not. It reads the whole table for each deletion, and of two that
 * run beside each other the one that finds an entry gone ends at once: so one process runs at a time, and
 * all addresses that come up meanwhile share the next one.
 *
 * @module
 */
import { type Address, formatAddress } from "../core/cidr.ts";
import { CommandError, type RunCommand, runCommand } from "./command.ts";

/** Milliseconds that somebody waits, and that a process may take. */
const TIMEOUT_MS = 2_000;

/** Tracked connections. */
export interface Conntrack {
  /**
   * Deletes every entry in which one of the addresses sends, in either direction. With address translation
   * too that is every connection of a pod with the address: it sends from its own, as the source of the
   * original direction or of replies.
   *
   * @throws {Deno.errors.NotFound} when there is no `conntrack`
   * @throws {CommandError} when it failed
   * @throws {DOMException} `TimeoutError` when it was not done within 2 s; it goes on
   */
  forget(addresses: readonly Address[]): Promise<void>;
}

/** What is deleted together. */
interface Batch {
  readonly lines: Set<string>;
  readonly done: Promise<void>;
}

/** The real `conntrack`. */
export function createConntrack(
  run: RunCommand = runCommand,
  { timeoutMs = TIMEOUT_MS }: { readonly timeoutMs?: number } = {},
): Conntrack {
  let running: Promise<unknown> = Promise.resolve();
  let next: Batch | undefined;

  /** The batch that has not begun. */
  function nextBatch(): Batch {
    if (next !== undefined) return next;
    const lines = new Set<string>();
    const done = running.then(() => {
      next = undefined;
      return deleteAll([...lines].join(""));
    });
    running = done.catch(() => {});
    return next = { lines, done };
  }

  async function deleteAll(stdin: string): Promise<void> {
    const deadline = performance.now() + timeoutMs;
    for (;;) {
      try {
        const left = Math.max(1, deadline - performance.now());
        await run("conntrack", ["-R", "-"], { stdin, timeoutMs: left });
        return;
      } catch (error) {
        if (!isEntryGone(error) || performance.now() >= deadline) throw error;
      }
    }
  }

  return {
    async forget(addresses) {
      if (addresses.length === 0) return;
      const { lines, done } = nextBatch();
      for (const address of addresses) {
        for (const end of ["-s", "-r"]) {
          lines.add(`-D -f ${address.family} ${end} ${formatAddress(address)}\n`);
        }
      }
      const late = Promise.withResolvers<never>();
      const reason = new DOMException(
        `Cannot delete tracked connections: not done within ${timeoutMs / 1_000} s`,
        "TimeoutError",
      );
      const timer = setTimeout(() => late.reject(reason), timeoutMs);
      try {
        await Promise.race([done, late.promise]);
      } finally {
        clearTimeout(timer);
      }
    },
  };
}

/** An entry ended by itself after it was listed: conntrack 1.4.7 then leaves the others as they are. */
function isEntryGone(error: unknown): boolean {
  return error instanceof CommandError && /such conntrack doesn't exist/.test(error.stderr);
}
