/**
 * What is read when metrics are asked for: the node's state as the agent knows it. Reading changes nothing
 * and starts no process; what is read of BIRD is in `bird_gauges.ts`, of policies in `policy_gauges.ts`.
 *
 * @module
 */
import type { Registry } from "prom-client";
import type { AnycastAddress } from "../../core/anycast.ts";
import type { Attachment } from "../../core/attachment.ts";
import { type Address, type Family, parseAddress } from "../../core/cidr.ts";
import { PROTO_ANNOUNCED } from "../../core/config.ts";
import type { OwnState } from "../../core/own_objects.ts";
import { freeAddresses } from "../../core/pools.ts";
import { addBirdGauges, type BirdGaugeSources } from "./bird_gauges.ts";
import { type Adders, type Put, readAdders } from "./gauge_kit.ts";
import { addPolicyGauges, type PolicyGaugeSources } from "./policy_gauges.ts";
import type { RouteCounters } from "../kernel_sync.ts";
import type { NodeState } from "../node_state.ts";
import type { Turns } from "../turns.ts";

const FAMILIES = ["ipv6", "ipv4"] as const satisfies readonly Family[];

/** Where the numbers come from. */
export interface GaugeSources extends BirdGaugeSources, PolicyGaugeSources {
  readonly node: Pick<NodeState, "config" | "error" | "nodePrefixes" | "reserved">;
  readonly attachments: () => readonly Attachment[];
  readonly source: { readonly synced: boolean };
  readonly kernel: {
    readonly counters: RouteCounters;
    readonly wanted: OwnState;
    readonly known: OwnState;
  };
  readonly sysctls: { readonly counters: { readonly repairs: number } };
  readonly reconciler: {
    readonly settled: boolean;
    readonly anycast: readonly AnycastAddress[];
  };
  readonly drain: { readonly active: boolean };
  readonly turns: Pick<Turns, "list">;
  /** Why ADD cannot be served; undefined when it can. */
  readonly notReady: () => string | undefined;
}

/** Adds metrics that are read when they are asked for. */
export function addGauges(registry: Registry, sources: GaugeSources): void {
  const add = readAdders(registry);
  addState(add, sources);
  addAddresses(add, sources);
  addRoutes(add, sources);
  addBirdGauges(add, sources);
  addPolicyGauges(add, sources);
}

function addState(
  { gauge }: Adders,
  { node, source, drain, turns, notReady, reconciler, bird }: GaugeSources,
): void {
  gauge({
    name: "flock_node_ready",
    help: "1 when pods can be attached, the routes were made and BIRD answers, as /readyz says.",
  }, async (put) => {
    const ready = notReady() === undefined && reconciler.settled &&
      await bird.look() !== undefined;
    put(Number(ready));
  });
  gauge({
    name: "flock_node_drained",
    help: "1 while the node is being drained or is drained.",
  }, (put) => put(Number(drain.active)));
  gauge({
    name: "flock_source_synced",
    help: "1 when Pods and NodeConfigs were read at least once.",
  }, (put) => put(Number(source.synced)));
  gauge({
    name: "flock_nodeconfig_in_force",
    help: "1 when a NodeConfig is in force, be it an earlier one.",
  }, (put) => put(Number(node.config !== undefined)));
  gauge({
    name: "flock_nodeconfig_refused",
    help: "1 when the NodeConfig that is there was refused: the last good one stays in force.",
  }, (put) => put(Number(node.error !== undefined)));
  gauge({
    name: "flock_reconcile_last_success_timestamp_seconds",
    help: "When a turn of a loop last succeeded, in seconds since 1970.",
    labelNames: ["loop"],
  }, (put) => {
    for (const { loop, succeededAt } of turns.list()) {
      if (succeededAt !== undefined) put(succeededAt / 1000, { loop });
    }
  });
}

