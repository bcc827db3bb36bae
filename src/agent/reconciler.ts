/**
 * The one loop: read the kernel, take a snapshot, compute what should be, apply the difference; and ask
 * for BIRD's configuration. It runs when something asked for it, and periodically.
 *
 * The kernel is read before the snapshot is taken: an attachment made in between is in the snapshot
 * only, and its routes are at worst installed twice; none is removed by mistake.
 *
 * @module
 */
import { renderBirdConfig } from "../core/bird_config.ts";
import { parsePrefix } from "../core/cidr.ts";
import { PROTO_ANNOUNCED } from "../core/config.ts";
import { desiredRoutes, diffRoutes } from "../core/desired_state.ts";
import type { Ip } from "../io/ip.ts";
import type { Store } from "../io/store.ts";
import { log } from "../log.ts";
import type { BgpInput } from "./bgp_input.ts";
import type { BgpSpeaker } from "./bgp.ts";
import type { NodeState } from "./node_state.ts";

/** Retry after a failed pass, in milliseconds: at first, and at most. */
const RETRY_MIN_MS = 1_000;
const RETRY_MAX_MS = 30_000;

export interface ReconcilerOptions {
  readonly ip: Ip;
  readonly store: Store;
  readonly node: NodeState;
  readonly bgpInput: BgpInput;
  readonly speaker: Pick<BgpSpeaker, "apply">;
  /** Milliseconds between periodic passes; 0: none. */
  readonly intervalMs: number;
}

/** Keeps the node's routes and BIRD's configuration as they should be. */
export class Reconciler {
  readonly #o: ReconcilerOptions;
  #dirty = Promise.withResolvers<void>();
  #firstPass = true;
  /** When the pass under way began (`performance.now`). */
  #passSince: number | undefined;
  /** Routes that could not be installed, as last logged. */
  #failing = "[]";

  constructor(options: ReconcilerOptions) {
    this.#o = options;
  }

  /** Milliseconds that the pass under way has taken; 0 between passes. */
  get busyMs(): number {
    return this.#passSince === undefined ? 0 : performance.now() - this.#passSince;
  }

  /** True once a pass made everything as it should be. */
  get settled(): boolean {
    return !this.#firstPass;
  }

  /** Asks for a pass. Several asked for while one runs are one. */
  markDirty(): void {
    this.#dirty.resolve();
  }

  /** Runs passes until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const stop = (): void => this.markDirty();
    signal.addEventListener("abort", stop);
    let retryMs = 0;
    while (!signal.aborted) {
      await this.#wait(retryMs || this.#o.intervalMs);
      if (signal.aborted) break;
      this.#dirty = Promise.withResolvers<void>();
      this.#passSince = performance.now();
      try {
        await this.pass();
        retryMs = 0;
      } catch (error) {
        retryMs = Math.min(Math.max(retryMs * 2, RETRY_MIN_MS), RETRY_MAX_MS);
        log.warn("Could not reconcile", { err: error, retryInMs: retryMs });
      } finally {
        this.#passSince = undefined;
      }
    }
    signal.removeEventListener("abort", stop);
  }

  /**
   * One pass. Without a NodeConfig nothing is known, so nothing is touched.
   *
   * @throws {Error} when the kernel cannot be read, or routes could not be installed
   */
  async pass(): Promise<void> {
    const { ip, store, node, bgpInput, speaker } = this.#o;
    const kernel = await ip.observe();
    node.kernel = kernel;
    if (node.config === undefined) return;

    const attachments = store.list();
    const pending = new Set(
      attachments.filter((a) => a.state === "pending").map((a) => a.hostIfname),
    );
    const desired = desiredRoutes({
      attachments: attachments.filter((a) => a.state === "committed"),
      nodePrefixes: node.nodePrefixes,
      links: kernel.links,
    });
    const changes = diffRoutes(desired, kernel.routes, (dev) => pending.has(dev));
    if (changes.length > 0) {
      const failed = await ip.changeRoutes(changes.map(({ line }) => line));
      const failedLines = new Set(failed.map(({ line }) => line));
      for (const { kind, dst, line } of changes) {
        if (failedLines.has(line)) continue;
        const msg = kind === "remove" ? "Removed stray route" : "Installed route";
        // The first pass after a start makes what is missing; later ones repair.
        if (this.#firstPass) log.info(msg, { prefix: dst });
        else log.warn(msg, { prefix: dst });
      }
      this.#logFailures(failed);
    } else this.#logFailures([]);
    this.#firstPass = false;

    const kept = desired.filter(({ protocol }) => protocol === PROTO_ANNOUNCED)
      .map(({ dst }) => parsePrefix(dst));
    const input = await bgpInput.gather(kept);
    if (input) speaker.apply(renderBirdConfig(input));
    log.debug("Reconciled", { changes: changes.length, routes: desired.length });
  }

  #logFailures(failed: readonly { line: string; reason: string }[]): void {
    const text = JSON.stringify(failed);
    if (text !== this.#failing) {
      this.#failing = text;
      for (const { line, reason } of failed) log.warn("Could not change route", { line, reason });
    }
    if (failed.length > 0) throw new Error(`Cannot change ${failed.length} routes`);
  }

  async #wait(ms: number): Promise<void> {
    if (ms === 0) return await this.#dirty.promise;
    const timer = setTimeout(() => this.#dirty.resolve(), ms);
    await this.#dirty.promise;
    clearTimeout(timer);
  }
}
