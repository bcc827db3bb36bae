/**
 * Keeps the node's packet filter table as policies and attachments say.
 *
 *     source, store, NodeConfig ──▶ policy_facts ──▶ core/policy_ruleset ──▶ difference ──▶ nft -f -
 *
 * Each change is one transaction: there is no moment without rules. Until everything that policies rest on was
 * read, the table stays what it is.
 *
 * @module
 */
import { NFT_TABLE } from "../core/config.ts";
import { CniCode, CniError, messageOf } from "../core/errors.ts";
import type { NetworkPolicy } from "../core/network_policy.ts";
import type { NftTable } from "../core/nftables.ts";
import type { ClusterSource, PeerPod } from "../core/objects.ts";
import { PeerSets } from "../core/peer_sets.ts";
import { Trouble } from "../core/trouble.ts";
import type { PolicyPod } from "../core/policy.ts";
import type { Labels } from "../core/label_selector.ts";
import { PolicyCompiler } from "../core/policy_ruleset.ts";
import {
  enforcedPolicies,
  type GuardedLink,
  type PolicySelection,
  type RefusedPolicy,
} from "../core/policy_selection.ts";
import type { Nft } from "../io/nft.ts";
import { isNews, log } from "../log.ts";
import { sleep } from "../sleep.ts";
import { FilterTable, followDeletions } from "./filter_table.ts";
import { type PolicyFactsOptions, PolicyFactsReader } from "./policy_facts.ts";
import { Pulse } from "./pulse.ts";
import { Turns } from "./turns.ts";

/** How long an ADD waits for its rules, in milliseconds. */
const ADMIT_MS = 5_000;
/** Shortest time between two changes that nobody waits for, in milliseconds. */
const GAP_MS = 50;
/**
 * Looks that nobody asked for take about so much of the time, where the table is large: they are further apart,
 * by as much as the second number times.
 */
const LOOK_SHARE = 0.01;
const MAX_LOOK_GAPS = 2;
/** Until the first look at the table that nobody asked for, in milliseconds. */
const FIRST_LOOK_MS = 3_000;
/** Retry after a failure, in milliseconds: at first, and at most. */
const RETRY_MIN_MS = 1_000;
const RETRY_MAX_MS = 30_000;
/** How long changes may fail until no pods are taken any more, in milliseconds: a blip is no reason. */
const PATIENCE_MS = 10_000;
/** Longest wait of a timer, in milliseconds. */
const FOREVER_MS = 3_600_000;

export interface PolicyEnforcerOptions extends PolicyFactsOptions {
  readonly source:
    & PolicyFactsOptions["source"]
    & Pick<ClusterSource, "synced" | "policies" | "policiesSynced">;
  readonly nft: Pick<Nft, "list" | "run" | "follow">;
  /** Milliseconds between looks at the table; 0: none. */
  readonly intervalMs: number;
  readonly turns?: Turns;
  /** Called after each change of the table that was tried. */
  readonly onApply?: (result: "success" | "failure", seconds: number) => void;
  /** Milliseconds that an ADD waits for its rules. */
  readonly admitMs?: number;
  /** Milliseconds until a change that failed is tried again; twice as long each time. */
  readonly retryMinMs?: number;
  /** Milliseconds that changes may fail until `notReady`. */
  readonly patienceMs?: number;
  /** Called once, when the first table is in force. */
  readonly onFirst?: () => void;
}

/** What the table in force was made of. */
export interface EnforcedPolicies {
  readonly policies: readonly NetworkPolicy[];
  /** Of all nodes, as far as they are known. */
  readonly pods: readonly PolicyPod[];
  readonly namespaces: ReadonlyMap<string, Labels>;
  readonly links: readonly GuardedLink[];
  readonly selections: readonly PolicySelection[];
  readonly table: NftTable;
}

/** Has the kernel enforce policies. */
export class PolicyEnforcer {
  readonly #o: PolicyEnforcerOptions;
  readonly #turns: Turns;
  readonly #pulse = new Pulse();
  readonly #table: FilterTable;
  readonly #facts: PolicyFactsReader;
  readonly #peers = new PeerSets();
  readonly #compiler = new PolicyCompiler();
  /** How often a change was heard of, and how many of these are in the kernel. */
  #heard = 1;
  #done = 0;
  /** Until the next change is heard of. */
  #changed = Promise.withResolvers<void>();
  /** As of when it was tried last. */
  #tried = 0;
  #enforced: EnforcedPolicies | undefined;
  #error: string | undefined;
  /** Policies that were told to be too large. */
  #refused: ReadonlySet<NetworkPolicy> = new Set();
  /** Of changes and looks, while none succeeds. */
  readonly #trouble = new Trouble();
  /** Somebody deleted the table, or so it seems. */
  #isSuspect = false;
  #running: Promise<unknown> = Promise.resolve();
  #queued: Promise<boolean> | undefined;

