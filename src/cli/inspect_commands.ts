/**
 * Operators' commands that ask the agent: their names, options and examples, once. The command line, its fast
 * path and shell completion are made of this.
 *
 * @module
 */
import { DEFAULT_SOCKET } from "../core/config.ts";

/** Ways to print an answer. */
export const OUTPUTS = ["table", "wide", "json", "yaml"] as const;
export type Output = typeof OUTPUTS[number];

/** An argument that a command needs. */
export interface InspectArgument {
  readonly name: string;
  readonly description?: string;
  /** Its values; none: whatever `pattern` takes. */
  readonly choices: readonly string[];
  readonly pattern?: RegExp;
}

/** A command. */
export interface InspectCommand {
  /** Also the operation's on the socket. Of two words the first is a command, too. */
  readonly name: string;
  readonly description: string;
  /** All of them are needed. */
  readonly arguments?: readonly InspectArgument[];
  /** It can write a page for a browser. */
  readonly page?: true;
  /** It can be printed again whenever it changes. */
  readonly watch?: true;
  /** What `--check` makes of it: status 1 when this is so. */
  readonly check?: string;
  /** Without `--check`, too: status 1 when this is so. */
  readonly fails?: string;
  readonly examples: readonly (readonly [command: string, what: string])[];
}

/** An address or a prefix, or `NAMESPACE/NAME`. */
const TARGET = /^((?=.*[.:])(?=.*[0-9a-f])[0-9a-f.:]+(\/\d{1,3})?|[a-z0-9.-]+\/[a-z0-9.-]+)$/i;

/** Every command. */
export const INSPECT_COMMANDS: readonly InspectCommand[] = [
  {
    name: "status",
    page: true,
    description: "show on one screen whether this node works",
    watch: true,
    check: "pods cannot be attached, a peer is down, routes differ, or policies are not in force",
    examples: [
      ["flock status", "everything at a glance"],
      ["flock status --check -o json", "for a script: status 1 when something is wrong"],
      ["flock status --watch", "again every two seconds"],
      ["flock status --html n1.html", "as a page for a browser"],
    ],
  },
  {
    name: "allocations",
    description: "list the addresses of this node's pods",
    watch: true,
    examples: [
      ["flock allocations", "pods with their addresses"],
      ["flock allocations -o wide", "also links, containers, times"],
    ],
  },
  {
    name: "routes",
    description:
      "list flock's routes: wanted, in the kernel, in BIRD, announced; differences first",
    watch: true,
    check: "what is there is not what is wanted",
    examples: [
      ["flock routes", "what differs is on top"],
      ["flock routes --check", "status 1 when something differs"],
      ["flock routes -o json | jq '.items[] | select(.differences != [])'", "only what differs"],
    ],
  },
  {
    name: "bgp",
    description: "list the BGP peers: state, since when, routes, last error, BFD, graceful restart",
    watch: true,
    check: "a session is not up, or a peer announces more than importLimit",
    examples: [
      ["flock bgp", "one line for each peer"],
      ["flock bgp --watch", "while a router is restarted"],
    ],
  },
  {
    name: "anycast",
    description: "list the anycast addresses: which pods serve them, and why others do not",
    watch: true,
    examples: [["flock anycast", "one line for each address and pod"]],
  },
  {
    name: "explain",
    description:
      "explain why an address is announced or is not: every fact from its pod to the peers",
    arguments: [{
      name: "target",
      description: "an address, or a pod as NAMESPACE/NAME",
      choices: [],
      pattern: TARGET,
    }],
    watch: true,
    fails: "a fact is broken or not known",
    examples: [
      ["flock explain 2001:db8:ffff::53", "the first broken fact is marked"],
      ["flock explain web/frontend-0", "all addresses of a pod"],
      [
        "flock explain 2001:db8:ffff::53 -o json",
        "for a script: status 1 when something is broken",
      ],
    ],
  },
  {
    name: "policies",
    description:
      "list the NetworkPolicies: whom they select here, what they allow, what was denied",
    watch: true,
    check: "what is wanted is not in force, or a part of a policy cannot be used",
    examples: [
      ["flock policies", "policies with their rules, then this node's pods"],
      ["flock policies --watch", "denials as they are counted"],
      [
        "flock policies -o json | jq '.pods[] | select(.ingress.dropped.packets > 0) | .pod'",
        "for a script",
      ],
    ],
  },
  {
    name: "policies explain",
    description: "explain whether a packet may pass, and because of which policy",
    arguments: [
      {
        name: "from",
        description: "a pod as NAMESPACE/NAME, or an address",
        choices: [],
        pattern: TARGET,
      },
      {
        name: "to",
        description: "a pod as NAMESPACE/NAME, or an address",
        choices: [],
        pattern: TARGET,
      },
      {
        name: "port",
        description: "[tcp/|udp/|sctp/] and a number or a port's name, or icmp",
        choices: [],
        pattern: /^((tcp|udp|sctp)\/)?[a-z0-9-]+$/i,
      },
    ],
    watch: true,
    fails: "the packet is denied",
    examples: [
      ["flock policies explain web/front-0 web/db-0 5432", "both directions, both families"],
      ["flock policies explain 198.51.100.7 web/front-0 tcp/http", "a port by its name"],
      ["flock policies explain web/db-0 2001:db8::53 udp/53", "to an address outside"],
    ],
  },
  {
    name: "config",
    description: "show the configuration in force, and where each value comes from",
    watch: true,
    examples: [
      ["flock config", "what somebody set"],
      ["flock config -o wide", "also every built-in default"],
    ],
  },
  {
    name: "render",
    description: "print what would be applied, and apply nothing",
    arguments: [{ name: "what", choices: ["bird", "routes", "nft"] }],
    examples: [
      ["flock render bird", "BIRD's configuration, passwords hidden"],
      ["flock render routes", "links' ends, next hops and routes, as lines for ip -batch"],
      ["flock render nft", "the packet filter's table, for nft -f"],
    ],
  },
  {
    name: "version",
    description: "print the version, and the agent's when one answers",
    examples: [["flock version -o json", "for a script"]],
  },
];

