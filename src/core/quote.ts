/**
 * Values of unknown origin in messages: on one line, readable, never long.
 *
 * @module
 */

const MAX_LENGTH = 80;

/** A value as JSON, its control characters escaped, cut after 80 characters. */
export function quote(value: unknown): string {
  if (typeof value === "string") {
    return JSON.stringify(value.length > MAX_LENGTH ? `${value.slice(0, MAX_LENGTH)}…` : value);
  }
  const text = JSON.stringify(value) ?? String(value);
  return text.length > MAX_LENGTH ? `${text.slice(0, MAX_LENGTH)}…` : text;
}