  constructor(options: PolicyEnforcerOptions) {
    this.#o = options;
    this.#turns = options.turns ?? new Turns();
    this.#table = new FilterTable(options.nft);
    this.#facts = new PolicyFactsReader(options);
  }

  /** What the table in force was made of; undefined before the first one. */
  get enforced(): EnforcedPolicies | undefined {
    return this.#enforced;
  }

  /** All that was heard of is in the kernel. */
  get inForce(): boolean {
    return this.#done === this.#heard && this.#error === undefined;
  }

  /** Why the last change failed; undefined when it did not. */
  get error(): string | undefined {
    return this.#error;
  }

  /** Why a pod would have no rules now; undefined when it would, or when the trouble may be over soon. */
  get notReady(): string | undefined {
    const { patienceMs = PATIENCE_MS } = this.#o;
    const isNew = this.#enforced === undefined;
    const reason = this.#trouble.reason(performance.now(), isNew ? 0 : patienceMs);
    if (reason !== undefined) return `policies cannot be enforced: ${reason}`;
    return isNew ? "policies are not in force yet" : undefined;
  }

  /** How often the table was written again because somebody else had changed it. */
  get restored(): number {
    return this.#table.restored;
  }

  /** Asks for a look at everything: something changed. */
  wake(): void {
    this.#heard++;
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
    this.#pulse.wake();
  }

  /**
   * Waits until the rules of a pod are in the kernel. Its attachment is in the store already.
   *
   * @throws {CniError} `policyNotInForce`
   */
  async admit(pod: PeerPod, signal: AbortSignal): Promise<void> {
    const { admitMs = ADMIT_MS } = this.#o;
    const fail = (why: string, cause?: unknown): never => {
      const name = pod.namespace === "" ? pod.name : `${pod.namespace}/${pod.name}`;
      throw new CniError(
        CniCode.policyNotInForce,
        `Cannot enforce policies of pod "${name}": ${why}`,
        // The cause's words are in the message already.
        { cause, details: "" },
      );
    };
    this.#facts.know(pod);
    this.#heard++;
    const late = Promise.withResolvers<void>();
    const end = (): void => late.resolve();
    let isLate = false;
    const timer = setTimeout(() => {
      isLate = true;
      end();
    }, admitMs);
    signal.addEventListener("abort", end);
    if (signal.aborted) end();
    try {
      const done = this.#untilInForce(() => signal.aborted || isLate);
      done.catch(() => {});
      await Promise.race([done, late.promise]);
      signal.throwIfAborted();
      const why = this.#o.source.policiesSynced ? "nft has not finished" : "not all are known";
      if (isLate) fail(`${why} within ${admitMs / 1_000} s`);
    } catch (error) {
      if (error instanceof CniError || signal.aborted) throw error;
      // Whether or not this pod stays, the table has to become what it should be.
      this.wake();
      fail(messageOf(error), error);
    } finally {
      clearTimeout(timer);
      signal.removeEventListener("abort", end);
    }
  }

  /** Until all that was heard of before is in the kernel, or nobody waits for it any more. */
  async #untilInForce(isOver: () => boolean): Promise<void> {
    while (true) {
      const changed = this.#changed.promise;
      if (await this.#sync() || isOver()) return;
      // Too little was known.
      await changed;
    }
  }

