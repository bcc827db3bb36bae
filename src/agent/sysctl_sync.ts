/**
 * Keeps sysctls as they should be: looked at in each pass, put right, and told. What the node's were
 * before is kept in `<stateDir>/sysctls.json`, so that uninstalling can put it back.
 *
 * Somebody may switch one off again and again. Then it is put right ever more rarely, and is a difference
 * meanwhile.
 *
 * @module
 */
import { messageOf } from "../core/errors.ts";
import {
  acceptRaLink,
  advertisedLinks,
  type WantedSysctl,
  wantedSysctls,
  wrongSysctls,
} from "../core/node_sysctls.ts";
import { readTextIfPresent, writeFileDurable } from "../io/fs.ts";
import type { Store } from "../io/store.ts";
import type { Sysctl } from "../io/sysctl.ts";
import { isNews, log } from "../log.ts";
import { identityOf } from "./leaving.ts";
import type { NodeState } from "./node_state.ts";

/** How long one is left as it is after it was put right, in milliseconds: at first, and at most. */
const HOLD_MIN_MS = 1_000;
const HOLD_MAX_MS = 60_000;
/** One that stayed right for so long is put right at once again, in milliseconds. */
const CALM_MS = 600_000;

type Wrong = WantedSysctl & { readonly was: string };

export interface SysctlSyncOptions {
  readonly sysctl: Sysctl;
  readonly stateDir: string;
  readonly node: Pick<NodeState, "kernel">;
  readonly store: Pick<Store, "list">;
  /** False: nothing is written, what is wrong is only told. */
  readonly writes: boolean;
  /** Milliseconds of a clock that only goes forward. */
  readonly now?: () => number;
}

/** The sysctls of the node and of flock's ends of links. */
export class SysctlSync {
  /** Times that one was put right which somebody else had changed. */
  readonly counters = { repairs: 0 };
  readonly #o: SysctlSyncOptions;
  readonly #now: () => number;
  /** Links that have, or had, a default route from router advertisements. */
  readonly #advertised = new Set<string>();
  #knowsFormer = false;
  /** Paths that were right at some look: what is wrong then is somebody else's doing. */
  readonly #seen = new Set<string>();
  /** When each was put right last, how often in a row, and until when it is left alone. */
  readonly #held = new Map<string, { times: number; at: number; until: number }>();
  /** What was said to be wrong and is not put right. */
  #told: ReadonlySet<string> = new Set();
  #failures = 0;

  constructor(options: SysctlSyncOptions) {
    this.#o = options;
    this.#now = options.now ?? (() => performance.now());
  }

