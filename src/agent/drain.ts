/**
 * Draining: takes the node's anycast addresses out of service before the node itself goes. They stay
 * announced with GRACEFUL_SHUTDOWN (RFC 8326) until the routers prefer other nodes and what is under way
 * here has had its time; then they are not routed any more. What an operator asked for is on the disk
 * before anything is done, and holds over restarts and reboots until it is taken back.
 *
 * Here are only the phases. `bgp_input.ts` asks {@linkcode Drain.active} for the community, the desired
 * routes ask {@linkcode Drain.withdrawn}.
 *
 * @module
 */
import { formatPrefix, hostPrefix, parseAddress } from "../core/cidr.ts";
import { PROTO_ANNOUNCED } from "../core/config.ts";
import {
  type DrainPhase,
  type DrainReport,
  type DrainState,
  isDrainWait,
  parseDrainState,
  remainingWait,
  renderDrainState,
} from "../core/drain_state.ts";
import { CniCode, CniError, messageOf } from "../core/errors.ts";
import { readTextIfPresent, removeFileDurable, writeFileDurable } from "../io/fs.ts";
import type { KernelState } from "../io/ip.ts";
import { log } from "../log.ts";
import { KeyLock } from "./key_lock.ts";
import { Pulse } from "./pulse.ts";
import type { Operation } from "./server.ts";

/** The wait begins at the latest after so many milliseconds: a BIRD that is away must not hold it up. */
const ANNOUNCE_MS = 5_000;
/** Milliseconds between two looks whether BIRD has the community. */
const POLL_MS = 50;
/** The longest time between two looks while the addresses are still announced, in milliseconds. */
const WAIT_POLL_MS = 1_000;
/** Milliseconds between two looks when there is nothing to wait for. */
const IDLE_MS = 3_600_000;

export interface DrainOptions {
  readonly stateDir: string;
  /** BIRD runs a configuration that has GRACEFUL_SHUTDOWN on the anycast addresses. */
  readonly announced: () => boolean;
  /** Anycast addresses of the node's pods. */
  readonly addresses: () => readonly string[];
  readonly ip: { observe(): Promise<Pick<KernelState, "routes">> };
  /** What `active` or `withdrawn` says has changed. */
  readonly onChange: () => void;
  /** Milliseconds since the epoch. */
  readonly now?: () => number;
  /** Milliseconds of a clock that nobody sets. */
  readonly ticks?: () => number;
}

/** Goes through the phases of a drain. */
export class Drain {
  readonly #o: Required<DrainOptions>;
  readonly #file: string;
  readonly #lock = new KeyLock();
  readonly #pulse = new Pulse();
  #phase: DrainPhase = "none";
  /** As on the disk; undefined also where that is damaged. */
  #state: DrainState | undefined;
  /** When the wait ends, in ticks and in milliseconds since the epoch; undefined before it begins. */
  #end: { readonly ticks: number; readonly at: number } | undefined;
  /** When it begins at the latest, in ticks. */
  #beginsBy = 0;

  private constructor(options: DrainOptions) {
    this.#o = { now: Date.now, ticks: () => performance.now(), ...options };
    this.#file = `${options.stateDir}/drain.json`;
  }

  /** Goes on where the last agent was. A damaged file means drained: somebody did ask for it. */
  static async open(options: DrainOptions): Promise<Drain> {
    const drain = new Drain(options);
    await drain.#load();
    return drain;
  }

  /** Draining or drained: announcements of anycast addresses carry GRACEFUL_SHUTDOWN. */
  get active(): boolean {
    return this.#phase !== "none";
  }

  /** Anycast addresses of this node are not to be routed. */
  get withdrawn(): boolean {
    return this.#phase === "withdrawn";
  }

  /** How far it is, without a look at the kernel. */
  get status(): Omit<DrainReport, "routed"> {
    const end = this.#phase === "announcing" ? this.#end : undefined;
    return {
      phase: this.#phase,
      since: this.#state && new Date(this.#state.since).toISOString(),
      withdrawsAt: end && new Date(end.at).toISOString(),
      waitMs: this.#state?.waitMs,
      addresses: this.#o.addresses(),
    };
  }

  /** How far it is. */
  async report(): Promise<DrainReport> {
    const { routes } = await this.#o.ip.observe();
    const announced = new Set(
      routes.filter(({ protocol }) => protocol === String(PROTO_ANNOUNCED)).map(({ dst }) => dst),
    );
    const { addresses } = this.#o;
    const routed = addresses().filter((address) =>
      announced.has(formatPrefix(hostPrefix(parseAddress(address))))
    );
    return { ...this.status, routed };
  }

  /**
   * Starts draining. While addresses are announced a different wait takes the place of the former, counted
   * from the same beginning; a node that is drained stays so.
   *
   * @throws {Error} when it cannot be written down: then nothing was done
   */
  drain(waitMs: number): Promise<DrainReport> {
    return this.#lock.run("", async () => {
      if (this.#phase === "none") await this.#start(waitMs);
      else if (this.#state === undefined) await this.#mend();
      else if (this.#phase === "announcing" && waitMs !== this.#state.waitMs) {
        await this.#changeWait(waitMs, this.#state);
      }
      return await this.report();
    });
  }

