/**
 * Shell completion: a script for bash, zsh or fish, made of the program's own commands and options.
 *
 * @module
 */
import type { Command } from "commander";

/** Shells there is a script for. */
export const SHELLS = ["bash", "zsh", "fish"] as const;
export type Shell = typeof SHELLS[number];

/** A command as completion needs it. */
interface Completed {
  readonly name: string;
  readonly description: string;
  /** Values of its first argument, or commands below it. */
  readonly choices: readonly string[];
  readonly options: readonly {
    /** `-o`, `--output` */
    readonly flags: readonly string[];
    readonly description: string;
    readonly takesValue: boolean;
    /** Its values; none: a path, or anything. */
    readonly choices: readonly string[];
  }[];
}

/** The script that completes a program in a shell. */
export function renderCompletion(program: Command, shell: Shell): string {
  const commands = program.commands.map((command): Completed => ({
    name: command.name(),
    description: command.description(),
    choices: [
      ...command.registeredArguments[0]?.argChoices ?? [],
      ...command.commands.map((below) => below.name()),
    ],
    options: command.options.map((option) => ({
      flags: [option.short, option.long].filter((flag) => typeof flag === "string"),
      description: option.description,
      takesValue: option.required || option.optional,
      choices: option.argChoices ?? [],
    })),
  }));
  switch (shell) {
    case "bash":
      return renderBash(commands);
    case "zsh":
      return renderZsh(commands);
    case "fish":
      return renderFish(commands);
  }
}

function renderBash(commands: readonly Completed[]): string {
  const cases = commands.map(({ name, choices, options }) => {
    const words = [...choices, ...options.flatMap(({ flags }) => flags)].join(" ");
    const valued = options.filter(({ takesValue }) => takesValue).map(({ flags, choices }) =>
      `        ${flags.join(" | ")}) ${
        choices.length > 0 ? bashReply(choices.join(" ")) : 'COMPREPLY=($(compgen -f -- "$word"))'
      }; return ;;\n`
    ).join("");
    const values = valued === "" ? "" : `      case "$before" in\n${valued}      esac\n`;
    return `    ${name})\n${values}      ${bashReply(words)} ;;\n`;
  });
  return `# bash completion for flock; source it, or put it into /etc/bash_completion.d.
_flock() {
  local word="\${COMP_WORDS[COMP_CWORD]}" before="\${COMP_WORDS[COMP_CWORD-1]}"
  COMPREPLY=()
  if [ "$COMP_CWORD" = 1 ]; then
    ${bashReply(commands.map(({ name }) => name).join(" "))}
    return
  fi
  case "\${COMP_WORDS[1]}" in
${cases.join("")}  esac
}
complete -F _flock flock
`;
}

function bashReply(words: string): string {
  return `COMPREPLY=($(compgen -W "${words}" -- "$word"))`;
}

function renderZsh(commands: readonly Completed[]): string {
  const names = commands.map(({ name, description }) =>
    `    ${quoted(`${name}:${description.replaceAll(":", "\\:")}`)}\n`
  );
  const cases = commands.map(({ name, choices, options }) => {
    const specs = [
      ...(choices.length > 0 ? [quoted(`1: :(${choices.join(" ")})`)] : []),
      ...options.flatMap(({ flags, description, takesValue, choices }) =>
        flags.map((flag) => {
          const text = description.replaceAll(/[[\]:\\]/g, "\\$&");
          const value = choices.length > 0 ? `:value:(${choices.join(" ")})` : ":value:_files";
          return quoted(`${flag}[${text}]${takesValue ? value : ""}`);
        })
      ),
    ];
    return `    ${name}) _arguments ${specs.join(" ")} ;;\n`;
  });
  return `#compdef flock
# zsh completion for flock; put it as _flock into a directory of $fpath.
_flock() {
  local -a commands=(
${names.join("")}  )
  if (( CURRENT == 2 )); then
    _describe command commands
    return
  fi
  local name=$words[2]
  shift words
  (( CURRENT-- ))
  case $name in
${cases.join("")}  esac
}
if [ "$funcstack[1]" = _flock ]; then _flock "$@"; else compdef _flock flock; fi
`;
}

function renderFish(commands: readonly Completed[]): string {
  const first = commands.map(({ name, description }) =>
    `complete -c flock -n __fish_use_subcommand -a ${name} -d ${quoted(description)}\n`
  );
  const rest = commands.flatMap(({ name, choices, options }) => {
    const when = `complete -c flock -n "__fish_seen_subcommand_from ${name}"`;
    return [
      ...(choices.length > 0 ? [`${when} -a ${quoted(choices.join(" "))}\n`] : []),
      ...options.map(({ flags, description, takesValue, choices }) => {
        const names = flags.map((flag) =>
          flag.startsWith("--") ? `-l ${flag.slice(2)}` : `-s ${flag.slice(1)}`
        ).join(" ");
        const value = !takesValue
          ? ""
          : choices.length > 0
          ? ` -x -a ${quoted(choices.join(" "))}`
          : " -r -F";
        return `${when} ${names}${value} -d ${quoted(description)}\n`;
      }),
    ];
  });
  return `# fish completion for flock; put it as flock.fish into ~/.config/fish/completions.
complete -c flock -f
${first.join("")}${rest.join("")}`;
}

/** A word of any shell, in single quotes. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