  /** True when a link got its default route from a router advertisement since the last look. */
  get isBehind(): boolean {
    return advertisedLinks(this.#o.node.kernel.defaultRoutes)
      .some((link) => !this.#advertised.has(link));
  }

  /** What is wrong now, each as a sentence. Changes nothing. */
  async differences(): Promise<readonly string[]> {
    return (await this.#look()).map(({ path, value, was }) =>
      `sysctl ${path} is ${was}, not ${value}`
    );
  }

  /**
   * Looks, and puts right what is wrong. Does not throw: routes do not wait for it.
   *
   * @returns in how many milliseconds to look again at what was left alone; undefined when nothing was
   */
  async sync(): Promise<number | undefined> {
    try {
      await this.#readFormer();
      const wrong = await this.#look();
      if (!this.#o.writes) return this.#tell(wrong);
      // The node's first: a switch of the kernel for all links sets those of each.
      const nodes = wrong.filter(({ own }) => !own);
      await this.#restore(nodes);
      const rest = nodes.length > 0 ? await this.#look() : wrong;
      await this.#restore(rest.filter(({ own }) => own));
      this.#failures = 0;
      const waiting = rest.flatMap(({ path }) => this.#held.get(path)?.until ?? []);
      return waiting.length === 0 ? undefined : Math.max(Math.min(...waiting) - this.#now(), 0);
    } catch (error) {
      if (isNews(++this.#failures)) {
        log.warn("Could not look at sysctls", { err: error, failures: this.#failures });
      }
      return undefined;
    }
  }

  async #look(): Promise<readonly Wrong[]> {
    const { node, store, sysctl } = this.#o;
    for (const link of advertisedLinks(node.kernel.defaultRoutes)) this.#advertised.add(link);
    // Those of a link that is being made are written by whoever makes it.
    const attachments = store.list().filter(({ state }) => state === "committed");
    const wanted = wantedSysctls(this.#advertised, attachments);
    const present = await sysctl.read(wanted.map(({ path }) => path));
    const there = new Set(store.list().map(identityOf));
    const gone = new Set(
      attachments.filter((one) => !there.has(identityOf(one))).map((one) => one.hostIfname),
    );
    const wrong = wrongSysctls(wanted, present).filter(({ path, own }) =>
      !(own && gone.has(path.split("/")[3]!))
    );
    const isWrong = new Set(wrong.map(({ path }) => path));
    for (const { path } of wanted) {
      if (present[path] === undefined) this.#seen.delete(path);
      else if (!isWrong.has(path)) this.#seen.add(path);
    }
    return wrong;
  }

  async #restore(wrong: readonly Wrong[]): Promise<void> {
    const { sysctl } = this.#o;
    const now = this.#now();
    const due = wrong.filter(({ path }) => now >= (this.#held.get(path)?.until ?? -Infinity));
    if (due.length === 0) return;
    const isRepair = ({ path, own }: Wrong): boolean => own || this.#seen.has(path);
    await this.#remember(due.filter((one) => !isRepair(one)));
    // What cannot be written is seen by what is there then.
    let reason = "it is another again";
    await sysctl.write(due.map(({ path, value }) => [path, value] as const))
      .catch((error) => void (reason = messageOf(error)));
    const present = await sysctl.read(due.map(({ path }) => path));
    const failed = new Set(wrongSysctls(due, present).map(({ path }) => path));
    for (const one of due) {
      const { path: name, value, was } = one;
      if (failed.has(name)) log.warn("Could not set sysctl", { sysctl: name, value, was, reason });
      else if (isRepair(one)) {
        this.counters.repairs++;
        log.warn("Restored sysctl that somebody else changed", { sysctl: name, value, was });
      } else log.info("Set sysctl", { sysctl: name, value, was });
      if (failed.has(name) || isRepair(one)) this.#hold(name);
      if (!failed.has(name)) this.#seen.add(name);
    }
  }

  #hold(path: string): void {
    const now = this.#now();
    for (const [other, { at }] of this.#held) if (now - at > CALM_MS) this.#held.delete(other);
    const times = (this.#held.get(path)?.times ?? 0) + 1;
    const until = now + Math.min(HOLD_MIN_MS * 2 ** (times - 1), HOLD_MAX_MS);
    this.#held.set(path, { times, at: now, until });
  }

  /** Says what is wrong and stays so, when that is news. */
  #tell(wrong: readonly Wrong[]): undefined {
    const told = this.#told;
    this.#told = new Set(wrong.map(({ path, was }) => `${path} ${was}`));
    for (const { path, value, was } of wrong) {
      if (told.has(`${path} ${was}`)) continue;
      log.warn("Found sysctl that should be another", { sysctl: path, wanted: value, is: was });
    }
  }

  get #file(): string {
    return `${this.#o.stateDir}/sysctls.json`;
  }

  /** Links whose `accept_ra` an earlier run had to set: they may have gone and come back since. */
  async #readFormer(): Promise<void> {
    if (this.#knowsFormer) return;
    this.#knowsFormer = true;
    const former = await this.#former();
    for (const path of Object.keys(former ?? {})) {
      const link = acceptRaLink(path);
      if (link !== undefined) this.#advertised.add(link);
    }
  }

  async #former(): Promise<Record<string, string> | undefined> {
    try {
      return JSON.parse(await readTextIfPresent(this.#file) ?? "{}");
    } catch (error) {
      // Pods do not wait for this: what was in it is for uninstalling only, and stays for a person to read.
      log.error("Could not read the former sysctls", { file: this.#file, err: error });
      return undefined;
    }
  }

  /** Adds former values; those of an earlier start are older and stay. */
  async #remember(changed: readonly Wrong[]): Promise<void> {
    if (changed.length === 0) return;
    const known = await this.#former();
    if (known === undefined) return;
    const all = { ...Object.fromEntries(changed.map(({ path, was }) => [path, was])), ...known };
    await writeFileDurable(this.#file, JSON.stringify(all, null, 2) + "\n").catch((error) =>
      log.error("Could not remember the former sysctls", { file: this.#file, err: error })
    );
  }
}
