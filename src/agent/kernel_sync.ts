/**
 * What of flock's the kernel has, and making it what it should be. What was read is remembered together
 * with the changes made since, so that a single change needs no look at the kernel; whoever hears of a
 * foreign change has it read again.
 *
 * @module
 */
import { MAX_GROUP_MEMBERS, MAX_ROUTE_HOPS } from "../core/config.ts";
import type { DesiredState } from "../core/desired_state.ts";
import { describeRoute } from "../core/explain_known.ts";
import type { IpRoute } from "../core/ip_state.ts";
import { isOurs, type OwnObject, type OwnState } from "../core/own_objects.ts";
import { observedState, ownState } from "../core/own_state.ts";
import { type Change, diffState, withChanges } from "../core/state_diff.ts";
import type { FailedLine, Ip, KernelState } from "../io/ip.ts";
import { log } from "../log.ts";
import type { ChangeLog } from "./change_log.ts";

/** What is counted. */
export interface RouteCounters {
  /** Routes that somebody else removed or changed, and that are back. */
  reinstalls: number;
  /** Of these, the ones that were changed. */
  changed: number;
  /** Routes that could not be installed, each try. */
  installFailures: number;
  /** Lines of links' ends, next hops and groups that were put right. */
  repairs: number;
}

/** Of how many routes in one pass it is found out what is beside them or in their place: a process each. */
const MAX_TOLD = 16;

/**
 * Ids that were chosen for next hops or groups are somebody else's. Until the kernel is read and changed
 * again, what was made of them leads where that one wants.
 */
export class IdTakenError extends Error {
  override readonly name = "IdTakenError";

  constructor(ids: readonly number[]) {
    super(`Cannot add next hops "${ids.join(", ")}": somebody else has these ids`);
  }
}

/** The kernel's objects of ours. */
export class KernelSync {
  readonly counters: RouteCounters = {
    reinstalls: 0,
    changed: 0,
    installFailures: 0,
    repairs: 0,
  };
  readonly #ip: Pick<Ip, "observe" | "change" | "routesTo">;
  readonly #sticky: boolean;
  readonly #changes: Pick<ChangeLog, "note">;
  #present: OwnState | undefined;
  /** Ids that somebody else has next hops with. */
  readonly #foreignIds = new Set<number>();
  /** What was there when that was known last. */
  #seen: OwnState = new Map();
  /** The kernel as it was read last, and what of ours it had. */
  #kernel: KernelState | undefined;
  #observed: OwnState = new Map();
  #wanted: OwnState = new Map();
  #planned = false;
  /** What was wanted and in place after the last change, key → meaning. */
  #inPlace: ReadonlyMap<string, string> = new Map();
  /** Failures of the last change, each as JSON: they are told when they are news. */
  #failing: ReadonlySet<string> = new Set();

  /** @param options.sticky the kernel has resilient groups of next hops */
  constructor(
    options: {
      readonly ip: Pick<Ip, "observe" | "change" | "routesTo">;
      readonly sticky: boolean;
      readonly changes: Pick<ChangeLog, "note">;
    },
  ) {
    this.#ip = options.ip;
    this.#changes = options.changes;
    this.#sticky = options.sticky;
  }

  /** What is there; undefined when it has to be read first. */
  get present(): OwnState | undefined {
    return this.#present;
  }

  /** What was there when that was known last: nothing before the first look. */
  get known(): OwnState {
    return this.#present ?? this.#seen;
  }

  /** What should be there, as computed last. */
  get wanted(): OwnState {
    return this.#wanted;
  }

  /** It was computed since the agent started. Without a NodeConfig it is not. */
  get planned(): boolean {
    return this.#planned;
  }

  /** Most pods that an address can be routed to. */
  get maxLegs(): number {
    return this.#sticky ? MAX_GROUP_MEMBERS : MAX_ROUTE_HOPS;
  }

