/**
 * The annotations of a pod, as an operator writes them, to typed options. Which addresses may be used
 * on this node is not decided here.
 *
 * @module
 */
import {
  type Address,
  contains,
  type Family,
  FAMILY_NAMES,
  formatAddress,
  formatPrefix,
  parseAddress,
  parsePrefix,
  type Prefix,
  scopeOf,
} from "./cidr.ts";
import { ANNOTATION_PREFIX } from "./config.ts";
import { CniCode, CniError, messageOf } from "./errors.ts";
import { type IidField, parseIpAlgo } from "./iid.ts";
import { poolProblem } from "./pools.ts";
import { quote } from "./quote.ts";

/** Keys of annotations, without their prefix. */
export const ANNOTATION_KEYS = [
  "ipv6",
  "ipv4",
  "cidr6",
  "cidr4",
  "ip-algo",
  "anycast",
  "anycast-weight",
  "addresses",
  "policy-mode",
] as const;

type Key = typeof ANNOTATION_KEYS[number];

/** What a pod asks for. */
export interface PodOptions {
  readonly ipv6: boolean;
  readonly ipv4: boolean;
  /** Prefixes that narrow the pool; undefined: the node's. */
  readonly cidr6?: readonly Prefix[];
  readonly cidr4?: readonly Prefix[];
  /** Undefined: the node's, else random. */
  readonly ipAlgo?: readonly IidField[];
  /** Addresses on `lo`, announced while the pod is Ready. */
  readonly anycast: readonly Address[];
  /** 1–255. */
  readonly anycastWeight: number;
  /** Addresses on `eth0`; the first of each family replaces the allocated one. */
  readonly addresses: readonly Address[];
  readonly policyMode: "enforce" | "audit";
}

/** Addresses that one pod may ask for, `anycast` and `addresses` together. */
export const MAX_POD_ADDRESSES = 16;

/** Reserved since RFC 1112, section 4: routers drop it. */
const CLASS_E = parsePrefix("240.0.0.0/4");

/** What Go's strconv.ParseBool takes. */
const BOOLEANS: Readonly<Record<string, boolean>> = {
  ...Object.fromEntries(["1", "t", "T", "TRUE", "true", "True"].map((text) => [text, true])),
  ...Object.fromEntries(["0", "f", "F", "FALSE", "false", "False"].map((text) => [text, false])),
};

/**
 * Parses the annotations of ours among a pod's. An empty list is as good as none.
 *
 * @param defaults which families a pod gets that does not say
 * @returns the options, and a sentence for each annotation that was ignored
 * @throws {CniError} `annotationInvalid` naming key and value, `familyDisabled`, `addressRefused`
 */
export function parsePodAnnotations(
  annotations: Readonly<Record<string, string>>,
  defaults: Readonly<Record<Family, boolean>>,
): { readonly options: PodOptions; readonly warnings: readonly string[] } {
  const warnings = unknownKeys(annotations)
    .map((key) => `Ignored annotation ${quote(key)}: it is not known`);
  const textOf = (key: Key): string | undefined => annotations[ANNOTATION_PREFIX + key]?.trim();

  /** The value of a key, parsed; SyntaxError becomes the error that names key and value. */
  function valueOf<T>(key: Key, parse: (text: string) => T): T | undefined {
    const text = textOf(key);
    if (text === undefined) return undefined;
    try {
      return parse(text);
    } catch (error) {
      throw invalid(key, text, messageOf(error));
    }
  }
  /** The same, but a malformed value is only warned about. */
  function lenientValueOf<T>(key: Key, parse: (text: string) => T): T | undefined {
    try {
      return valueOf(key, parse);
    } catch (error) {
      warnings.push(messageOf(error));
      return undefined;
    }
  }

  const options: PodOptions = {
    ipv6: valueOf("ipv6", parseBoolean) ?? defaults.ipv6,
    ipv4: valueOf("ipv4", parseBoolean) ?? defaults.ipv4,
    cidr6: valueOf("cidr6", (text) => parsePools(text, "ipv6")),
    cidr4: valueOf("cidr4", (text) => parsePools(text, "ipv4")),
    ipAlgo: lenientValueOf("ip-algo", parseIpAlgo),
    anycast: valueOf("anycast", parseAddresses) ?? [],
    anycastWeight: valueOf("anycast-weight", parseWeight) ?? 1,
    addresses: valueOf("addresses", parseAddresses) ?? [],
    policyMode: lenientValueOf("policy-mode", parsePolicyMode) ?? "enforce",
  };
  const count = options.anycast.length + options.addresses.length;
  if (count > MAX_POD_ADDRESSES) {
    const key = options.anycast.length > 0 ? "anycast" : "addresses";
    throw invalid(
      key,
      textOf(key) ?? "",
      `pod asks for ${count} addresses, at most ${MAX_POD_ADDRESSES} are allowed`,
    );
  }
  checkFamilies(options);
  checkScopes(options);
  return { options, warnings };
}

