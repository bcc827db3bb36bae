/**
 * What is left of attachments whose sandbox may be gone without a DEL: their link, their network namespace.
 * That a Pod exists says nothing of it: a pod may get a new sandbox at any time.
 *
 * @module
 */
import type { Attachment } from "../core/attachment.ts";
import type { Ip } from "../io/ip.ts";
import type { NetworkNamespaces } from "../io/netns.ts";

/** What is looked at. */
export interface SandboxContext {
  readonly ip: Pick<Ip, "link">;
  readonly netns: NetworkNamespaces;
}

/** Those whose namespace is gone. Where it is not known it counts as there. */
export async function withoutNetns(
  attachments: readonly Attachment[],
  netns: Pick<NetworkNamespaces, "gone">,
): Promise<readonly Attachment[]> {
  const gone = await netns.gone(attachments.map((a) => a.netns).filter((path) => path !== ""));
  return attachments.filter((a) => gone.has(a.netns));
}

/** Those that are of no use to anybody: their namespace is gone, or their link. */
export async function deadOf(
  attachments: readonly Attachment[],
  { ip, netns }: SandboxContext,
): Promise<readonly Attachment[]> {
  if (attachments.length === 0) return [];
  const gone = new Set(await withoutNetns(attachments, netns));
  const links = await Promise.all(attachments.map(({ hostIfname }) => ip.link(hostIfname)));
  return attachments.filter((attachment, n) => gone.has(attachment) || links[n] === undefined);
}

/** True when an attachment's link is there and leads into this very namespace, by whatever path. */
export async function leadsTo(
  path: string,
  attachment: Attachment,
  { ip, netns }: SandboxContext,
): Promise<boolean> {
  return attachment.netns !== "" && await netns.isSame(attachment.netns, path) &&
    await ip.link(attachment.hostIfname) !== undefined;
}