/** Options as they were given. */
export interface InspectOptions {
  readonly command: InspectCommand;
  /** Its arguments, a space between two. */
  readonly argument?: string;
  readonly output: Output;
  readonly socket: string;
  readonly watch: boolean;
  readonly check: boolean;
  /** File that a page for a browser is written to; `-` for standard output. */
  readonly html?: string;
}

/** The socket unless told: the variable's, or the built-in default. */
export function defaultSocket(env: (name: string) => string | undefined): string {
  return env("FLOCK_SOCKET") || DEFAULT_SOCKET;
}

/**
 * Reads a well-formed command line. Undefined: it is not one of these commands, or something about it is for
 * the command line proper, which knows help and errors and takes much longer to load.
 */
export function parseInspectArgs(
  args: readonly string[],
  env: (name: string) => string | undefined,
): InspectOptions | undefined {
  const named = (words: number) => ({ name }: InspectCommand): boolean =>
    name === args.slice(0, words).join(" ");
  const [command, rest] = INSPECT_COMMANDS.some(named(2))
    ? [INSPECT_COMMANDS.find(named(2)), args.slice(2)]
    : [INSPECT_COMMANDS.find(named(1)), args.slice(1)];
  if (command === undefined) return undefined;
  const needed = command.arguments ?? [];
  let output: Output = "table";
  let socket = defaultSocket(env);
  let [watch, check] = [false, false];
  const given: string[] = [];
  for (let at = 0; at < rest.length; at++) {
    const [word, inline] = splitOption(rest[at]!);
    const value = (): string | undefined => inline ?? rest[++at];
    if (word === "-o" || word === "--output") {
      const wanted = value();
      const format = OUTPUTS.find((known) => known === wanted);
      if (format === undefined) return undefined;
      output = format;
    } else if (word === "--socket") socket = value() ?? "";
    else if (inline !== undefined) return undefined;
    else if (word === "--watch" && command.watch) watch = true;
    else if (word === "--check" && command.check !== undefined) check = true;
    else if (takes(needed[given.length], word)) given.push(word);
    else return undefined;
  }
  const argument = joined(given);
  return given.length === needed.length && !(watch && check) && isPath(socket)
    ? { command, argument, output, socket, watch, check }
    : undefined;
}

/** Arguments as the agent is sent them; undefined for none. */
export function joined(given: readonly string[]): string | undefined {
  return given.length === 0 ? undefined : given.join(" ");
}

/** Whether a word can be this argument. */
function takes(argument: InspectArgument | undefined, word: string): boolean {
  return argument?.choices.includes(word) || argument?.pattern?.test(word) || false;
}

/** `--name=value` in two; everything else is a word. */
function splitOption(word: string): readonly [string, string | undefined] {
  const at = word.startsWith("--") ? word.indexOf("=") : -1;
  return at < 0 ? [word, undefined] : [word.slice(0, at), word.slice(at + 1)];
}

function isPath(text: string): boolean {
  return text.startsWith("/") && !/[\0\n]/.test(text);
}
