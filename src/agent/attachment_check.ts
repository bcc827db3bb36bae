/**
 * CHECK of one attachment: both ends as the kernel has them, and the result that the runtime kept, against
 * what was stored.
 *
 * @module
 */
import { type Attachment, attachmentKey } from "../core/attachment.ts";
import { type Address, formatAddress, parseAddress } from "../core/cidr.ts";
import type { CniResult } from "../core/cni_result.ts";
import { GATEWAY4, GATEWAY6 } from "../core/config.ts";
import { CniCode, CniError } from "../core/errors.ts";
import { hostCidr, podMacOf, routedAddresses } from "../core/wiring.ts";
import {
  checkHost,
  checkPod,
  hostSysctls,
  type ObservedEnd,
  podSysctls,
} from "../core/wiring_check.ts";
import type { Ip } from "../io/ip.ts";
import type { NetworkNamespaces } from "../io/netns.ts";
import { wiringOf } from "./attachment_wiring.ts";

/**
 * Compares an attachment with what it should be.
 *
 * @param protocolOf the route protocol that an address of it should have
 * @throws {CniError} code 104 naming everything that is missing or different
 */
export async function checkAttachment(
  attachment: Attachment,
  netns: string,
  prevResult: CniResult,
  { ip, namespaces, protocolOf }: {
    readonly ip: Ip;
    readonly namespaces: Pick<NetworkNamespaces, "isSame">;
    readonly protocolOf: (address: Address) => number;
  },
): Promise<void> {
  const wiring = wiringOf(attachment);
  const [isSame, host, pod] = await Promise.all([
    namespaces.isSame(netns, attachment.netns),
    ip.inspectHost(wiring.hostIfname, Object.keys(hostSysctls(wiring))),
    ip.inspectPod(netns, Object.keys(podSysctls(wiring))),
  ]);
  const problems = [
    ...(isSame ? [] : [`network namespace is ${netns}, not ${attachment.netns}`]),
    ...checkResult(attachment, prevResult, pod),
    ...checkHost(wiring, protocolOf, host),
    ...checkPod(wiring, pod),
  ];
  if (problems.length > 0) {
    throw new CniError(
      CniCode.wiringFailed,
      `Cannot confirm attachment "${attachmentKey(attachment)}": ${problems.join("; ")}`,
    );
  }
}

/**
 * What is wrong with a result that the runtime kept, against the attachment and the pod's end as it is:
 * everything of ours has to be in it, and everything it says of our interface has to be there. Later
 * plugins may have added interfaces, addresses and routes of their own.
 */
function checkResult(
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
  const index = interfaces.findIndex((i) => i.name === ifname && i.sandbox === netns);
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
