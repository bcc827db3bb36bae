/**
 * Attachments that the store has lost: the kernel still has their links, each with its owner's name as
 * alias, and the routes to their addresses. Without this their pods would be cut off, and their
 * addresses given a second time.
 *
 * @module
 */
import { type Attachment, attachmentKey } from "../core/attachment.ts";
import type { AttachmentId } from "../core/cni.ts";
import type { CniResult } from "../core/cni_result.ts";
import type { Pod } from "../core/objects.ts";
import { isUidOf, podOf } from "../core/pod_identity.ts";
import { isHostIfname, parseAlias, shortId } from "../core/wiring.ts";
import type { IpRoute } from "../core/ip_state.ts";
import type { Ip, NodeKernel } from "../io/ip.ts";
import type { Store } from "../io/store.ts";
import { log } from "../log.ts";
import { resultOf, wiringOf } from "./attachment_wiring.ts";
import { stored } from "./detachment.ts";
import type { AddRequest } from "./pod_network.ts";

/** Stores what the kernel has and the store has not. */
export async function recoverAttachments(
  store: Pick<Store, "list" | "put">,
  kernel: NodeKernel,
  now: Date,
): Promise<void> {
  const known = new Set(store.list().flatMap((a) => [attachmentKey(a), shortKey(a)]));
  for (const attachment of lostAttachments(kernel, (key) => known.has(key), now)) {
    await store.put(attachment);
    const { namespace, podName, containerId, ifname } = attachment;
    log.warn("Recovered attachment from its link", {
      pod: `${namespace}/${podName}`,
      containerId,
      ifname,
    });
  }
}

/** The attachment of a container, also where it was recovered from an alias that had no room for the whole id. */
export function findAttachment(
  store: Pick<Store, "get">,
  id: AttachmentId,
): Attachment | undefined {
  return store.get(attachmentKey(id)) ?? store.get(shortKey(id));
}

function shortKey({ containerId, ifname }: AttachmentId): string {
  return attachmentKey({ containerId: shortId(containerId), ifname });
}

/** Gives recovered attachments the whole names of their pods: long ones are cut in an alias. */
export async function completeNames(
  store: Pick<Store, "list" | "put">,
  source: { pod(namespace: string, name: string): Pod | undefined; pods(): Iterable<Pod> },
): Promise<void> {
  const isRecovered = (a: Attachment): boolean =>
    a.netns === "" && a.podUid !== "" && podOf(source, a) === undefined;
  for (const attachment of store.list().filter(isRecovered)) {
    const { namespace, podName, podUid } = attachment;
    for (const pod of source.pods()) {
      const isIt = pod.namespace === namespace && pod.name.startsWith(podName) &&
        pod.uid !== "" && isUidOf(podUid, pod);
      if (isIt) await store.put({ ...attachment, podName: pod.name });
    }
  }
}

/**
 * The attachments of links that are not known. Their sandboxes' paths cannot be told: empty. Nor can which
 * of several addresses is the primary one: see `inSandbox`.
 */
export function lostAttachments(
  kernel: NodeKernel,
  isKnown: (key: string) => boolean,
  now: Date,
): readonly Attachment[] {
  return kernel.links.flatMap((link): Attachment[] => {
    const owner = isHostIfname(link.ifname) ? parseAlias(link.alias ?? "") : undefined;
    if (owner === undefined || isKnown(attachmentKey(owner))) return [];
    const routes = kernel.routes.filter(({ table }) => table === "main");
    const addressOf = ({ dst }: IpRoute): string => dst.split("/")[0]!;
    const addresses = routes
      .filter(({ dev, gateway }) => dev === link.ifname && gateway === undefined).map(addressOf);
    // Routes through a gateway are anycast ones: several pods share them. One of a pod that is not Ready
    // has none, and stays bound without being announced.
    const anycast = routes.filter(({ dev, gateway, nextHops }) =>
      (gateway !== undefined && dev === link.ifname) ||
      nextHops.some((hop) => hop.dev === link.ifname)
    ).map(addressOf);
    const ip6 = addresses.find((address) => address.includes(":"));
    const ip4 = addresses.find((address) => !address.includes(":"));
    const extra = addresses.filter((address) => address !== ip6 && address !== ip4);
    const attachment: Attachment = {
      ...owner,
      hostIfname: link.ifname,
      netns: "",
      ip6,
      ip4,
      anycast: anycast.length > 0 ? anycast : undefined,
      addresses: extra.length > 0 ? extra : undefined,
      state: "committed",
      allocatedAt: now.toISOString(),
    };
    return [{ ...attachment, result: resultOf(wiringOf(attachment, link.mtu), undefined) }];
  });
}

/**
 * A recovered attachment with what its sandbox tells: its primary addresses are those it sends from.
 *
 * @throws {CniError} when the sandbox cannot be looked into
 */
export async function inSandbox(
  recovered: Attachment,
  netns: string,
  ip: Pick<Ip, "inspectPod">,
): Promise<Attachment> {
  const { ifname, ip6, ip4, addresses = [] } = recovered;
  if (addresses.length === 0) return { ...recovered, netns };
  const { routes } = await ip.inspectPod(netns, []);
  const all = [ip6, ip4, ...addresses].filter((address) => address !== undefined);
  const sourceOf = (dst: string): string | undefined => {
    const source = routes.find((route) => route.dst === dst && route.dev === ifname)?.prefsrc;
    return source !== undefined && all.includes(source) ? source : undefined;
  };
  const primary = { ip6: sourceOf("::/0") ?? ip6, ip4: sourceOf("0.0.0.0/0") ?? ip4 };
  const extra = all.filter((address) => address !== primary.ip6 && address !== primary.ip4);
  return { ...recovered, ...primary, netns, addresses: extra };
}

/**
 * A recovered attachment learns its sandbox's path, and what its alias had no room for, from its ADD.
 *
 * @throws {CniError} when the sandbox cannot be looked into, or code 5 when it cannot be stored
 */
export async function adopt(
  recovered: Attachment,
  { containerId, netns, conf, pod }: AddRequest,
  { store, ip }: { readonly store: Pick<Store, "put" | "remove">; readonly ip: Ip },
): Promise<CniResult> {
  const attachment = {
    ...await inSandbox(recovered, netns, ip),
    containerId,
    podName: pod?.name ?? recovered.podName,
    network: conf.name,
  };
  const result = resultOf(wiringOf(attachment), conf.dns);
  const isRenamed = containerId !== recovered.containerId;
  // In one turn, so in one write: no address is in the file twice.
  await stored(
    Promise.all([
      isRenamed ? store.remove(attachmentKey(recovered)) : undefined,
      store.put({ ...attachment, result }),
    ]).then(() => {}),
  );
  return result;
}
