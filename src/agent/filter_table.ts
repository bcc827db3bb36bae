/**
 * The packet filter table as the kernel has it: changed by differences, looked at now and then, and written whole
 * at the start and when somebody else changed it. One that is as it should be is left alone.
 *
 * @module
 */
import { NFT_TABLE } from "../core/config.ts";
import { isListing, type NftTable, renderDifference, renderTable } from "../core/nftables.ts";
import { CommandError } from "../io/command.ts";
import type { Nft } from "../io/nft.ts";
import { isNews, log } from "../log.ts";
import { sleep } from "../sleep.ts";

/** Our table in the kernel. Calls are made one after the other. */
export class FilterTable {
  readonly #nft: Pick<Nft, "list" | "run">;
  /** What the kernel has; undefined: it has to be looked at. */
  #applied: NftTable | undefined;
  /** What `nft` printed of it; undefined: it has changed since. */
  #listing: string | undefined;
  /** This `nft` prints a table otherwise than it was written. */
  #isUnreadable = false;
  #restored = 0;

  constructor(nft: Pick<Nft, "list" | "run">) {
    this.#nft = nft;
  }

  /** How often the table was written again because somebody else had changed it. */
  get restored(): number {
    return this.#restored;
  }

  /**
   * Makes the kernel's table this one, in one transaction.
   *
   * @returns false when it was
   * @throws {Error} when it could not be changed; then it is as it was
   */
  async apply(table: NftTable): Promise<boolean> {
    const before = this.#applied;
    if (before === undefined) return await this.#adopt(table);
    const script = renderDifference(NFT_TABLE, before, table);
    if (script === "") {
      this.#applied = table;
      return false;
    }
    this.#applied = undefined;
    try {
      await this.#nft.run(script);
    } catch (error) {
      const listing = await this.#listingAfter(error);
      if (listing !== undefined && isListing(listing, before)) throw error;
      // The difference was one to what is not there any more: whoever waits for it need not fail.
      await this.#restore(table, listing);
      return true;
    }
    [this.#applied, this.#listing] = [table, undefined];
    log.debug("Changed packet filter table", { lines: script.split("\n").length - 1 });
    return true;
  }

  /**
   * Looks whether the table is as it was left, and writes it again when it is not.
   *
   * @returns true when it was written
   */
  async verify(): Promise<boolean> {
    const table = this.#applied;
    if (table === undefined) return false;
    const listing = await this.#nft.list();
    if (listing !== undefined) {
      if (listing === this.#listing) return false;
      const isFirst = this.#isUnreadable && this.#listing === undefined;
      if (isFirst || isListing(listing, table)) {
        this.#listing = listing;
        return false;
      }
    }
    await this.#restore(table, listing);
    const odd = await this.#nft.list();
    if (odd === undefined || isListing(odd, table)) {
      this.#listing = odd;
      return true;
    }
    // Or somebody was there again meanwhile. A form of its own is the same each time.
    await this.#write(table);
    const again = await this.#nft.list();
    if (again !== undefined && wordsOf(again) === wordsOf(odd)) {
      [this.#listing, this.#isUnreadable] = [again, true];
      log.warn("Found nft to print the table in a form of its own", { table: NFT_TABLE });
    }
    return true;
  }

  /** Leaves a table alone that is the one already. */
  async #adopt(table: NftTable): Promise<boolean> {
    const listing = await this.#nft.list();
    if (listing !== undefined && isListing(listing, table)) {
      log.info("Found packet filter table in force", { table: NFT_TABLE });
      [this.#applied, this.#listing] = [table, listing];
      return false;
    }
    await this.#write(table);
    log.info("Wrote packet filter table", { table: NFT_TABLE, chains: table.chains.size });
    return true;
  }

  /** What is there when `nft` refused a transaction. @throws {unknown} the error when it was another one */
  async #listingAfter(error: unknown): Promise<string | undefined> {
    if (!(error instanceof CommandError) || error.signal !== undefined) throw error;
    return await this.#nft.list();
  }

  /** @param listing what was found in its place */
  async #restore(table: NftTable, listing: string | undefined): Promise<void> {
    await this.#write(table);
    this.#restored++;
    log.warn("Restored packet filter table that somebody else changed", {
      table: NFT_TABLE,
      reason: listing === undefined ? "deleted" : "changed",
    });
  }

  async #write(table: NftTable): Promise<void> {
    this.#applied = undefined;
    await this.#nft.run(renderTable(NFT_TABLE, table));
    [this.#applied, this.#listing] = [table, undefined];
  }
}

/** A listing without its order: the kernel keeps elements in one of its own, another one each time. */
function wordsOf(listing: string): string {
  return listing.split(/[\s,]+/).sort().join(" ");
}

/** Tells of deletions of the table, and each time when one may have gone unseen, until the signal aborts. */
export async function followDeletions(
  nft: Pick<Nft, "follow">,
  { onDeleted, retryMs }: { readonly onDeleted: () => void; readonly retryMs: number },
  signal: AbortSignal,
): Promise<void> {
  for (let failures = 0; !signal.aborted; failures++) {
    await nft.follow(onDeleted, signal).catch((error) => {
      if (!signal.aborted && isNews(failures)) {
        log.warn("Could not follow packet filter tables", { err: error });
      }
    });
    await sleep(retryMs, signal);
    onDeleted();
  }
}
