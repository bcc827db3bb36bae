/**
 * `flock bird-stop`: what the BIRD container runs before it is stopped. A plain SIGTERM makes BIRD say
 * goodbye, and the routers drop every route of the node. That is right when the node goes away, and an
 * outage when only the container is replaced.
 *
 * | the host | BIRD |
 * | --- | --- |
 * | is shutting down | says goodbye |
 * | is not | restarts gracefully: the routers keep the routes for the restart time |
 * | cannot be seen | says goodbye: traffic for a node that is gone is worse than a short outage |
 *
 * @module
 */
import { BirdAbsentError, type Birdc, createBirdc } from "../io/birdc.ts";
import { log } from "../log.ts";

export type BirdStopMode = "graceful" | "goodbye";

export interface BirdStopOptions {
  /** Path of BIRD's control socket. */
  readonly socket: string;
  /** What the operator told; beats what the host says. */
  readonly mode?: BirdStopMode;
  /** The host's `/run`. */
  readonly hostRun?: string;
  /** Milliseconds to wait for BIRD's end; 5,000 unless told. */
  readonly timeoutMs?: number;
}

/**
 * Stops BIRD and waits until it has ended: a SIGTERM that arrives earlier would be the goodbye.
 *
 * @returns 0 when no BIRD runs any more, 1 when it still does
 * @throws {Error} when BIRD refuses or cannot be asked
 */
export async function birdStop(options: BirdStopOptions): Promise<number> {
  const { mode, reason } = options.mode === undefined
    ? await chooseStop(options.hostRun ?? "/run")
    : { mode: options.mode, reason: "told to" };
  const birdc = createBirdc({ socket: options.socket });
  try {
    await (mode === "graceful" ? birdc.gracefulRestart() : birdc.down());
  } catch (error) {
    if (!(error instanceof BirdAbsentError)) throw error;
    log.info("BIRD was not running", { socket: options.socket });
    return 0;
  }
  if (await hasEnded(birdc, options.timeoutMs ?? 5_000)) {
    log.info("Stopped BIRD", { mode, reason });
    return 0;
  }
  log.error("BIRD did not end", { mode, reason, socket: options.socket });
  return 1;
}

/** How BIRD should end, by what the host says of itself. */
export async function chooseStop(
  hostRun: string,
): Promise<{ readonly mode: BirdStopMode; readonly reason: string }> {
  try {
    // systemd-logind and shutdown(8) announce a shutdown by these.
    for (const path of [`${hostRun}/nologin`, `${hostRun}/systemd/shutdown`]) {
      if (await isPresent(path)) return { mode: "goodbye", reason: `the host has ${path}` };
    }
    if (await isPresent(`${hostRun}/systemd`)) {
      return { mode: "graceful", reason: "the host is not shutting down" };
    }
    return { mode: "goodbye", reason: `there is nothing in ${hostRun}/systemd to tell by` };
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    return { mode: "goodbye", reason: `${hostRun} cannot be read: ${why}` };
  }
}

/** True for a file, and for a directory that is not empty. */
async function isPresent(path: string): Promise<boolean> {
  try {
    if (!(await Deno.stat(path)).isDirectory) return true;
    for await (const _ of Deno.readDir(path)) return true;
    return false;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

async function hasEnded(birdc: Birdc, timeoutMs: number): Promise<boolean> {
  const end = performance.now() + timeoutMs;
  while (performance.now() < end) {
    try {
      await birdc.status();
    } catch (error) {
      // While it ends it may answer anything.
      if (error instanceof BirdAbsentError) return true;
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return false;
}
