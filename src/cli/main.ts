/**
 * The command line: which command, with which options. What a command does is in its own file, loaded
 * only when it is asked for.
 *
 * @module
 */
import { Argument, Command, CommanderError, Option } from "commander";
import {
  AGENT_FLAGS,
  type AgentSettings,
  parseAgentSettings,
  parsePath,
  type SettingOrigin,
  settingOrigins,
} from "../core/agent_settings.ts";
import {
  DEFAULT_BIRD_CONFIG,
  DEFAULT_BIRD_SOCKET,
  DEFAULT_CONFLIST,
  DEFAULT_DRAIN_WAIT,
  DEFAULT_PLUGIN_DIR,
  DEFAULT_SOCKET,
  DEFAULT_STATE_DIR,
} from "../core/config.ts";
import { isDrainWait } from "../core/drain_state.ts";
import { parseDuration } from "../core/duration.ts";
import { messageOf, TerminalError } from "../core/errors.ts";
import { parentOf } from "../io/fs.ts";
import { configureLog, log } from "../log.ts";
import { VERSION } from "../version.ts";
import type { DrainOptions, UndrainOptions } from "./drain.ts";
import type { DoctorOptions } from "./doctor.ts";
import { renderCompletion, type Shell, SHELLS } from "./completion.ts";
import type { InspectOptions } from "./inspect_commands.ts";
import { addInspectCommands } from "./inspect_program.ts";
import type { InstallOptions } from "./install.ts";
import type { UninstallOptions } from "./uninstall.ts";

/** What the commands run, loaded when a command asks for it: only `main.ts` imports lazily. */
export interface Programs {
  runAgent(
    settings: AgentSettings & { readonly origins: readonly SettingOrigin[] },
    signal: AbortSignal,
  ): Promise<void>;
  birdRun(options: { config: string; socket: string }): Promise<number>;
  birdStop(options: { socket: string; mode?: "graceful" | "goodbye" }): Promise<number>;
  install(options: InstallOptions): Promise<number>;
  uninstall(options: UninstallOptions): Promise<number>;
  drain(options: DrainOptions): Promise<number>;
  undrain(options: UndrainOptions): Promise<number>;
  doctor(options: DoctorOptions): Promise<number>;
  inspect(options: InspectOptions): Promise<number>;
  demo(options: { executable: string; colour: boolean }): Promise<number>;
}

const COMPLETION_HELP = `
Examples:
  source <(flock completion bash)
  flock completion zsh > ~/.zfunc/_flock
  flock completion fish > ~/.config/fish/completions/flock.fish`;

const DOCTOR_HELP = `
Examples:
  flock doctor                                # what is wrong on this host, and how to mend it
  flock doctor --manifests /tmp/nodeconfigs   # and among all NodeConfigs
  flock doctor -o json | jq -r '.items[].id'  # for a script

Exit status: 0 nothing but notes; 1 warnings, or it failed and printed nothing; 2 errors, or usage.`;

/** Exit statuses of every command. */
const EXIT = { ok: 0, failure: 1, usage: 2 } as const;

/**
 * Runs a command.
 *
 * @returns its exit status: 0 success, 1 failure, 2 usage
 */
export async function main(args: readonly string[], programs: Programs): Promise<number> {
  let status: number = EXIT.ok;
  const program = createProgram(programs, (code) => status = code);
  try {
    if (args.length === 0) {
      program.outputHelp({ error: true });
      return EXIT.usage;
    }
    await program.parseAsync([...args], { from: "user" });
    return status;
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    // Help and version that were asked for are a success; all else commander throws is usage.
    return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
  }
}

