/**
 * What a node's kernel has in the table of policies, read from what `nft` lists.
 *
 * @module
 */
import type { Node } from "../../src/lab/node.ts";

export interface ListedTable {
  /** The whole listing. */
  readonly text: string;
  /** Rules of each chain, as listed. */
  readonly chains: ReadonlyMap<string, string>;
  /** Elements of each set and map, as listed. */
  readonly sets: ReadonlyMap<string, readonly string[]>;
}

/** The table `inet flock` of a node. @throws {Error} when there is none */
export async function listTable(node: Node): Promise<ListedTable> {
  const { stdout: text } = await node.exec(["nft", "list", "table", "inet", "flock"]);
  const chains = new Map<string, string>();
  const sets = new Map<string, readonly string[]>();
  for (const [, kind, name = "", body = ""] of text.matchAll(BLOCK)) {
    if (kind === "chain") chains.set(name, body);
    const elements = /elements = \{(.*?)\}/s.exec(body)?.[1] ?? "";
    const listed = elements.split(",").map((element) => element.trim());
    if (kind !== "chain") sets.set(name, listed.filter((element) => element !== ""));
  }
  return { text, chains, sets };
}

const BLOCK = /^\t(chain|set|map) (\S+) \{\n(.*?)^\t\}$/gms;
