/**
 * The one loop: read the kernel, take a snapshot, compute what should be, apply the difference; and ask
 * for BIRD's configuration. It runs when something asked for it, and periodically.
 *
 *     a pod's readiness ──▶ quick pass: what was read last, with what was changed since; routes only
 *     a foreign change  ──▶ full pass, at once
 *     ADD, DEL, config  ──▶ full pass, the first at once, then every 500 ms
 *
 * The kernel is read before the snapshot is taken, and nothing is waited for between the snapshot and
 * the change: a route that was withdrawn meanwhile is not in the snapshot and stays withdrawn.
 *
 * @module
 */
import type { AnycastAddress, Refusal } from "../core/anycast.ts";
import {
  announcedAddresses,
  given,
  isDemotion,
  isRetirement,
  prefixesOf,
} from "../core/announcement_order.ts";
import type { Attachment } from "../core/attachment.ts";
import { renderBirdConfig } from "../core/bird_config.ts";
import { type DesiredState, desiredState, type Snapshot } from "../core/desired_state.ts";
import type { IpEvent } from "../core/ip_events.ts";
import { concernOf } from "../core/kernel_concern.ts";
import type { ClusterSource } from "../core/objects.ts";
import { podOf } from "../core/pod_identity.ts";
import type { Change } from "../core/state_diff.ts";
import type { Store } from "../io/store.ts";
import { isNews, log } from "../log.ts";
import type { BgpInput } from "./bgp_input.ts";
import type { BgpSpeaker } from "./bgp.ts";
import type { ChangeLog } from "./change_log.ts";
import { IdTakenError, type KernelSync } from "./kernel_sync.ts";
import { identityOf, Leaving } from "./leaving.ts";
import type { NodeState } from "./node_state.ts";
import { Pulse } from "./pulse.ts";
import type { SysctlSync } from "./sysctl_sync.ts";
import { type OnTransitions, TransitionTimer } from "./transition_timer.ts";
import { Turns } from "./turns.ts";

/** Retry after a failed pass, in milliseconds: at first, and at most. */
const RETRY_MIN_MS = 1_000;
const RETRY_MAX_MS = 30_000;
/** When to look again at routes that wait for BIRD, in milliseconds. */
const RETRY_HELD_MS = 250;
/** Shortest time between the beginnings of two full passes, in milliseconds: usually, and for repairs. */
const GAP_MS = 500;
const REPAIR_GAP_MS = 20;
/** So many repairs may follow one another, and so many more each second: somebody may go on for ever. */
const REPAIR_BURST = 30;
const REPAIRS_PER_SECOND = 10;
/** Longest wait of a timer, in milliseconds. */
const FOREVER_MS = 3_600_000;

export interface ReconcilerOptions {
  readonly kernel: KernelSync;
  readonly sysctls: Pick<SysctlSync, "sync" | "isBehind">;
  readonly store: Pick<Store, "list">;
  readonly source: Pick<ClusterSource, "synced" | "pod">;
  readonly node: NodeState;
  readonly bgpInput: Pick<BgpInput, "gather" | "ways">;
  readonly speaker: Pick<BgpSpeaker, "apply" | "state">;
  /** Nothing is to be announced from this node. */
  readonly drained: () => boolean;
  /** Called with the addresses that may no longer be announced, at each computation. */
  readonly onRefusals: (refused: readonly Refusal[]) => void;
  readonly changes: Pick<ChangeLog, "noteAnycast">;
  /** Milliseconds between periodic passes; 0: none. */
  readonly intervalMs: number;
  readonly turns?: Turns;
  readonly onTransitions?: OnTransitions;
  /** What tests replace: a clock in milliseconds that only goes forward, and waiting by it. */
  readonly now?: () => number;
  readonly pulse?: Pick<Pulse, "wait" | "wake">;
}

/** What became of one computation. */
interface Outcome {
  readonly attachments: readonly Attachment[];
  readonly desired: DesiredState;
  /** Changes that have to wait for BIRD. */
  readonly late: readonly Change[];
  readonly changes: number;
  /** Why not all of it could be done; undefined when it was. */
  readonly failure?: unknown;
}

