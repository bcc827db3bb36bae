/**
 * Why an address is announced, or is not: what is known of it becomes a chain of facts between a pod and
 * the peers. The first that is broken is where to look; what comes after it usually follows from it.
 *
 *     pod ─ allocation ─ eligible ─ nextHop ─ kernelRoute ─ birdRoute ─ filter ─ exported   (lastChange)
 *
 * Pure: what is known is `explain_facts.ts`, and `agent/explain.ts` gathers it.
 *
 * @module
 */
import { formatAddress, parseAddress, parsePrefix } from "./cidr.ts";
import { podFacts } from "./explain_pod.ts";
import { birdFact, exportFact, filterFact, kernelFact } from "./explain_route.ts";
import type { AddressFacts } from "./explain_facts.ts";
import type { AddressRole, ExplainedAddress, Fact } from "./inspection.ts";
import { quote } from "./quote.ts";

/** What is to be explained. */
export type ExplainTarget =
  /** Canonical text. */
  | { readonly kind: "address"; readonly address: string }
  | { readonly kind: "pod"; readonly namespace: string; readonly name: string };

/**
 * Reads what an operator wants explained: an address, alone or as a host route, or `namespace/name`.
 *
 * @throws {SyntaxError} when it is neither
 */
export function parseExplainTarget(text: string): ExplainTarget {
  const [first = "", second, ...rest] = text.trim().split("/");
  const address = addressOf(first);
  if (address !== undefined && second === undefined) return { kind: "address", address };
  if (address !== undefined && rest.length === 0) {
    if (isHostPrefix(text.trim())) return { kind: "address", address };
    throw new SyntaxError(`Cannot explain ${quote(text)}: it is a prefix; name one address of it`);
  }
  if (/^[a-z0-9.-]+$/.test(first) && /^[a-z0-9.-]+$/.test(second ?? "") && rest.length === 0) {
    return { kind: "pod", namespace: first, name: second! };
  }
  throw new SyntaxError(
    `Cannot explain ${quote(text)}: it is neither an address nor NAMESPACE/POD`,
  );
}

/** The chain of an address. */
export function explainAddress(facts: AddressFacts): ExplainedAddress {
  const { role } = facts;
  const last = lastChange(facts);
  // Of what is not this node's there is no more to say than whose it is and where it is sent.
  if (role === "node" || role === "otherNode" || role === "unknown") {
    return chainOf(facts, [...podFacts(facts), kernelFact(facts), last]);
  }
  const chain = [
    ...podFacts(facts),
    kernelFact(facts),
    birdFact(facts),
    filterFact(facts),
    exportFact(facts),
    last,
  ];
  return chainOf(facts, chain);
}

/**
 * The chain of a pod that has no address here.
 *
 * @param options.known what is known of the pod; undefined: nothing
 * @param options.why why it has none
 */
export function explainNoAddress(
  pod: string,
  { known, why }: { readonly known?: string; readonly why: string },
): ExplainedAddress {
  const data = { pods: [{ pod }] };
  const facts: readonly Fact[] = known === undefined
    ? [{ fact: "pod", state: "broken", text: why, data }]
    : [
      { fact: "pod", state: "ok", text: known, data },
      { fact: "allocation", state: "broken", text: why, data },
    ];
  return chainOf({ role: "pod" }, facts);
}

/** A chain of facts, with the first broken one marked. */
function chainOf(
  { address, role }: { readonly address?: string; readonly role: AddressRole },
  facts: readonly Fact[],
): ExplainedAddress {
  const first = facts.findIndex(({ state }) => state === "broken");
  return {
    address,
    role,
    ok: facts.every(({ state }) => state === "ok"),
    broken: facts[first]?.fact,
    facts: facts.map((fact, i) => i === first ? { ...fact, firstBroken: true } : fact),
  };
}

function lastChange({ changes, holders }: AddressFacts): Fact {
  const [newest] = changes;
  const since = holders.map((holder) => holder.since).sort().at(-1);
  const text = newest !== undefined
    ? `${newest.at} ${newest.what}: ${newest.why}`
    : since !== undefined
    ? `nothing since it was attached at ${since}, as far as this agent knows`
    : "nothing that this agent knows of";
  return { fact: "lastChange", state: "ok", text, data: { changes } };
}

function addressOf(text: string): string | undefined {
  try {
    return formatAddress(parseAddress(text));
  } catch {
    return undefined;
  }
}

function isHostPrefix(text: string): boolean {
  try {
    const { family, length } = parsePrefix(text);
    return length === (family === "ipv6" ? 128 : 32);
  } catch {
    return false;
  }
}
