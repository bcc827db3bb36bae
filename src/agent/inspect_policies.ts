/**
 * `flock policies` and `flock policies explain`: what the agent knows of policies and has made of them,
 * with what the kernel has counted.
 *
 * @module
 */
import { CniCode, CniError, messageOf } from "../core/errors.ts";
import { explainPolicies } from "../core/policy_explain.ts";
import type { PolicyExplanation, PolicyList } from "../core/policy_inspection.ts";
import { policyList } from "../core/policy_list.ts";
import type { PolicyState } from "../core/policy_view.ts";
import type { Nft } from "../io/nft.ts";
import type { Operation } from "./server.ts";

/** What is asked. */
export interface PolicySources {
  readonly nodeName: string;
  readonly policies: PolicyState;
  readonly nft: Pick<Nft, "counters">;
}

/** The operations. */
export function policyOperations(sources: PolicySources): Readonly<Record<string, Operation>> {
  return {
    policies: () => policiesOf(sources),
    "policies explain": ({ args = "" }) => Promise.resolve().then(() => explainedOf(args, sources)),
  };
}

/** `flock policies`. */
export async function policiesOf(
  { nodeName: node, policies: state, nft }: PolicySources,
): Promise<PolicyList> {
  const counters = await nft.counters().catch(messageOf);
  return policyList({ node, state, counters });
}

/**
 * `flock policies explain`.
 *
 * @throws {CniError} 4 when it cannot be understood or names what is not there; 11 while nothing is known
 */
function explainedOf(
  text: string,
  { nodeName: node, policies }: PolicySources,
): PolicyExplanation {
  const { world, links, selections, inForce, error } = policies;
  if (world === undefined) {
    throw new CniError(
      CniCode.tryAgainLater,
      "Cannot explain policies: the cluster's policies and pods are not known yet",
    );
  }
  try {
    const state = { world, links, selections, inForce, error };
    return explainPolicies(text, { node, state });
  } catch (cause) {
    if (!(cause instanceof SyntaxError || cause instanceof RangeError)) throw cause;
    throw new CniError(CniCode.invalidEnvironment, cause.message, { cause });
  }
}
