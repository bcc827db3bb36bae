/**
 * `flock bird-run`: the main process of the BIRD container. Sees that there is a configuration to start
 * with, and runs BIRD in the foreground. Which peers there are is the agent's business.
 *
 * Deno cannot replace itself by another program (exec(2)), so BIRD is a child that gets our signals and
 * whose exit status is ours. If this process is killed where no container ends with it, BIRD must not
 * stay behind, out of everybody's sight and holding the socket: a watcher beside it, in the shell that
 * becomes BIRD, kills it then. It is a kill, and no goodbye, so the routers keep the routes until the next
 * start takes over (RFC 4724).
 *
 * ```
 *   flock bird-run ──pipe──▶ watcher        the pipe breaks: kill BIRD
 *        ├─────signals─────▶ bird           ends: its status is ours
 *        ◀───────log─────────┘              passed on, but for one line
 * ```
 *
 * @module
 */
import { renderMinimalBirdConfig } from "../core/bird_config.ts";
import { TerminalError } from "../core/errors.ts";
import { routerIdOf } from "../core/router_id.ts";
import { BirdAbsentError, createBirdc } from "../io/birdc.ts";
import { deliverLines, spawnTool, toolPath } from "../io/command.ts";
import { ensureDir, parentOf, readTextIfPresent, syncDir } from "../io/fs.ts";
import { log } from "../log.ts";

export interface BirdRunOptions {
  /** Path of BIRD's configuration. */
  readonly config: string;
  /** Path of BIRD's control socket. */
  readonly socket: string;
  /** What the first router id is made from, until the agent has chosen one; the host name unless told. */
  readonly nodeName?: string;
}

/**
 * Becomes BIRD (`$@`) beside a watcher. A line on the pipe tells the watcher that BIRD has ended; its end
 * without a line means that our process is gone.
 */
const SCRIPT =
  'exec 3<&0 </dev/null; (exec 2>/dev/null; read -r line <&3 || kill -KILL $$) & exec 3<&-; exec "$@"';

/**
 * BIRD logs this as an error when one of its scans is faster than the kernel's message that an address went with its
 * link: for every pod, where many go at a time. Neither BIRD's options nor its classes of messages tell it from others.
 */
const HARMLESS = /KIF: Received address message for unknown interface \d+$/;

/** Passed on to BIRD: it ends on the first two and reads its configuration again on the third. */
const SIGNALS: readonly Deno.Signal[] = ["SIGTERM", "SIGINT", "SIGHUP"];

/**
 * Runs BIRD until it ends.
 *
 * @returns its exit status, or 128 and the number of the signal that killed it
 * @throws {TerminalError} when another BIRD answers on the socket
 * @throws {Deno.errors.NotFound} when BIRD is not installed
 * @throws {Error} when the directory of the configuration cannot be written
 */
export async function birdRun(options: BirdRunOptions): Promise<number> {
  const { config, socket } = options;
  const bird = toolPath("bird");
  await refuseAnother(socket);
  for (const path of [config, socket]) await ensureDir(parentOf(path), 0o700);
  await ensureConfig(config, options.nodeName ?? Deno.hostname().toLowerCase());
  const recover = await markStart(`${config}.started`);
  // On a first start nobody has routes of ours to keep, and recovery would hold ours back until every
  // peer is up.
  return await runBird([bird, "-f", "-c", config, "-s", socket, ...(recover ? ["-R"] : [])]);
}

async function refuseAnother(socket: string): Promise<void> {
  try {
    await createBirdc({ socket }).status();
  } catch (error) {
    if (error instanceof BirdAbsentError) return;
    throw error;
  }
  throw new TerminalError(`Cannot start BIRD on socket "${socket}": another BIRD answers there`);
}

/** Writes the minimal configuration unless there is one: the agent's, or an earlier start's. */
async function ensureConfig(path: string, nodeName: string): Promise<void> {
  if (await readTextIfPresent(path) !== undefined) return;
  const text = renderMinimalBirdConfig(routerIdOf(nodeName));
  try {
    // The agent may write its own at this moment, and that one stays.
    await Deno.writeTextFile(path, text, { createNew: true, mode: 0o640 });
  } catch (cause) {
    if (cause instanceof Deno.errors.AlreadyExists) return;
    throw new Error(`Cannot write file "${path}"`, { cause });
  }
}

/** True when BIRD was started before in this boot, after which the directory would be gone. */
async function markStart(path: string): Promise<boolean> {
  if (await readTextIfPresent(path) !== undefined) return true;
  try {
    await Deno.writeTextFile(path, "");
    await syncDir(parentOf(path));
  } catch (cause) {
    throw new Error(`Cannot write file "${path}"`, { cause });
  }
  return false;
}

async function runBird(command: readonly string[]): Promise<number> {
  const child = spawnTool("sh", ["-c", SCRIPT, "sh", ...command], {
    stdin: "piped",
    stdout: "inherit",
    stderr: "piped",
  });
  const passed = passOn(child.stderr);
  log.info("Started BIRD", { pid: child.pid, command: command.join(" ") });
  const forwards = SIGNALS.map((signal) => ({ signal, forward: () => kill(child, signal) }));
  for (const { signal, forward } of forwards) Deno.addSignalListener(signal, forward);
  const status = await child.status;
  for (const { signal, forward } of forwards) Deno.removeSignalListener(signal, forward);
  await release(child);
  await passed;
  const fields = { code: status.code, signal: status.signal ?? undefined };
  if (status.success) log.info("BIRD ended", fields);
  else log.error("BIRD failed", fields);
  return status.code;
}

/** Passes BIRD's log on. Whoever reads ours may have gone; BIRD goes on. */
async function passOn(stderr: ReadableStream<Uint8Array>): Promise<void> {
  const encoder = new TextEncoder();
  await deliverLines(stderr, (line) => {
    if (HARMLESS.test(line)) return;
    const bytes = encoder.encode(`${line}\n`);
    try {
      for (let sent = 0; sent < bytes.length;) sent += Deno.stderr.writeSync(bytes.subarray(sent));
    } catch { /* there is nowhere to say so */ }
  }, new AbortController().signal);
}

function kill(child: Deno.ChildProcess, signal: Deno.Signal): void {
  try {
    child.kill(signal);
  } catch (error) {
    // It has just ended, and its status is on its way.
    if (!(error instanceof TypeError) && !(error instanceof Deno.errors.NotFound)) throw error;
  }
}

/** Sends the watcher away without a kill: BIRD's number may be another process's by now. */
async function release(child: Deno.ChildProcess): Promise<void> {
  const writer = child.stdin.getWriter();
  try {
    await writer.write(new TextEncoder().encode("\n"));
    await writer.close();
  } catch (error) {
    // It has gone already, as when a terminal's signal reached it.
    if (!(error instanceof Deno.errors.BrokenPipe)) throw error;
  }
}
