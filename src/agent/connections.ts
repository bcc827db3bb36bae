/**
 * Connections of addresses that change hands: whoever has an address next must not be reached by what was
 * allowed to the one before.
 *
 * @module
 */
import type { Address } from "../core/cidr.ts";
import { messageOf } from "../core/errors.ts";
import type { Conntrack } from "../io/conntrack.ts";
import { log } from "../log.ts";

/** Forgets the connections of addresses. It never rejects, and takes 2 s at most. */
export type ForgetConnections = (addresses: readonly Address[]) => Promise<void>;

/** Nothing fails because connections could not be forgotten; each reason is told once in a row. */
export function forgetConnections(conntrack: Conntrack): ForgetConnections {
  let told: string | undefined;
  return async (addresses) => {
    try {
      await conntrack.forget(addresses);
    } catch (error) {
      const reason = messageOf(error);
      if (reason === told) return;
      told = reason;
      log.warn("Could not forget connections of addresses", { err: error });
    }
  };
}
