/**
 * Running the host's tools: the only place that uses `Deno.Command`. Every command has a deadline, a
 * clean environment and an absolute path (the executable's permissions name absolute paths, and a tool
 * found through somebody's PATH is not the one that was allowed).
 *
 * @module
 */
import { messageOf } from "../core/errors.ts";

/** Directories where the tools are looked for, in this order. */
export const TOOL_DIRS = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"] as const;

/** The tools flock runs. The build bakes permission for each of them in each of `TOOL_DIRS`. */
export const TOOLS = ["ip", "nsenter", "sh", "bird", "birdc", "nft", "conntrack"] as const;
export type Tool = typeof TOOLS[number];

export interface CommandOptions {
  /**
   * What the command reads. A promise lets it start and wait: when that rejects, the command reads
   * nothing, and once it has ended the call rejects with the same error.
   */
  readonly stdin?: string | Promise<string>;
  /** Milliseconds until the command is killed; 10,000 unless told. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

export interface CommandOutput {
  readonly stdout: string;
  readonly stderr: string;
}

/** A command that ended with a status other than 0, or was killed. */
export class CommandError extends Error {
  override readonly name = "CommandError";

  constructor(
    readonly command: string,
    readonly exitCode: number,
    readonly signal: string | undefined,
    readonly stdout: string,
    readonly stderr: string,
    readonly durationMs: number,
    options: ErrorOptions = {},
  ) {
    const late = options.cause instanceof DOMException && options.cause.name === "TimeoutError";
    // The signal is ours then: somebody who reads of it looks for who else kills.
    const why = signal === undefined
      ? `exit status ${exitCode}`
      : late
      ? `not done within ${Math.max(1, Math.round(durationMs / 1_000))} s`
      : `killed by ${signal}`;
    const said = stderr.trim().split("\n").slice(0, 3).join("; ");
    super(`Cannot run "${command}": ${why}${said ? `: ${said}` : ""}`, options);
  }
}

/** Runs a tool to its end. The seam that tests replace. */
export type RunCommand = typeof runCommand;

const found = new Map<Tool, string>();

/**
 * The absolute path of a tool.
 *
 * @throws {Deno.errors.NotFound} when it is in none of the directories
 */
export function toolPath(tool: Tool): string {
  const known = found.get(tool);
  if (known !== undefined) return known;
  for (const dir of TOOL_DIRS) {
    try {
      Deno.statSync(`${dir}/${tool}`);
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) continue;
      throw error;
    }
    found.set(tool, `${dir}/${tool}`);
    return `${dir}/${tool}`;
  }
  throw new Deno.errors.NotFound(
    `Cannot find tool "${tool}": it is in none of ${TOOL_DIRS.join(", ")}`,
  );
}

/** What becomes of the output of a command that goes on. Handlers are called in the order of the lines. */
export interface FollowOptions {
  /** A line of stdout, without its end. */
  readonly onLine: (line: string) => void;
  /** A line of stderr, without its end. */
  readonly onErrorLine: (line: string) => void;
  /** Ends the command, with SIGKILL. No line is delivered after that. */
  readonly signal: AbortSignal;
}

/** Runs a tool that goes on. The seam that tests replace. */
export type FollowCommand = typeof followCommand;

/**
 * A child process with the environment that all of ours get.
 *
 * @throws {Error} when it cannot be started
 */
export function spawnTool(
  tool: Tool,
  args: readonly string[],
  options: Pick<Deno.CommandOptions, "stdin" | "stdout" | "stderr">,
): Deno.ChildProcess {
  const path = toolPath(tool);
  try {
    return new Deno.Command(path, {
      args: [...args],
      clearEnv: true,
      env: { PATH: TOOL_DIRS.join(":"), LC_ALL: "C" },
      ...options,
    }).spawn();
  } catch (cause) {
    const why = messageOf(cause).replace(`Failed to spawn '${path}': `, "");
    throw new Error(`Cannot run "${tool}": ${why}`, { cause });
  }
}

/**
 * Runs a tool, gives it `stdin`, and returns what it printed.
 *
 * @throws {CommandError} on a status other than 0, a missed deadline or an aborted signal
 */