function createProgram(programs: Programs, setStatus: (status: number) => void): Command {
  const program = new Command("flock")
    .description(
      "Routable IPv6 and IPv4 for pods, announced by BGP: CNI plugin, node agent, inspection",
    )
    .version(VERSION, "-V, --version", "print the version")
    .helpCommand("help [command]", "show help for a command")
    .configureHelp({ showGlobalOptions: false })
    .exitOverride();
  /** Adds a command that takes no arguments, only options. */
  const command = (name: string, description: string, below = program): Command =>
    below.command(name).description(description).allowExcessArguments(false).exitOverride();

  const agent = command("agent", "run the node agent (the DaemonSet's entry point)");
  for (const { name, variable, value, fallback, help } of AGENT_FLAGS) {
    const shown = fallback === undefined || fallback === "" ? "" : `, default ${fallback}`;
    const flags = value === undefined ? `--${name}` : `--${name} <${value}>`;
    agent.addOption(new Option(flags, `${help} [${variable}${shown}]`));
  }
  agent.action(async (options: Record<string, string | boolean>) =>
    setStatus(await agentCommand(agent, options, programs))
  );

  /** Has the paths among a command's options checked before it runs, also those from variables. */
  const checked = (to: Command): Command => to.hook("preAction", requirePaths);
  const birdPaths = (to: Command): Command =>
    to.option(
      "--bird-socket <PATH>",
      "BIRD's control socket",
      environment("FLOCK_BIRD_SOCKET") ?? DEFAULT_BIRD_SOCKET,
    );
  checked(
    birdPaths(command("bird-run", "run BIRD in the foreground, with what the agent has written")),
  )
    .option(
      "--bird-config <FILE>",
      "BIRD's configuration",
      environment("FLOCK_BIRD_CONFIG") ?? DEFAULT_BIRD_CONFIG,
    )
    .action(async (options: { birdConfig: string; birdSocket: string }) => {
      logForPeople();
      setStatus(
        await orFail(() =>
          programs.birdRun({ config: options.birdConfig, socket: options.birdSocket })
        ),
      );
    });
  checked(
    birdPaths(
      command("bird-stop", "stop BIRD: gracefully when it is replaced, else with a goodbye"),
    ),
  )
    .addOption(new Option("--graceful", "keep the routes at the peers").conflicts("goodbye"))
    .addOption(new Option("--goodbye", "have the peers drop the routes").conflicts("graceful"))
    .action(async (options: { birdSocket: string; graceful?: true; goodbye?: true }) => {
      logForPeople();
      const mode = options.graceful ? "graceful" : options.goodbye ? "goodbye" : undefined;
      setStatus(await orFail(() => programs.birdStop({ socket: options.birdSocket, mode })));
    });

  const paths = (to: Command): Command =>
    to.option("--plugin-dir <DIR>", "where the runtime looks for plugins", DEFAULT_PLUGIN_DIR)
      .option(
        "--conflist <FILE>",
        "the network configuration list, in the runtime's directory",
        environment("FLOCK_CONFLIST") ?? DEFAULT_CONFLIST,
      );
  checked(paths(command("install", "put the plugin where the runtime looks for it")))
    .option("--exclusive", "set the runtime's other network configurations aside")
    .action(async (options: { pluginDir: string; conflist: string; exclusive?: true }) => {
      logForPeople();
      const exclusive = options.exclusive ? parentOf(options.conflist) : undefined;
      const { pluginDir } = options;
      setStatus(
        await orFail(() => programs.install({ executable: ownExecutable(), pluginDir, exclusive })),
      );
    });
  const agentPaths = (to: Command): Command =>
    birdPaths(paths(to))
      .option(
        "--state-dir <DIR>",
        "what survives a reboot",
        environment("FLOCK_STATE_DIR") ?? DEFAULT_STATE_DIR,
      )
      .addOption(agentSocket());
  checked(agentPaths(command("uninstall", "remove flock and all it made from this node")))
    .option("--force", "also while pods use it: they lose their network", false)
    .option("--dry-run", "only tell what would be removed, and whether it would refuse", false)
    .action(async (options: Omit<UninstallOptions, "say">) => {
      logForPeople();
      setStatus(await orFail(() => programs.uninstall({ ...options, say })));
    });

  checked(command("drain", "take the node's anycast addresses out of service, and wait for it"))
    .addOption(agentSocket())
    .addOption(
      new Option(
        "--wait <TIME>",
        "how long they stay announced with GRACEFUL_SHUTDOWN, for the routers to prefer others",
      ).default(DEFAULT_DRAIN_WAIT),
    )
    .action(async ({ socket, wait }: { socket: string; wait: string }, drain: Command) => {
      const waitMs = parseWait(drain, wait);
      logForPeople();
      setStatus(await orFail(() => programs.drain({ socket, waitMs, say })));
    });
  checked(command("undrain", "put the node's anycast addresses back into service"))
    .addOption(agentSocket())
    .action(async ({ socket }: { socket: string }) => {
      logForPeople();
      setStatus(await orFail(() => programs.undrain({ socket, say })));
    });

  checked(
    agentPaths(
      command("doctor", "look for what makes flock fail on this host, and how to mend it"),
    ),
  )
    .option(
      "--manifests <DIR>",
      "all NodeConfigs, to compare them",
      environment("FLOCK_MANIFESTS"),
    )
    .option(
      "--node <NAME>",
      "name of this node, where the agent has not written it down",
      environment("FLOCK_NODE") ?? environment("NODE_NAME"),
    )
    .addOption(
      new Option("-o, --output <FORMAT>", "format").choices(["table", "json", "yaml"])
        .default("table"),
    )
    .addHelpText("after", DOCTOR_HELP)
    .action(
      async ({ node, ...rest }: Omit<DoctorOptions, "print" | "node"> & { node?: string }) => {
        logForPeople();
        const name = (node ?? Deno.hostname()).toLowerCase();
        setStatus(await orFail(() => programs.doctor({ ...rest, node: name, print })));
      },
    );

  command("demo", "show the main job on this machine, in network namespaces of its own")
    .action(async () => {
      logForPeople();
      setStatus(
        await orFail(() => programs.demo({ executable: ownExecutable(), colour: wantsColour() })),
      );
    });
  addInspectCommands(
    (name, description, below) => checked(command(name, description, below)),
    environment,
    async (options) => setStatus(await programs.inspect(options)),
  );
  command("completion", "print a script that completes flock's commands in a shell")
    .addArgument(new Argument("<shell>").choices(SHELLS))
    .addHelpText("after", COMPLETION_HELP)
    .action((shell: Shell) => print(renderCompletion(program, shell)));
  return program;
}

