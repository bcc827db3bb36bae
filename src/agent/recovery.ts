/**
 * Attachments that the store has lost: the kernel still has their links, each with its owner's name as
 * alias, and the routes to their addresses. Without this their pods would be cut off, and their
 * addresses given a second time.
 *
 * @module
 */
import { type Attachment, attachmentKey } from "../core/attachment.ts";
import { isHostIfname, parseAlias } from "../core/wiring.ts";
import type { IpRoute } from "../core/ip_state.ts";
import type { Ip, NodeKernel } from "../io/ip.ts";
import type { Store } from "../io/store.ts";
import { log } from "../log.ts";
import { resultOf, wiringOf } from "./attachment_wiring.ts";

/** Stores what the kernel has and the store has not. */
export async function recoverAttachments(
  store: Pick<Store, "get" | "put">,
  kernel: NodeKernel,
  now: Date,
): Promise<void> {
  for (const attachment of lostAttachments(kernel, (key) => store.get(key) !== undefined, now)) {
    await store.put(attachment);
    const { namespace, podName, containerId, ifname } = attachment;
    log.warn("Recovered attachment from its link", {
      pod: `${namespace}/${podName}`,
      containerId,
      ifname,
    });
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

/** True when the path of a namespace is gone. What is not known or cannot be looked at counts as there. */
export function isSandboxGone(netns: string): boolean {
  if (netns === "") return false;
  try {
    Deno.lstatSync(netns);
    return false;
  } catch (error) {
    return error instanceof Deno.errors.NotFound;
  }
}
