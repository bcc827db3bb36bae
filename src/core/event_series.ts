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
  /** What the API server calls it; undefined until it was created there. */
  name?: string;
  sentAt: number;
}

interface Bucket {
  tokens: number;
  filledAt: number;
}

/** Decides which events are sent. Times are milliseconds since the epoch. */
export class EventLimiter {
  readonly #series = new Map<string, EventSeries>();
  readonly #buckets = new Map<string, Bucket>();

  /** Takes in an event; returns its series when it should be sent now. */
  add(event: ClusterEvent, now: number): EventSeries | undefined {
    const object = objectKey(event);
    const key = JSON.stringify([object, event.type, event.reason, event.message]);
    let series = this.#series.get(key);
    if (series === undefined || now - series.lastAt > SERIES_MS) {
      series = { event, count: 0, firstAt: now, lastAt: now, sentAt: -Infinity };
    }
    series.count++;
    series.lastAt = now;
    remember(this.#series, key, series);
    if (now - series.sentAt < REPEAT_MS || !this.#allow(object, now)) return undefined;
    series.sentAt = now;
    return series;
  }

  #allow(object: string, now: number): boolean {
    const bucket = this.#buckets.get(object) ?? { tokens: BURST, filledAt: now };
    const gained = Math.floor((now - bucket.filledAt) / REFILL_MS);
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
