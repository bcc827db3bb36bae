/**
 * Keeps BIRD running the configuration that was last asked for: write beside, check, rename, reload.
 * Rendering is `core/bird_config.ts`; nobody else writes the file or reloads BIRD.
 *
 * ```
 *   apply  A     B  C               D (refused)
 *          │     └──┤               │
 *          ▼        ▼               ▼
 *   BIRD   A ······ C ············· C        D is tried again, less and less often
 *          └ 500 ms ┘
 * ```
 *
 * BIRD has a life of its own. While it is away the file is put in place, so that it starts with it, and
 * reloading is tried again.
 *
 * @module
 */
import { messageOf } from "../core/errors.ts";
import { BirdAbsentError, type Birdc, BirdRefusedError } from "../io/birdc.ts";
import { CommandError, runCommand } from "../io/command.ts";
import { ensureDir, parentOf, syncDir, writeFileDurable } from "../io/fs.ts";
import { isNews, log } from "../log.ts";
import { sleep } from "../sleep.ts";

/** Milliseconds in which BIRD is reloaded at most once. */
export const RELOAD_WINDOW_MS = 500;
/** Milliseconds until a failed reload is tried again: at first, and at most. */
export const RETRY_MIN_MS = 1_000;
export const RETRY_MAX_MS = 30_000;

/** What became of the text that was last asked for. */
export interface BgpSpeakerState {
  /** BIRD runs it. */
  readonly applied: boolean;
  /** Why not; undefined while it is only waiting for its turn. */
  readonly error?: string;
  /** Reloads that succeeded, and attempts that failed, since the start. */
  readonly reloads: number;
  readonly failures: number;
  /** Milliseconds since the epoch. */
  readonly lastAppliedAt?: number;
}

/** What became of one attempt: BIRD runs it, refused it, is away, or it could not be tried. */
export const RELOAD_RESULTS = ["ok", "refused", "absent", "failed"] as const;
export type ReloadResult = typeof RELOAD_RESULTS[number];

export interface BgpSpeakerOptions {
  /** Path of BIRD's configuration; its directory is made, and belongs to flock. */
  readonly path: string;
  readonly birdc: Birdc;
  /** Checks a file without a running BIRD; `bird -p` unless told. */
  readonly check?: (path: string) => Promise<void>;
  /** Waits; resolves early, and does not throw, when the signal aborts. */
  readonly sleep?: (ms: number, signal: AbortSignal) => Promise<void>;
  /** Milliseconds since the epoch; a test's clock measures, too. */
  readonly now?: () => number;
  /** Called after each attempt. */
  readonly onReload?: (result: ReloadResult, seconds: number) => void;
}

/** The one writer of BIRD's configuration. */
export class BgpSpeaker implements AsyncDisposable {
  readonly #path: string;
  readonly #birdc: Birdc;
  readonly #check: (path: string) => Promise<void>;
  readonly #sleep: (ms: number, signal: AbortSignal) => Promise<void>;
  readonly #now: () => number;
  /** Milliseconds of a clock that nobody sets. */
  readonly #ticks: () => number;
  readonly #onReload: (result: ReloadResult, seconds: number) => void;
  readonly #end = new AbortController();
  readonly #loop: Promise<void>;
  /** Resolves when there is something to do. */
  #asked = Promise.withResolvers<void>();
  #wanted?: string;
  /** Undefined at the start and after a failure: then nobody knows what BIRD runs. */
  #inForce?: string;
  #error?: string;
  #reloads = 0;
  #failures = 0;
  #lastAppliedAt?: number;

  constructor(options: BgpSpeakerOptions) {
    this.#path = options.path;
    this.#birdc = options.birdc;
    this.#check = options.check ?? checkWithBird;
    this.#sleep = options.sleep ?? sleep;
    this.#now = options.now ?? Date.now;
    this.#ticks = options.now ?? (() => performance.now());
    this.#onReload = options.onReload ?? (() => {});
    this.#loop = this.#run();
  }

