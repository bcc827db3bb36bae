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
import type { Attachment } from "../core/attachment.ts";
import { contains, formatAddress, parsePrefix, type Prefix } from "../core/cidr.ts";
import { PROTO_ANNOUNCED, PROTO_LOCAL } from "../core/config.ts";
import {
  type DesiredRoute,
  desiredRoutes,
  diffRoutes,
  type RouteChange,
} from "../core/desired_state.ts";
import type { IpRoute } from "../core/ip_state.ts";
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
  readonly speaker: Pick<BgpSpeaker, "apply" | "state">;
  /** Milliseconds between periodic passes; 0: none. */
  readonly intervalMs: number;
}

/** When to look again at routes that wait for BIRD, in milliseconds. */
const RETRY_HELD_MS = 250;
/** Shortest time between the beginnings of two passes, in milliseconds. */
const GAP_MS = 500;

/** Keeps the node's routes and BIRD's configuration as they should be. */
export class Reconciler {
  readonly #o: ReconcilerOptions;
  #dirty = Promise.withResolvers<void>();
  #firstPass = true;
  /** The next pass makes what is new; others repair what somebody else changed. */
  #planned = true;
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

  /**
   * Asks for a pass. Several asked for while one runs are one.
   *
   * @param options.planned the pass is going to change what an operator changed: no repair
   */
  markDirty(options: { readonly planned?: boolean } = {}): void {
    if (options.planned) this.#planned = true;
    this.#dirty.resolve();
  }

  /** Runs passes until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const stop = (): void => this.markDirty();
    signal.addEventListener("abort", stop);
    let retryMs = 0;
    let lastBegin = -Infinity;
    while (!signal.aborted) {
      await this.#wait(retryMs || this.#o.intervalMs);
      if (signal.aborted) break;
      // The first one asked for runs at once; those that follow on its heels share one.
      const early = lastBegin + GAP_MS - performance.now();
      if (early > 0) await new Promise((resolve) => setTimeout(resolve, early));
      lastBegin = performance.now();
      this.#dirty = Promise.withResolvers<void>();
      this.#passSince = performance.now();
      try {
        // Routes that wait for BIRD are asked for again soon.
        retryMs = await this.pass() ? 0 : RETRY_HELD_MS;
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
   * @returns false when a change waits for BIRD
   * @throws {Error} when the kernel cannot be read, or routes could not be installed
   */
  async pass(): Promise<boolean> {
    const { ip, store, node, bgpInput, speaker } = this.#o;
    const kernel = await ip.observe();
    node.kernel = kernel;
    if (node.config === undefined) return true;

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
    // A pod's address is announced by itself, or by its prefix, at every moment: what follows waits until
    // BIRD runs a configuration with both. Until then BIRD is told of what goes, too.
    const announced = desired.filter(({ protocol }) => protocol === PROTO_ANNOUNCED)
      .map(({ dst }) => parsePrefix(dst));
    const late = changes.filter((change) =>
      isDemotion(change, desired, kernel.routes) ||
      isRetirement(change, announced, kernel.routes)
    );
    await this.#change(changes.filter((change) => !late.includes(change)));
    const demoted = prefixesOf(late, "install");
    const kept = given([...announced, ...demoted], attachments);
    const input = await bgpInput.gather(kept, prefixesOf(late, "remove"));
    if (input) speaker.apply(renderBirdConfig(input));
    const { applied, error } = speaker.state;
    // Whoever makes the input complete asks for a pass.
    const isHeld = late.length > 0 && input !== undefined && !applied && error === undefined;
    if (late.length > 0 && input !== undefined && !isHeld) {
      await this.#change(late);
      const final = await bgpInput.gather(given(announced, attachments));
      if (final) speaker.apply(renderBirdConfig(final));
    }
    this.#planned = late.length > 0 && (isHeld || input === undefined);
    this.#firstPass = false;
    log.debug("Reconciled", { changes: changes.length, routes: desired.length, waiting: isHeld });
    return !isHeld;
  }

  async #change(changes: readonly RouteChange[]): Promise<void> {
    const failed = changes.length === 0
      ? []
      : await this.#o.ip.changeRoutes(changes.map(({ line }) => line));
    const failedLines = new Set(failed.map(({ line }) => line));
    const write = this.#planned ? log.info : log.warn;
    for (const { kind, dst, line } of changes) {
      if (failedLines.has(line)) continue;
      write(kind === "remove" ? "Removed stray route" : "Installed route", { prefix: dst });
    }
    this.#logFailures(failed);
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

/** A route of an address that a prefix is going to announce: it changes when BIRD has the prefix. */
function isDemotion(
  { kind, dst }: RouteChange,
  desired: readonly DesiredRoute[],
  routes: readonly IpRoute[],
): boolean {
  return kind === "install" &&
    routes.some((r) => r.dst === dst && r.protocol === String(PROTO_ANNOUNCED)) &&
    desired.some((r) => r.dst === dst && r.protocol === PROTO_LOCAL);
}

/** A prefix that pods still have addresses from: it goes when BIRD may announce these by themselves. */
function isRetirement(
  { kind, dst }: RouteChange,
  announced: readonly Prefix[],
  routes: readonly IpRoute[],
): boolean {
  return kind === "remove" && routes.some((r) => r.dst === dst && r.type === "unreachable") &&
    announced.some((address) => contains(parsePrefix(dst), address));
}

function prefixesOf(changes: readonly RouteChange[], wanted: RouteChange["kind"]): Prefix[] {
  return changes.filter(({ kind }) => kind === wanted).map(({ dst }) => parsePrefix(dst));
}

/**
 * Of the addresses that are announced by themselves, those that pods were given from prefixes the node
 * had then: they are announced also where a guard is set. What an annotation asked for has to be inside
 * what is allowed now.
 */
function given(addresses: readonly Prefix[], attachments: readonly Attachment[]): Prefix[] {
  const asked = new Set(attachments.flatMap((attachment) => attachment.asked ?? []));
  return addresses.filter((prefix) => !asked.has(formatAddress(prefix)));
}