  /** Follows changes until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const suspect = (): void => {
      this.#isSuspect = true;
      this.#pulse.wake();
    };
    await Promise.all([
      this.#keep(signal),
      followDeletions(this.#o.nft, { onDeleted: suspect, retryMs: RETRY_MAX_MS }, signal),
    ]);
  }

  async #keep(signal: AbortSignal): Promise<void> {
    const { intervalMs, retryMinMs = RETRY_MIN_MS } = this.#o;
    let failures = 0;
    // Soon: what the agent before this one began may have been done after this one looked.
    let lookAt = intervalMs > 0
      ? performance.now() + Math.min(intervalMs, FIRST_LOOK_MS)
      : Infinity;
    let retryAt = 0;
    while (!signal.aborted) {
      const now = performance.now();
      const isWaiting = now < retryAt;
      const isDue = this.#isSuspect || now >= lookAt;
      const isNew = failures > 0 || this.#tried !== this.#heard;
      if (isWaiting || (!isDue && !isNew)) {
        const nextAt = isWaiting ? retryAt : lookAt;
        await this.#pulse.wait(Math.min(nextAt - now, FOREVER_MS), signal);
        continue;
      }
      try {
        this.#isSuspect = false;
        if (isDue && intervalMs > 0) lookAt = now + intervalMs;
        await this.#turns.take("policies", async () => {
          if (isDue) {
            const durationMs = await this.#serially(() => this.#look());
            const gapMs = Math.min(durationMs / LOOK_SHARE, intervalMs * MAX_LOOK_GAPS);
            lookAt = Math.max(lookAt, now + gapMs);
          }
          await this.#sync();
          await this.#serially(() => this.#probe());
        });
        failures = 0;
      } catch (error) {
        // It was not looked at, or not to the end.
        this.#isSuspect ||= isDue;
        const retryInMs = Math.min(retryMinMs * 2 ** failures, RETRY_MAX_MS);
        failures++;
        retryAt = performance.now() + retryInMs;
        if (isNews(failures)) {
          log.warn("Could not enforce policies", { err: error, retryInMs, failures });
        }
      }
      await sleep(GAP_MS, signal);
    }
  }

  /** @returns milliseconds that it took */
  async #look(): Promise<number> {
    const began = performance.now();
    await this.#counted(() => this.#table.verify());
    const durationMs = performance.now() - began;
    log.debug("Looked at packet filter table", { durationMs });
    return durationMs;
  }

  /**
   * Makes the table what it should be, beginning after this was asked; who asks while another one is under
   * way shares the next.
   *
   * @returns false when too little is known to say what it should be
   */
  #sync(): Promise<boolean> {
    return this.#queued ??= this.#serially(() => {
      this.#queued = undefined;
      return this.#syncOnce();
    });
  }

  async #syncOnce(): Promise<boolean> {
    const { source, node } = this.#o;
    const heard = this.#tried = this.#heard;
    if (!source.synced || !source.policiesSynced || node.config === undefined) return false;
    const { links, pods, namespaces } = this.#facts.read();
    const policies = [...source.policies()];
    this.#peers.update(pods, namespaces);
    const { allowSpoofing } = node.config;
    const ruleset = this.#compiler.compile({ links, policies, peers: this.#peers, allowSpoofing });
    await this.#counted(() => this.#table.apply(ruleset.table));
    const isFirst = this.#enforced === undefined;
    this.#tellRefused(ruleset.refused);
    this.#enforced = {
      policies: enforcedPolicies(policies, ruleset.refused),
      ...{ pods, namespaces, links },
      ...ruleset,
    };
    this.#done = heard;
    if (isFirst) {
      this.#trouble.end();
      this.#o.onFirst?.();
    }
    return true;
  }

  #tellRefused(refused: readonly RefusedPolicy[]): void {
    const known = this.#refused;
    this.#refused = new Set(refused.map(({ policy }) => policy));
    for (const { policy, direction, size } of refused) {
      if (known.has(policy)) continue;
      const { namespace, name } = policy;
      const object = `NetworkPolicy ${namespace}/${name}`;
      log.warn("Refused policy that is too large: it allows nothing", { object, direction, size });
    }
  }

  /** Notes the outcome of a change. */
  async #counted(change: () => Promise<boolean>): Promise<void> {
    const began = performance.now();
    const seconds = (): number => (performance.now() - began) / 1_000;
    try {
      if (await change()) {
        this.#trouble.end();
        this.#o.onApply?.("success", seconds());
      }
      this.#error = undefined;
    } catch (error) {
      this.#error = messageOf(error);
      this.#trouble.note(this.#error, performance.now());
      this.#o.onApply?.("failure", seconds());
      throw error;
    }
  }

  /**
   * Looks whether the table can be changed again, when there is nothing to change: the ADD that failed was
   * undone.
   */
  async #probe(): Promise<void> {
    const isOver = this.#trouble.reason(performance.now()) === undefined;
    if (isOver || this.#enforced === undefined) return;
    try {
      await this.#o.nft.run(`add table inet ${NFT_TABLE}\n`);
      this.#trouble.end();
    } catch (error) {
      this.#trouble.note(messageOf(error), performance.now());
      throw error;
    }
  }

  #serially<T>(step: () => Promise<T>): Promise<T> {
    const result = this.#running.then(step);
    this.#running = result.catch(() => {});
    return result;
  }
}