/** Keeps the node's routes and BIRD's configuration as they should be. */
export class Reconciler {
  readonly #o: ReconcilerOptions;
  readonly #now: () => number;
  readonly #pulse: Pick<Pulse, "wait" | "wake">;
  readonly #turns: Turns;
  readonly #timer: TransitionTimer;
  /** A pod changed. */
  #podsChanged = false;
  /** When the next full pass is due, and when the last one began. */
  #dueAt = -Infinity;
  #beganAt = -Infinity;
  /** How many repairs need not be put off any further. */
  #repairs = REPAIR_BURST;
  #failures = 0;
  #firstPass = true;
  /** Computations and changes are made one after the other. */
  #turn: Promise<unknown> = Promise.resolve();
  readonly #leaving = new Leaving();
  /** Attachments that were complete when the kernel was read last. */
  #readWith: ReadonlySet<string> = new Set();
  #anycast: readonly AnycastAddress[] = [];
  /** The last computation, if it found everything as it should be: mostly the next one would find the same. */
  #settledBy: { readonly basis: readonly unknown[]; readonly outcome: Outcome } | undefined;

  constructor(options: ReconcilerOptions) {
    this.#o = options;
    this.#now = options.now ?? (() => performance.now());
    this.#pulse = options.pulse ?? new Pulse();
    this.#turns = options.turns ?? new Turns();
    this.#timer = new TransitionTimer(this.#now, options.onTransitions);
  }

  /** True once a pass made everything as it should be, but for what others are in the way of. */
  get settled(): boolean {
    return !this.#firstPass;
  }

  /** The anycast addresses of this node's pods, as computed last. */
  get anycast(): readonly AnycastAddress[] {
    return this.#anycast;
  }

  /** What the desired state is computed from, as it is now; undefined when nothing is known yet. */
  snapshot(): Snapshot | undefined {
    const { store, source, node, drained } = this.#o;
    if (node.config === undefined || !source.synced) return undefined;
    return {
      attachments: store.list(),
      podOf: (attachment) => podOf(source, attachment),
      links: new Map(node.kernel.links.map((link) => [link.ifname, link])),
      nodePrefixes: node.nodePrefixes,
      allowed: node.config.announce.allowed,
      reserved: node.reserved,
      drained: drained(),
      leaving: this.#leaving,
      maxLegs: this.#o.kernel.maxLegs,
    };
  }

  /**
   * Asks for a full pass. Several asked for while one runs are one.
   *
   * @param options.repair somebody else changed the kernel: it is not put off
   */
  markDirty(options: { readonly repair?: boolean } = {}): void {
    const repairGap = this.#repairs >= 1 ? REPAIR_GAP_MS : 1_000 / REPAIRS_PER_SECOND;
    const gap = options.repair ? repairGap : GAP_MS;
    this.#ask(Math.max(this.#now(), this.#beganAt + gap));
  }

  /**
   * Pods changed: what is announced may be something else now.
   *
   * @param heardAt when the source delivered that (`performance.now`); undefined when it is no news of its
   */
  markPodsChanged(heardAt?: number): void {
    this.#podsChanged = true;
    if (heardAt !== undefined) this.#timer.heard(heardAt);
    this.#pulse.wake();
  }

