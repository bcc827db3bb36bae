/**
 * The agent's settings, every default, path, annotation key and number of flock's own: once, here.
 *
 * @module
 */

/** Default path of the agent's socket. */
export const DEFAULT_SOCKET = "/run/flock/flock.sock";
/** Default directory of what survives a reboot. */
export const DEFAULT_STATE_DIR = "/var/lib/flock";
/** Default path of BIRD's configuration; beside it the control socket and the marker of this boot. */
export const DEFAULT_BIRD_CONFIG = "/run/flock/bird/bird.conf";
export const DEFAULT_BIRD_SOCKET = "/run/flock/bird/bird.ctl";

/** Prefix of every annotation of ours. */
export const ANNOTATION_PREFIX = "flock.fritzlab.net/";

/** Label of the nodes that opt in: `nodeSelector` of the DaemonSets. */
export const NODE_LABEL = "flock.fritzlab.net/agent";

/** Group and version of our own kinds. */
export const API_GROUP = "flock.fritzlab.net";
export const API_VERSION = "v1alpha1";
/** Name of the NodeConfig that supplies what a node's own leaves out. */
export const DEFAULT_NODE_CONFIG = "default";
/** Who writes what is ours in the API server (server-side apply), and who reports events. */
export const FIELD_MANAGER = "flock-agent";
/** Reason of the Node's condition `NetworkUnavailable` where it is ours. */
export const NETWORK_READY = "FlockReady";

/** Route protocol of what is ours and stays on the node (`ip route … proto 143`). */
export const PROTO_LOCAL = 143;
/** Route protocol of what is ours and is announced. */
export const PROTO_ANNOUNCED = 144;
/** Metric of our host routes: below BIRD's, so that our own pods win over a route heard from a peer. */
export const ROUTE_METRIC = 16;
/** Metric of routes that BIRD writes. */
export const BIRD_METRIC = 32;

/**
 * Next-hop objects, one for each pod, and groups of them, one for each anycast address, have ids from
 * here on. They are known by their protocol, `PROTO_ANNOUNCED`.
 */
export const NEXTHOP_IDS = 0x666c0000;
export const GROUP_IDS = 0x666d0000;
/**
 * A group's buckets, which cannot be changed in place, and its timers in seconds. A flow stays in its bucket,
 * and a bucket with its pod until it was idle for so long, or the group out of balance: then the kernel
 * moves busy ones by force. So a pod that joins gets buckets without breaking a flow as long as there are
 * idle ones. Measured, 200 connections to two pods, a third joining: with 64 buckets 78 of them broke
 * after 60 s, with 512 none. (With `unbalanced_timer` 0 a pod that joins a busy group never gets one.)
 */
export const GROUP_BUCKETS = 512;
export const GROUP_IDLE_TIMER = 10;
export const GROUP_UNBALANCED_TIMER = 60;
/**
 * Most pods of a node that an address is routed to: through a group, and by a route with several next
 * hops. With more of them `ip` (6.1) ends in the middle of a batch: the message has 1 KiB, the line 512
 * words.
 */
export const MAX_GROUP_MEMBERS = 120;
export const MAX_ROUTE_HOPS = 60;

/** The pods' gateways, the same on every node. */
export const GATEWAY6 = "fe80::1";
export const GATEWAY4 = "169.254.1.1";

/** Metrics of the unreachable routes behind the node's prefixes: worse than any route to a pod. */
export const UNREACHABLE_METRIC = { ipv4: 1000, ipv6: 2000 } as const;

/** Names of host veths begin with this; eight hexadecimal digits follow. */
export const LINK_PREFIX = "flock";

/** How long `flock drain` has anycast addresses announced with GRACEFUL_SHUTDOWN (RFC 8326). */
export const DEFAULT_DRAIN_WAIT = "30s";

/** Default address of metrics and health. */
export const DEFAULT_METRICS_ADDRESS = "127.0.0.1:9474";

/** Where runtimes look for plugins. */
export const DEFAULT_PLUGIN_DIR = "/opt/cni/bin";
/** Name of the plugin in it, which the network configuration list has as `type`. */
export const PLUGIN_NAME = "flock";
/** Where the DaemonSet has the agent write its list: before the usual ones by name. */
export const DEFAULT_CONFLIST = "/etc/cni/net.d/01-flock.conflist";
/** Where the DaemonSet's image has the executable. */
export const IMAGE_EXECUTABLE = "/usr/local/bin/flock";

/** The link that kube-proxy's mode ipvs makes: it has the addresses of Services. */
export const IPVS_LINK = "kube-ipvs0";

/** Packet filter table of ours, family inet. */
export const NFT_TABLE = "flock";
