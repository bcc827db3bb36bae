/**
 * An attachment as it is stored, turned into its wiring and its CNI result, and compared with a result
 * that the runtime kept.
 *
 * @module
 */
import type { Attachment } from "../core/attachment.ts";
import { formatAddress, parseAddress } from "../core/cidr.ts";
import type { CniDns, CniResult } from "../core/cni_result.ts";
import { GATEWAY4, GATEWAY6 } from "../core/config.ts";
import type { ObservedEnd } from "../core/wiring_check.ts";
import {
  hostCidr,
  hostMacOf,
  podMacOf,
  podRouteMetric,
  routedAddresses,
  type Wiring,
} from "../core/wiring.ts";

/** The wiring of an attachment; without `mtu`, the one its result says. */
export function wiringOf(attachment: Attachment, mtu?: number): Wiring {
  const { containerId, ifname, namespace, podName, podUid } = attachment;
  const result = attachment.result as CniResult | undefined;
  return {
    owner: { containerId, ifname, namespace, podName, podUid },
    hostIfname: attachment.hostIfname,
    netns: attachment.netns,
    mtu: mtu ?? result?.interfaces[1]?.mtu ?? 0,
    primary: { ipv6: attachment.ip6, ipv4: attachment.ip4 },
    extra: attachment.addresses ?? [],
    anycast: attachment.anycast ?? [],
  };
}

/**
 * The result of an ADD: the node's end, the pod's end, then the pod's own addresses (the kubelet takes
 * the first of each family), and the default routes. Anycast addresses are not among them: they are not
 * the interface's, and never the pod's identity.
 */
export function resultOf(wiring: Wiring, dns: CniDns | undefined): CniResult {
  const { hostIfname, netns, mtu, owner, primary: { ipv6, ipv4 } } = wiring;
  const priority = podRouteMetric(owner.ifname);
  const metric = priority === undefined ? {} : { priority };
  return {
    interfaces: [
      { name: hostIfname, mac: hostMacOf(hostIfname), mtu },
      { name: owner.ifname, mac: podMacOf(hostIfname), mtu, sandbox: netns },
    ],
    ips: routedAddresses(wiring).map((address) => ({
      address: hostCidr(address),
      gateway: address.family === "ipv6" ? GATEWAY6 : GATEWAY4,
      interface: 1,
    })),
    routes: [
      ...(ipv6 ? [{ dst: "::/0", gw: GATEWAY6, ...metric }] : []),
      ...(ipv4 ? [{ dst: "0.0.0.0/0", gw: GATEWAY4, ...metric }] : []),
    ],
    ...(dns ? { dns } : {}),
  };
}

/**
 * What is wrong with a result that the runtime kept, against the attachment and the pod's end as it is:
 * everything of ours has to be in it, and everything it says of our interface has to be there. Later
 * plugins may have added interfaces, addresses and routes of their own.
 */
export function checkResult(
  attachment: Attachment,
  prevResult: CniResult,
  pod: ObservedEnd,
): readonly string[] {
  const problems: string[] = [];
  const index = ownInterface(attachment, prevResult, problems);
  const link = pod.links.find(({ ifname }) => ifname === attachment.ifname);
  const present = new Set(
    link?.addresses.map(({ address, prefixLength }) => `${address}/${prefixLength}`),
  );
  const own = new Set(routedAddresses(wiringOf(attachment)).map(hostCidr));
  for (const ip of prevResult.ips) {
    if (ip.interface !== index) continue;
    const cidr = canonicalCidr(ip.address);
    const gateway = cidr.includes(":") ? GATEWAY6 : GATEWAY4;
    if (!present.has(cidr)) {
      problems.push(`address ${cidr} of prevResult is missing on ${attachment.ifname} in the pod`);
    }
    if (own.delete(cidr) && ip.gateway !== undefined && ip.gateway !== gateway) {
      problems.push(`prevResult has gateway ${ip.gateway} for ${cidr}, not ${gateway}`);
    }
  }
  problems.push(...Array.from(own, (cidr) => `prevResult lacks address ${cidr}`));
  for (const { dst, gw } of prevResult.routes) {
    const isThere = pod.routes.some((r) =>
      r.dst === canonicalCidr(dst) && (gw === undefined || r.gateway === gw)
    );
    if (!isThere) {
      problems.push(`route ${dst}${gw ? ` via ${gw}` : ""} of prevResult is missing in the pod`);
    }
  }
  return problems;
}

/** Index of the pod's end in a result; undefined in one older than 0.3.0, which names no interfaces. */
function ownInterface(
  { ifname, netns, hostIfname }: Attachment,
  { interfaces }: CniResult,
  problems: string[],
): number | undefined {
  if (interfaces.length === 0) return undefined;
  // An attachment that was recovered does not know its sandbox's path.
  const index = interfaces.findIndex((i) =>
    i.name === ifname && (netns === "" ? i.sandbox !== undefined : i.sandbox === netns)
  );
  const mac = interfaces[index]?.mac;
  if (index < 0) problems.push(`prevResult lacks interface ${ifname} in ${netns}`);
  else if (mac !== undefined && mac.toLowerCase() !== podMacOf(hostIfname)) {
    problems.push(
      `prevResult has hardware address ${mac} for ${ifname}, not ${podMacOf(hostIfname)}`,
    );
  }
  if (!interfaces.some((i) => i.name === hostIfname && i.sandbox === undefined)) {
    problems.push(`prevResult lacks interface ${hostIfname} of the node`);
  }
  return index;
}

/** An address with its length, or a prefix, as `ip` prints it; as it came where it is none. */
function canonicalCidr(cidr: string): string {
  const [address = "", length] = cidr.split("/");
  try {
    return `${formatAddress(parseAddress(address))}/${length}`;
  } catch {
    return cidr;
  }
}
