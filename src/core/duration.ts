/**
 * Durations in Go's syntax (`time.ParseDuration`): `30s`, `1m30s`, `500ms`, `0`.
 *
 * @module
 */

const UNITS: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  "µs": 1e-3,
  "μs": 1e-3,
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
};

/**
 * Parses a duration; milliseconds.
 *
 * @throws {SyntaxError} when the text is not a duration
 */
export function parseDuration(text: string): number {
  const match = /^([+-]?)(0|(?:(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+)$/.exec(text);
  if (!match) {
    throw new SyntaxError(
      `Cannot parse duration ${JSON.stringify(text.slice(0, 40))}: it is not like 30s or 1m30s`,
    );
  }
  let total = 0;
  for (const [, number, unit] of match[2]!.matchAll(/([\d.]+)(ns|us|µs|μs|ms|s|m|h)/g)) {
    total += Number(number) * UNITS[unit!]!;
  }
  return match[1] === "-" ? -total : total;
}