  /** Asks for a text to be in force. The last one asked for counts. */
  apply(text: string): void {
    if (text === this.#wanted) return;
    this.#wanted = text;
    this.#asked.resolve();
  }

  get state(): BgpSpeakerState {
    return {
      applied: this.#wanted !== undefined && this.#wanted === this.#inForce,
      error: this.#error,
      reloads: this.#reloads,
      failures: this.#failures,
      lastAppliedAt: this.#lastAppliedAt,
    };
  }

  /** Ends after the attempt in hand, if there is one. BIRD and its file stay as they are. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#end.abort();
    this.#asked.resolve();
    await this.#loop;
  }

  async #run(): Promise<void> {
    const { signal } = this.#end;
    let triedAt = -Infinity;
    let failed = 0;
    while (true) {
      await this.#asked.promise;
      const rest = Math.min(triedAt + RELOAD_WINDOW_MS - this.#ticks(), RELOAD_WINDOW_MS);
      if (rest > 0) await this.#sleep(rest, signal);
      if (signal.aborted) return;
      this.#asked = Promise.withResolvers();
      const text = this.#wanted;
      if (text === undefined || text === this.#inForce) continue;
      triedAt = this.#ticks();
      // From here on nobody knows what BIRD runs, until it says so.
      this.#inForce = undefined;
      const began = performance.now();
      try {
        await this.#put(text);
        this.#onReload("ok", (performance.now() - began) / 1000);
        this.#succeeded(text, triedAt);
        failed = 0;
      } catch (error) {
        const retryInMs = Math.min(RETRY_MIN_MS * 2 ** failed, RETRY_MAX_MS);
        failed += 1;
        this.#onReload(resultOf(error), (performance.now() - began) / 1000);
        this.#failed(error, { failed, retryInMs });
        await this.#backOff(retryInMs);
      }
    }
  }

  async #put(text: string): Promise<void> {
    const dir = parentOf(this.#path);
    const beside = `${this.#path}.new`;
    await ensureDir(dir, 0o700);
    await writeFileDurable(beside, text, { mode: 0o640 });
    const absent = await this.#checkFile(beside);
    await Deno.rename(beside, this.#path);
    await syncDir(dir);
    if (absent) throw absent;
    await this.#birdc.configure();
  }

  /** Checks a file with whatever BIRD there is; returns why a running one could not be asked. */
  async #checkFile(path: string): Promise<BirdAbsentError | undefined> {
    try {
      await this.#birdc.configureCheck(path);
      return undefined;
    } catch (error) {
      if (!(error instanceof BirdAbsentError)) throw error;
      await this.#check(path);
      return error;
    }
  }

  /** Waits until it is time to try again, or until another text is asked for. */
  async #backOff(ms: number): Promise<void> {
    const { promise, resolve } = this.#asked;
    const nap = new AbortController();
    promise.then(() => nap.abort());
    await this.#sleep(ms, nap.signal);
    resolve();
  }

  #succeeded(text: string, startedAt: number): void {
    this.#inForce = text;
    this.#error = undefined;
    this.#reloads += 1;
    this.#lastAppliedAt = this.#now();
    log.info("Applied BIRD configuration", {
      path: this.#path,
      durationMs: Math.round(this.#ticks() - startedAt),
    });
  }

  #failed(error: unknown, { failed, retryInMs }: { failed: number; retryInMs: number }): void {
    const message = messageOf(error);
    this.#failures += 1;
    this.#inForce = undefined;
    // On change, and then at each doubling.
    if (message !== this.#error || isNews(failed)) {
      log.warn("Could not apply BIRD configuration", {
        path: this.#path,
        retryInMs,
        failures: failed,
        err: error,
      });
    }
    this.#error = message;
  }
}

function resultOf(error: unknown): ReloadResult {
  if (error instanceof BirdRefusedError) return "refused";
  return error instanceof BirdAbsentError ? "absent" : "failed";
}

/** Checks a file with `bird -p`. Without `bird` here nothing can be said against it. */
async function checkWithBird(path: string): Promise<void> {
  try {
    await runCommand("bird", ["-p", "-c", path], { timeoutMs: 2_000 });
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return;
    if (!(error instanceof CommandError) || error.exitCode !== 1) throw error;
    const why = error.stderr.trim().replace(/^bird: /, "");
    throw new BirdRefusedError(`Cannot use BIRD configuration "${path}": ${why}`, 8002, {
      cause: error,
    });
  }
}
