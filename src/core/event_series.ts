/**
 * Which events are worth a request: the same one again is counted and told once a minute at most, and an
 * object that is loud is cut short. A pod whose ADD is refused is tried again every few seconds for as
 * long as it exists.
 *
 * @module
 */
import type { ClusterEvent } from "./objects.ts";

/** An event that is the same again belongs to the series if it comes within this time. */
export const SERIES_MS = 10 * 60_000;
/** The least time between two requests for one series. */
export const REPEAT_MS = 60_000;
/** Events of one object at once, and how soon one more is allowed. */
export const BURST = 10;
export const REFILL_MS = 60_000;
/** Series and objects remembered. */
const MAX_KNOWN = 1_000;

/** Events that are the same: an object, a reason, a message. */
export interface EventSeries {
  readonly event: ClusterEvent;
  /** How many there were. */
  count: number;
  /** Milliseconds since the epoch. */
  readonly firstAt: number;
  lastAt: number;
  /** The same in ticks. */
  lastTicks: number;
  /** What the API server calls it; undefined until it was created there. */
  name?: string;
  /** In ticks. */
  sentAt: number;
}

interface Bucket {
  tokens: number;
  /** In ticks. */
  filledAt: number;
}

/** Decides which events are sent. */
export class EventLimiter {
  readonly #series = new Map<string, EventSeries>();
  readonly #buckets = new Map<string, Bucket>();

  /**
   * Takes in an event; returns its series when it should be sent now.
   *
   * @param now milliseconds since the epoch, for people
   * @param ticks milliseconds of a clock that nobody sets, by which it is decided
   */
  add(event: ClusterEvent, now: number, ticks = now): EventSeries | undefined {
    const object = objectKey(event);
    const key = JSON.stringify([object, event.type, event.reason, event.message]);
    let series = this.#series.get(key);
    if (series === undefined || ticks - series.lastTicks > SERIES_MS) {
      const at = { firstAt: now, lastAt: now, lastTicks: ticks, sentAt: -Infinity };
      series = { event, count: 0, ...at };
    }
    series.count++;
    series.lastAt = now;
    series.lastTicks = ticks;
    remember(this.#series, key, series);
    if (ticks - series.sentAt < REPEAT_MS || !this.#allow(object, ticks)) return undefined;
    series.sentAt = ticks;
    return series;
  }

  #allow(object: string, ticks: number): boolean {
    const bucket = this.#buckets.get(object) ?? { tokens: BURST, filledAt: ticks };
    const gained = Math.floor((ticks - bucket.filledAt) / REFILL_MS);
    bucket.tokens = Math.min(BURST, bucket.tokens + gained);
    bucket.filledAt += gained * REFILL_MS;
    remember(this.#buckets, object, bucket);
    if (bucket.tokens === 0) return false;
    bucket.tokens--;
    return true;
  }
}

function objectKey({ object }: ClusterEvent): string {
  return object.kind === "Pod"
    ? `Pod ${object.namespace}/${object.name}/${object.uid}`
    : `NodeConfig ${object.name}`;
}

/** Puts an entry at the end of a map and drops the oldest one when there are too many. */
function remember<T>(map: Map<string, T>, key: string, value: T): void {
  map.delete(key);
  map.set(key, value);
  if (map.size <= MAX_KNOWN) return;
  for (const oldest of map.keys()) {
    map.delete(oldest);
    return;
  }
}
