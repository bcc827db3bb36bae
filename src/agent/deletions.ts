/**
 * Deletions that the plugin queued on disk: made true before anything is served, and while the agent runs.
 *
 * @module
 */
import { listDeletions, watchDeletions } from "../io/deletion_queue.ts";
import { log } from "../log.ts";
import type { PodNetwork } from "./pod_network.ts";

/** Makes deletions true that were queued while there was no agent. */
export async function replayDeletions(
  stateDir: string,
  network: Pick<PodNetwork, "replay">,
): Promise<void> {
  const { deletions, damaged } = await listDeletions(stateDir);
  for (const { path, error } of damaged) {
    log.error("Moved a damaged deletion aside", { path, err: error });
  }
  for (const deletion of deletions) {
    const { containerId, ifname, queuedAt } = deletion;
    try {
      // False: an ADD was faster, and has seen to it.
      if (!await network.replay(deletion)) continue;
      log.info("Replayed queued deletion", { containerId, ifname, queuedAt });
    } catch (error) {
      log.warn("Could not replay queued deletion", { containerId, ifname, err: error });
    }
  }
}

/** The same whenever something is queued, until the signal aborts. */
export async function watchQueue(
  stateDir: string,
  network: Pick<PodNetwork, "replay">,
  signal: AbortSignal,
): Promise<void> {
  for await (const _ of watchDeletions(stateDir, signal)) await replayDeletions(stateDir, network);
}
