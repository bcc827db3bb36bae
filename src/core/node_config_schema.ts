/**
 * The schema of a NodeConfig's spec: what an operator may write, without defaults (a default stored by
 * the API server would hide what the object named `default` supplies). The CRD is generated from it,
 * so every list and every string has a bound.
 *
 * @module
 */
import { z } from "zod";
import { bitsOf, parseAddress, parsePrefix } from "./cidr.ts";
import {
  anyPrefix,
  asn,
  community,
  nodePrefixes,
  routerId,
  rule,
  text,
  tryParse,
  uint32,
  unicastAddress,
} from "./node_config_fields.ts";

/** Seconds without a message from a peer until it is taken for dead, where nothing is said. */
export const DEFAULT_HOLD_TIME = 9;

/** `spec.bgp.import[]` as written. */
export interface ImportRuleSpec {
  cidr: string;
  ge?: number;
  le?: number;
}

/** `spec.bgp.peers[]` as written. */
export interface BgpPeerSpec {
  address: string;
  asn: number;
  port?: number;
  passive?: boolean;
  multihop?: number;
  ttlSecurity?: boolean;
  holdTime?: number;
  keepaliveTime?: number;
  gracefulRestart?: { enabled?: boolean; restartTime?: number };
  bfd?: { enabled?: boolean; interval?: number; multiplier?: number };
  localAddress?: string;
  localPreference?: number;
  med?: number;
  prepend?: number;
  communities?: string[];
  importDefaultRoute?: boolean;
  importLimit?: number;
  passwordSecretRef?: { namespace: string; name: string; key: string };
}

/** `spec.bgp` as written. */
export interface BgpSpec {
  asn?: number;
  allowLocalAS?: boolean;
  routerID?: string;
  import?: ImportRuleSpec[];
  peers?: BgpPeerSpec[];
}

/** A NodeConfig's spec as written. */
export interface NodeConfigSpec {
  cidr6?: string[];
  cidr4?: string[];
  defaults?: { ipv6?: boolean; ipv4?: boolean };
  mtu?: number;
  allowSpoofing?: boolean;
  reserved?: string[];
  bgp?: BgpSpec;
  announce?: { allowed?: { cidr: string; namespaces?: string[] }[] };
}

const importRule = z.object({
  cidr: anyPrefix,
  ge: z.int().min(0).max(128).optional(),
  le: z.int().min(0).max(128).optional(),
}).superRefine(...rule<ImportRuleSpec>("object", ({ cidr, ge, le }, report) => {
  const prefix = tryParse(parsePrefix, cidr);
  if (prefix === undefined) return;
  const bits = bitsOf(prefix.family);
  if (typeof ge === "number") {
    if (ge < prefix.length) report(`it is under the prefix's length ${prefix.length}`, ["ge"]);
    if (ge > bits) report(`it is over ${bits}`, ["ge"]);
  }
  if (typeof le === "number") {
    const least = typeof ge === "number" ? ge : prefix.length;
    if (le < least) report(`it is under ${least}`, ["le"]);
    if (le > bits) report(`it is over ${bits}`, ["le"]);
  }
}));

const peer = z.object({
  address: unicastAddress,
  asn,
  port: z.int().min(1).max(65_535).optional(),
  passive: z.boolean().optional(),
  multihop: z.int().min(1).max(255).optional(),
  ttlSecurity: z.boolean().optional(),
  holdTime: z.int().min(0).max(65_535)
    .refine((value) => value === 0 || value > 2, { error: "it is neither 0 nor 3 or more" })
    .optional(),
  keepaliveTime: z.int().min(0).max(21_845).optional(),
  gracefulRestart: z.object({
    enabled: z.boolean().optional(),
    restartTime: z.int().min(1).max(4095).optional(), // 12 bits on the wire, RFC 4724
  }).optional(),
  bfd: z.object({
    enabled: z.boolean().optional(),
    interval: z.int().min(10).max(60_000).optional(),
    multiplier: z.int().min(2).max(255).optional(),
  }).optional(),
  localAddress: unicastAddress.optional(),
  localPreference: uint32.optional(),
  med: uint32.optional(),
  prepend: z.int().min(0).max(16).optional(),
  communities: z.array(community).max(32).optional(),
  importDefaultRoute: z.boolean().optional(),
  importLimit: z.int().min(1).max(10_000_000).optional(),
  passwordSecretRef: z.object({
    namespace: text(63).regex(/^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/),
    name: text(253).regex(/^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$/),
    key: text(253).regex(/^[-._a-zA-Z0-9]+$/),
  }).optional(),
}).superRefine(...rule<BgpPeerSpec>("object", (value, report) => {
  const { holdTime = DEFAULT_HOLD_TIME, keepaliveTime, ttlSecurity, multihop } = value;
  if (ttlSecurity === true && multihop !== undefined) {
    report("it excludes multihop", ["ttlSecurity"]);
  }
  if (typeof keepaliveTime === "number" && typeof holdTime === "number") {
    if (keepaliveTime * 3 > holdTime) {
      report(`it is over a third of holdTime ${holdTime}`, ["keepaliveTime"]);
    } else if (keepaliveTime === 0 && holdTime > 0) {
      report(`it is 0 while holdTime is ${holdTime}`, ["keepaliveTime"]);
    }
  }
  const family = tryParse(parseAddress, value.address)?.family;
  const localFamily = tryParse(parseAddress, value.localAddress)?.family;
  if (family !== undefined && localFamily !== undefined && family !== localFamily) {
    report("it is not of the family of the peer's address", ["localAddress"]);
  }
}));

const bgp = z.object({
  asn: asn.optional(),
  allowLocalAS: z.boolean().optional(),
  routerID: routerId.optional(),
  import: z.array(importRule).max(64).optional(),
  peers: z.array(peer).max(32).superRefine(...rule<BgpPeerSpec[]>("array", (peers, report) => {
    const seen = new Map<bigint, number>();
    for (const [i, one] of peers.slice(0, 32).entries()) {
      const address = tryParse(parseAddress, one?.address);
      if (address === undefined) continue;
      const earlier = seen.get(address.value);
      if (earlier === undefined) seen.set(address.value, i);
      else report(`it is the address of peers[${earlier}] too`, [i, "address"]);
    }
  })).optional(),
}).superRefine(...rule<BgpSpec>("object", ({ asn, peers }, report) => {
  if (asn === undefined && Array.isArray(peers) && peers.length > 0) {
    report("it is missing and there are peers", ["asn"]);
  }
}));

/** The schema of a NodeConfig's spec. */
export const nodeConfigSpecSchema: z.ZodType<NodeConfigSpec> = z.object({
  cidr6: nodePrefixes("ipv6").optional(),
  cidr4: nodePrefixes("ipv4").optional(),
  defaults: z.object({ ipv6: z.boolean().optional(), ipv4: z.boolean().optional() }).optional(),
  mtu: z.int().min(1280).max(65_535).optional(),
  allowSpoofing: z.boolean().optional(),
  reserved: z.array(anyPrefix).max(64).optional(),
  bgp: bgp.optional(),
  announce: z.object({
    allowed: z.array(z.object({
      cidr: anyPrefix,
      // Names of namespaces; * stands for any characters.
      namespaces: z.array(text(63).regex(/^[-a-z0-9*]+$/)).min(1).max(64).optional(),
    })).max(64).optional(),
  }).optional(),
});
