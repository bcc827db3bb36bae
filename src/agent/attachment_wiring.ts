/**
 * An attachment as it is stored, turned into its wiring and its CNI result.
 *
 * @module
 */
import type { Attachment } from "../core/attachment.ts";
import type { CniDns, CniResult } from "../core/cni_result.ts";
import { GATEWAY4, GATEWAY6 } from "../core/config.ts";
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
