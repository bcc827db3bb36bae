/**
 * What `flock doctor` looks for: every kind of finding with its weight, its reason and the way out. The
 * table in docs/cmd-doctor.md is made from here.
 *
 * @module
 */

/** `error`: something is broken, or will be; `warning`: it works, until something happens; `note`: told. */
export type Severity = "error" | "warning" | "note";

/** One kind of finding. */
export interface Check {
  readonly severity: Severity;
  /** What is found. */
  readonly finds: string;
  /** Why it matters. */
  readonly why: string;
  /** The way out, in short; a finding has the exact lines. */
  readonly fix: string;
}

/** Every kind of finding, by its id. */
export const CHECKS = {
  "forwarding": {
    severity: "error",
    finds: "forwarding is off although pods are attached",
    why: "the node drops every packet from and to its pods",
    fix: "switch it on",
  },
  "accept-ra": {
    severity: "error",
    finds:
      "a default route from router advertisements on a forwarding link that no longer takes them",
    why: "the kernel ignores advertisements where it forwards unless accept_ra is 2: the default " +
      "route expires within minutes or hours",
    fix: "`accept_ra` 2 on that link",
  },
  "rp-filter": {
    severity: "warning",
    finds: "strict reverse path filter (the larger of `all` and the link's) on a link to the world",
    why:
      "with several routers or anycast addresses packets come in on a link that is not the best " +
      "way back: they are dropped without a trace",
    fix: "`rp_filter` 2 (loose) on that link",
  },
  "multipath-hash": {
    severity: "warning",
    finds: "several next hops are chosen by addresses alone",
    why: "all connections of one client go to the same next hop",
    fix: "`fib_multipath_hash_policy` 1",
  },
  "nexthop-compat": {
    severity: "warning",
    finds: "routes through next-hop objects are shown without their next hops",
    why: "BIRD cannot read such routes and does not announce them",
    fix: "`nexthop_compat_mode` 1",
  },
  "neighbor-table": {
    severity: "warning",
    finds: "the neighbour table is nearly full, was full, or is too small for hosts and pods",
    why: 'when it is full new neighbours are not found: "neighbour table overflow" in the kernel ' +
      "log, and connections that time out",
    fix: "larger `gc_thresh1` to `3`",
  },
  "link-address": {
    severity: "error",
    finds: "a pod's link on the node has another hardware address than flock gave it",
    why: "the pod sends to the address it was told: its packets are dropped",
    fix: "put it back, and stop who changes it",
  },
  "networkd-foreign": {
    severity: "warning",
    finds: "systemd-networkd manages routes, rules or next hops that are not its own",
    why: "when it restarts or a link comes back it removes what BIRD and flock put into the kernel",
    fix: "`ManageForeign…=no`",
  },
  "link-file": {
    severity: "warning",
    finds: "a `.link` file that matches pods' links names, sizes or addresses them",
    why: "udev then changes links that flock has just made",
    fix: "a file that comes before it and matches `flock*`",
  },
  "networkmanager": {
    severity: "warning",
    finds: "NetworkManager runs and may manage pods' links",
    why: "it would take addresses and routes from them, or ask for some by DHCP",
    fix: "`unmanaged-devices`",
  },
  "dhcpcd": {
    severity: "warning",
    finds: "dhcpcd runs and may configure pods' links",
    why: "it gives every link an address of 169.254.0.0/16, and a default route through it",
    fix: "`denyinterfaces`",
  },
  "mtu-pods": {
    severity: "warning",
    finds: "pods may send larger packets than the links to the world take",
    why: "IPv6 is not fragmented on the way: connections hang where ICMP is filtered",
    fix: "`mtu` in the NodeConfig; pods get it when they are made anew",
  },
  "mtu-path": {
    severity: "warning",
    finds: "the route to a peer has a smaller MTU than its link and the pods have",
    why: "packets of full size do not get through",
    fix: "`mtu` in the NodeConfig, or the path's",
  },
  "policies": {
    severity: "error",
    finds: "the packet filter does not have what NetworkPolicies ask for, or flock's table is gone",
    why: "packets pass that should not, or the other way round; new pods wait",
    fix: "what the agent says; who deletes the table",
  },
  "policies-ipvs": {
    severity: "note",
    finds: "kube-proxy runs in mode ipvs (deprecated)",
    why: "packets to Services are delivered to the node before they go on to a pod: policies are " +
      "not asked about them",
    fix: "kube-proxy's mode `nftables` or `iptables`",
  },
  "conntrack": {
    severity: "warning",
    finds: "the table of tracked connections is three quarters full",
    why:
      "what finds no room is dropped, whatever policies say: connections fail at random, on every " +
      "pod",
    fix: "a larger `nf_conntrack_max`",
  },
  "kernel-feature": {
    severity: "warning",
    finds: "the kernel lacks next-hop objects, resilient groups or nftables (tried in a network " +
      "namespace of its own)",
    why: "anycast addresses need the first two, NetworkPolicies the last",
    fix: "Linux 5.13 or later with its modules",
  },
  "tool-missing": {
    severity: "error",
    finds: "`ip`, `bird` or `nft` is not installed",
    why: "flock works through them",
    fix: "install it",
  },
  "tool-optional": {
    severity: "warning",
    finds: "`conntrack` is not installed",
    why:
      "a pod that is given the address of one that is gone is reached by connections that were " +
      "allowed to that one, whatever its policies say",
    fix: "install it",
  },
  "tool-version": {
    severity: "warning",
    finds: "a tool is older than the one flock was tested with, or of another major version",
    why: "options, output or the configuration's language may differ",
    fix: "install the tested version",
  },
  "tool-newer": {
    severity: "note",
    finds: "a tool is newer than the one flock was tested with",
    why: "it should work, and was not tried",
    fix: "none",
  },
  "node-config": {
    severity: "error",
    finds: "a NodeConfig is refused, or this node has none among those of `--manifests`",
    why: "its node keeps the last good one, or attaches no pods at all",
    fix: "correct the fields that are named",
  },
  "prefix-overlap": {
    severity: "error",
    finds: "prefixes of two nodes overlap",
    why: "two pods may get one address, and routers send a node's traffic to the other",
    fix: "a prefix of its own for each node",
  },
  "router-id": {
    severity: "error",
    finds: "two NodeConfigs have one router id",
    why:
      "a router takes the nodes for one another: sessions are refused, routes ignored (RFC 6286)",
    fix: "`bgp.routerID` of its own for each node, or none",
  },
  "design": {
    severity: "note",
    finds: "which of the designs a, b and c the AS numbers make",
    why: "it decides how nodes reach each other",
    fix: "none",
  },
  "design-path": {
    severity: "warning",
    finds: "design a without a default route and without `allowLocalAS`",
    why:
      "the node drops the other nodes' routes, which have its own AS number in their path, and " +
      "has no other way to their pods",
    fix: "a default route to the router, or `bgp.allowLocalAS`",
  },
  "peer-route": {
    severity: "error",
    finds: "no route leads to a peer",
    why: "there is no session with it",
    fix: "a route, or another address",
  },
  "next-hop": {
    severity: "error",
    finds: "the node has only a link-local address towards a peer, or none",
    why: "routers refuse routes whose only next hop is link-local; the peer is left out",
    fix: "an address on that link, or `localAddress`",
  },
  "own-subnet": {
    severity: "error",
    finds: "a network of the node's own links, or a part of it, learned by BGP",
    why: "the node sends to its neighbours through the router instead of directly",
    fix: "filter it at the router",
  },
  "speakers": {
    severity: "error",
    finds: "two programs speak BGP between the same addresses, or another one has BGP's port",
    why:
      "the peer takes them for one speaker and ends one session for the other, again and again; " +
      "without the port BIRD starts no session",
    fix: "an address of its own for one of them (`localAddress`), or its end",
  },
  "no-session": {
    severity: "error",
    finds: "no BGP session is established",
    why: "nobody knows the way to this node's pods",
    fix: "what BIRD says of each peer",
  },
  "session-down": {
    severity: "warning",
    finds: "a BGP session is not established",
    why: "the peer does not know the way to this node's pods",
    fix: "what BIRD says of it",
  },
  "import-limit": {
    severity: "warning",
    finds: "a peer announces more routes than `importLimit`",
    why: "those above it are not taken, and nobody chooses which",
    fix: "filter at the router, or a higher `importLimit`",
  },
  "bird-absent": {
    severity: "error",
    finds: "BIRD does not answer although the NodeConfig has peers",
    why: "nothing is announced",
    fix: "start it (`flock bird-run`)",
  },
  "graceful-restart": {
    severity: "warning",
    finds: "graceful restart is configured here, and the peer does not take part",
    why: "the peer drops the node's routes whenever BIRD restarts",
    fix: "switch it on at the router",
  },
  "bfd": {
    severity: "warning",
    finds: "BFD is configured, and its session with the peer is not up",
    why: "a failure is noticed after the hold time only",
    fix: "switch it on at the router, let UDP 3784 through",
  },
  "md5": {
    severity: "warning",
    finds: "the kernel dropped segments over TCP MD5 signatures, and a session is down",
    why: "the passwords of node and router differ, or only one side has one",
    fix: "the same password on both sides",
  },
  "ttl-security": {
    severity: "warning",
    finds: "the kernel dropped segments over their TTL, and a session with `ttlSecurity` is down",
    why: "`ttlSecurity` needs the router to do the same, and no hop between (RFC 5082)",
    fix: "the same on both sides",
  },
  "clock": {
    severity: "warning",
    finds: "the clock is not synchronized",
    why: "certificates and tokens of the API server are refused when it is off",
    fix: "have the time service reach its servers",
  },
  "clock-past": {
    severity: "error",
    finds: "the clock is behind the time at which a file of flock was written",
    why: "certificates are not valid yet: the API server is refused",
    fix: "set the clock",
  },
  "state-space": {
    severity: "warning",
    finds: "hardly any space or inodes are left for the state directory",
    why: "an attachment that cannot be written down fails",
    fix: "free some",
  },
  "state-permissions": {
    severity: "error",
    finds: "the state directory cannot be written, or others than root can write it",
    why: "flock acts as root on what is in it",
    fix: "`chown`, `chmod`, `mount`",
  },
  "conflist-order": {
    severity: "error",
    finds: "another network configuration comes before flock's by name",
    why: "the runtime takes the first: pods do not get flock's addresses",
    fix: "move it away, or `flock install --exclusive`",
  },
  "conflist-missing": {
    severity: "warning",
    finds: "the runtime's directory has no network configuration of flock",
    why: "the runtime does not use flock",
    fix: "the agent writes it once it can attach pods (`--conflist`)",
  },
  "plugin": {
    severity: "error",
    finds:
      "a plugin that the first network configuration or flock's names is not there, cannot be executed or does not answer VERSION",
    why: "no pod can be attached",
    fix: "`flock install`; the other plugin's package",
  },
  "conflist-versions": {
    severity: "error",
    finds:
      "the first network configuration or flock's offers a version of the specification that one of its plugins does not speak",
    why: "runtimes take the highest version for all plugins: no pod can be attached or removed",
    fix: "another version of the plugin, or of the configuration",
  },
  "host-ports": {
    severity: "warning",
    finds: "`portmap` is there, and flock's configuration does not chain it",
    why: "pods' host ports do not work",
    fix: "a `portmap` that answers; the agent chains it then",
  },
  "agent-absent": {
    severity: "error",
    finds: "no agent answers although pods are attached",
    why:
      "what somebody else changes stays changed, and anycast addresses stay announced for pods " +
      "that are not Ready",
    fix: "start it, and look at why it ended",
  },
  "agent": {
    severity: "warning",
    finds: "the agent runs and cannot attach pods",
    why: "new pods wait",
    fix: "what it says",
  },
} as const satisfies Readonly<Record<string, Check>>;

export type CheckId = keyof typeof CHECKS;

/** One thing that is not as it should be. */
export interface Problem {
  readonly id: CheckId;
  /** What was found, with names and values. */
  readonly finding: string;
  /** Lines to paste: commands, or lines of a configuration under a comment that names it. */
  readonly fix: readonly string[];
}

/** The table of docs/cmd-doctor.md. */
export function renderCheckTable(): string {
  const rows = Object.entries(CHECKS).map(([id, { severity, finds, why, fix }]) =>
    `| \`${id}\` | ${severity} | ${finds} | ${why} | ${fix} |`
  );
  return [
    "| id | severity | found | why it matters | fix |",
    "| --- | --- | --- | --- | --- |",
    ...rows,
  ]
    .join("\n");
}
