/**
 * The schema of a NodeConfig's status: what the agent reports and `kubectl get nodeconfigs` shows. Its
 * lists are maps by a key, so that what one writer applies leaves another's entries alone.
 *
 * @module
 */
import { z } from "zod";
import { about, text } from "./node_config_fields.ts";

/** `status.conditions[]`, as in every Kubernetes object (`metav1.Condition`). */
export interface StatusCondition {
  type: string;
  status: "True" | "False" | "Unknown";
  observedGeneration?: number;
  /** RFC 3339. */
  lastTransitionTime: string;
  reason: string;
  message: string;
}

/** `status.addresses.ipv6` and `.ipv4`. */
export interface FamilyUsage {
  allocated?: number;
  /** A number, or its digits: what a /64 holds is more than a number in JSON can say. */
  capacity?: number | string;
}

/** `status.bgp[]`. */
export interface PeerStatus {
  /** The peer's address. */
  peer: string;
  /** State of the session, as RFC 4271 names them, or `Down` without BIRD. */
  state: string;
  /** RFC 3339. */
  since?: string;
  message?: string;
  /** Routes. */
  imported?: number;
  exported?: number;
}

/** `status.anycast[]`. */
export interface AnycastStatus {
  address: string;
  announced: boolean;
  /** `namespace/name` of the pods that serve it. */
  pods?: string[];
  message?: string;
}

/** A NodeConfig's status. */
export interface NodeConfigStatus {
  observedGeneration?: number;
  conditions?: StatusCondition[];
  /** For people: sessions that are established, of how many, `1/2`. */
  peers?: string;
  addresses?: { ipv6?: FamilyUsage; ipv4?: FamilyUsage };
  anycast?: AnycastStatus[];
  bgp?: PeerStatus[];
}

const count = z.int().min(0);
const time = z.string().max(64).meta({ format: "date-time" });
const address = text(45);

/** A list whose items are told apart by a key (server-side apply). */
function mapBy<T extends z.ZodType>(key: string, item: T, max: number): z.ZodArray<T> {
  return z.array(item).max(max).meta({
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": [key],
  });
}

const condition = z.object({
  type: text(316),
  status: z.enum(["True", "False", "Unknown"]),
  observedGeneration: count.optional(),
  lastTransitionTime: time,
  reason: text(1024).regex(/^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$/),
  message: z.string().max(32_768),
});

const usage = z.object({
  allocated: count.meta(about("Addresses that pods have")).optional(),
  capacity: z.union([z.number(), z.string()]).meta(about("Addresses there are")).optional(),
});

/** The schema of a NodeConfig's status. */
export const nodeConfigStatusSchema: z.ZodType<NodeConfigStatus> = z.object({
  observedGeneration: count.meta(about("Generation of the object that this status is about"))
    .optional(),
  conditions: mapBy("type", condition, 32)
    .meta(about("Accepted, Programmed, PeersEstablished, AnnounceOpen")).optional(),
  peers: z.string().max(16).meta(about("Sessions that are established, of how many")).optional(),
  addresses: z.object({ ipv6: usage.optional(), ipv4: usage.optional() })
    .meta(about("Use of the node's prefixes")).optional(),
  anycast: mapBy(
    "address",
    z.object({
      address,
      announced: z.boolean(),
      pods: z.array(text(317)).max(256).optional(),
      message: z.string().max(1024).optional(),
    }),
    1024,
  ).meta(about("Anycast addresses of the node's pods")).optional(),
  bgp: mapBy(
    "peer",
    z.object({
      peer: address,
      state: text(32),
      since: time.optional(),
      message: z.string().max(1024).optional(),
      imported: count.optional(),
      exported: count.optional(),
    }),
    32,
  ).meta(about("BGP sessions")).optional(),
}).meta(about("What the node's agent says"));