function agentSocket(): Option {
  return new Option("--socket <PATH>", "the agent's socket")
    .default(environment("FLOCK_SOCKET") ?? DEFAULT_SOCKET);
}

/** Milliseconds; ends with a usage error when the text is no wait. */
function parseWait(command: Command, text: string): number {
  let why: string;
  try {
    const ms = parseDuration(text);
    if (isDrainWait(ms)) return ms;
    why = `Cannot use wait "${text}": it is ${ms < 0 ? "negative" : "over 24h"}`;
  } catch (error) {
    why = messageOf(error);
  }
  command.error(`error: --wait: ${why}`, { exitCode: EXIT.usage });
}

/** Refuses paths that are not absolute; `flock agent` has its own check, which names all problems. */
function requirePaths(command: Command): void {
  for (const option of command.options) {
    if (!/<(PATH|FILE|DIR)>$/.test(option.flags)) continue;
    if (command.getOptionValue(option.attributeName()) === undefined) continue;
    try {
      parsePath(command.getOptionValue(option.attributeName()));
    } catch (error) {
      command.error(`error: ${option.long}: ${messageOf(error)}`, { exitCode: EXIT.usage });
    }
  }
}

/** Runs the agent until SIGTERM or SIGINT. */
async function agentCommand(
  command: Command,
  options: Record<string, string | boolean>,
  programs: Programs,
): Promise<number> {
  const flags = Object.fromEntries(
    AGENT_FLAGS.map(({ name }) => [name, options[camelCase(name)]]),
  );
  // Commander reads "--no-x" as x switched off.
  flags["no-sysctls"] = options.sysctls === false ? true : undefined;
  let settings;
  try {
    settings = parseAgentSettings(flags, environment, () => Deno.hostname());
  } catch (error) {
    command.error(`error: ${messageOf(error)}`, { exitCode: EXIT.usage });
  }
  configureLog({ level: settings.logLevel, format: settings.logFormat, colour: wantsColour() });
  const stop = new AbortController();
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    Deno.addSignalListener(signal, () => stop.abort());
  }
  return await orFail(async () => {
    const origins = settingOrigins(flags, environment, () => settings.node);
    await programs.runAgent({ ...settings, origins }, stop.signal);
    return EXIT.ok;
  });
}

/** The status of a command; a failure is logged, and is 1. */
async function orFail(run: () => Promise<number>): Promise<number> {
  try {
    return await run();
  } catch (error) {
    log.error(error instanceof TerminalError ? "Could not start" : "Failed", { err: error });
    return EXIT.failure;
  }
}

function logForPeople(): void {
  configureLog({ level: "info", format: "text", colour: wantsColour() });
}

function wantsColour(): boolean {
  return Deno.stderr.isTerminal() && !environment("NO_COLOR");
}

/** A variable; an empty one counts as not set. */
function environment(name: string): string | undefined {
  return Deno.env.get(name) || undefined;
}

/** A line on standard output. */
function say(line: string): void {
  print(`${line}\n`);
}

function print(text: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(text));
}

function camelCase(name: string): string {
  return name.replaceAll(/-([a-z])/g, (_, letter: string) => letter.toUpperCase());
}

/** This executable, as a runtime would exec it: compiled, started by its launcher, or built from source. */
function ownExecutable(): string {
  return Deno.build.standalone
    ? Deno.execPath()
    : environment("FLOCK_EXECUTABLE") ?? `${Deno.cwd()}/dist/flock`;
}
