/**
 * The fast way of a command line and the way of the command line proper mean the same.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { Command, CommanderError } from "commander";
import { INSPECT_COMMANDS, type InspectOptions, parseInspectArgs } from "./inspect_commands.ts";
import { addInspectCommands } from "./inspect_program.ts";

type Env = Readonly<Record<string, string>>;

/** What the command line proper makes of arguments; undefined: it refuses them, or shows help. */
async function properly(args: readonly string[], env: Env): Promise<InspectOptions | undefined> {
  let found: InspectOptions | undefined;
  const quiet = { writeOut: () => {}, writeErr: () => {} };
  const program = new Command("flock").exitOverride().configureOutput(quiet);
  addInspectCommands(
    (name, _, below = program) =>
      below.command(name).allowExcessArguments(false).exitOverride().configureOutput(quiet),
    (name) => env[name],
    (options) => {
      found = options;
      return Promise.resolve();
    },
  );
  try {
    await program.parseAsync([...args], { from: "user" });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
  }
  return found;
}

const WELL_FORMED: readonly (readonly [args: string, env?: Env])[] = [
  ...INSPECT_COMMANDS.map(({ name, arguments: wanted = [] }) => {
    const words = wanted.map(({ name, pattern, choices }) =>
      pattern === undefined ? choices[0] : name === "port" ? "tcp/80" : "2001:db8::53"
    );
    return [[name, ...words].join(" ")] as const;
  }),
  ["policies explain web/a 198.51.100.7 icmp --watch"],
  ["policies explain -o json web/a db/b tcp/http --socket /a"],
  ["policies --check -o yaml"],
  ["explain web/a-0.b --watch"],
  ["explain -o json 198.51.100.7/32"],
  ["status -o json"],
  ["status --output wide --watch"],
  ["routes --check --output=yaml"],
  ["bgp --socket /tmp/a.sock -o table"],
  ["bgp --socket=/tmp/a=b.sock"],
  ["render -o json routes --socket /a"],
  ["status", { FLOCK_SOCKET: "/x/y.sock" }],
  ["status --socket /z", { FLOCK_SOCKET: "/x/y.sock" }],
];

for (const [args, env = {}] of WELL_FORMED) {
  Deno.test(`flock ${args} means the same both ways (${Object.keys(env)})`, async () => {
    const fast = parseInspectArgs(args.split(" "), (name) => env[name]);
    assertEquals(fast, await properly(args.split(" "), env));
    assert(args.startsWith(fast?.command.name ?? "nothing"));
    assertEquals(args.includes("policies explain"), fast?.command.name === "policies explain");
  });
}

Deno.test("parseInspectArgs() leaves to the command line proper what that refuses, or what it does not know", async () => {
  const refused = [
    "status -o xml",
    "status -o",
    "status --socket",
    "status --wat",
    "status --watch --check",
    "status --watch=yes",
    "status extra",
    "allocations --check",
    "explain",
    "explain web",
    "explain web/a/b",
    "explain :",
    "explain web/a 198.51.100.7",
    "render",
    "render nfs",
    "policies explain",
    "policies explain web/a db/b",
    "policies explain web/a db/b 80 81",
    "policies explain web db/b 80",
    "policies explain web/a db/b 80 --check",
    "policies explains",
    "render bird routes",
    "render bird --watch",
    "statu",
    "",
  ];
  for (const args of refused) {
    const words = args.split(" ").filter((word) => word !== "");
    assertEquals(parseInspectArgs(words, () => undefined), undefined, args);
    assertEquals(await properly(words, {}), undefined, args);
  }
  for (const args of ["status --help", "status -h", "status --socket rel", "status -ojson"]) {
    assertEquals(parseInspectArgs(args.split(" "), () => undefined), undefined, args);
  }
  assertEquals(parseInspectArgs(["status"], () => "rel"), undefined);
});

Deno.test("options may stand before the second word of a command's name", async () => {
  const words = "policies -o json --socket /a explain -o yaml web/a db/b 80".split(" ");
  const options = await properly(words, {});
  assertEquals([options?.command.name, options?.output, options?.socket, options?.argument], [
    "policies explain",
    "yaml",
    "/a",
    "web/a db/b 80",
  ]);
});
