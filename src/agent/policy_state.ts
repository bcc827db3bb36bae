/**
 * Policies as they are enforced, for those who look: the enforcer's doings beside the addresses of nodes,
 * which it needs none of and an explanation does.
 *
 * @module
 */
import { GATEWAY4, GATEWAY6, NFT_TABLE } from "../core/config.ts";
import { renderTable, sizeOf } from "../core/nftables.ts";
import type { ClusterSource } from "../core/objects.ts";
import type { PolicyPod, PolicyWorld } from "../core/policy.ts";
import type { GuardedLink, PolicySelection } from "../core/policy_selection.ts";
import type { PolicyState } from "../core/policy_view.ts";
import { nodeLinks, type NodeState } from "./node_state.ts";
import type { PolicyEnforcer } from "./policies.ts";

/** What is looked at. */
export interface PolicyStateOptions {
  readonly policies: Pick<PolicyEnforcer, "enforced" | "error" | "restored">;
  readonly source: Pick<ClusterSource, "policiesProblem">;
  readonly node: Pick<NodeState, "kernel">;
  readonly nodeName: string;
}

/** A view of an enforcer, as it is whenever it is looked at. */
export class EnforcedState implements PolicyState {
  readonly #o: PolicyStateOptions;

  constructor(options: PolicyStateOptions) {
    this.#o = options;
  }

  get world(): PolicyWorld | undefined {
    const { policies: { enforced }, node, nodeName } = this.#o;
    if (enforced === undefined) return undefined;
    const { policies, pods, namespaces } = enforced;
    const own = nodeLinks(node.kernel).flatMap((link) =>
      link.addresses.map(({ address }) => address)
    );
    return { policies, pods, namespaces, nodes: nodesOf(pods, nodeName, own) };
  }

  get selections(): readonly PolicySelection[] {
    return this.#o.policies.enforced?.selections ?? [];
  }

  get links(): readonly GuardedLink[] {
    return this.#o.policies.enforced?.links ?? [];
  }

  /** A change that is under way does not count: in a large cluster there always is one. */
  get inForce(): boolean {
    return this.#o.policies.enforced !== undefined && this.error === undefined;
  }

  get error(): string | undefined {
    const { policies, source } = this.#o;
    return policies.error ?? source.policiesProblem;
  }

  /** How often the table was written again because somebody else had changed it. */
  get restored(): number {
    return this.#o.policies.restored;
  }

  /** Rules of the table. */
  get rules(): number {
    return sizeOf(this.#o.policies.enforced?.table).rules;
  }

  /** The table, for `nft -f`; undefined while it is not known. */
  render(): string | undefined {
    const { enforced } = this.#o.policies;
    return enforced && renderTable(NFT_TABLE, enforced.table);
  }
}

/**
 * Addresses of nodes: this one's links', those that pods have which use another one's network, and those by which
 * each node is its own pods' gateway.
 */
function nodesOf(
  pods: readonly PolicyPod[],
  nodeName: string,
  own: readonly string[],
): PolicyWorld["nodes"] {
  const nodes = new Map([[nodeName, new Set([...own, GATEWAY6, GATEWAY4])]]);
  for (const { hostNetwork, nodeName: name, addresses } of pods) {
    if (name === undefined) continue;
    const known = nodes.get(name) ?? new Set([GATEWAY6, GATEWAY4]);
    nodes.set(name, hostNetwork ? known.union(new Set(addresses)) : known);
  }
  return new Map([...nodes].map(([name, addresses]) => [name, [...addresses]]));
}
