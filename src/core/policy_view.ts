/**
 * What is known of policies at a moment: the view that commands, metrics and `flock doctor` take of the
 * agent's enforcer.
 *
 * @module
 */
import type { PolicyWorld } from "./policy.ts";
import type { GuardedLink, PolicySelection } from "./policy_selection.ts";

/** Policies as they are enforced. */
export interface PolicyState {
  /** What was computed last, of which the selections are; undefined: nothing so far. */
  readonly world: PolicyWorld | undefined;
  readonly selections: readonly PolicySelection[];
  /** The links that it was made for. */
  readonly links?: readonly GuardedLink[];
  /** What the cluster asks for is known, and in the kernel or on its way there. */
  readonly inForce: boolean;
  /** What is not known, or why the last change failed; undefined when nothing is amiss. */
  readonly error: string | undefined;
}

/** `namespace/name` of a pod or of a policy. */
export function qualified(
  { namespace, name }: { readonly namespace: string; readonly name: string },
): string {
  return `${namespace}/${name}`;
}

/** True when some policy is about it. */
export function isSelected({ ingress, egress }: PolicySelection): boolean {
  return ingress !== undefined || egress !== undefined;
}
