/**
 * Objects of flock's in the kernel, each with a text that says all of it, and their keys.
 *
 * @module
 */
import type { Leg } from "./anycast.ts";
import type { Family } from "./cidr.ts";
import { PROTO_ANNOUNCED, PROTO_LOCAL } from "./config.ts";

/** One object. */
export interface OwnObject {
  readonly kind: "end" | "nexthop" | "group" | "route";
  /** What a log calls it: a prefix, an id, a link. */
  readonly subject: string;
  /** What `ip` is told, for an end the whole line, for the others without the verb. */
  readonly text: string;
  /** The links it needs. */
  readonly devs: readonly string[];
  /** Of a next hop or group, its id; of a route, that of the one it goes to. */
  readonly id?: number;
  /** Of a group: its type and buckets, which cannot be changed in place, are right. */
  readonly reusable?: boolean;
  readonly route?: {
    readonly type: string;
    readonly family: Family;
    readonly protocol: string;
    readonly metric: number;
    readonly dev?: string;
    /** Of a shared address. */
    readonly shared: boolean;
  };
}

/** By key: one object for each. */
export type OwnState = ReadonlyMap<string, OwnObject>;

/** The kernel holds one route for each destination and metric (of one table). */
export function routeKey(family: Family, dst: string, metric: number): string {
  return `route ${family} ${dst} ${metric}`;
}

/** Whether a route is marked as ours, by its protocol as `ip` prints it. */
export function isOurs(protocol: string | undefined): boolean {
  return protocol === String(PROTO_LOCAL) || protocol === String(PROTO_ANNOUNCED);
}

/** Key of a next hop or group. */
export function nexthopKey(id: number): string {
  return `nexthop ${id}`;
}

/** How a pod is reached, in the words of `ip`. */
export function wayOf({ via, dev }: Leg): string {
  // onlink: BIRD drops a learned route whose next hop it cannot place.
  return `via ${via} dev ${dev} onlink`;
}
