/**
 * Kinds of fields that a NodeConfig is made of: bounded strings that are read as addresses, prefixes
 * and communities, numbers of BGP, and rules between fields.
 *
 * @module
 */
import { z } from "zod";
import {
  type Address,
  type Family,
  FAMILY_NAMES,
  isUnicast,
  overlaps,
  parseAddress,
  parsePrefix,
  type Prefix,
  scopeOf,
} from "./cidr.ts";
import { messageOf } from "./errors.ts";
import { MAX_POOL_LENGTH, poolProblem } from "./pools.ts";

/** Tells a problem of the value that is looked at, or of the part of it at `path`. */
export type Report = (message: string, path?: PropertyKey[]) => void;

/**
 * A rule between the parts of a value, as arguments of `superRefine`. It runs on a value with faults
 * too, so that all of them are named at once: it must bear parts that are not what their type says.
 *
 * @param kind what the value must be for the rule to make sense
 */
export function rule<T>(
  kind: "object" | "array",
  check: (value: T, report: Report) => void,
): [
  (value: T, context: z.core.$RefinementCtx<T>) => void,
  { when: (payload: z.core.ParsePayload) => boolean },
] {
  return [
    (value, context) =>
      check(value, (message, path) => context.addIssue({ code: "custom", message, path })),
    {
      when: ({ value }) =>
        kind === "array" ? Array.isArray(value) : typeof value === "object" && value !== null,
    },
  ];
}

/** A rule of a CustomResourceDefinition: what must hold, in CEL, and what is wrong when it does not. */
export interface CelRule {
  readonly rule: string;
  readonly message: string;
}

/**
 * What the API server is told of a field besides its type: the text of `kubectl explain`, and rules.
 * It lets through what the agent takes, and stops what it can of the rest before it is stored.
 */
export function about(
  description: string,
  ...rules: readonly CelRule[]
): { readonly description: string; readonly "x-kubernetes-validations"?: readonly CelRule[] } {
  return rules.length === 0 ? { description } : { description, "x-kubernetes-validations": rules };
}

/** What `parse` makes of a value; undefined when it is not text or cannot be parsed. */
export function tryParse<T>(parse: (text: string) => T, value: unknown): T | undefined {
  if (typeof value !== "string" || value.length > 64) return undefined;
  try {
    return parse(value);
  } catch {
    return undefined;
  }
}

/** A string that is not empty and not longer than `max`. */
export function text(max: number): z.ZodString {
  return z.string().min(1, { abort: true }).max(max, { abort: true });
}

/** A string for a reader of ours: what that throws or returns is the problem. */
function readable(max: number, problemOf: (value: string) => string | undefined): z.ZodString {
  return text(max).superRefine((value, context) => {
    let problem: string | undefined;
    try {
      problem = problemOf(value);
    } catch (error) {
      const message = messageOf(error); // Cannot parse address "x": <problem>
      problem = message.slice(message.lastIndexOf('": ') + 1).replace(/^: /, "");
    }
    if (problem !== undefined) context.addIssue({ code: "custom", message: problem });
  });
}

/** A number of 32 bits. */
export const uint32: z.ZodNumber = z.int().min(0).max(4_294_967_295);

/** An autonomous system's number; AS_TRANS stands for numbers that do not fit in 16 bits. */
export const asn: z.ZodNumber = z.int().min(1).max(4_294_967_295)
  .refine((value) => value !== 23_456, { error: "it is AS_TRANS, nobody's number (RFC 6793)" })
  .meta(about("Number of an autonomous system", {
    rule: "self != 23456",
    message: "is AS_TRANS, nobody's number (RFC 6793)",
  }));

/** An address that a host can have. */
export const unicastAddress: z.ZodString = readable(45, (value) => {
  const scope = scopeOf(parseAddress(value));
  return scope === "unicast" ? undefined : `it is ${scope}`;
}).meta(about("IPv4 or IPv6 address of a host", {
  rule: "isIP(self) && ip(self).isGlobalUnicast()",
  message: "must be an IPv4 or IPv6 address that a host can have",
}));

/** A BGP identifier: 32 bits but not zero (RFC 6286), written as an IPv4 address. */
export const routerId: z.ZodString = readable(15, (value) => {
  const address: Address = parseAddress(value);
  if (address.family !== "ipv4") return "it is not IPv4";
  return address.value === 0n ? "it is zero" : undefined;
}).meta(about("BGP identifier, written as an IPv4 address", {
  rule: "isIP(self) && ip(self).family() == 4 && !ip(self).isUnspecified()",
  message: "must be written as an IPv4 address and not be zero (RFC 6286)",
}));

/** Any prefix. */
export const anyPrefix: z.ZodString = readable(49, (value) => {
  parsePrefix(value);
  return undefined;
}).meta(about("Prefix in CIDR notation", {
  rule: "isCIDR(self)",
  message: "must be a prefix in CIDR notation",
}));

/** A community, a:b (RFC 1997), or a large one, a:b:c (RFC 8092). */
export const community: z.ZodString = readable(32, (value) => {
  const parts = /^(0|[1-9]\d*):(0|[1-9]\d*)(?::(0|[1-9]\d*))?$/.exec(value)?.slice(1);
  if (parts === undefined) return "it is neither a:b nor a:b:c";
  const most = parts[2] === undefined ? 65_535 : 4_294_967_295;
  return parts.some((part) => part !== undefined && Number(part) > most)
    ? `a part is over ${most}`
    : undefined;
}).meta(about("Community a:b (RFC 1997), or large community a:b:c (RFC 8092)", {
  rule: `self.matches("^(0|[1-9][0-9]*)(:(0|[1-9][0-9]*)){1,2}$")`,
  message: "must be a:b or a:b:c",
}));

/** Prefixes of a node: of one family, large enough, unicast, apart from each other. */
export function nodePrefixes(family: Family): z.ZodArray<z.ZodString> {
  const prefix = readable(49, (value) => {
    const parsed = parsePrefix(value);
    return poolProblem(parsed, family) ?? (isUnicast(parsed) ? undefined : "it is not unicast");
  }).meta(about(`${FAMILY_NAMES[family]} prefix in CIDR notation`, {
    rule: `isCIDR(self) && cidr(self).ip().family() == ${family === "ipv6" ? 6 : 4} && ` +
      `cidr(self).prefixLength() <= ${MAX_POOL_LENGTH[family]}`,
    message: `must be an ${FAMILY_NAMES[family]} prefix of at most /${MAX_POOL_LENGTH[family]}`,
  }));
  return z.array(prefix).max(16).superRefine(...rule<string[]>("array", (texts, report) => {
    const earlier: (Prefix | undefined)[] = [];
    for (const [i, value] of texts.slice(0, 16).entries()) {
      const later = tryParse(parsePrefix, value);
      const other = later && earlier.findIndex((one) => one !== undefined && overlaps(one, later));
      if (other !== undefined && other >= 0) report(`it overlaps item ${other}`, [i]);
      earlier.push(later);
    }
  })).meta(about(`${FAMILY_NAMES[family]} prefixes of the node's pods`, {
    // Equal texts count once, so that a prefix does not overlap itself. Two prefixes overlap when one
    // holds the other's address. (containsCIDR says no to 10.0.0.0/8 and 10.1.0.0/16 in some releases.)
    rule: "self.all(a, self.exists_one(b, a == b) && self.all(b, " +
      "a == b || !isCIDR(a) || !isCIDR(b) || !cidr(a).containsIP(cidr(b).ip())))",
    message: "must not overlap each other",
  }));
}
