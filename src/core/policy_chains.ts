/**
 * The part of the policies' table that is the same whatever policies say: the base chains, and the ends of
 * what they lead to.
 *
 * @module
 */
import { FAMILIES, familyOf } from "./cidr.ts";
import { keys, type NftChain, type NftSet } from "./nftables.ts";
import type { Direction } from "./policy.ts";
import { ADDRESS_TYPE } from "./policy_rules.ts";
import type { GuardedLink, PolicySelection } from "./policy_selection.ts";

/** A table that is being made. */
export interface TableParts {
  readonly sets: Map<string, NftSet>;
  readonly chains: Map<string, NftChain>;
}

/** The link that a direction's packets of a pod go through. */
const LINK: Readonly<Record<Direction, string>> = { ingress: "oifname", egress: "iifname" };
const PRIORITY: Readonly<Record<Direction, string>> = {
  egress: "filter",
  ingress: "filter + 1",
};
/** `tcpdump -i nflog:7`. */
const LOG_GROUP = 7;
/** Longest prefix of a log message, in bytes. */
const MAX_LOG_PREFIX = 64;
/**
 * What a pod without a link-local address sends on its link besides: RFC 4861, RFC 4862 (from `::`), and
 * reports of the groups it listens to (RFC 2710, RFC 3810).
 */
const NEIGHBOUR_DISCOVERY = "ip6 saddr { ::, fe80::/10 } icmpv6 type { mld-listener-report, " +
  "mld-listener-done, nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert, " +
  "mld2-listener-report } accept";

/** Drops what pods send from addresses that they were not given. */
export function addAntispoof(links: readonly GuardedLink[], { sets, chains }: TableParts): void {
  for (const family of FAMILIES) {
    const own = links.flatMap(({ hostIfname, addresses }) =>
      addresses.filter((address) => familyOf(address) === family)
        .map((address) => `"${hostIfname}" . ${address}`)
    );
    sets.set(`sources${family.slice(-1)}`, {
      kind: "set",
      spec: [`type ifname . ${ADDRESS_TYPE[family]}`],
      elements: keys(own),
    });
  }
  sets.set("spoofed", counted(links));
  chains.set("antispoof", {
    // Before connection tracking: what is dropped leaves no trace there.
    base: "type filter hook prerouting priority raw; policy accept;",
    rules: [
      "iifname != @spoofed accept",
      "iifname . ip6 saddr @sources6 accept",
      "iifname . ip saddr @sources4 accept",
      NEIGHBOUR_DISCOVERY,
      "iifname @spoofed drop",
    ],
  });
}

/** Packets that a pod sends itself, by way of a Service, pass: from any link of its container to any other. */
export function addItself(
  links: readonly GuardedLink[],
  sets: TableParts["sets"],
): void {
  // No two containers have the same addresses.
  const containers = Map.groupBy(links, ({ addresses }) => addresses.join());
  const pairs = containers.values().flatMap((own) =>
    own.flatMap((a) => own.map((b) => `"${a.hostIfname}" . "${b.hostIfname}"`))
  );
  sets.set("itself", { kind: "set", spec: ["type ifname . ifname"], elements: keys([...pairs]) });
}

/** A direction's base chain, and what becomes of what its policies do not allow. */
export function addDirection(
  direction: Direction,
  { links, verdicts }: {
    /** All: what was counted stays when nothing selects a pod for a while. */
    readonly links: readonly GuardedLink[];
    /** Where the links go of those that are selected. */
    readonly verdicts: ReadonlyMap<string, string>;
  },
  { sets, chains }: TableParts,
): void {
  const link = LINK[direction];
  sets.set(direction, { kind: "map", spec: ["type ifname : verdict"], elements: verdicts });
  for (const set of [`dropped-${direction}`, `audited-${direction}`]) sets.set(set, counted(links));
  chains.set(`drop-${direction}`, { rules: [`${link} @dropped-${direction} drop`, "drop"] });
  chains.set(direction, {
    base: `type filter hook forward priority ${PRIORITY[direction]}; policy accept;`,
    rules: [
      "ct state established,related accept",
      // Path MTU discovery, also of what connection tracking does not know.
      "icmpv6 type packet-too-big accept",
      "icmp type destination-unreachable icmp code frag-needed accept",
      // By way of a Service.
      "iifname . oifname @itself accept",
      `${link} vmap @${direction}`,
    ],
  });
}

/** The end of a chain of pods: none of the policies allows the packet. */
export function endOf(
  { namespace, podName, mode, ...selection }: PolicySelection,
  direction: Direction,
): readonly string[] {
  if (mode === "enforce") return [`goto drop-${direction}`];
  const names = (selection[direction] ?? []).map(({ name }) => `${namespace}/${name}`).join(",");
  const prefix = `flock ${direction} ${names || `${namespace}/${podName}`}`;
  const cut = prefix.length > MAX_LOG_PREFIX - 2
    ? `${prefix.slice(0, MAX_LOG_PREFIX - 5)}...`
    : prefix;
  return [
    `${LINK[direction]} @audited-${direction} log prefix "${cut}: " group ${LOG_GROUP} accept`,
    "accept",
  ];
}

/** A set that counts for each link how often it is met. */
function counted(links: readonly GuardedLink[]): NftSet {
  const elements = keys(links.map(({ hostIfname }) => `"${hostIfname}"`));
  return { kind: "set", spec: ["type ifname", "counter"], elements };
}
