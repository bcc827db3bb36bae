/**
 * The guard of a NodeConfig (`spec.announce.allowed`): which addresses pods of which namespaces may have
 * announced. It is asked when a pod asks for an address, and again whenever it is computed what to
 * announce: the NodeConfig may have changed in between.
 *
 * @module
 */
import { type Address, contains } from "./cidr.ts";
import type { NodeConfig } from "./node_config.ts";

/** Entries of the guard; undefined: everybody may announce anything. */
export type AnnounceAllowed = NodeConfig["announce"]["allowed"];

/**
 * Why an address may not be announced for a namespace; undefined when it may.
 *
 * @returns the end of a sentence that begins with "it is"
 */
export function announceRefusal(
  allowed: AnnounceAllowed,
  address: Address,
  namespace: string,
): string | undefined {
  if (allowed === undefined) return undefined;
  const entries = allowed.filter(({ prefix }) => contains(prefix, address));
  if (entries.some((entry) => entry.namespaces.some((glob) => matchesGlob(glob, namespace)))) {
    return undefined;
  }
  const why = entries.length > 0
    ? `not allowed in namespace "${namespace}"`
    : "outside what may be announced";
  return `${why} (spec.announce.allowed)`;
}

/** True when a text is as a pattern says; `*` stands for any characters. */
function matchesGlob(glob: string, text: string): boolean {
  const parts = glob.split("*").map((part) => part.replaceAll(/[^\w]/g, "\\$&"));
  return new RegExp(`^${parts.join(".*")}$`).test(text);
}
