/**
 * `flock doctor`: from facts to a report. Where a fact is not known, the checks that need it are skipped,
 * and the report says why.
 *
 * @module
 */
import { type CheckId, CHECKS, type Severity } from "./checks.ts";
import type { Facts } from "./facts.ts";
import { JUDGES } from "./judges.ts";

/** One finding of a report. */
export interface Finding {
  readonly id: CheckId;
  readonly severity: Severity;
  readonly finding: string;
  readonly why: string;
  /** Lines to paste. */
  readonly fix: readonly string[];
}

/** Checks that were not made, and why. */
export interface SkippedChecks {
  readonly ids: readonly CheckId[];
  readonly reason: string;
}

/** What `flock doctor` found. Fields are only ever added. */
export interface DoctorReport {
  readonly kind: "FindingList";
  readonly errors: number;
  readonly warnings: number;
  readonly notes: number;
  /** Errors first. */
  readonly items: readonly Finding[];
  readonly skipped: readonly SkippedChecks[];
  /** Checks that were made and found nothing. */
  readonly passed: readonly CheckId[];
}

const ORDER: Readonly<Record<Severity, number>> = { error: 0, warning: 1, note: 2 };

/** Judges the facts. */
export function reportOf(facts: Facts): DoctorReport {
  const items: Finding[] = [];
  const skipped = new Map<string, CheckId[]>();
  const made = new Set<CheckId>();
  for (const { ids, run } of JUDGES) {
    const verdict = run(facts);
    if ("unknown" in verdict) {
      skipped.set(verdict.unknown, [...skipped.get(verdict.unknown) ?? [], ...ids]);
      continue;
    }
    for (const id of ids) made.add(id);
    for (const { id, finding, fix } of verdict.known) {
      const { severity, why } = CHECKS[id];
      items.push({ id, severity, finding, why, fix });
    }
  }
  items.sort((a, b) => ORDER[a.severity] - ORDER[b.severity]);
  const count = (severity: Severity): number =>
    items.filter((item) => item.severity === severity).length;
  return {
    kind: "FindingList",
    errors: count("error"),
    warnings: count("warning"),
    notes: count("note"),
    items,
    skipped: [...skipped].map(([reason, ids]) => ({ ids, reason })),
    passed: [...made].filter((id) =>
      !items.some((item) => item.id === id) && ![...skipped.values()].flat().includes(id)
    ),
  };
}

/** 1 with an error; warnings and notes are 0. A wrong option is 2, everywhere. */
export function exitStatusOf({ errors }: Pick<DoctorReport, "errors">): number {
  return errors > 0 ? 1 : 0;
}

/** The report for people. */
export function renderReport(report: DoctorReport): string {
  const { items, skipped, passed, errors, warnings, notes } = report;
  const lines: string[] = [];
  for (const { id, severity, finding, why, fix } of items) {
    lines.push(`${severity.toUpperCase().padEnd(8)} ${id}: ${finding}`);
    if (severity !== "note") lines.push(`         why  ${why}`);
    lines.push(...fix.map((line, i) => `         ${i === 0 ? "fix  " : "     "}${line}`));
    lines.push("");
  }
  for (const { ids, reason } of skipped) lines.push(`SKIPPED  ${ids.join(", ")}: ${reason}`);
  if (skipped.length > 0) lines.push("");
  const few = (n: number, word: string): string => `${n} ${word}${n === 1 ? "" : "s"}`;
  const skips = new Set(skipped.flatMap(({ ids }) => ids)).size;
  lines.push(
    [
      few(errors, "error"),
      few(warnings, "warning"),
      few(notes, "note"),
      `${few(passed.length, "check")} found nothing`,
      `${few(skips, "check")} skipped`,
    ].join(", "),
  );
  return lines.map((line) => line.trimEnd() + "\n").join("");
}
