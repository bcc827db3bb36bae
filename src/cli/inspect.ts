/**
 * Runs an operator's command: asks the agent, prints the answer, and with `--watch` again whenever it
 * changes. Loads nothing but itself: the time from exec to exit is what an operator waits for.
 *
 * @module
 */
import { CniCode, CniError, messageOf } from "../core/errors.ts";
import type { Inspection } from "../core/inspection.ts";
import { AgentAbsentError, callAgent } from "../io/socket.ts";
import { VERSION } from "../version.ts";
import type { InspectOptions, Output } from "./inspect_commands.ts";
import { viewInspection } from "./inspect_views.ts";
import { isHealthy } from "./status_view.ts";

/** Milliseconds that the agent may take to answer. */
const TIMEOUT_MS = 10_000;
/** What an agent of an earlier release says. */
const UNKNOWN_OPERATION = /operation .* is unknown/;
/** Milliseconds between two looks of `--watch`. */
const WATCH_MS = 2_000;

/** The world of a command. */
export interface Terminal {
  /** Standard output; false when nobody reads it any more. */
  write(text: string): boolean;
  writeError(text: string): void;
  readonly isTerminal: boolean;
  readonly colour: boolean;
  now(): Date;
  /** Waits; false: it is time to end. */
  sleep(ms: number): Promise<boolean>;
  /** YAML, which costs more to load than all of the rest. */
  yaml(value: unknown): Promise<string>;
}

/**
 * Runs a command.
 *
 * @returns its exit status: 0 success; 1 it failed, or `--check` found something
 */
export async function inspect(options: InspectOptions, terminal: Terminal): Promise<number> {
  if (options.watch) return await watch(options, terminal);
  try {
    const answer = await ask(options);
    terminal.write(await render(answer, options.output, terminal));
    const always = options.command.fails !== undefined;
    return (options.check || always) && isWrong(answer) ? 1 : 0;
  } catch (error) {
    terminal.writeError(describeFailure(error, options));
    return isUsage(error, options) ? 2 : 1;
  }
}

/** The answer. Whether an agent answers or not, there is a version to tell. */
async function ask(options: InspectOptions): Promise<Inspection> {
  if (options.command.name !== "version") return await askAgent(options);
  const answer = await askAgent(options).catch(() => undefined);
  const agent = answer?.kind === "Version" ? answer.agent : undefined;
  return { kind: "Version", version: VERSION, agent };
}

/** Asks the agent. */
export async function askAgent({ command, argument, socket }: InspectOptions): Promise<Inspection> {
  const request = { op: command.name, ...(argument === undefined ? {} : { args: argument }) };
  return await callAgent(socket, request, {
    connectMs: 0,
    timeoutMs: TIMEOUT_MS,
  }) as Inspection;
}

async function watch(options: InspectOptions, terminal: Terminal): Promise<number> {
  const { output } = options;
  const redraws = terminal.isTerminal && (output === "table" || output === "wide");
  let last: string | undefined;
  let failed: string | undefined;
  do {
    try {
      const answer = await ask(options);
      failed = undefined;
      const compared = JSON.stringify(answer);
      // A clock on the screen goes on; what is read by a program comes when it changes.
      if (redraws || compared !== last) {
        const text = output === "json" ? `${compared}\n` : await render(answer, output, terminal);
        const [before, after] = redraws
          ? ["\x1b[H\x1b[2J", ""]
          : output === "yaml"
          ? ["---\n", ""]
          : output === "json"
          ? ["", ""]
          : [last === undefined ? "" : "\n", ""];
        if (!terminal.write(before + text + after)) return 0;
      }
      last = compared;
    } catch (error) {
      const why = describeFailure(error, options);
      if (last === undefined && failed === undefined) {
        terminal.writeError(why);
        return 1;
      }
      // The agent is restarted now and then: an operator who watches wants to see it come back.
      if (why !== failed) terminal.writeError(why);
      failed = why;
    }
  } while (await terminal.sleep(WATCH_MS));
  return 0;
}

async function render(answer: Inspection, output: Output, terminal: Terminal): Promise<string> {
  switch (output) {
    case "json":
      return `${JSON.stringify(answer, undefined, 2)}\n`;
    case "yaml":
      return await terminal.yaml(answer);
    case "table":
    case "wide": {
      const { colour } = terminal;
      return viewInspection(answer, { wide: output === "wide", colour, now: terminal.now() });
    }
  }
}

/** What the agent could not read is the operator's to mend. */
function isUsage(error: unknown, { command }: InspectOptions): boolean {
  return command.fails !== undefined && error instanceof CniError &&
    error.code === CniCode.invalidEnvironment && !UNKNOWN_OPERATION.test(error.message);
}

/** What `--check` is for. */
function isWrong(answer: Inspection): boolean {
  switch (answer.kind) {
    case "Status":
      return !isHealthy(answer);
    case "RouteList":
      return !answer.computed || answer.objects.length > 0 ||
        answer.items.some(({ differences }) => differences.length > 0);
    case "PeerList":
      return answer.items.some((one) => one.state !== "Established" || one.importLimitReached);
    case "Explanation":
      return !answer.ok;
    case "PolicyList":
      return !answer.inForce || answer.items.some(({ problems }) => problems.length > 0);
    case "PolicyExplanation":
      return !answer.passes;
    default:
      return false;
  }
}

/** A failure, and what to do about it. */
export function describeFailure(error: unknown, { command, socket }: InspectOptions): string {
  const line = (message: string, hint: string): string => `error: ${message}\n${hint}\n`;
  if (error instanceof AgentAbsentError) {
    const { cause } = error;
    if (cause instanceof Deno.errors.PermissionDenied || cause instanceof Deno.errors.NotCapable) {
      return line(
        `Cannot ask the agent: no permission for "${socket}"`,
        "Only root may: run it with sudo.",
      );
    }
    return line(
      `Cannot ask the agent: nothing answers at "${socket}"`,
      cause instanceof Deno.errors.NotFound
        ? "There is no such socket. Is the agent running on this host (flock agent; in a cluster the DaemonSet\n" +
          "flock-agent)? If its socket is elsewhere: --socket PATH or FLOCK_SOCKET."
        : "The socket is there, and nobody behind it: the agent has ended. Its log says why.",
    );
  }
  if (error instanceof CniError && error.code === CniCode.invalidEnvironment) {
    if (UNKNOWN_OPERATION.test(error.message)) {
      return line(
        `Cannot ask the agent for "${command.name}": it is of another release and does not know that`,
        `This is flock ${VERSION}; the agent's log says which release it is (Started agent).`,
      );
    }
  }
  return `error: ${messageOf(error)}\n`;
}
