/**
 * Random NetworkPolicies over small alphabets, so that they meet the pods that they are about. Blocks are
 * cut around addresses that are given.
 *
 * @module
 */
import fc from "fast-check";
import {
  type Address,
  bitsOf,
  contains,
  type Family,
  formatAddress,
  formatPrefix,
  type Prefix,
  prefixOf,
} from "../src/core/cidr.ts";
import type { ApiPeer, ApiPolicySpec, ApiPort, ApiRule, ApiSelector } from "./policy_objects.ts";

/** What policies are made of. */
export interface PolicyAlphabet {
  readonly namespaces: readonly string[];
  /** What blocks are around. */
  readonly addresses: readonly Address[];
  readonly ports: readonly number[];
  /** Also peers and ports that have to be refused. */
  readonly refused: boolean;
}

/** Names that pods' ports have. */
export const PORT_NAMES: readonly string[] = ["http", "dns", "alt"];
const LENGTHS: Readonly<Record<Family, readonly number[]>> = {
  ipv4: [0, 8, 16, 24, 28, 30, 31, 32],
  ipv6: [0, 16, 32, 48, 64, 112, 124, 126, 127, 128],
};

const value = fc.constantFrom("a", "b", "");
/** Labels of pods and namespaces. */
export const labels: fc.Arbitrary<Readonly<Record<string, string>>> = fc.record({
  app: value,
  tier: value,
}, { requiredKeys: [] });

/** Label selectors; `names` are values besides those that labels are drawn from. */
function selector(keys: readonly string[], names: readonly string[]): fc.Arbitrary<ApiSelector> {
  const key = fc.constantFrom(...keys);
  const values = fc.uniqueArray(fc.constantFrom("a", "b", "", "nobody", ...names), {
    minLength: 1,
    maxLength: 3,
  });
  const expression = fc.oneof(
    fc.record({ key, operator: fc.constantFrom("In" as const, "NotIn" as const), values }),
    fc.record({ key, operator: fc.constantFrom("Exists" as const, "DoesNotExist" as const) }),
  );
  return fc.oneof(
    { arbitrary: fc.constant({}), weight: 2 },
    {
      arbitrary: fc.dictionary(key, fc.constantFrom("a", "b", ...names), {
        minKeys: 1,
        maxKeys: 1,
        noNullPrototype: true,
      }).map((matchLabels) => ({ matchLabels })),
      weight: 3,
    },
    {
      arbitrary: fc.record({
        matchLabels: labels,
        matchExpressions: fc.array(expression, { minLength: 1, maxLength: 2 }),
      }, { requiredKeys: ["matchExpressions"] }),
      weight: 3,
    },
  );
}

/** Protocols of ports. */
export const protocol: fc.Arbitrary<string> = fc.constantFrom("TCP", "UDP", "SCTP");

/** What a policy says. */
export function policySpec(alphabet: PolicyAlphabet): fc.Arbitrary<ApiPolicySpec> {
  const peers = listOf(peer(alphabet));
  const ports = listOf(policyPort(alphabet));
  const rules = <K extends "from" | "to">(
    key: K,
  ): fc.Arbitrary<readonly ApiRule[] | null | undefined> =>
    fc.oneof(
      {
        arbitrary: fc.array(
          fc.record({ [key]: peers, ports }).map(given<ApiRule>),
          { maxLength: 3 },
        ),
        weight: 8,
      },
      { arbitrary: fc.constantFrom(null, undefined), weight: 2 },
    );
  return fc.record({
    podSelector: fc.oneof(fc.constant({}), selector(["app", "tier"], [])),
    policyTypes: fc.constantFrom<ApiPolicySpec["policyTypes"]>(
      undefined,
      ["Ingress"],
      ["Egress"],
      ["Ingress", "Egress"],
      ["Egress", "Ingress"],
    ),
    ingress: rules("from"),
    egress: rules("to"),
  }).map(given<ApiPolicySpec>);
}

/** A list, or one of the three ways to say "all". */
function listOf<T>(entry: fc.Arbitrary<T>): fc.Arbitrary<readonly T[] | null | undefined> {
  return fc.oneof(
    { arbitrary: fc.array(entry, { minLength: 1, maxLength: 3 }), weight: 4 },
    { arbitrary: fc.constantFrom([], null, undefined), weight: 1 },
  );
}

