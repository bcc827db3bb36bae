/**
 * The draining of a node's anycast addresses as values: what is kept on disk (`drain.json`), and what the
 * agent reports of it. `agent/drain.ts` goes through the phases.
 *
 * ```
 *   none ──drain──▶ announcing ──wait──▶ withdrawn
 *     ▲             GRACEFUL_SHUTDOWN        │
 *     └──────────────undrain─────────────────┘
 * ```
 *
 * @module
 */

/** `announcing`: with GRACEFUL_SHUTDOWN (RFC 8326), so that the routers prefer other nodes. */
export type DrainPhase = "none" | "announcing" | "withdrawn";

/** What was asked for and how far it got. Times in milliseconds since the epoch. */
export interface DrainState {
  /** When it was asked for. */
  readonly since: number;
  /** How long the addresses stay announced with GRACEFUL_SHUTDOWN, in milliseconds. */
  readonly waitMs: number;
  /** From when the wait counts: BIRD had the community. */
  readonly announcedAt?: number;
  /** Kept, because after a reboot the clock may say anything. */
  readonly withdrawnAt?: number;
}

/** What the agent answers to `flock drain` and `flock undrain`. */
export interface DrainReport {
  readonly phase: DrainPhase;
  /** RFC 3339; unknown where the file is damaged. */
  readonly since?: string;
  /** RFC 3339; as long as the wait has not begun nobody knows. */
  readonly withdrawsAt?: string;
  readonly waitMs?: number;
  /** Anycast addresses of the node's pods. */
  readonly addresses: readonly string[];
  /** Those of them that the kernel has a route for which BIRD announces. */
  readonly routed: readonly string[];
}

/** The longest wait, in milliseconds. */
export const MAX_DRAIN_WAIT_MS = 24 * 3_600_000;

/** Version of the file. */
const VERSION = 1;

/**
 * Milliseconds of the wait that are left, at most all of it, whatever was done to the clock; undefined
 * when it has not begun.
 */
export function remainingWait(state: DrainState, now: number): number | undefined {
  const { announcedAt, waitMs } = state;
  if (announcedAt === undefined) return undefined;
  return Math.min(Math.max(announcedAt + waitMs - now, 0), waitMs);
}

/** Whether a wait is one that can be asked for. */
export function isDrainWait(waitMs: unknown): waitMs is number {
  return typeof waitMs === "number" && waitMs >= 0 && waitMs <= MAX_DRAIN_WAIT_MS;
}

/** Renders `drain.json`. */
export function renderDrainState(state: DrainState): string {
  const file = {
    version: VERSION,
    since: timeText(state.since),
    wait_ms: state.waitMs,
    announced_at: timeText(state.announcedAt),
    withdrawn_at: timeText(state.withdrawnAt),
  };
  return `${JSON.stringify(file, undefined, 1)}\n`;
}

/**
 * Parses `drain.json`. Unknown fields are ignored, unknown versions are not.
 *
 * @throws {SyntaxError} when it is not JSON
 * @throws {TypeError} when a field is wrong; the message names it
 */
export function parseDrainState(text: string): DrainState {
  let raw: Record<string, unknown> | null;
  try {
    raw = JSON.parse(text);
  } catch (cause) {
    throw new SyntaxError("it is not JSON", { cause });
  }
  if (typeof raw !== "object" || raw === null) throw new TypeError("it is not an object");
  if (raw.version !== VERSION) {
    throw new TypeError(`version is ${JSON.stringify(raw.version)}, not ${VERSION}`);
  }
  if (!isDrainWait(raw.wait_ms)) {
    throw new TypeError(`wait_ms is ${JSON.stringify(raw.wait_ms)}, not milliseconds up to a day`);
  }
  const since = timeOf(raw, "since");
  if (since === undefined) throw new TypeError("since is missing");
  return {
    since,
    waitMs: raw.wait_ms,
    announcedAt: timeOf(raw, "announced_at"),
    withdrawnAt: timeOf(raw, "withdrawn_at"),
  };
}

/**
 * The agent's answer.
 *
 * @throws {TypeError} when it is something else
 */
export function parseDrainReport(value: unknown): DrainReport {
  const report = value as Partial<DrainReport> | null | undefined;
  const isReport = typeof report === "object" && report !== null &&
    ["none", "announcing", "withdrawn"].includes(report.phase ?? "") &&
    Array.isArray(report.addresses) && Array.isArray(report.routed);
  if (isReport) return report as DrainReport;
  throw new TypeError("Cannot read the agent's answer: it says no phase of draining");
}

/** RFC 3339. */
function timeText(ms: number | undefined): string | undefined {
  return ms === undefined ? undefined : new Date(ms).toISOString();
}

function timeOf(raw: Readonly<Record<string, unknown>>, key: string): number | undefined {
  const value = raw[key];
  if (value === undefined) return undefined;
  const ms = typeof value === "string" ? Date.parse(value) : NaN;
  if (Number.isNaN(ms)) throw new TypeError(`${key} is ${JSON.stringify(value)}, not a time`);
  return ms;
}
