/**
 * `flock drain` and `flock undrain`: ask the agent, and tell how far it is. The agent does the work and
 * goes on when the command is interrupted, and also when it is itself started again meanwhile.
 *
 * @module
 */
import { type DrainReport, parseDrainReport } from "../core/drain_state.ts";
import { CniCode, CniError } from "../core/errors.ts";
import { AgentAbsentError, callAgent } from "../io/socket.ts";
import { Interruption } from "./interruption.ts";

/** Milliseconds for one question. */
const CALL_MS = 10_000;
/** Milliseconds between two questions. */
const POLL_MS = 250;
/** How long an agent that starts again may take to answer, in milliseconds. */
const AWAY_MS = 60_000;

/** What a call fails with when its connection broke, or no answer came. */
const BROKEN: readonly number[] = [CniCode.io, CniCode.tryAgainLater];

export interface UndrainOptions {
  /** Path of the agent's socket. */
  readonly socket: string;
  /** Tells a line. */
  readonly say: (line: string) => void;
}

export interface DrainOptions extends UndrainOptions {
  /** How long the addresses stay announced with GRACEFUL_SHUTDOWN, in milliseconds. */
  readonly waitMs: number;
  /** How long the kernel's routes may take to go, in milliseconds; 10,000 unless told. */
  readonly routesMs?: number;
}

/**
 * Drains the node's anycast addresses, and resolves when they are withdrawn.
 *
 * @returns exit status: 0; 128 and the signal's number when it was interrupted
 * @throws {Error} when the agent cannot be asked, somebody took it back, or the routes stay
 */
export async function drain(options: DrainOptions): Promise<number> {
  using interruption = new Interruption();
  try {
    await interruption.race(() => follow(options, interruption.signal));
    return 0;
  } catch (error) {
    if (interruption.exitCode === 0) throw error;
    options.say("Interrupted: the agent goes on draining; flock undrain takes it back");
    return interruption.exitCode;
  }
}

/**
 * Takes a drain back.
 *
 * @returns exit status: 0
 * @throws {Error} when the agent cannot be asked
 */
export async function undrain({ socket, say }: UndrainOptions): Promise<number> {
  const { addresses } = await ask(socket, { op: "undrain" });
  const ready = addresses.length === 1 ? "its pod is ready" : "their pods are ready";
  say(`Not drained: ${count(addresses)} announced while ${ready}`);
  return 0;
}

/** Asks for it, and tells each step once, until the last one. */
async function follow(
  { socket, waitMs, say, routesMs = 10_000 }: DrainOptions,
  signal: AbortSignal,
): Promise<void> {
  let told = "";
  const tell = (line: string): void => {
    if (line !== told) say(line);
    told = line;
  };
  // Only until it was answered: what is taken back meanwhile must not be begun again.
  let request: DrainRequest = { op: "drain", wait_ms: waitMs };
  let reachedAt: number | undefined;
  let withdrawnAt: number | undefined;
  while (!signal.aborted) {
    try {
      const report = await ask(socket, request);
      request = { op: "drain" };
      reachedAt = performance.now();
      tell(lineOf(report));
      if (report.phase === "none") {
        throw new Error("Cannot drain node: somebody took it back with flock undrain");
      }
      if (report.phase === "withdrawn" && report.routed.length === 0) return;
      if (report.phase === "withdrawn") withdrawnAt ??= performance.now();
      if (performance.now() - (withdrawnAt ?? Infinity) > routesMs) {
        throw new Error(
          `Cannot drain node: still routed after ${routesMs / 1000} s: ` +
            `${report.routed.join(", ")}; the agent's log says why`,
        );
      }
    } catch (error) {
      // An agent that ended while it was asked may have written it down.
      if (error instanceof CniError && BROKEN.includes(error.code)) reachedAt ??= performance.now();
      else if (!(error instanceof AgentAbsentError)) throw error;
      if (reachedAt === undefined || performance.now() - reachedAt > AWAY_MS) throw error;
      tell("The agent does not answer at the moment: it goes on when it is back");
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

/** Where a drain is, in words. */
function lineOf({ phase, withdrawsAt, addresses, routed }: DrainReport): string {
  switch (phase) {
    case "none":
      return "Not drained";
    case "announcing":
      return withdrawsAt === undefined
        ? `Draining: ${count(addresses)} to be announced with GRACEFUL_SHUTDOWN`
        : `Announcing: ${count(addresses)} announced with GRACEFUL_SHUTDOWN until ` +
          withdrawsAt.replace(/\.\d+Z$/, "Z");
    case "withdrawn":
      return routed.length === 0
        ? `Withdrawn: ${count(addresses)} not announced; flock undrain takes it back`
        : `Withdrawing: ${count(routed)} still routed`;
  }
}

function count({ length }: readonly string[]): string {
  return length === 1 ? "1 anycast address is" : `${length} anycast addresses are`;
}

interface DrainRequest {
  readonly op: "drain" | "undrain";
  readonly wait_ms?: number;
}

async function ask(socket: string, request: DrainRequest): Promise<DrainReport> {
  try {
    return parseDrainReport(
      await callAgent(socket, request, { connectMs: 2_000, timeoutMs: CALL_MS }),
    );
  } catch (error) {
    const isDenied = error instanceof AgentAbsentError &&
      error.cause instanceof Deno.errors.PermissionDenied;
    if (!isDenied) throw error;
    throw new Error(`Cannot call agent at "${socket}": permission denied; this needs root`, {
      cause: error,
    });
  }
}