/** The weight of a pod among those of its node, as its annotation says now; 1 when that is malformed. */
export function anycastWeight(annotations: Readonly<Record<string, string>>): number {
  try {
    return parseWeight(annotations[`${ANNOTATION_PREFIX}anycast-weight`]?.trim() ?? "1");
  } catch {
    return 1;
  }
}

/**
 * What becomes of packets that no policy allows, as a pod's or a namespace's annotations say now; undefined
 * when they do not say.
 *
 * @throws {SyntaxError} when the value is malformed
 */
export function policyModeOf(
  annotations: Readonly<Record<string, string>>,
): PodOptions["policyMode"] | undefined {
  const text = annotations[`${ANNOTATION_PREFIX}policy-mode`]?.trim();
  return text === undefined ? undefined : parsePolicyMode(text);
}

/** The addresses that a pod's annotations ask for, as they are now; none when they are malformed. */
export function askedAddresses(annotations: Readonly<Record<string, string>>): readonly Address[] {
  const texts = ["addresses", "anycast"].map((key) => annotations[ANNOTATION_PREFIX + key]?.trim());
  try {
    return texts.flatMap((text) => parseAddresses(text ?? ""));
  } catch {
    return [];
  }
}

function checkFamilies(options: PodOptions): void {
  if (!options.ipv6 && !options.ipv4) {
    throw new CniError(
      CniCode.familyDisabled,
      "Cannot attach pod: IPv6 and IPv4 are both switched off",
    );
  }
  for (const [key, address] of requested(options)) {
    if (options[address.family]) continue;
    throw new CniError(
      CniCode.familyDisabled,
      `Cannot use address "${
        formatAddress(address)
      }" of annotation "${ANNOTATION_PREFIX}${key}": ` +
        `${FAMILY_NAMES[address.family]} is switched off for the pod`,
    );
  }
}

function checkScopes(options: PodOptions): void {
  const seen = new Set<string>();
  for (const [key, address] of requested(options)) {
    const text = formatAddress(address);
    const scope = scopeOf(address);
    const why = scope !== "unicast" ? scope : contains(CLASS_E, address) ? "class E" : undefined;
    if (why !== undefined) {
      throw new CniError(
        CniCode.addressRefused,
        `Cannot use address "${text}" of annotation "${ANNOTATION_PREFIX}${key}": it is ${why}`,
      );
    }
    // On lo and on eth0 at once it would need two host routes with the same key.
    if (seen.has(text)) throw invalid(key, text, "it is in annotation addresses as well");
    seen.add(text);
  }
}

function requested(options: PodOptions): readonly (readonly [Key, Address])[] {
  return [
    ...options.addresses.map((address) => ["addresses", address] as const),
    ...options.anycast.map((address) => ["anycast", address] as const),
  ];
}

function unknownKeys(annotations: Readonly<Record<string, string>>): readonly string[] {
  const known = new Set(ANNOTATION_KEYS.map((key) => ANNOTATION_PREFIX + key));
  return Object.keys(annotations)
    .filter((key) => key.startsWith(ANNOTATION_PREFIX) && !known.has(key)).sort();
}

function parseBoolean(text: string): boolean {
  const value = Object.hasOwn(BOOLEANS, text) ? BOOLEANS[text] : undefined;
  if (value === undefined) throw new SyntaxError("it is neither true nor false");
  return value;
}

function parseWeight(text: string): number {
  const weight = /^[1-9]\d{0,2}$/.test(text) ? Number(text) : 0;
  if (weight < 1 || weight > 255) throw new SyntaxError("it is not a number from 1 to 255");
  return weight;
}

function parsePolicyMode(text: string): PodOptions["policyMode"] {
  if (text !== "enforce" && text !== "audit") {
    throw new SyntaxError("it is neither enforce nor audit");
  }
  return text;
}

function parseAddresses(text: string): readonly Address[] {
  return parseList(text, parseAddress, formatAddress);
}

function parsePools(text: string, family: Family): readonly Prefix[] | undefined {
  const pools = parseList(text, (item) => {
    const pool = parsePrefix(item);
    const problem = poolProblem(pool, family);
    if (problem !== undefined) throw new SyntaxError(`${quote(item)}: ${problem}`);
    return pool;
  }, formatPrefix);
  return pools.length === 0 ? undefined : pools;
}

/** The items of a comma-separated list, without duplicates. */
function parseList<T>(
  text: string,
  parse: (item: string) => T,
  format: (value: T) => string,
): readonly T[] {
  if (text === "") return [];
  const values = new Map<string, T>();
  for (const item of new Set(text.split(",").map((part) => part.trim()))) {
    const value = parse(item);
    values.set(format(value), value);
    if (values.size > MAX_POD_ADDRESSES) {
      throw new SyntaxError(`it has more than ${MAX_POD_ADDRESSES} items`);
    }
  }
  return [...values.values()];
}

function invalid(key: Key, text: string, why: string): CniError {
  return new CniError(
    CniCode.annotationInvalid,
    `Cannot use annotation "${ANNOTATION_PREFIX}${key}" with value ${quote(text)}: ${why}`,
  );
}
