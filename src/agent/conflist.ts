/**
 * Keeps the conflist from the moment on at which pods can be attached: written earlier, a runtime without
 * STATUS would start pods that cannot come up. It stays when the agent stops.
 *
 * `portmap` is chained where it is there and answers, and its file is looked at again and again: what the
 * list offers is what all its plugins speak.
 *
 * @module
 */
import { commonVersions, knowsBackend } from "../core/cni_plugin.ts";
import { type ChainedPortmap, chainedPortmapOf, renderConflist } from "../core/conflist.ts";
import { DEFAULT_PLUGIN_DIR } from "../core/config.ts";
import { messageOf } from "../core/errors.ts";
import { askPlugin, hasHostProgram, readAbout } from "../io/cni_plugin.ts";
import { parentOf, readTextIfPresent, writeFileDurable } from "../io/fs.ts";
import { removeTemps } from "../io/temp_files.ts";
import { log } from "../log.ts";
import { Pulse } from "./pulse.ts";
import { Turns } from "./turns.ts";

/** Milliseconds between two looks at the list and the plugin's file. */
const POLL_MS = 5_000;
/** Milliseconds after which a plugin that did not answer is asked again, its file being the same. */
const ASK_AGAIN_MS = 60_000;
/** What portmap makes its rules with, where it has the choice. */
const BACKEND = "nftables";
const BACKEND_PROGRAM = "nft";

export interface ConflistOptions {
  readonly file: string;
  readonly socket: string;
  readonly stateDir: string;
  /** Where the runtime looks for plugins. */
  readonly pluginDir?: string;
  /** Whether pods can be attached. */
  readonly ready: () => boolean;
  /** Whether any pod is attached. */
  readonly attached: () => boolean;
  readonly turns?: Turns;
}

/** What is known of a plugin's file. */
interface Looked {
  readonly identity: string;
  readonly portmap?: ChainedPortmap;
  readonly problem?: string;
  readonly at: number;
}

/** The one writer of the list. */
export class ConflistKeeper {
  readonly #o: Required<ConflistOptions>;
  readonly #pulse = new Pulse();
  #looked?: Looked;
  /** What was logged last: a failure, or why a plugin was left out. */
  #said?: string;

  constructor(options: ConflistOptions) {
    this.#o = { pluginDir: DEFAULT_PLUGIN_DIR, turns: new Turns(), ...options };
  }

  /** Pods may be attachable now: look at once. */
  wake(): void {
    this.#pulse.wake();
  }

  /** Keeps the list until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const { file, ready, turns } = this.#o;
    await removeTemps(parentOf(file)).catch(() => {}); // writing says what is wrong there
    while (!signal.aborted) {
      try {
        if (ready()) await turns.take("conflist", () => this.update());
      } catch (error) {
        if (this.#isNews(messageOf(error))) {
          log.warn("Could not write network configuration list", {
            ...{ file, err: error, retryInMs: POLL_MS },
          });
        }
      }
      await this.#pulse.wait(POLL_MS, signal);
    }
  }

  /**
   * Writes the list unless it is there as it should be.
   *
   * @throws {Error} when it cannot be written, or the plugin could not be asked
   */
  async update(): Promise<void> {
    const { file, socket, stateDir, pluginDir } = this.#o;
    // Anything that is no file of text is replaced.
    const present = await readTextIfPresent(file).catch(() => undefined);
    const path = `${pluginDir}/portmap`;
    const { portmap, problem } = await this.#look(path);
    const text = renderConflist({ socket, stateDir, portmap: this.#settled(portmap, present) });
    if (present !== text) {
      // Apart: containerd reads the directory at each write in it, and logs an error while it has no list.
      // It overlooks a file that is renamed into it; it sees the temporary directory go (tried with 1.6;
      // 2.1 heeds the same events).
      await writeFileDurable(file, text, { mode: 0o644, apart: true });
      const { cniVersions, plugins } = JSON.parse(text);
      const types = plugins.map(({ type }: { readonly type: string }) => type);
      log.info("Wrote network configuration list", { file, cniVersions, plugins: types });
    }
    if (this.#isNews(problem) && problem !== undefined) {
      log.warn("Left plugin out of network configuration list", { path, file, err: problem });
    }
  }

  /** Rules of pods that are attached are removed by the backend that made them, so it stays for them. */
  #settled(
    portmap: ChainedPortmap | undefined,
    present: string | undefined,
  ): ChainedPortmap | undefined {
    const before = present === undefined ? undefined : chainedPortmapOf(present);
    if (portmap === undefined || before === undefined || !this.#o.attached()) return portmap;
    return { versions: portmap.versions, ...before };
  }

  /** What is known of the plugin; of one that is not there, nothing. */
  async #look(path: string): Promise<Partial<Looked>> {
    const identity = await identityOf(path);
    if (identity === undefined) return {};
    const known = this.#looked;
    if (known?.identity === identity) {
      const isDue = performance.now() - known.at >= ASK_AGAIN_MS;
      if (known.problem === undefined || !isDue) return known;
    }
    const found = await examine(path);
    return this.#looked = { identity, at: performance.now(), ...found };
  }

  #isNews(problem: string | undefined): boolean {
    const isNews = problem !== this.#said;
    this.#said = problem;
    return isNews;
  }
}

async function examine(path: string): Promise<Pick<Looked, "portmap" | "problem">> {
  const asked = await askPlugin(path);
  if ("problem" in asked) return asked;
  const { versions } = asked;
  if (commonVersions([asked]).length === 0) {
    return { problem: `it speaks none of flock's versions, but ${versions.join(", ")}` };
  }
  const hasChoice = knowsBackend(await readAbout(path), asked);
  const backend = hasChoice && await hasHostProgram(BACKEND_PROGRAM) ? BACKEND : undefined;
  return { portmap: { versions, backend } };
}

/** Changes whenever the file is another one or was written; undefined when there is none. */
async function identityOf(path: string): Promise<string | undefined> {
  try {
    const { dev, ino, size, mode, mtime, ctime } = await Deno.stat(path);
    return [dev, ino, size, mode, mtime?.getTime(), ctime?.getTime()].join();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}
