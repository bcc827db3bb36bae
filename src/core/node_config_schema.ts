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
  about,
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

function flag(description: string): z.ZodOptional<z.ZodBoolean> {
  return z.boolean().meta(about(description)).optional();
}

const importRule = z.object({
  cidr: anyPrefix,
  ge: z.int().min(0).max(128).meta(about("Least length of a route's prefix")).optional(),
  le: z.int().min(0).max(128).meta(about("Greatest length of a route's prefix")).optional(),
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
})).meta(about("Routes that are taken from peers: a prefix, and the lengths allowed inside it", {
  rule: "!has(self.ge) || !isCIDR(self.cidr) || self.ge >= cidr(self.cidr).prefixLength()",
  message: "ge must be at least the prefix's length",
}, {
  rule: "!has(self.le) || !isCIDR(self.cidr) || " +
    "self.le >= (has(self.ge) ? self.ge : cidr(self.cidr).prefixLength())",
  message: "le must be at least ge, or the prefix's length",
}, {
  rule: "!isCIDR(self.cidr) || cidr(self.cidr).ip().family() == 6 || " +
    "((!has(self.ge) || self.ge <= 32) && (!has(self.le) || self.le <= 32))",
  message: "ge and le of an IPv4 prefix must be at most 32",
}));

const peer = z.object({
  address: unicastAddress,
  asn,
  port: z.int().min(1).max(65_535).meta(about("TCP port, 179 unless given")).optional(),
  passive: flag("Wait for the peer to connect"),
  multihop: z.int().min(1).max(255).meta(about("Most hops to a peer that is not on a link"))
    .optional(),
  ttlSecurity: flag("Refuse packets that passed a router (RFC 5082)"),
  holdTime: z.int().min(0).max(65_535)
    .refine((value) => value === 0 || value > 2, { error: "it is neither 0 nor 3 or more" })
    .meta(
      about(`Seconds without a message until the peer is down, ${DEFAULT_HOLD_TIME} unless given`, {
        rule: "self == 0 || self >= 3",
        message: "must be 0 or at least 3",
      }),
    ).optional(),
  keepaliveTime: z.int().min(0).max(21_845)
    .meta(about("Seconds between messages, a third of holdTime and at most 3 unless given"))
    .optional(),
  gracefulRestart: z.object({
    enabled: flag("On unless given"),
    restartTime: z.int().min(1).max(4095) // 12 bits on the wire, RFC 4724
      .meta(about("Seconds the peer keeps routes while BIRD is away, 30 unless given")).optional(),
  }).meta(about("Graceful restart (RFC 4724)")).optional(),
  bfd: z.object({
    enabled: flag("On where bfd is given"),
    interval: z.int().min(10).max(60_000).meta(about("Milliseconds, 300 unless given")).optional(),
    multiplier: z.int().min(2).max(255).meta(about("Lost packets, 3 unless given")).optional(),
  }).meta(about("Detection of a lost path (RFC 5880)")).optional(),
  localAddress: unicastAddress.meta(
    about("Address of this node towards the peer, the one of its route unless given"),
  ).optional(),
  localPreference: uint32.meta(about("LOCAL_PREF of what the peer announces")).optional(),
  med: uint32.meta(about("MULTI_EXIT_DISC of what is announced to the peer")).optional(),
  prepend: z.int().min(0).max(16).meta(about("Times the own number is prepended")).optional(),
  communities: z.array(community).max(32)
    .meta(about("Communities of what is announced to the peer")).optional(),
  importDefaultRoute: flag("Take default routes from the peer"),
  importLimit: z.int().min(1).max(10_000_000)
    .meta(about("Most routes from the peer, 20000 unless given")).optional(),
  passwordSecretRef: z.object({
    namespace: text(63).regex(/^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/).meta(about("Its namespace")),
    name: text(253).regex(/^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$/).meta(about("Its name")),
    key: text(253).regex(/^[-._a-zA-Z0-9]+$/).meta(about("The key in its data")),
  }).meta(about("Secret that holds the TCP MD5 password (RFC 2385)")).optional(),
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
  const address = tryParse(parseAddress, value.address);
  const local = tryParse(parseAddress, value.localAddress);
  if (address === undefined || local === undefined) return;
  if (address.family !== local.family) {
    report("it is not of the family of the peer's address", ["localAddress"]);
  } else if (address.value === local.value) {
    report("it is the peer's own address", ["localAddress"]);
  }
})).meta(about("A BGP neighbor", {
  rule: "!has(self.multihop) || !has(self.ttlSecurity) || !self.ttlSecurity",
  message: "multihop and ttlSecurity exclude each other",
}, {
  rule: "!has(self.keepaliveTime) || " +
    `self.keepaliveTime * 3 <= (has(self.holdTime) ? self.holdTime : ${DEFAULT_HOLD_TIME})`,
  message: "keepaliveTime must be at most a third of holdTime",
}, {
  rule: "!has(self.keepaliveTime) || self.keepaliveTime > 0 || " +
    "(has(self.holdTime) && self.holdTime == 0)",
  message: "keepaliveTime can be 0 only where holdTime is",
}, {
  rule: "!has(self.localAddress) || !isIP(self.localAddress) || !isIP(self.address) || " +
    "ip(self.localAddress).family() == ip(self.address).family()",
  message: "localAddress must be of the family of address",
}, {
  rule: "!has(self.localAddress) || self.localAddress != self.address",
  message: "localAddress must not be the peer's address",
}));

