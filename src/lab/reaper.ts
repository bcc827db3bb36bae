/**
 * The one mechanism that removes a lab: a small shell process beside it, which waits for the end of the
 * pipe that this process holds. Normal end, failure, Ctrl-C, SIGKILL: the pipe closes, and everything
 * of the lab goes. What it does is in `reaper.sh`.
 *
 * @module
 */
import { spawnTool } from "../io/command.ts";
import SCRIPT from "./reaper.sh" with { type: "text" };

/** Directory of all labs. Short: a unix socket's path has at most 107 bytes. */
export const LAB_ROOT = "/run/flock-lab";

/** A lab's name and directory, which exist until this is disposed. */
export class Reaper implements AsyncDisposable {
  readonly dir: string;
  readonly #child: Deno.ChildProcess;
  readonly #said: ReadableStreamDefaultReader<string>;
  #disposed: Promise<void> | undefined;

  /** @param id `fl` and four hex digits: prefix of the lab's namespaces, name of its directory */
  private constructor(readonly id: string) {
    this.dir = `${LAB_ROOT}/${id}`;
    this.#child = spawnTool("sh", [
      "-c",
      // A session of its own: signals to the group of the lab's process do not reach it.
      'exec setsid sh -c "$@"',
      "sh",
      SCRIPT,
      "flock-lab-reaper",
      id,
      LAB_ROOT,
    ], { stdin: "piped", stdout: "piped", stderr: "null" });
    this.#said = this.#child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  }

  /**
   * Starts one. Nothing of a lab may be made before this returns.
   *
   * @throws {Error} when it cannot start; nothing is left behind then
   */
  static async start(): Promise<Reaper> {
    for (let attempt = 0; attempt < 10; attempt++) {
      const [random = 0] = crypto.getRandomValues(new Uint16Array(1));
      const reaper = new Reaper(`fl${random.toString(16).padStart(4, "0")}`);
      const said = (await reaper.#said.read()).value?.trim();
      if (said === "ready") {
        // Deno kills the children it still refers to when it ends by an uncaught error.
        reaper.#child.unref();
        return reaper;
      }
      const { code } = await reaper.#end();
      if (said !== "taken") {
        throw new Error(`Cannot start lab "${reaper.id}": its reaper ended with ${code}`);
      }
    }
    throw new Error(`Cannot start lab: ten names in a row are taken, see ${LAB_ROOT}`);
  }

  /** Resolves when nothing of the lab is left. @throws {Error} naming what is */
  [Symbol.asyncDispose](): Promise<void> {
    this.#disposed ??= this.#end().then(({ code, said }) => {
      if (code !== 0) throw new Error(`Cannot remove lab "${this.id}": ${said}`);
    });
    return this.#disposed;
  }

  async #end(): Promise<{ code: number; said: string }> {
    this.#child.ref();
    await this.#child.stdin.close();
    let said = "";
    for (let part; !(part = await this.#said.read()).done;) said += part.value;
    return { code: (await this.#child.status).code, said: said.trim() };
  }
}