  /** Reads the kernel. */
  async read(): Promise<KernelState> {
    this.#seen = this.#present ?? this.#seen;
    this.#present = undefined;
    const kernel = await this.#ip.observe();
    if (kernel !== this.#kernel) {
      this.#kernel = kernel;
      this.#observed = observedState(kernel);
    }
    this.#present = withUntold(this.#observed, this.#seen);
    return kernel;
  }

  /**
   * The changes that have to be made, in their order.
   *
   * @param isPending true for the link of an attachment that is being wired or torn down
   */
  plan(desired: DesiredState, isPending: (dev: string) => boolean): readonly Change[] {
    const present = this.#present ?? new Map();
    const options = { foreignIds: this.#foreignIds, sticky: this.#sticky };
    this.#wanted = ownState(desired, present, options);
    this.#planned = true;
    return diffState(this.#wanted, present, isPending);
  }

  /**
   * Makes changes. What cannot be made is logged when it is news.
   *
   * @throws {IdTakenError} when ids of next hops are somebody else's: other ones are planned from now on
   * @throws {Error} when some could not be made; then the kernel has to be read again
   */
  async apply(changes: readonly Change[]): Promise<void> {
    const present = this.#present ?? new Map();
    this.#seen = present;
    this.#present = undefined;
    const unmade = changes.length === 0
      ? []
      : await this.#ip.change(changes.map(({ line }) => line));
    const failedLines = new Set(unmade.map(({ line }) => line));
    // A link that went since it was read is no failure: the kernel is read again.
    const failed = unmade.filter((one) => !isLinkGone(one));
    const taken = failed.filter(({ reason }) => /File exists/.test(reason))
      .flatMap(({ line }) => /^nexthop add id (\d+)/.exec(line)?.[1] ?? []).map(Number);
    for (const id of taken) this.#foreignIds.add(id);
    // It leads where somebody else wants, and is made again.
    const isAstray = ({ kind, object }: Change): boolean =>
      kind === "install" && object.kind === "route" && taken.includes(object.id ?? 0);
    const isMade = (change: Change): boolean => !failedLines.has(change.line) && !isAstray(change);
    const made = changes.filter(isMade);
    const repaired = made.filter((change) => this.#tell(change, present));
    this.counters.installFailures +=
      changes.filter(({ kind, object, line }) =>
        kind === "install" && object.kind === "route" && failed.some((one) => one.line === line)
      ).length;
    const next = withChanges(present, made);
    // What waits for its turn stays known as ours: it goes, or changes, as planned.
    this.#inPlace = new Map([
      ...[...next].map(([key, object]) => [key, meaningOf(object)] as const)
        .filter(([key, meaning]) =>
          next.get(key)?.text === this.#wanted.get(key)?.text || this.#inPlace.get(key) === meaning
        ),
      // What is in the way of a repair makes it no first installation.
      ...changes.filter((change) => !isMade(change)).flatMap(({ key }): [string, string][] => {
        const meaning = this.#inPlace.get(key);
        return meaning === undefined ? [] : [[key, meaning]];
      }),
    ]);
    await this.#tellCauses(repaired);
    await this.#tellFailures(failed);
    if (taken.length > 0) throw new IdTakenError(taken);
    if (failed.length > 0) throw new Error(`Cannot make ${failed.length} changes of routes`);
    if (unmade.length === 0) this.#present = next;
  }

  /** Logs a change; true for a route that somebody else had removed or changed. */
  #tell({ kind, key, object }: Change, present: OwnState): boolean {
    const { subject, text } = object;
    const isRepair = kind === "install" && this.#inPlace.get(key) === meaningOf(object);
    if (object.kind !== "route") {
      if (isRepair || object.kind === "end") {
        this.counters.repairs++;
        const what = object.kind === "end" ? { link: subject } : { id: subject };
        log.warn("Repaired what somebody else changed", {
          ...what,
          object: text,
          was: present.get(key)?.text,
        });
      } else log.debug(kind === "install" ? "Made next hop" : "Removed next hop", { object: text });
      return false;
    }
    const note = (what: string, why: string): void => this.#changes.note({ subject, what, why });
    // Of what pods share it is told elsewhere which of them began or stopped to serve it, and why.
    const isShared = object.route?.shared ?? false;
    if (kind === "remove") {
      if (this.#inPlace.has(key)) {
        log.info("Removed route", { prefix: subject });
        if (!isShared) note("its route was removed", "it is wanted no more");
      } else {
        log.warn("Removed stray route", { prefix: subject, route: text });
        note("a stray route was removed", "nobody wants it");
      }
      return false;
    }
    if (!isRepair) {
      log.info("Installed route", { prefix: subject, route: text });
      if (!isShared) note("its route was installed", "it is wanted and was not there");
    } else {
      const reason = present.has(key) ? "changed" : "deleted";
      this.counters.reinstalls++;
      if (reason === "changed") this.counters.changed++;
      log.warn("Reinstalled route that somebody else removed", {
        prefix: subject,
        route: text,
        reason,
      });
      note("its route was installed again", "somebody else removed or changed it");
    }
    return isRepair;
  }

