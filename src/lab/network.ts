/**
 * The wires of a lab: namespaces, links, addresses and routes of router, switch, client and nodes, as
 * they are before any daemon runs. The nodes do not forward: that is for the agent to switch on.
 *
 * @module
 */
import type { Family } from "../core/cidr.ts";
import { runCommand } from "../io/command.ts";
import type { Host } from "./host.ts";
import { CLIENT_LENGTH, type LabPlan, LINK_LENGTH, type PerFamily } from "./plan.ts";

/** The hosts that are wired; the switch is a bridge in a namespace of its own. */
export interface WiredHosts {
  readonly switch: Host;
  readonly router: Host;
  readonly client: Host;
  readonly nodes: readonly Host[];
}

/** Makes the namespaces of a lab and wires them. */
export async function wireHosts(hosts: WiredHosts, plan: LabPlan): Promise<void> {
  const { router, client, nodes } = hosts;
  await addNetns([hosts.switch, router, client, ...nodes]);
  await hosts.switch.ipBatch([
    "link add br0 type bridge forward_delay 0 mcast_snooping 0",
    "link set br0 up",
    ...[router, ...nodes].flatMap((host) => [
      `link add p-${host.name} type veth peer name eth0 netns ${host.netns}`,
      `link set p-${host.name} master br0 up`,
    ]),
  ]);
  await router.ipBatch([`link add cli0 type veth peer name eth0 netns ${client.netns}`]);
  await Promise.all([
    configure(router, [...ROUTER_SYSCTLS, ...SYSCTLS, ...CLIENT_LINK_SYSCTLS], [
      ...addresses(plan.router.addresses, LINK_LENGTH, "eth0"),
      ...addresses(plan.client.gateways, CLIENT_LENGTH, "cli0"),
      "link set cli0 up",
    ]),
    configure(client, SYSCTLS, [
      ...addresses(plan.client.addresses, CLIENT_LENGTH, "eth0"),
      ...defaultRoutes(plan.client.gateways),
    ]),
    ...plan.nodes.map((node, i) =>
      configure(nodes[i]!, [...NODE_SYSCTLS, ...SYSCTLS], [
        ...addresses(node.addresses, LINK_LENGTH, "eth0"),
        ...(plan.defaultRoutes ? defaultRoutes(plan.router.addresses) : []),
      ])
    ),
  ]);
}

/** Makes the namespaces of hosts, in one process. */
export async function addNetns(hosts: readonly Host[]): Promise<void> {
  const lines = hosts.map((host) => `netns add ${host.netns}\n`);
  await runCommand("ip", ["-batch", "-"], { stdin: lines.join("") });
}

// A new namespace takes IPv4 values from the machine it is on: said here, they do not depend on it.
// Forwarding first: the kernel resets others when it changes.
const SYSCTLS = [
  ...["all", "default", "eth0"].map((link) => `net/ipv4/conf/${link}/rp_filter=0`),
  // A machine has its link-local address long before BIRD starts; a lab is faster than DAD.
  "net/ipv6/conf/eth0/accept_dad=0",
];
const CLIENT_LINK_SYSCTLS = [
  "net/ipv4/conf/cli0/rp_filter=0",
  // What it forwards finds the client with its link-local address only.
  "net/ipv6/conf/cli0/accept_dad=0",
];
const NODE_SYSCTLS = ["net/ipv4/ip_forward=0", "net/ipv6/conf/all/forwarding=0"];
const ROUTER_SYSCTLS = [
  "net/ipv4/ip_forward=1",
  "net/ipv6/conf/all/forwarding=1",
  // Flows, not packets, are spread over equal routes.
  "net/ipv4/fib_multipath_hash_policy=1",
  "net/ipv6/fib_multipath_hash_policy=1",
  // In design (a) nodes of one link talk through the router: it must not tell them to stop.
  "net/ipv4/conf/all/send_redirects=0",
  "net/ipv4/conf/eth0/send_redirects=0",
];

/** Sysctls and `ip` commands of one host, in one process. */
async function configure(
  host: Host,
  sysctls: readonly string[],
  lines: readonly string[],
): Promise<void> {
  const script = 'for s; do echo "${s#*=}" >"/proc/sys/${s%%=*}" || exit; done; exec ip -batch -';
  const links = ["link set lo up", "link set eth0 up"];
  await host.exec(["sh", "-c", script, "sh", ...sysctls], {
    stdin: [...links, ...lines].map((line) => line + "\n").join(""),
  });
}

function addresses(of: PerFamily, length: Record<Family, number>, link: string): string[] {
  const lines: string[] = [];
  if (of.ipv4 !== undefined) lines.push(`addr add ${of.ipv4}/${length.ipv4} dev ${link}`);
  if (of.ipv6 !== undefined) lines.push(`addr add ${of.ipv6}/${length.ipv6} dev ${link} nodad`);
  return lines;
}

function defaultRoutes(gateways: PerFamily): string[] {
  return Object.values(gateways).map((gateway) => `route add default via ${gateway}`);
}
