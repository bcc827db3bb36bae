/**
 * Readable interface identifiers (annotation `ip-algo`): the low bits of a pod's IPv6 address made of
 * hashes of its namespace, its workload's name and its image, so that an address can be recognised
 * and a replica that comes back looks the same. Cosmetic; no security rests on it.
 *
 * ```
 *   2001:db8:f001:0:  5a1c0 3f2b9 77e01 4
 *   the pool          field field field N   N, the last nibble, tells replicas apart
 * ```
 *
 * Also the hash itself and the interface identifiers that RFCs keep for themselves.
 *
 * @module
 */
import type { Pod } from "./objects.ts";
import { quote } from "./quote.ts";

/** What an identifier can be made of. */
export const IID_FIELDS = ["namespace", "app", "image"] as const;

export type IidField = typeof IID_FIELDS[number];

/** The strings that the fields stand for. */
export interface IidValues {
  readonly namespace: string;
  /** The workload's name: {@linkcode appName}. */
  readonly app: string;
  /** Image of the first container, as written; undefined or empty when it is not known. */
  readonly image?: string;
  /** Taken for `image` when the image is not known. */
  readonly containerId: string;
}

/** One field of an identifier, to compute the address and to explain it. */
export interface IidPart {
  readonly field: IidField;
  /** Width in hexadecimal digits, 1–16. */
  readonly nibbles: number;
  readonly value: bigint;
  /** The string the value comes from. */
  readonly text: string;
}

export interface IidLayout {
  readonly parts: readonly IidPart[];
  /** The identifier with N = 0: add 0–15. */
  readonly base: bigint;
}

const ENCODER = new TextEncoder();
const MAX_FIELD_NIBBLES = 16;

/** FNV-1a, 32 bits, of the text's UTF-8 bytes. */
export function fnv1a32(text: string): number {
  let hash = 0x811c9dc5;
  for (const byte of ENCODER.encode(text)) hash = Math.imul(hash ^ byte, 0x01000193);
  return hash >>> 0;
}

/** FNV-1a, 64 bits, of the text's UTF-8 bytes. */
export function fnv1a64(text: string): bigint {
  let hash = 0xcbf29ce484222325n;
  for (const byte of ENCODER.encode(text)) {
    hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n);
  }
  return hash;
}

/**
 * Parses the value of `ip-algo`: a comma-separated list of fields. Duplicates are dropped.
 *
 * @throws {SyntaxError} when a field is unknown or there is none
 */
export function parseIpAlgo(text: string): readonly IidField[] {
  const fields = new Set<IidField>();
  for (const item of text.split(",")) {
    const field = IID_FIELDS.find((known) => known === item.trim());
    if (field === undefined) {
      throw new SyntaxError(
        `Cannot parse ip-algo ${quote(text)}: ` +
          `${quote(item.trim())} is not one of ${IID_FIELDS.join(", ")}`,
      );
    }
    fields.add(field);
  }
  return [...fields];
}

/** The name of the workload a pod belongs to; the pod's own when it belongs to none. */
export function appName(pod: Pick<Pod, "name" | "owner" | "templateHash">): string {
  if (pod.owner === undefined) return pod.name;
  const suffix = `-${pod.templateHash}`;
  return pod.owner.kind === "ReplicaSet" && pod.templateHash && pod.owner.name.endsWith(suffix)
    ? pod.owner.name.slice(0, -suffix.length)
    : pod.owner.name;
}

/**
 * Divides the host part of an address among the fields. What is left over above fields of the greatest
 * width is zero.
 *
 * @param hostBits number of bits below the prefix
 * @returns undefined when that is not a whole number of nibbles, or too few for each field and N
 */
export function layoutIid(
  fields: readonly IidField[],
  values: IidValues,
  hostBits: number,
): IidLayout | undefined {
  const nibbles = hostBits / 4 - 1;
  if (!Number.isInteger(nibbles) || fields.length === 0 || nibbles < fields.length) {
    return undefined;
  }
  const share = Math.floor(nibbles / fields.length);
  const remainder = nibbles % fields.length;
  const parts = fields.map((field, i): IidPart => {
    const width = Math.min(share + (i < remainder ? 1 : 0), MAX_FIELD_NIBBLES);
    const text = field === "image" ? values.image || values.containerId : values[field];
    return { field, nibbles: width, value: valueOf(field, text) >> BigInt(64 - 4 * width), text };
  });
  const joined = parts.reduce((iid, part) => (iid << BigInt(4 * part.nibbles)) | part.value, 0n);
  return { parts, base: joined << 4n };
}

/** 64 bits for a field: an image that is a bare digest (64 digits) stands for itself. */
function valueOf(field: IidField, text: string): bigint {
  return field === "image" && /^[0-9a-fA-F]{64}$/.test(text)
    ? BigInt(`0x${text.slice(0, 16)}`)
    : fnv1a64(text);
}

/** Identifiers of a /64 that no host may have, first and last of each range. */
const RESERVED: readonly (readonly [bigint, bigint])[] = [
  [0x0000_0000_0000_0000n, 0x0000_0000_0000_0000n], // subnet-router anycast, RFC 4291
  [0x0200_5eff_fe00_0000n, 0x0200_5eff_feff_ffffn], // IANA's Ethernet block, RFC 5453
  [0xfdff_ffff_ffff_ff80n, 0xfdff_ffff_ffff_ffffn], // subnet anycast, RFC 2526
];

/** The last of the reserved identifiers that follow `iid` without a gap; undefined when it is free. */
export function lastReservedIid(iid: bigint): bigint | undefined {
  return RESERVED.find(([first, last]) => first <= iid && iid <= last)?.[1];
}

/** True when no host in a /64 may have this interface identifier (RFC 5453, RFC 2526). */
export function isReservedIid(iid: bigint): boolean {
  return lastReservedIid(iid) !== undefined;
}
