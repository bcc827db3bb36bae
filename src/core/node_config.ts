/**
 * NodeConfig: the schema, from which come the type, the validation and (in `deploy/`) the CRD.
 *
 * @module
 */
import type { Address, Prefix } from "./cidr.ts";

/** `spec.bgp.import[]`. */
export interface ImportRule {
  readonly prefix: Prefix;
  readonly ge?: number;
  readonly le?: number;
}

/** `spec.bgp.peers[]`, defaults filled in. Times in seconds, BFD's in milliseconds. */
export interface BgpPeer {
  readonly address: Address;
  readonly asn: number;
  readonly port: number;
  readonly passive: boolean;
  readonly multihop?: number;
  readonly ttlSecurity: boolean;
  readonly holdTime: number;
  readonly keepaliveTime: number;
  readonly gracefulRestart: { readonly enabled: boolean; readonly restartTime: number };
  readonly bfd?: { readonly interval: number; readonly multiplier: number };
  readonly localAddress?: Address;
  readonly localPreference?: number;
  readonly med?: number;
  readonly prepend: number;
  readonly communities: readonly string[];
  readonly importDefaultRoute: boolean;
  readonly importLimit: number;
  readonly passwordSecretRef?: {
    readonly namespace: string;
    readonly name: string;
    readonly key: string;
  };
}

/** A NodeConfig's spec, parsed and with every default filled in. */
export interface NodeConfig {
  readonly name: string;
  /** Annotation `ip-algo` of the object, as written. */
  readonly ipAlgo?: string;
  readonly cidr6: readonly Prefix[];
  readonly cidr4: readonly Prefix[];
  readonly defaults: { readonly ipv6: boolean; readonly ipv4: boolean };
  readonly mtu?: number;
  readonly allowSpoofing: boolean;
  readonly reserved: readonly Prefix[];
  readonly bgp: {
    readonly asn?: number;
    readonly allowLocalAs: boolean;
    readonly routerId?: Address;
    /** Empty: everything but default routes. */
    readonly import: readonly ImportRule[];
    readonly peers: readonly BgpPeer[];
  };
  readonly announce: {
    /** Undefined: no guard but the built-in refusals. */
    readonly allowed?: readonly {
      readonly prefix: Prefix;
      readonly namespaces: readonly string[];
    }[];
  };
}
