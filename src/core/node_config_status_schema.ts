/**
 * The schema of a NodeConfig's status: what the agent reports and `kubectl get nodeconfigs` shows. Its
 * lists are maps by a key, so that what one writer applies leaves another's entries alone.
 *
 * @module
 */
import { z } from "zod";
import { about, asn, text } from "./node_config_fields.ts";

const count = z.int().min(0);
const time = z.string().max(64).meta({ format: "date-time" });
const address = text(45);
const sentence = z.string().max(32_768);

/** A list whose items are told apart by a key (server-side apply). */
function mapBy<T extends z.ZodType>(key: string, item: T, max: number): z.ZodArray<T> {
  return z.array(item).max(max).meta({
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": [key],
  });
}

/** As in every object of Kubernetes (`metav1.Condition`). */
const condition = z.object({
  type: text(316),
  status: z.enum(["True", "False", "Unknown"]),
  observedGeneration: count.optional(),
  lastTransitionTime: time,
  reason: text(1024).regex(/^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$/),
  message: sentence,
});

const usage = z.object({
  allocated: count.meta(about("Addresses that pods have")),
  // A /64 has more addresses than a number in JSON can say.
  capacity: text(39).regex(/^[0-9]+$/).meta(about("Addresses there are, in decimal digits")),
});

const anycast = z.object({
  address,
  announced: z.boolean(),
  pods: z.array(text(317)).max(256).meta(about("namespace/name of those that serve it")).optional(),
  message: sentence.meta(about("Pods that do not serve it, and why")).optional(),
});

const session = z.object({
  peer: address.meta(about("The peer's address")),
  asn: asn.optional(),
  state: text(32).meta(about("State of the session (RFC 4271), or LeftOut")),
  message: sentence.meta(about("Why it was left out")).optional(),
});

/** The schema of a NodeConfig's status. */
export const nodeConfigStatusSchema: z.ZodType = z.object({
  observedGeneration: count.meta(about("Generation of the object that this status is about"))
    .optional(),
  conditions: mapBy("type", condition, 32)
    .meta(
      about("Accepted, Programmed, PeersEstablished, ImportLimitReached, AnnounceOpen, Drained"),
    ).optional(),
  addresses: z.object({ ipv6: usage.optional(), ipv4: usage.optional() })
    .meta(about("Use of the node's prefixes")).optional(),
  anycast: mapBy("address", anycast, 1024).meta(about("Anycast addresses of the node's pods"))
    .optional(),
  bgp: mapBy("peer", session, 32).meta(about("BGP sessions")).optional(),
}).meta(about("What the node's agent says"));