export async function runCommand(
  tool: Tool,
  args: readonly string[],
  options: CommandOptions = {},
): Promise<CommandOutput> {
  const started = performance.now();
  // Held from here on: what cannot be started never reads it, and it may reject later all the same.
  const stdin = Promise.resolve(options.stdin);
  stdin.catch(() => {});
  const deadline = AbortSignal.timeout(options.timeoutMs ?? 10_000);
  const signal = options.signal ? AbortSignal.any([deadline, options.signal]) : deadline;
  const child = spawnTool(tool, args, {
    stdin: options.stdin === undefined ? "null" : "piped",
    stdout: "piped",
    stderr: "piped",
  });
  const kill = (): void => {
    try {
      child.kill("SIGKILL");
    } catch { /* it has just ended */ }
  };
  signal.addEventListener("abort", kill, { once: true });
  if (signal.aborted) kill();
  try {
    const fed = options.stdin === undefined ? undefined : feed(child, stdin);
    // Not child.output(): in Deno 2.9 each call of it leaves about 100 kB behind.
    const [status, stdout, stderr, [feeding]] = await Promise.all([
      child.status,
      new Response(child.stdout).text(),
      new Response(child.stderr).text(),
      Promise.allSettled([fed]),
    ]);
    if (feeding.status === "rejected") throw feeding.reason;
    if (status.success) return { stdout, stderr };
    throw new CommandError(
      [tool, ...args].join(" ").slice(0, 200),
      status.code,
      status.signal ?? undefined,
      stdout,
      stderr,
      performance.now() - started,
      signal.aborted ? { cause: signal.reason } : {},
    );
  } finally {
    signal.removeEventListener("abort", kill);
  }
}

/**
 * Runs a tool that goes on, and delivers its lines as they come. It has no deadline: it ends by itself or
 * by the signal. A handler that throws ends it too, and the call rejects with that error.
 *
 * @returns how it ended, when it has and all its lines are delivered
 * @throws the signal's reason when it was aborted before the start
 */
export async function followCommand(
  tool: Tool,
  args: readonly string[],
  options: FollowOptions,
): Promise<Deno.CommandStatus> {
  const { onLine, onErrorLine, signal } = options;
  signal.throwIfAborted();
  const child = spawnTool(tool, args, { stdin: "null", stdout: "piped", stderr: "piped" });
  const stop = new AbortController();
  const end = (): void => {
    stop.abort();
    try {
      child.kill("SIGKILL");
    } catch { /* it has just ended */ }
  };
  signal.addEventListener("abort", end, { once: true });
  try {
    const deliver = (stream: ReadableStream<Uint8Array>, on: (line: string) => void) =>
      deliverLines(stream, on, stop.signal).catch((error) => {
        end();
        throw error;
      });
    const results = await Promise.allSettled([
      child.status,
      deliver(child.stdout, onLine),
      deliver(child.stderr, onErrorLine),
    ]);
    const failed = results.find((result) => result.status === "rejected");
    if (failed !== undefined) throw failed.reason;
    return await child.status;
  } finally {
    signal.removeEventListener("abort", end);
  }
}

/** Delivers a stream's lines to its end, or until the signal: also when somebody else holds its other end open. */
export async function deliverLines(
  stream: ReadableStream<Uint8Array>,
  onLine: (line: string) => void,
  signal: AbortSignal,
): Promise<void> {
  const reader = stream.getReader();
  signal.addEventListener("abort", () => reader.cancel().catch(() => {}), { once: true });
  const decoder = new TextDecoder();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    const lines = (rest + decoder.decode(value, { stream: !done })).split("\n");
    rest = lines.pop()!;
    if (done && rest !== "") lines.push(rest);
    for (const line of lines) {
      if (signal.aborted) return;
      onLine(line);
    }
    if (done) return;
  }
}

async function feed(
  child: Deno.ChildProcess,
  stdin: Promise<string | undefined>,
): Promise<void> {
  const writer = child.stdin.getWriter();
  try {
    await writer.write(new TextEncoder().encode(await stdin));
  } catch (error) {
    // It ended without reading everything; its status says why.
    if (!(error instanceof Deno.errors.BrokenPipe)) throw error;
  } finally {
    await writer.close().catch(() => {});
  }
}