function peer(alphabet: PolicyAlphabet): fc.Arbitrary<ApiPeer> {
  const podSelector = selector(["app", "tier"], []);
  const namespaceSelector = selector(
    ["app", "tier", "kubernetes.io/metadata.name"],
    alphabet.namespaces,
  );
  const ipBlock = block(alphabet);
  return fc.oneof(
    { arbitrary: fc.record({ podSelector }), weight: 3 },
    { arbitrary: fc.record({ namespaceSelector }), weight: 3 },
    { arbitrary: fc.record({ podSelector, namespaceSelector }), weight: 3 },
    { arbitrary: fc.record({ ipBlock }), weight: 4 },
    {
      arbitrary: fc.oneof(
        fc.constantFrom<ApiPeer>(
          {},
          { ipBlock: { cidr: "10.0.0.0/33" } },
          { ipBlock: { cidr: "10.0.0.0/16", except: ["2001:db8::/64"] } },
          { ipBlock: { cidr: "10.0.0.0/16", except: ["10.1.0.0/24"] } },
        ),
        fc.record({ podSelector, ipBlock }),
      ),
      weight: alphabet.refused ? 1 : 0,
    },
  );
}

/** Blocks around the alphabet's addresses, with parts taken out that are around others of them. */
function block(alphabet: PolicyAlphabet): fc.Arbitrary<NonNullable<ApiPeer["ipBlock"]>> {
  const cut = fc.record({
    at: fc.constantFrom(...alphabet.addresses),
    length: fc.nat(9),
    bits: fc.boolean(),
  });
  return fc.tuple(cut, fc.array(cut, { maxLength: 3 })).map(([outer, inner]) => {
    const lengths = LENGTHS[outer.at.family];
    const cidr = prefixOf(outer.at, lengths[outer.length % lengths.length]!);
    const longer = lengths.filter((length) => length > cidr.length);
    const except = inner
      .filter(({ at }) => longer.length > 0 && contains(cidr, at))
      .map((one) => textOf(prefixOf(one.at, longer[one.length % longer.length]!), one.bits));
    return { cidr: textOf(cidr, outer.bits), ...(except.length === 0 ? {} : { except }) };
  });
}

/** A prefix in CIDR notation, with or without its last bit set that does not count. */
function textOf(prefix: Prefix, bits: boolean): string {
  if (!bits || prefix.length === bitsOf(prefix.family)) return formatPrefix(prefix);
  return `${formatAddress({ ...prefix, value: prefix.value | 1n })}/${prefix.length}`;
}

function policyPort(alphabet: PolicyAlphabet): fc.Arbitrary<ApiPort> {
  const numbers = [...new Set(alphabet.ports.flatMap((port) => [port - 1, port, port + 1]))];
  const number = fc.constantFrom(...numbers);
  return fc.oneof(
    { arbitrary: fc.record({ protocol }, { requiredKeys: [] }), weight: 1 },
    { arbitrary: fc.record({ protocol, port: number }, { requiredKeys: ["port"] }), weight: 3 },
    {
      arbitrary: fc.record({ protocol, port: fc.constantFrom(...PORT_NAMES, "nobody") }, {
        requiredKeys: ["port"],
      }),
      weight: 3,
    },
    {
      arbitrary: fc.tuple(fc.record({ protocol }, { requiredKeys: [] }), number, number).map((
        [one, a, b],
      ) => ({ ...one, port: Math.min(a, b), endPort: Math.max(a, b) })),
      weight: 2,
    },
    {
      arbitrary: fc.constantFrom<ApiPort>(
        { protocol: "ICMP" },
        { port: 81, endPort: 80 },
        { port: "http", endPort: 90 },
        { endPort: 90 },
        { port: 0 },
      ),
      weight: alphabet.refused ? 1 : 0,
    },
  );
}

/** Without the fields that are undefined: no manifest has them. */
function given<T>(fields: object): T {
  return Object.fromEntries(Object.entries(fields).filter(([, v]) => v !== undefined)) as T;
}
