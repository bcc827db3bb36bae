/**
 * `deno task test`: set-up, build, the gate, then the tests that need root and the executable.
 * `deno task ok` (`--gate`): the gate alone. Names given as arguments limit it to those steps.
 *
 * Everything runs even after a failure. The numbers come from the reports that `deno test` writes; what
 * failed without a report (formatting, a tier that died, a test file that did not load) counts as one
 * failure each. The last line is `N passed, N failed`; the status is 1 when a test failed or none ran.
 *
 * @module
 */
import { build } from "./build.ts";
import { countTests } from "./junit.ts";
import { requireKnown } from "./options.ts";
import { ROOT, run } from "./run.ts";
import { setUp } from "./setup.ts";
import {
  type Check,
  CHECKS,
  GATE_TIERS,
  MACHINE_TIERS,
  REPEAT_TIERS,
  type RepeatTier,
  type Tier,
  tierFiles,
} from "./tiers.ts";

const REPORTS = `${ROOT}/.reports`;
const failed: string[] = [];
const skipped: string[] = [];
let passed = 0;

async function main(args: readonly string[]): Promise<number> {
  const gateOnly = args.includes("--gate");
  const only = args.filter((arg) => !arg.startsWith("-"));
  const allTiers = gateOnly ? GATE_TIERS : [...GATE_TIERS, ...MACHINE_TIERS, ...REPEAT_TIERS];
  const steps = [...CHECKS, ...allTiers].map(({ name }) => name);
  requireKnown(args, ["--gate", "--no-install", ...steps]);
  const wanted = (step: { readonly name: string }): boolean =>
    only.length === 0 || only.includes(step.name);
  const tiers = allTiers.filter(wanted);
  const checks = CHECKS.filter(wanted);
  if (!gateOnly) {
    const status = await setUp("test", { install: !args.includes("--no-install") });
    if (status !== 0) return status;
    await runBuild();
  }
  await Deno.remove(REPORTS, { recursive: true }).catch(ignoreNotFound);
  await Deno.mkdir(REPORTS, { recursive: true });
  for (const check of checks) await runCheck(check);
  for (const tier of tiers) await runTier(tier);
  for (const name of skipped) say(`skipped: ${name}`);
  for (const name of failed) say(`failed: ${name}`);
  if (skipped.length > 0) say(`${skipped.length} skipped`);
  say(`${passed} passed, ${failed.length} failed`);
  return failed.length > 0 || passed === 0 ? 1 : 0;
}

async function runBuild(): Promise<void> {
  heading("build");
  try {
    await build();
  } catch (error) {
    fail(`build: ${error instanceof Error ? error.message : error}`);
  }
}

async function runCheck({ name, args }: Check): Promise<void> {
  heading(name);
  const { code } = await run([Deno.execPath(), ...args], { show: true });
  if (code !== 0) fail(`${name}: deno ${args.join(" ")} ended with status ${code}`);
}

async function runTier(tier: Tier | RepeatTier): Promise<void> {
  const { name, paths, jobs = 1 } = tier;
  heading(name);
  const files = await tierFiles(tier);
  // Without a path "deno test" would run all there is.
  if (files.length === 0) return fail(`${name}: no test files in ${paths.join(", ")}`);
  if (jobs === 1) return await runFiles(tier, { files, report: name, show: true });
  // Each file in a process of its own: the next one begins when one has ended.
  const waiting = [...files];
  await Promise.all(Array.from({ length: jobs }, async () => {
    for (let file = waiting.shift(); file !== undefined; file = waiting.shift()) {
      const report = `${name}-${file.replaceAll("/", "-")}`;
      await runFiles(tier, { files: [file], report, show: false });
    }
  }));
}

/** Runs files in one process, and counts what its report says. */
async function runFiles(
  tier: Tier | RepeatTier,
  options: {
    readonly files: readonly string[];
    /** Name of the report. */
    readonly report: string;
    /** Show what it prints while it runs, not when it has ended. */
    readonly show: boolean;
  },
): Promise<void> {
  const { name, permissions, timeoutMs } = tier;
  const { files, show } = options;
  const env = "env" in tier ? { ...Deno.env.toObject(), ...tier.env } : undefined;
  // A test has the same name each time it is run.
  const label = (test: string): string => env === undefined ? test : `${name}: ${test}`;
  const what = show ? name : `${name}: ${files.join(", ")}`;
  const report = `${REPORTS}/${options.report}.xml`;
  // The types were checked above, for all files at once.
  const flags = ["--no-prompt", "--no-check", "--quiet", `--junit-path=${report}`, ...permissions];
  let status: string | undefined;
  try {
    const { code, stdout, stderr } = await run([Deno.execPath(), "test", ...flags, ...files], {
      show,
      timeoutMs,
      env,
    });
    if (!show) say(stderr + stdout);
    if (code !== 0) status = `ended with status ${code}`;
  } catch (error) {
    status = error instanceof Error ? error.message : String(error);
  }
  const text = await Deno.readTextFile(report).catch(ignoreNotFound);
  if (text === undefined) return fail(`${what}: no report (${status ?? "ended with status 0"})`);
  const counts = countTests(text);
  const broken = await brokenFiles(
    files.filter((file) => !counts.files.includes(file)),
    { permissions, env },
  );
  passed += counts.passed;
  skipped.push(...counts.skipped.map(label));
  for (const test of counts.failed) fail(label(test));
  for (const file of broken) fail(label(`${file}: did not load, or holds no test`));
  if (status !== undefined && counts.failed.length + broken.length === 0) {
    fail(`${what}: ${status}`);
  }
}

/**
 * Which of the files that the report does not name are broken. A test registered by a helper is reported
 * under the helper's name, so each is loaded once more, with a filter that no test's name passes.
 */
async function brokenFiles(
  files: readonly string[],
  { permissions, env }: Pick<Tier, "permissions"> & Partial<Pick<RepeatTier, "env">>,
): Promise<string[]> {
  const flags = ["--no-prompt", "--no-check", "--quiet", "--filter=/^$/", ...permissions];
  const broken: string[] = [];
  for (const file of files) {
    const { code, stdout } = await run([Deno.execPath(), "test", ...flags, file], { env });
    if (code !== 0 || !stdout.includes("filtered out")) broken.push(file);
  }
  return broken;
}

function fail(what: string): void {
  failed.push(what);
}

function heading(name: string): void {
  say(`\n── ${name}`);
}

function say(line: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`${line}\n`));
}

function ignoreNotFound(error: unknown): undefined {
  if (!(error instanceof Deno.errors.NotFound)) throw error;
}

Deno.exit(await main(Deno.args));
