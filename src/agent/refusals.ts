/**
 * Tells of addresses that pods have and that are no longer announced, because the NodeConfig does not
 * allow it any more: in the log, and to whoever made the pod.
 *
 * @module
 */
import type { Refusal } from "../core/anycast.ts";
import type { ClusterWriter } from "../core/objects.ts";
import { log } from "../log.ts";

/** Tells each refusal once, for as long as it lasts. */
export class RefusalReport {
  readonly #writer: Pick<ClusterWriter, "recordEvent"> | undefined;
  #told: ReadonlySet<string> = new Set();

  constructor(writer: Pick<ClusterWriter, "recordEvent"> | undefined) {
    this.#writer = writer;
  }

  /** Takes in the refusals as they are now. */
  update(refusals: readonly Refusal[]): void {
    if (refusals.length === 0 && this.#told.size === 0) return;
    const now = new Set<string>();
    for (
      const { attachment: { namespace, podName: name, podUid: uid }, address, why } of refusals
    ) {
      const key = JSON.stringify([namespace, name, uid, address, why]);
      now.add(key);
      if (this.#told.has(key)) continue;
      log.warn("Withdrew address that is not allowed any more", {
        pod: `${namespace}/${name}`,
        address,
        reason: why,
      });
      this.#writer?.recordEvent({
        object: { kind: "Pod", namespace, name, uid },
        type: "Warning",
        reason: "AddressWithdrawn",
        message: `Address ${address} is not announced any more: it ${why}`,
      });
    }
    this.#told = now;
  }
}
