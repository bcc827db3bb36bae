/**
 * Leaks: attachments whose link is gone from the kernel, and either their namespace or, for a while, their
 * pod, and those that an ADD left half-done. The runtime's own GC and DEL are `pod_network.ts`.
 *
 * @module
 */
import { attachmentKey } from "../core/attachment.ts";
import { podOf } from "../core/pod_identity.ts";
import type { ClusterSource } from "../core/objects.ts";
import type { NodeKernel } from "../io/ip.ts";
import type { NetworkNamespaces } from "../io/netns.ts";
import type { Store } from "../io/store.ts";
import { isNews, log } from "../log.ts";
import { sleep } from "../sleep.ts";
import type { PodNetwork } from "./pod_network.ts";
import { withoutNetns } from "./sandboxes.ts";
import { Turns } from "./turns.ts";

/** Time between two looks, and how long something must have been leaked, in milliseconds. */
const INTERVAL_MS = 60_000;
const GRACE_MS = 5 * 60_000;

export interface LeakCollectorOptions {
  readonly network: Pick<PodNetwork, "del" | "detachPending">;
  readonly store: Pick<Store, "list">;
  readonly source: Pick<ClusterSource, "synced" | "pod">;
  readonly ip: { observe(): Promise<Pick<NodeKernel, "links">> };
  readonly netns: Pick<NetworkNamespaces, "gone">;
  /** Milliseconds, of a clock that nobody sets. */
  readonly now: () => number;
  /** Called for each attachment that was released. */
  readonly onLeak?: (source: "api" | "sandbox") => void;
  readonly turns?: Turns;
}

/** Finds leaked attachments and releases them after a grace period. */
export class LeakCollector {
  readonly #o: LeakCollectorOptions;
  readonly #turns: Turns;
  /** Key of a leaked attachment → when it was first seen to be one. */
  #since = new Map<string, number>();

  constructor(options: LeakCollectorOptions) {
    this.#o = options;
    this.#turns = options.turns ?? new Turns();
  }

  /** Looks now and then until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    let failures = 0;
    while (!signal.aborted) {
      await sleep(INTERVAL_MS, signal);
      if (signal.aborted) break;
      try {
        await this.#turns.take("leaks", () => this.collect());
        failures = 0;
      } catch (error) {
        failures++;
        if (isNews(failures)) {
          log.warn("Could not collect leaks", { err: error, retryInMs: INTERVAL_MS, failures });
        }
      }
    }
  }

  /** One look. Nothing is released before the caches are in sync. */
  async collect(): Promise<void> {
    const { network, store, source, ip, netns, now } = this.#o;
    await network.detachPending();
    if (!source.synced) return;
    const kernel = await ip.observe();
    const links = new Set(kernel.links.map(({ ifname }) => ifname));
    const since = new Map<string, number>();
    const unlinked = store.list().filter(({ state, hostIfname }) =>
      state === "committed" && !links.has(hostIfname)
    );
    const dead = new Set(await withoutNetns(unlinked, netns));
    for (const attachment of unlinked) {
      const { namespace, podName, containerId, ifname } = attachment;
      const isDead = dead.has(attachment);
      if (!isDead && podOf(source, attachment) !== undefined) continue;
      const key = attachmentKey(attachment);
      const first = this.#since.get(key) ?? now();
      if (!isDead && now() - first < GRACE_MS) since.set(key, first);
      else {
        await network.del(attachment);
        this.#o.onLeak?.(isDead ? "sandbox" : "api");
        log.warn("Released leaked attachment", {
          pod: `${namespace}/${podName}`,
          containerId,
          ifname,
        });
      }
    }
    this.#since = since;
  }
}
