/**
 * Operators' commands on the command line proper: help, errors and suggestions. What they do is
 * `inspect.ts`.
 *
 * @module
 */
import { Argument, type Command, InvalidArgumentError, Option } from "commander";
import {
  defaultSocket,
  INSPECT_COMMANDS,
  type InspectArgument,
  type InspectCommand,
  type InspectOptions,
  joined,
  OUTPUTS,
} from "./inspect_commands.ts";

const EXIT_STATUS = `
Exit status: 0 success; 1 it failed, as when no agent answers; 2 usage.`;

/**
 * Adds the commands.
 *
 * @param add makes a command of a name and a description, below another one or the program
 */
export function addInspectCommands(
  add: (name: string, description: string, below?: Command) => Command,
  env: (name: string) => string | undefined,
  run: (options: InspectOptions) => Promise<void>,
): void {
  const commands = new Map<string, Command>();
  for (const known of INSPECT_COMMANDS) {
    const [first = "", second] = known.name.split(" ");
    const parent = second === undefined ? undefined : commands.get(first);
    // An option that both have is the one's that it comes after; the program has to leave it to them.
    parent?.helpCommand(false).enablePositionalOptions().parent?.enablePositionalOptions();
    const command = add(second ?? first, known.description, parent);
    commands.set(known.name, command);
    for (const argument of known.arguments ?? []) command.addArgument(argumentOf(argument));
    addInspectOptions(command, env);
    if (known.watch) {
      command.addOption(
        new Option("--watch", "print it again whenever it changes, until interrupted")
          .conflicts("check"),
      );
    }
    if (known.page) {
      command.addOption(
        new Option("--html <OUT>", "write a page for a browser to this file; - is standard output")
          .conflicts(["watch", "check"]),
      );
    }
    if (known.check !== undefined) {
      command.addOption(new Option("--check", `exit with 1 when ${known.check}`));
    }
    command.addHelpText("after", helpText(known));
    command.action(async () => {
      // Options may also stand before the second word of a command's name.
      const given: Partial<Omit<InspectOptions, "command">> = {
        ...command.opts(),
        ...parent && givenTo(parent),
        ...givenTo(command),
      };
      await run({
        command: known,
        argument: joined(command.args),
        output: given.output ?? "table",
        socket: given.socket ?? "",
        watch: given.watch ?? false,
        check: given.check ?? false,
        ...(given.html === undefined ? {} : { html: given.html }),
      });
    });
  }
}

/** Options of a command that are on the command line. */
function givenTo(command: Command): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(command.opts()).filter(([name]) => command.getOptionValueSource(name) === "cli"),
  );
}

function argumentOf(
  { name, description, choices, pattern }: InspectArgument,
): Argument {
  const argument = new Argument(`<${name}>`, description);
  if (pattern === undefined) return argument.choices([...choices]);
  return argument.argParser((text) => {
    if (pattern.test(text)) return text;
    throw new InvalidArgumentError(`It has to be ${description}.`);
  });
}

/** The options that every command which asks the agent has. */
export function addInspectOptions(
  command: Command,
  env: (name: string) => string | undefined,
): Command {
  return command
    .addOption(
      new Option("-o, --output <FORMAT>", "how to print it").choices([...OUTPUTS]).default("table"),
    )
    .option("--socket <PATH>", "the agent's socket [FLOCK_SOCKET]", defaultSocket(env));
}

function helpText({ examples, check, fails }: InspectCommand): string {
  const width = Math.max(...examples.map(([command]) => command.length));
  const lines = examples.map(([command, what]) => `  ${command.padEnd(width)}  # ${what}\n`);
  const also = check === undefined ? fails && `when ${fails}` : `with --check when ${check}`;
  const status = also === undefined
    ? EXIT_STATUS
    : EXIT_STATUS.replace("answers;", `answers, or ${also};`);
  return `\nExamples:\n${lines.join("")}${status}`;
}
