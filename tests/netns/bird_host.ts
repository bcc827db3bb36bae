/**
 * A network namespace with a BIRD of its own: run by `flock bird-run`, or from a file.
 *
 * @module
 */
import { assert } from "@std/assert";
import { type Birdc, createBirdc } from "../../src/io/birdc.ts";
import { runCommand } from "../../src/io/command.ts";

const ROOT = new URL("../../", import.meta.url).pathname;

export class BirdHost implements AsyncDisposable {
  readonly config: string;
  readonly socket: string;
  readonly birdc: Birdc;
  readonly #processes: Deno.ChildProcess[] = [];

  private constructor(readonly netns: string, readonly dir: string) {
    this.config = `${dir}/bird/bird.conf`;
    this.socket = `${dir}/bird/bird.ctl`;
    this.birdc = createBirdc({ socket: this.socket });
  }

  static async create(): Promise<BirdHost> {
    const netns = `t-bird-${crypto.randomUUID().slice(0, 8)}`;
    await runCommand("ip", ["netns", "add", netns]);
    await runCommand("ip", ["-n", netns, "link", "set", "lo", "up"]);
    return new BirdHost(netns, await Deno.makeTempDir({ prefix: "flock-bird-" }));
  }

  /** `ip` in the namespace, one command per line. */
  async ip(batch: string): Promise<void> {
    await runCommand("ip", ["-n", this.netns, "-batch", "-"], { stdin: batch });
  }

  /** What `ip -j` prints in the namespace. */
  async ipJson(...args: readonly string[]): Promise<readonly Record<string, unknown>[]> {
    return JSON.parse((await runCommand("ip", ["-n", this.netns, "-j", ...args])).stdout);
  }

  /** Starts `flock bird-run` in the namespace, by way of another command if told. */
  birdRun(through: readonly string[] = []): Deno.ChildProcess {
    const options = { config: this.config, socket: this.socket, nodeName: this.netns };
    return this.#spawn([
      ...through,
      Deno.execPath(),
      "eval",
      `import { birdRun } from "${ROOT}src/cli/bird_run.ts";
       Deno.exit(await birdRun(${JSON.stringify(options)}));`,
    ]);
  }

  /** Starts BIRD itself, with a text as its configuration. */
  async bird(text: string): Promise<Deno.ChildProcess> {
    await Deno.mkdir(`${this.dir}/bird`, { recursive: true });
    await Deno.writeTextFile(this.config, text);
    return this.#spawn(["/usr/sbin/bird", "-f", "-c", this.config, "-s", this.socket]);
  }

  /** Has BIRD go on with another text. */
  async reconfigure(text: string): Promise<void> {
    await Deno.writeTextFile(this.config, text);
    await this.birdc.configure();
  }

  #spawn(command: readonly string[]): Deno.ChildProcess {
    const child = new Deno.Command("/usr/bin/nsenter", {
      args: [`--net=/run/netns/${this.netns}`, ...command],
      cwd: ROOT,
      stdin: "null",
      stdout: "null",
      stderr: "piped",
    }).spawn();
    this.#processes.push(child);
    return child;
  }

  /** Command lines of the BIRDs in the namespace, by their process numbers. */
  async birds(): Promise<ReadonlyMap<number, string>> {
    const { stdout } = await runCommand("ip", ["netns", "pids", this.netns]);
    const found = new Map<number, string>();
    for (const pid of stdout.trim().split("\n").filter((line) => line !== "")) {
      const line = await Deno.readTextFile(`/proc/${pid}/cmdline`).catch(() => "");
      if (/^[^\0]*\/bird\0/.test(line)) found.set(Number(pid), line.replaceAll("\0", " ").trim());
    }
    return found;
  }

  /** Waits until BIRD answers. */
  async answers(): Promise<void> {
    await until("BIRD answers", () => this.birdc.status().then(() => true, () => false));
  }

  /** Waits until a number of BGP sessions are established. */
  async established(count: number): Promise<void> {
    await until(`${count} sessions of ${this.netns} established`, async () => {
      const protocols = await this.birdc.protocols();
      return protocols.filter(({ info }) => info === "Established").length === count;
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { stdout } = await runCommand("ip", ["netns", "pids", this.netns]);
    for (const pid of stdout.trim().split("\n").filter((line) => line !== "")) {
      try {
        Deno.kill(Number(pid), "SIGKILL");
      } catch (error) {
        if (!(error instanceof Deno.errors.NotFound)) throw error;
      }
    }
    for (const child of this.#processes) {
      await child.status;
      if (!child.stderr.locked) await child.stderr.cancel();
    }
    await runCommand("ip", ["netns", "del", this.netns]);
    await Deno.remove(this.dir, { recursive: true });
  }
}

/** Waits until something holds, at most 20 s. */
export async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  const end = performance.now() + 20_000;
  while (!await holds()) {
    assert(performance.now() < end, `It did not come to "${what}"`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
