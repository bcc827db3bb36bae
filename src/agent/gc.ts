/**
 * Leaks: attachments whose pod is gone from the source of truth and whose link is gone from the kernel,
 * and those that an ADD left half-done. The runtime's own GC and DEL are `pod_network.ts`.
 *
 * @module
 */
import { attachmentKey } from "../core/attachment.ts";
import type { ClusterSource } from "../core/objects.ts";
import type { NodeKernel } from "../io/ip.ts";
import type { Store } from "../io/store.ts";
import { isNews, log } from "../log.ts";
import { sleep } from "../sleep.ts";
import type { PodNetwork } from "./pod_network.ts";
import { Turns } from "./turns.ts";

/** Time between two looks, and how long something must have been leaked, in milliseconds. */
const INTERVAL_MS = 60_000;
const GRACE_MS = 5 * 60_000;

export interface LeakCollectorOptions {
  readonly network: Pick<PodNetwork, "del" | "detachPending">;
  readonly store: Pick<Store, "list">;
  readonly source: Pick<ClusterSource, "synced" | "pod">;
  readonly ip: { observe(): Promise<Pick<NodeKernel, "links">> };
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Called for each attachment that was released. */
  readonly onLeak?: () => void;
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
    const { network, store, source, ip, now } = this.#o;
    await network.detachPending();
    if (!source.synced) return;
    const kernel = await ip.observe();
    const links = new Set(kernel.links.map(({ ifname }) => ifname));
    const since = new Map<string, number>();
    for (const attachment of store.list()) {
      const { namespace, podName, podUid, hostIfname, state, containerId, ifname } = attachment;
      if (state !== "committed" || links.has(hostIfname)) continue;
      const pod = namespace === "" ? undefined : source.pod(namespace, podName);
      if (pod !== undefined && (podUid === "" || pod.uid === podUid)) continue;
      const key = attachmentKey(attachment);
      const first = this.#since.get(key) ?? now();
      if (now() - first < GRACE_MS) since.set(key, first);
      else {
        await network.del(attachment);
        this.#o.onLeak?.();
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