  /**
   * Takes it back; no error when there is nothing to take back.
   *
   * @throws {Error} when the file cannot be removed: then the node stays drained
   */
  undrain(): Promise<DrainReport> {
    return this.#lock.run("", async () => {
      await removeFileDurable(this.#file);
      if (this.#phase !== "none") {
        this.#phase = "none";
        this.#state = this.#end = undefined;
        log.info("Ended draining", { addresses: this.#o.addresses().length });
        this.#o.onChange();
      }
      return await this.report();
    });
  }

  /** Goes through the phases until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) await this.#pulse.wait(await this.look(), signal);
  }

  /** Goes to the next phase when it is time. @returns milliseconds until the next look */
  look(): Promise<number> {
    return this.#lock.run("", async () => {
      if (this.#phase !== "announcing" || this.#state === undefined) return IDLE_MS;
      const { addresses, announced, ticks } = this.#o;
      // With nothing to announce there is nothing to wait for.
      if (addresses().length > 0) {
        if (this.#end === undefined) {
          const isAnnounced = announced();
          if (!isAnnounced && ticks() < this.#beginsBy) return POLL_MS;
          await this.#begin(this.#state, isAnnounced);
        }
        const leftMs = (this.#end?.ticks ?? 0) - ticks();
        if (leftMs > 0) return Math.min(leftMs, WAIT_POLL_MS);
      }
      await this.#withdraw(this.#state);
      return IDLE_MS;
    });
  }

  async #load(): Promise<void> {
    const { now, ticks } = this.#o;
    let text: string | undefined;
    try {
      text = await readTextIfPresent(this.#file);
      if (text === undefined) return;
      this.#state = parseDrainState(text);
    } catch (error) {
      this.#phase = "withdrawn";
      log.error("Could not read the state of draining", {
        path: this.#file,
        err: `Cannot use file "${this.#file}": ${messageOf(error)}; ` +
          "the node counts as drained until flock undrain",
      });
      return;
    }
    this.#phase = this.#state.withdrawnAt === undefined ? "announcing" : "withdrawn";
    this.#beginsBy = ticks() + ANNOUNCE_MS;
    const leftMs = remainingWait(this.#state, now());
    // Not to be announced for a moment only because the loop does not run yet.
    if (leftMs === 0) this.#phase = "withdrawn";
    if (leftMs !== undefined) this.#endIn(leftMs);
    log.info("Found node drained", { phase: this.#phase, since: this.status.since, leftMs });
  }

  async #start(waitMs: number): Promise<void> {
    const { now, ticks, addresses, onChange } = this.#o;
    await this.#write({ since: now(), waitMs });
    this.#phase = "announcing";
    this.#end = undefined;
    this.#beginsBy = ticks() + ANNOUNCE_MS;
    log.info("Started draining", { addresses: addresses().length, waitMs });
    onChange();
    this.#pulse.wake();
  }

  /** Writes a file in place of the damaged one. */
  async #mend(): Promise<void> {
    const at = this.#o.now();
    await this.#write({ since: at, waitMs: 0, announcedAt: at, withdrawnAt: at });
  }

  async #changeWait(waitMs: number, state: DrainState): Promise<void> {
    await this.#write({ ...state, waitMs });
    if (this.#end !== undefined) {
      this.#endIn(this.#end.ticks - this.#o.ticks() + waitMs - state.waitMs);
    }
    log.info("Changed wait of draining", { waitMs, wasMs: state.waitMs });
    this.#pulse.wake();
  }

  async #begin(state: DrainState, isAnnounced: boolean): Promise<void> {
    this.#endIn(state.waitMs);
    const { withdrawsAt } = this.status;
    if (isAnnounced) log.info("Announced graceful shutdown", { withdrawsAt });
    else log.warn("Could not announce graceful shutdown", { afterMs: ANNOUNCE_MS, withdrawsAt });
    await this.#note({ ...state, announcedAt: this.#o.now() });
  }

  #endIn(ms: number): void {
    this.#end = { ticks: this.#o.ticks() + ms, at: this.#o.now() + ms };
  }

  async #withdraw(state: DrainState): Promise<void> {
    const { now, addresses, onChange } = this.#o;
    await this.#note({ ...state, withdrawnAt: now() });
    this.#phase = "withdrawn";
    log.info("Withdrew anycast addresses", { addresses: addresses().length });
    onChange();
  }

  async #write(state: DrainState): Promise<void> {
    await writeFileDurable(this.#file, renderDrainState(state));
    this.#state = state;
  }

  /** Writes how far it is. A disk that is full does not keep the node in service. */
  async #note(state: DrainState): Promise<void> {
    try {
      await this.#write(state);
    } catch (error) {
      this.#state = state;
      log.warn("Could not write the state of draining", { path: this.#file, err: error });
    }
  }
}

/** The operators' commands: `drain` with a wait starts, without one only tells; `undrain`. */
export function drainOperations(
  drain: Pick<Drain, "drain" | "undrain" | "report">,
): Readonly<Record<string, Operation>> {
  return {
    drain: ({ wait_ms: waitMs }) => {
      if (waitMs === undefined) return drain.report();
      if (isDrainWait(waitMs)) return drain.drain(waitMs);
      throw new CniError(
        CniCode.decode,
        `Cannot decode request: "wait_ms" is ${JSON.stringify(waitMs)}, ` +
          "not milliseconds up to a day",
      );
    },
    undrain: () => drain.undrain(),
  };
}
