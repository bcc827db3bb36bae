/**
 * A process of the lab that goes on: its output in a file, its end a promise.
 *
 * @module
 */
import { TerminalError } from "../core/errors.ts";
import { spawnTool } from "../io/command.ts";

export interface BackgroundOptions {
  /** The lab's name: the mark by which its reaper knows the process. */
  readonly lab: string;
  /** File that what it prints is appended to. */
  readonly log: string;
  /** Environment, besides PATH, LC_ALL and the mark. */
  readonly env?: Readonly<Record<string, string>>;
}

export class Background {
  readonly pid: number;
  /** Path of its log. */
  readonly log: string;
  /** Resolves when it has ended. */
  readonly ended: Promise<Deno.CommandStatus>;
  readonly #child: Deno.ChildProcess;
  #status: Deno.CommandStatus | undefined;

  /** @param argv the command; its process has the pid of this object */
  constructor(readonly argv: readonly string[], options: BackgroundOptions) {
    this.log = options.log;
    const env = Object.entries({ ...options.env, FLOCK_LAB: options.lab });
    this.#child = spawnTool("sh", [
      "-c",
      // A session of its own: Ctrl-C is for the lab's process, and the lab ends by its reaper. All of
      // these replace themselves: the pid stays the same.
      'exec setsid env "$@" >>"$0" 2>&1',
      options.log,
      ...env.map(([name, value]) => `${name}=${value}`),
      ...argv,
    ], { stdin: "null", stdout: "null", stderr: "null" });
    this.pid = this.#child.pid;
    this.ended = this.#child.status.then((status) => this.#status = status);
    // A lab that is forgotten must not keep its process alive: its end is what the reaper waits for.
    this.#child.unref();
  }

  get running(): boolean {
    return this.#status === undefined;
  }

  /** @throws {TerminalError} with the end of its log, when it has ended */
  async assertRunning(): Promise<void> {
    if (this.#status === undefined) return;
    const { signal, code } = this.#status;
    const why = signal === null ? `it ended with ${code}` : `${signal} killed it`;
    throw new TerminalError(
      `Cannot go on without "${this.argv.join(" ")}": ${why}: ${await this.tail(5)}`,
    );
  }

  /** Sends a signal; nothing when it has ended. */
  kill(signal: Deno.Signal): void {
    if (this.#status !== undefined) return;
    try {
      this.#child.kill(signal);
    } catch (error) {
      // Ended, and not yet told.
      if (!(error instanceof Deno.errors.NotFound || error instanceof TypeError)) throw error;
    }
  }

  /**
   * Sends a signal and waits for the end; SIGKILL after the deadline.
   *
   * @param timeoutMs milliseconds it gets; 15,000 unless told
   */
  async stop(signal: Deno.Signal = "SIGTERM", timeoutMs = 15_000): Promise<Deno.CommandStatus> {
    this.#child.ref();
    this.kill(signal);
    const timer = setTimeout(() => this.kill("SIGKILL"), timeoutMs);
    try {
      return await this.ended;
    } finally {
      clearTimeout(timer);
    }
  }

  /** The last lines of its log. */
  async tail(lines: number): Promise<string> {
    const text = await Deno.readTextFile(this.log).catch(() => "");
    return text.trimEnd().split("\n").slice(-lines).join("\n");
  }
}
