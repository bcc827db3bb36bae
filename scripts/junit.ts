/**
 * Counts the tests of a JUnit report as `deno test` writes it. There every step is a case of its own
 * beside its test, named `test > step`; a failing step makes its test fail too; a file that does not
 * load is not in it at all.
 *
 * @module
 */

export interface Counts {
  readonly passed: number;
  /** Names of the failed tests and steps, with their file unless a helper registered them. */
  readonly failed: readonly string[];
  readonly skipped: readonly string[];
  /** The files whose tests ran: those that call `Deno.test`. */
  readonly files: readonly string[];
}

interface Case {
  readonly name: string;
  readonly file: string;
  outcome: "passed" | "failed" | "skipped";
}

/**
 * Counts each thing once: the steps of a test that has steps, else the test; a test that failed beside
 * its steps counts too, one that failed only because a step did does not.
 *
 * @throws {SyntaxError} when the text is no JUnit report
 */
export function countTests(report: string): Counts {
  const { cases, files } = parseReport(report);
  const named = (kept: readonly Case[]): string[] =>
    kept.map(({ file, name }) => file.endsWith("_test.ts") ? `${file}: ${name}` : name);
  const below = (parent: Case): Case[] =>
    cases.filter((c) => c.file === parent.file && c.name.startsWith(`${parent.name} > `));
  const counted = cases.filter((c) => {
    const steps = below(c);
    return steps.length === 0 ||
      (c.outcome === "failed" && steps.every((s) => s.outcome !== "failed"));
  });
  return {
    passed: counted.filter((c) => c.outcome === "passed").length,
    failed: named(counted.filter((c) => c.outcome === "failed")),
    skipped: named(counted.filter((c) => c.outcome === "skipped")),
    files,
  };
}

function parseReport(report: string): { cases: Case[]; files: string[] } {
  if (!report.includes("<testsuites")) {
    throw new SyntaxError("Cannot parse JUnit report: no testsuites");
  }
  const cases: Case[] = [];
  const files: string[] = [];
  // Text within a case is escaped, so every "<" here begins an element of the report.
  for (const [, suite, test, mark] of report.matchAll(ELEMENTS)) {
    const last = cases.at(-1);
    if (suite !== undefined) files.push(unescapeXml(suite).replace(/^\.\//, ""));
    else if (test !== undefined) {
      cases.push({ name: unescapeXml(test), file: files.at(-1) ?? "", outcome: "passed" });
    } else if (last !== undefined) last.outcome = mark === "skipped" ? "skipped" : "failed";
  }
  return { cases, files };
}

const ELEMENTS = /<testsuite name="([^"]*)"|<testcase name="([^"]*)"|<(skipped|failure|error)\b/g;

const ENTITIES: Readonly<Record<string, string>> = {
  "&lt;": "<",
  "&gt;": ">",
  "&quot;": '"',
  "&apos;": "'",
  "&amp;": "&",
};

function unescapeXml(text: string): string {
  return text.replace(/&(lt|gt|quot|apos|amp);/g, (entity) => ENTITIES[entity] ?? entity);
}