const bgp = z.object({
  asn: asn.optional(),
  allowLocalAS: flag("Take routes whose path holds the own number once"),
  routerID: routerId.optional(),
  import: z.array(importRule).max(64)
    .meta(about("Routes taken from peers, everything but default routes unless given")).optional(),
  peers: z.array(peer).max(32).superRefine(...rule<BgpPeerSpec[]>("array", (peers, report) => {
    const seen = new Map<bigint, number>();
    for (const [i, one] of peers.slice(0, 32).entries()) {
      const address = tryParse(parseAddress, one?.address);
      if (address === undefined) continue;
      const earlier = seen.get(address.value);
      if (earlier === undefined) seen.set(address.value, i);
      else report(`it is the address of peers[${earlier}] too`, [i, "address"]);
    }
  })).meta(about("BGP neighbors", {
    rule: "self.all(a, self.exists_one(b, a.address == b.address))",
    message: "must have different addresses",
  })).optional(),
}).superRefine(...rule<BgpSpec>("object", ({ asn, peers }, report) => {
  if (asn === undefined && Array.isArray(peers) && peers.length > 0) {
    report("it is missing and there are peers", ["asn"]);
  }
  // The API server is not told: the object named default may supply the number.
})).meta(about("BGP sessions of the node"));

/** The schema of a NodeConfig's spec. */
export const nodeConfigSpecSchema: z.ZodType<NodeConfigSpec> = z.object({
  cidr6: nodePrefixes("ipv6").optional(),
  cidr4: nodePrefixes("ipv4").optional(),
  defaults: z.object({ ipv6: flag("On unless given"), ipv4: flag("On unless given") })
    .meta(about("Families of pods whose annotations do not say")).optional(),
  mtu: z.int().min(1280).max(65_535).meta(about("MTU of pods' links, the uplink's unless given"))
    .optional(),
  allowSpoofing: flag("Let pods send from addresses that they were not given"),
  reserved: z.array(anyPrefix).max(64).meta(about("Never given to pods and never announced"))
    .optional(),
  bgp: bgp.optional(),
  announce: z.object({
    allowed: z.array(
      z.object({
        cidr: anyPrefix,
        namespaces: z.array(
          text(63).regex(/^[-a-z0-9*]+$/)
            .meta(about("Name of a namespace; * stands for any characters")),
        ).min(1).max(64).meta(about("Namespaces whose pods may, all unless given")).optional(),
      }).meta(about("A prefix, and who may have addresses in it announced")),
    ).max(64).meta(about("The only addresses pods may have announced, besides the node's prefixes"))
      .optional(),
  }).meta(about("Guard of the addresses that pods ask for by annotation")).optional(),
}).meta(about("What an operator decides about a node"));
