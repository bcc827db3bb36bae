/**
 * Running programs from the repository's scripts. (What flock itself runs goes through
 * `src/io/command.ts`, which knows only flock's tools.)
 *
 * @module
 */

/** The root of the repository. */
export const ROOT: string = new URL("..", import.meta.url).pathname.replace(/\/$/, "");

export interface RunOptions {
  readonly cwd?: string;
  /** The whole environment; inherited unless given. */
  readonly env?: Readonly<Record<string, string>>;
  /** Show the output while the program runs instead of returning it. */
  readonly show?: boolean;
  /** Milliseconds until the program is killed; no limit unless given. */
  readonly timeoutMs?: number;
}

export interface RunResult {
  readonly code: number;
  /** Standard output; empty when it was shown. */
  readonly stdout: string;
  readonly stderr: string;
}

/**
 * Runs a program to its end and returns its status and output; a status other than 0 is no error here.
 *
 * @throws {Error} when it cannot be started or misses its deadline
 */
export async function run(
  command: readonly string[],
  options: RunOptions = {},
): Promise<RunResult> {
  const [program = "", ...args] = command;
  const signal = options.timeoutMs === undefined
    ? undefined
    : AbortSignal.timeout(options.timeoutMs);
  const how = options.show ? "inherit" : "piped";
  const child = spawn(program, {
    args,
    cwd: options.cwd ?? ROOT,
    clearEnv: options.env !== undefined,
    env: { ...options.env },
    stdin: "null",
    stdout: how,
    stderr: how,
    signal,
  });
  const text = (stream: () => ReadableStream<Uint8Array>): Promise<string> =>
    options.show ? Promise.resolve("") : new Response(stream()).text();
  const [status, stdout, stderr] = await Promise.all([
    child.status,
    text(() => child.stdout),
    text(() => child.stderr),
  ]);
  if (signal?.aborted) {
    throw new Error(`Cannot run "${command.join(" ")}": not done after ${options.timeoutMs} ms`);
  }
  return { code: status.code, stdout, stderr };
}

function spawn(program: string, options: Deno.CommandOptions): Deno.ChildProcess {
  try {
    return new Deno.Command(program, options).spawn();
  } catch (cause) {
    throw new Error(`Cannot run "${program}": it did not start`, { cause });
  }
}

/**
 * Runs a program that has to succeed.
 *
 * @throws {Error} with what it printed when it does not
 */
export async function mustRun(
  command: readonly string[],
  options: RunOptions = {},
): Promise<string> {
  const result = await run(command, options);
  if (result.code === 0) return result.stdout;
  const said = (result.stderr || result.stdout).trim();
  throw new Error(
    `Cannot run "${command.join(" ")}": exit status ${result.code}${said ? `:\n${said}` : ""}`,
  );
}
