/**
 * Budgets and how a bench's values are shown against them.
 *
 * @module
 */

/** One measured value and what it must be. */
export interface Measurement {
  readonly name: string;
  readonly unit: "ms" | "µs" | "MB" | "×" | "%" | "count";
  readonly value: number;
  /** Most that is allowed; undefined: for information. */
  readonly budget?: number;
  /** What the value was compared with. */
  readonly note?: string;
}

/** The value below which a share of the sorted samples lies (nearest rank). */
export function percentile(samples: readonly number[], share: number): number {
  const sorted = [...samples].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? NaN;
}

/** Half of the samples are at most this. */
export function median(samples: readonly number[]): number {
  return percentile(samples, 0.5);
}

/** True when a value is over its budget, or could not be measured. */
export function isMissed({ value, budget }: Measurement): boolean {
  return budget !== undefined && !(value <= budget);
}

/** Of several runs, the best of each measurement: other work on the machine only ever adds. */
export function bestOf(runs: readonly (readonly Measurement[])[]): readonly Measurement[] {
  return (runs[0] ?? []).map((first, i) =>
    runs.map((run) => run[i] ?? first).reduce((a, b) => b.value < a.value ? b : a)
  );
}

/** The measurements as a table for people. */
export function renderTable(measurements: readonly Measurement[]): string {
  const rows = measurements.map((m) => [
    m.name,
    `${format(m.value)} ${m.unit}`,
    m.budget === undefined ? "" : `at most ${format(m.budget)} ${m.unit}`,
    m.budget === undefined ? "" : isMissed(m) ? "MISSED" : "met",
    m.note ?? "",
  ]);
  const widths = [0, 1, 2, 3].map((i) => Math.max(...rows.map((row) => row[i]!.length)));
  return rows.map((row) =>
    row.map((cell, i) => i === 1 ? cell.padStart(widths[i]!) : cell.padEnd(widths[i] ?? 0))
      .join("  ").trimEnd() + "\n"
  ).join("");
}

function format(value: number): string {
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2);
}