  /** Heeds what the kernel reports. */
  heed(event: IpEvent): void {
    const dev = event.kind === "link" || event.kind === "address"
      ? event.ifname
      : event.kind === "route"
      ? event.dev
      : undefined;
    // Whoever detaches it asks for a pass when that is done.
    if (this.#leaving.isGoing(dev)) return;
    const concern = concernOf(event, this.#o.kernel.wanted);
    if (concern !== "none") this.markDirty({ repair: concern === "repair" });
  }

  /** An attachment is about to be detached: withdraws what pods share. Does not throw. */
  async withdraw(attachment: Attachment): Promise<void> {
    this.#leaving.add(attachment);
    if (attachment.anycast === undefined) return;
    this.#timer.heard(this.#now());
    try {
      await this.#quickPass();
    } catch (error) {
      // Its link goes next, and the routes with it.
      const { containerId, ifname } = attachment;
      log.warn("Could not withdraw before detaching", { containerId, ifname, err: error });
      this.markDirty({ repair: true });
    }
  }

  /** Runs passes until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const now = this.#now();
      const isDue = this.#dueAt <= now;
      if (!isDue && !this.#podsChanged) {
        await this.#pulse.wait(Math.min(this.#dueAt - now, FOREVER_MS), signal);
        continue;
      }
      try {
        if (this.#podsChanged) {
          this.#podsChanged = false;
          await this.#turns.take("pods", () => this.#quickPass());
        }
        if (isDue) {
          const { intervalMs } = this.#o;
          const more = Math.min((now - this.#beganAt) / 1_000, REPAIR_BURST) * REPAIRS_PER_SECOND;
          this.#repairs = Math.min(this.#repairs + more, REPAIR_BURST) - 1;
          this.#beganAt = now;
          this.#dueAt = intervalMs > 0 ? now + intervalMs : Infinity;
          // Routes that wait for BIRD are asked for again soon.
          if (!await this.#turns.take("routes", () => this.pass())) {
            this.#ask(this.#now() + RETRY_HELD_MS);
          }
        }
        this.#failures = 0;
      } catch (error) {
        const retryInMs = Math.min(RETRY_MIN_MS * 2 ** this.#failures, RETRY_MAX_MS);
        this.#failures++;
        this.#ask(this.#now() + retryInMs);
        // On change and at each doubling: what failed says so itself.
        if (isNews(this.#failures)) {
          log.warn("Could not reconcile", { err: error, retryInMs, failures: this.#failures });
        }
      }
    }
  }

  /**
   * One full pass. Without a NodeConfig nothing is known, so nothing is touched.
   *
   * @returns false when a change waits for BIRD
   * @throws {Error} when the kernel cannot be read, or routes could not be installed
   */
  async pass(): Promise<boolean> {
    const { bgpInput, speaker } = this.#o;
    const began = performance.now();
    // Beside the look at the kernel.
    const ways = bgpInput.ways();
    ways.catch(() => {});
    const outcome = await this.#serially(() => this.#sync({ read: true, late: false }));
    if (outcome === undefined) return true;
    const { attachments, desired, late, changes } = outcome;
    let { failure } = outcome;
    // A pod's address is announced by itself, or by its prefix, at every moment: what is late waits until
    // BIRD runs a configuration with both. Until then BIRD is told of what goes, too.
    const announced = announcedAddresses(desired);
    const kept = given([...announced, ...prefixesOf(late, "install")], attachments);
    const input = await bgpInput.gather(kept, { retiring: prefixesOf(late, "remove"), ways });
    if (input) speaker.apply(renderBirdConfig(input));
    const { applied, error } = speaker.state;
    // Whoever makes the input complete asks for a pass.
    const isHeld = late.length > 0 && input !== undefined && !applied && error === undefined;
    if (late.length > 0 && input !== undefined && !isHeld) {
      failure = (await this.#serially(() => this.#sync({ read: false, late: true })))?.failure;
      const final = await bgpInput.gather(given(announced, attachments));
      if (final) speaker.apply(renderBirdConfig(final));
    }
    // One route in whose place another is keeps nothing else from being done, nor the node from being ready.
    this.#firstPass = false;
    if (failure !== undefined) {
      if (isHeld) this.#ask(this.#now() + RETRY_HELD_MS);
      throw failure;
    }
    log.debug("Reconciled", {
      changes,
      routes: desired.routes.length,
      waiting: isHeld,
      durationMs: Math.round((performance.now() - began) * 10) / 10,
    });
    return !isHeld;
  }

  /** Does what pods' changes ask for. @throws {Error} when not all of it could be done */
  async #quickPass(): Promise<void> {
    const outcome = await this.#serially(() => this.#sync({ read: false, late: false }));
    if (outcome?.failure !== undefined) throw outcome.failure;
  }

  /**
   * Computes what should be and makes it so. Undefined when nothing is known yet.
   *
   * @param options.read look at the kernel first, also when what it has is thought to be known
   * @param options.late also what waits for BIRD
   */
  async #sync(
    options: { readonly read: boolean; readonly late: boolean },
  ): Promise<Outcome | undefined> {
    const { kernel, sysctls, store, node, changes: changeLog } = this.#o;
    if (options.read || kernel.present === undefined || this.#hasUnfinishedLinks()) {
      this.#leaving.reading(store.list());
      this.#readWith = new Set(store.list().filter(isCommitted).map(identityOf));
      // Beside one another: without IPv6, say, a link cannot be made whole.
      const [observed, recheckInMs] = await Promise.all([kernel.read(), sysctls.sync()]);
      node.kernel = observed;
      // A link has its default route from a router advertisement since.
      if (sysctls.isBehind) await sysctls.sync();
      if (recheckInMs !== undefined) this.#ask(this.#now() + recheckInMs);
    }
    // From here to the change nothing is waited for.
    const snapshot = this.snapshot();
    if (snapshot === undefined) return undefined;
    const settle = this.#timer.begin();
    // What was attached while the kernel was read may have been seen in part: it has a pass of its own.
    const attachments = snapshot.attachments.map((a): Attachment =>
      this.#readWith.has(identityOf(a)) ? a : { ...a, state: "pending" }
    );
    this.#leaving.update(attachments);
    const basis = this.#basisOf(snapshot, attachments);
    const last = this.#settledBy;
    if (last !== undefined && isSame(basis, last.basis)) return last.outcome;
    this.#settledBy = undefined;
    const desired = desiredState({ ...snapshot, attachments });
    this.#anycast = desired.anycast;
    changeLog.noteAnycast(desired.anycast);
    this.#o.onRefusals(desired.refused);
    const pending = new Set(
      attachments.filter((a) => a.state === "pending").map((a) => a.hostIfname),
    );
    const present = kernel.present ?? new Map();
    const changes = kernel.plan(desired, (dev) => pending.has(dev) || this.#leaving.hasLeft(dev));
    const announced = announcedAddresses(desired);
    const late = options.late
      ? []
      : changes.filter((change) =>
        isDemotion(change, present, node.nodePrefixes) || isRetirement(change, announced)
      );
    // What is being detached may be gone in part: only what leads there is withdrawn.
    const now = changes.filter((change) =>
      !late.includes(change) &&
      !(change.kind === "install" && change.object.devs.some((dev) => this.#leaving.isGoing(dev)))
    );
    const failure = await kernel.apply(now).catch((error: unknown) => error);
    settle(failure === undefined ? desired.anycast : undefined);
    // Not a moment longer than it takes to see it; each time some more ids are known to be taken.
    if (failure instanceof IdTakenError) return await this.#sync({ ...options, read: true });
    const outcome = { attachments, desired, late, changes: changes.length, failure };
    if (changes.length === 0 && failure === undefined) this.#settledBy = { basis, outcome };
    return outcome;
  }

  /** All that a computation rests on. */
  #basisOf(snapshot: Snapshot, attachments: readonly Attachment[]): readonly unknown[] {
    const { kernel, node } = this.#o;
    return [
      ...[kernel.present, node.kernel, node.config, node.reserved, snapshot.drained],
      ...this.#leaving.basis,
      ...attachments,
      ...attachments.map((one) => one.anycast === undefined ? undefined : snapshot.podOf(one)),
    ];
  }

  /** What is attached was not when the kernel was read last, or its link was not whole. */
  #hasUnfinishedLinks(): boolean {
    const { node, store } = this.#o;
    const whole = new Set(
      node.kernel.links.filter(({ carrier }) => carrier).map(({ ifname }) => ifname),
    );
    return store.list().some((a) =>
      isCommitted(a) && !(this.#readWith.has(identityOf(a)) && whole.has(a.hostIfname))
    );
  }

  #serially<T>(step: () => Promise<T>): Promise<T> {
    const result = this.#turn.then(step);
    this.#turn = result.catch(() => {});
    return result;
  }

  /** Has the next full pass be due at a time, if it is not before. */
  #ask(at: number): void {
    this.#dueAt = Math.min(this.#dueAt, at);
    this.#pulse.wake();
  }
}

function isCommitted({ state }: Attachment): boolean {
  return state === "committed";
}

function isSame(a: readonly unknown[], b: readonly unknown[]): boolean {
  return a.length === b.length && a.every((item, i) => item === b[i]);
}
