/**
 * A BIRD that reads the real file: it refuses a text that holds `refuse`, can be absent, and can hang
 * until told.
 *
 * @module
 */
import type { BirdProtocol } from "../../src/core/bird_reply.ts";
import {
  BirdAbsentError,
  type Birdc,
  BirdRefusedError,
  type BirdStatus,
} from "../../src/io/birdc.ts";

export class FakeBirdc implements Birdc {
  readonly #path: string;
  /** The text that BIRD runs; undefined while it is absent. */
  running: string | undefined = "";
  /** Texts of every reload, in order. */
  readonly reloads: string[] = [];
  /** BGP sessions, and the prefixes that every one of them is told of once it is up. */
  sessions: readonly BirdProtocol[] = [];
  readonly exported = new Set<string>();
  /** While set, checks wait for it. */
  gate?: Promise<void>;

  constructor(path: string) {
    this.#path = path;
  }

  async configureCheck(path: string): Promise<void> {
    this.#mustRun();
    await this.gate;
    if ((await Deno.readTextFile(path)).includes("refuse")) {
      throw new BirdRefusedError(`Cannot use BIRD configuration "${path}": syntax error`, 8002);
    }
  }

  async configure(): Promise<void> {
    this.#mustRun();
    this.running = await Deno.readTextFile(this.#path);
    this.reloads.push(this.running);
  }

  status(): Promise<BirdStatus> {
    this.#mustRun();
    return Promise.resolve({ version: "2.0.12", routerId: "", startedAt: "", configuredAt: "" });
  }

  protocols(): Promise<readonly BirdProtocol[]> {
    this.#mustRun();
    return Promise.resolve(this.sessions);
  }

  exports(protocol: string, prefix: string): Promise<boolean> {
    this.#mustRun();
    const session = this.sessions.find(({ name }) => name === protocol);
    return Promise.resolve(session?.info === "Established" && this.exported.has(prefix));
  }

  reloadIn(): Promise<void> {
    return Promise.reject(new Error("no test asks for it"));
  }

  gracefulRestart(): Promise<void> {
    return this.down();
  }

  down(): Promise<void> {
    this.#mustRun();
    this.running = undefined;
    return Promise.resolve();
  }

  #mustRun(): void {
    if (this.running === undefined) throw new BirdAbsentError("Cannot reach BIRD: it is absent");
  }
}
