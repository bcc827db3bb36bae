/**
 * Undoing an attachment: one way, whatever it was undone for and however much of it was done.
 *
 * @module
 */
import { type Attachment, attachmentKey } from "../core/attachment.ts";
import type { AttachmentId } from "../core/cni.ts";
import { CniCode, CniError, messageOf } from "../core/errors.ts";
import type { Ipam } from "../core/ipam.ts";
import { hostIfnameOf, parseAlias, podRemovalBatch, shortId } from "../core/wiring.ts";
import type { Ip } from "../io/ip.ts";
import type { Store } from "../io/store.ts";
import { log } from "../log.ts";
import { addressesOf } from "./addressing.ts";
import type { ForgetConnections } from "./connections.ts";

/** What has something of an attachment. */
export interface DetachmentContext {
  readonly ip: Pick<Ip, "deleteLink" | "link" | "runPod">;
  readonly store: Pick<Store, "list" | "remove">;
  readonly ipam: Pick<Ipam, "release">;
  /** Withdraws what leads to an attachment; it is about to be detached. */
  readonly withdraw: (attachment: Attachment) => Promise<void>;
  /** Forgets the connections of addresses that nobody has any more. */
  readonly forget: ForgetConnections;
}

/** Takes away everything that an attachment has; last, that it is remembered. */
export async function detach(attachment: Attachment, context: DetachmentContext): Promise<void> {
  const { ip, store, ipam, withdraw, forget } = context;
  await withdraw(attachment);
  await unbindAnycast(attachment, context);
  // Addresses, neighbour entries and routes go with the link, and the pod's end with the node's.
  if (attachment.state === "committed" || !await isForeign(attachment.hostIfname, ip)) {
    await ip.deleteLink(attachment.hostIfname);
  }
  // Nothing comes from the pod any more that could make new ones. Its anycast addresses are not its alone.
  await forget(addressesOf({ ...attachment, anycast: [] }));
  await stored(store.remove(attachmentKey(attachment)));
  for (const address of addressesOf(attachment)) ipam.release(address);
}

/** Deletes the link of a container that the store does not know: its state may have been lost. */
export async function deleteStrayLink(
  id: AttachmentId,
  { ip, store }: Pick<DetachmentContext, "ip" | "store">,
): Promise<void> {
  const name = hostIfnameOf(id, () => false);
  if (store.list().some(({ hostIfname }) => hostIfname === name)) return;
  const link = await ip.link(name);
  const owner = parseAlias(link?.alias ?? "");
  const isIts = owner?.containerId === id.containerId ||
    owner?.containerId === shortId(id.containerId);
  if (isIts && owner?.ifname === id.ifname) {
    await ip.deleteLink(name);
  }
}

/** True for a link that somebody else named like one of ours: the ADD that met it has failed. */
async function isForeign(ifname: string, ip: Pick<Ip, "link">): Promise<boolean> {
  const link = await ip.link(ifname);
  return link?.alias !== undefined && parseAlias(link.alias) === undefined;
}

/** A namespace may outlive its attachment, and the addresses on its lo do not go with the link. */
async function unbindAnycast(
  attachment: Attachment,
  { ip, store }: DetachmentContext,
): Promise<void> {
  const { netns, anycast = [], containerId, ifname } = attachment;
  // A pod may have several interfaces: what another of them still needs stays.
  const key = attachmentKey(attachment);
  const others = store.list().filter((a) =>
    (a.containerId === containerId || a.netns === netns) && attachmentKey(a) !== key
  );
  const needed = new Set(others.flatMap((other) => other.anycast ?? []));
  const unneeded = anycast.filter((address) => !needed.has(address));
  if (unneeded.length === 0) return;
  try {
    await ip.runPod(netns, { batch: podRemovalBatch(unneeded) });
  } catch (error) {
    // Most often the namespace is gone, and the addresses with it.
    if (error instanceof CniError && error.code === CniCode.invalidNetns) return;
    log.warn("Could not unbind anycast addresses", { containerId, ifname, netns, err: error });
  }
}

/** A change of the store; that it cannot be written, on a full disk say, is code 5. */
export async function stored(change: Promise<void>): Promise<void> {
  try {
    await change;
  } catch (cause) {
    throw new CniError(CniCode.io, messageOf(cause), { cause: (cause as Error).cause });
  }
}
