/**
 * `deno task build`: makes `dist/flock`, always runnable.
 *
 * ```
 * main.ts, src/, templates/ ─bundle→ dist/bundle-<digest>/ ─deno compile→ dist/flock
 *                                      ↑ dist/bundle (link)  └ no runtime stub → a launcher
 * ```
 *
 * Everything is made beside its place and renamed, and a bundle's directory is named after its inputs,
 * so that builds at the same time and programs that run meanwhile do not disturb one another.
 * `--require-compile` forbids the launcher; `DENORT_BIN` names a runtime stub that is already there.
 *
 * @module
 */
import { bundle } from "./bundle.ts";
import { digestInputs } from "./digest.ts";
import { renderLauncher } from "./launcher.ts";
import { requireKnown } from "./options.ts";
import { bakedFlags } from "./permissions.ts";
import { mustRun, ROOT, run } from "./run.ts";
import { VERSION } from "../src/version.ts";

export interface BuildOptions {
  /** Where to build; `dist` of the repository unless given. */
  readonly dist?: string;
  /** Fail where only the launcher could be made. */
  readonly requireCompile?: boolean;
  /** The program that compiles; this Deno unless given. */
  readonly compiler?: readonly string[];
}

/** What was made: an executable that stands alone, or a launcher of the bundle. */
export type BuildKind = "executable" | "launcher";

/** A download of the stub that hangs is given up after this many milliseconds. */
const COMPILE_TIMEOUT_MS = 300_000;
/** Bundles of earlier builds are kept this many milliseconds, for programs that still load from them. */
const KEEP_BUNDLE_MS = 3_600_000;

/**
 * Builds, unless what is there came from the same inputs, and says what it did.
 *
 * @throws {Error} when bundling or compiling fails, or the result does not run
 */
export async function build(options: BuildOptions = {}): Promise<BuildKind> {
  const dist = options.dist ?? `${ROOT}/dist`;
  const compiler = options.compiler ?? [Deno.execPath()];
  const digest = await digestInputs([
    Deno.execPath(),
    ...compiler,
    Deno.env.get("DENORT_BIN") ?? "",
    // Whether a compiled program has OpenTelemetry is fixed when it is compiled (denoland/deno#28839).
    Deno.env.get("OTEL_DENO") ?? "",
  ]);
  const known = await readStamp(dist, digest);
  if (known === "executable" || (known === "launcher" && !options.requireCompile)) {
    say(`dist/flock is up to date (${known})`);
    return known;
  }
  await Deno.mkdir(dist, { recursive: true });
  const bundled = await makeBundle(dist, digest);
  const made = `${dist}/.flock-${crypto.randomUUID()}`;
  try {
    const kind = await compileOrLaunch(made, { dist, bundled, compiler, options });
    await prove(made);
    await Deno.rename(made, `${dist}/flock`);
    await replaceFile(`${dist}/.stamp`, `${digest} ${kind}\n`);
    await removeOldBundles(dist, bundled);
    say(`dist/flock made (${kind})`);
    return kind;
  } finally {
    await Deno.remove(made).catch(ignoreNotFound);
  }
}

async function makeBundle(dist: string, digest: string): Promise<string> {
  const final = `${dist}/bundle-${digest}`;
  if (!await exists(final)) {
    const temporary = `${dist}/.bundle-${crypto.randomUUID()}`;
    try {
      await Deno.mkdir(temporary);
      await bundle(temporary);
      await Deno.rename(temporary, final);
    } catch (error) {
      // Another build of the same inputs was faster: its directory is as good.
      if (!await exists(final)) throw error;
    } finally {
      await Deno.remove(temporary, { recursive: true }).catch(ignoreNotFound);
    }
  }
  const link = `${dist}/.link-${crypto.randomUUID()}`;
  await Deno.symlink(`bundle-${digest}`, link);
  await Deno.rename(link, `${dist}/bundle`);
  return final;
}

async function compileOrLaunch(
  made: string,
  { dist, bundled, compiler, options }: {
    readonly dist: string;
    readonly bundled: string;
    readonly compiler: readonly string[];
    readonly options: BuildOptions;
  },
): Promise<BuildKind> {
  const flags = ["--quiet", "--no-check", "--no-config", "--no-lock"];
  const command = [...compiler, "compile", ...flags, "--no-code-cache", ...bakedFlags()];
  const result = await run([...command, "--output", made, `${bundled}/main.js`], {
    timeoutMs: COMPILE_TIMEOUT_MS,
  });
  if (result.code === 0) return "executable";
  // Only the missing stub is a reason for the launcher; "Setting up base binary" is Deno's name for it.
  const noStub = result.stderr.includes("Setting up base binary") && !Deno.env.has("DENORT_BIN");
  if (!noStub || options.requireCompile) {
    throw new Error(`Cannot compile "${bundled}/main.js": ${result.stderr.trim()}`);
  }
  const why = result.stderr.match(/\d+: (error sending request.*)/)?.[1] ?? "no runtime stub";
  say(`Cannot compile an executable: ${why}`);
  say("dist/flock becomes a launcher of the bundle (DENORT_BIN may name a runtime stub)");
  const launcher = {
    deno: Deno.execPath(),
    bundle: bundled,
    denoDir: `${dist}/deno-dir`,
    flags: bakedFlags(),
  };
  await Deno.writeTextFile(made, renderLauncher(launcher), { mode: 0o755 });
  return "launcher";
}

/** The wrong stub leaves a dead file and no error, so the result has to say its version. */
async function prove(program: string): Promise<void> {
  const said = await mustRun([program, "version"], { env: {}, timeoutMs: 60_000 });
  if (!said.includes(VERSION)) {
    throw new Error(`Cannot use "${program}": it says "${said.trim()}" as its version`);
  }
}

async function readStamp(dist: string, digest: string): Promise<BuildKind | undefined> {
  if (!await exists(`${dist}/flock`) || !await exists(`${dist}/bundle-${digest}`)) return undefined;
  const stamp = await Deno.readTextFile(`${dist}/.stamp`).catch(ignoreNotFound);
  const [of, kind] = stamp?.trim().split(" ") ?? [];
  return of === digest && (kind === "executable" || kind === "launcher") ? kind : undefined;
}

async function replaceFile(path: string, text: string): Promise<void> {
  const temporary = `${path}-${crypto.randomUUID()}`;
  await Deno.writeTextFile(temporary, text);
  await Deno.rename(temporary, path);
}

async function removeOldBundles(dist: string, current: string): Promise<void> {
  for await (const { name } of Deno.readDir(dist)) {
    const path = `${dist}/${name}`;
    if (!name.startsWith("bundle-") || path === current) continue;
    const made = (await Deno.stat(path).catch(ignoreNotFound))?.mtime?.getTime() ?? Date.now();
    if (Date.now() - made < KEEP_BUNDLE_MS) continue;
    await Deno.remove(path, { recursive: true }).catch(ignoreNotFound);
  }
}

async function exists(path: string): Promise<boolean> {
  return await Deno.lstat(path).catch(ignoreNotFound) !== undefined;
}

function ignoreNotFound(error: unknown): undefined {
  if (!(error instanceof Deno.errors.NotFound)) throw error;
}

function say(line: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`build: ${line}\n`));
}

if (import.meta.main) {
  requireKnown(Deno.args, ["--require-compile"]);
  try {
    await build({ requireCompile: Deno.args.includes("--require-compile") });
  } catch (error) {
    say(error instanceof Error ? error.message : String(error));
    Deno.exit(1);
  }
}