function addAddresses({ gauge }: Adders, { node, attachments }: GaugeSources): void {
  gauge({
    name: "flock_ipam_addresses",
    help: "Addresses of the node's prefixes: free, or pods' own by the state of their attachment.",
    labelNames: ["family", "state"],
  }, (put) => {
    const all = attachments();
    const { nodePrefixes, reserved } = node;
    for (const family of FAMILIES) {
      const of = (state: Attachment["state"]): number =>
        all.filter((one) => one.state === state && primaryOf(one, family) !== undefined).length;
      put(of("committed"), { family, state: "committed" });
      put(of("pending"), { family, state: "pending" });
      const pools = nodePrefixes.filter((prefix) => prefix.family === family);
      const given = all.flatMap((attachment) => primaryOf(attachment, family) ?? []);
      put(Number(freeAddresses(pools, { reserved, given })), { family, state: "free" });
    }
  });
}

/** Parsed once: an attachment never changes. */
const parsed = new WeakMap<Attachment, Readonly<Record<Family, Address | undefined>>>();

function primaryOf(attachment: Attachment, family: Family): Address | undefined {
  let addresses = parsed.get(attachment);
  if (addresses === undefined) {
    const { ip6, ip4 } = attachment;
    const parse = (text: string | undefined): Address | undefined =>
      text === undefined ? undefined : parseAddress(text);
    addresses = { ipv6: parse(ip6), ipv4: parse(ip4) };
    parsed.set(attachment, addresses);
  }
  return addresses[family];
}

function addRoutes(
  { gauge, counter }: Adders,
  { kernel, sysctls, reconciler }: GaugeSources,
): void {
  const perFamily = (read: (family: Family) => number) => (put: Put): void => {
    for (const family of FAMILIES) put(read(family), { family });
  };
  const labelNames = ["family"];
  const routes = (state: OwnState, family: Family): number =>
    state.values().filter(({ route }) => route?.family === family).toArray().length;
  gauge({
    name: "flock_route_intended",
    help: "Routes that flock wants in the kernel.",
    labelNames,
  }, perFamily((family) => routes(kernel.wanted, family)));
  gauge({
    name: "flock_route_kernel",
    help: "Routes of flock's that the kernel has, as read last and changed since.",
    labelNames,
  }, perFamily((family) => routes(kernel.known, family)));
  gauge({
    name: "flock_route_announced",
    help: "Routes and prefixes that flock wants announced.",
    labelNames,
  }, perFamily((family) => announced(kernel.wanted, family)));
  gauge({
    name: "flock_anycast_routes",
    help: "Anycast addresses that lead to pods of this node.",
    labelNames,
  }, (put) => {
    const served = reconciler.anycast.filter(({ legs }) => legs.length > 0);
    const ipv6 = served.filter(({ address }) => address.includes(":")).length;
    put(ipv6, { family: "ipv6" });
    put(served.length - ipv6, { family: "ipv4" });
  });
  counter({
    name: "flock_route_reinstalls_total",
    help: "Routes of flock's that somebody else deleted or changed, and that were installed again.",
    labelNames: ["reason"],
  }, (put) => {
    const { reinstalls, changed } = kernel.counters;
    put(reinstalls - changed, { reason: "deleted" });
    put(changed, { reason: "changed" });
  });
  counter({
    name: "flock_route_install_failures_total",
    help: "Tries to install a route that failed.",
  }, (put) => put(kernel.counters.installFailures));
  counter({
    name: "flock_link_repairs_total",
    help: "Ends of pods' links, next hops and groups that somebody else changed, put right.",
  }, (put) => put(kernel.counters.repairs));
  counter({
    name: "flock_sysctl_repairs_total",
    help: "Sysctls of the node and of pods' links that somebody else changed, put right.",
  }, (put) => put(sysctls.counters.repairs));
}

/** Host routes that BIRD is to learn, and the node's prefixes, which it has as routes of its own. */
function announced(wanted: OwnState, family: Family): number {
  return wanted.values().filter(({ route }) =>
    route?.family === family &&
    (route.protocol === String(PROTO_ANNOUNCED) || route.type === "unreachable")
  ).toArray().length;
}