  /** Says of routes that were installed again what else leads to the same prefix. */
  async #tellCauses(repaired: readonly Change[]): Promise<void> {
    for (const { object: { subject: prefix } } of repaired.slice(0, MAX_TOLD)) {
      const others = await this.#othersTo(prefix);
      if (others.length === 0) continue;
      log.warn("Found other routes beside a reinstalled one", {
        prefix,
        others: others.map(describeRoute),
      });
    }
  }

  async #tellFailures(failed: readonly FailedLine[]): Promise<void> {
    const known = this.#failing;
    this.#failing = new Set(failed.map((one) => JSON.stringify(one)));
    const news = failed.filter((one) => !known.has(JSON.stringify(one)));
    for (const [n, { line, reason }] of news.entries()) {
      const prefix = /^route add (?:unreachable )?(\S+)/.exec(line)?.[1];
      const metric = Number(/ metric (\d+)/.exec(line)?.[1]);
      const others = n < MAX_TOLD && prefix !== undefined && /File exists/.test(reason)
        ? (await this.#othersTo(prefix)).filter((route) => route.metric === metric)
        : [];
      if (prefix !== undefined) {
        const why = [reason, ...others.map(describeRoute)].join("; ");
        this.#changes.note({ subject: prefix, what: "its route could not be installed", why });
      }
      if (others.length === 0) log.warn("Could not change route", { line, reason });
      else {
        log.warn("Could not install route: another one is in its place", {
          prefix,
          route: line,
          others: others.map(describeRoute),
        });
      }
    }
  }

  /** Routes to the same prefix that are not ours. */
  async #othersTo(prefix: string): Promise<readonly IpRoute[]> {
    try {
      const routes = await this.#ip.routesTo(prefix);
      return routes.filter(({ protocol }) => !isOurs(protocol));
    } catch {
      return []; // it is for a log line
    }
  }
}

/**
 * A group that the kernel has changed, because a link went, has to be made again even if it is as it
 * should be: nobody was told of its IPv4 routes. BIRD, which looks at them when a link goes down, may have
 * seen the next hop that was about to go, and dropped the route until its next scan.
 */
function withUntold(present: OwnState, seen: OwnState): OwnState {
  const untold = [...present].filter(([key, { kind, text }]) =>
    kind === "group" && (seen.get(key)?.text ?? text) !== text
  );
  if (untold.length === 0) return present;
  return new Map([
    ...present,
    ...untold.map(([key, object]) => [key, { ...object, text: "" }] as const),
  ]);
}

/** A line failed because a pod's link is not there any more. */
function isLinkGone({ line, reason }: FailedLine): boolean {
  return /(?:^link set| dev) flock[0-9a-f]{8}\b/.test(line) &&
    /Cannot find device|No such device/.test(reason);
}

/** What a text says but for the group's id: another one is taken where somebody else has taken ours. */
function meaningOf({ kind, text }: OwnObject): string {
  return kind === "route" ? text.replace(/ nhid \d+/, " nhid") : text;
}
