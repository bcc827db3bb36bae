import { assertEquals } from "@std/assert";
import { describeUnknown } from "./options.ts";
import { ROOT, run } from "./run.ts";
import { CHECKS, GATE_TIERS, MACHINE_TIERS, REPEAT_TIERS } from "./tiers.ts";

const STEPS = [...CHECKS, ...GATE_TIERS, ...MACHINE_TIERS, ...REPEAT_TIERS].map(({ name }) => name)
  .join(", ");

/** Script, its arguments, the one that is refused, what it names instead. */
const REFUSED: readonly (readonly [string, readonly string[], string, string])[] = [
  ["scripts/demo.ts", ["--no-instal"], "--no-instal", "--no-install"],
  ["scripts/demo.ts", ["--no-install", "now"], "now", "--no-install"],
  ["scripts/run_tests.ts", ["--hlp"], "--hlp", `--gate, --no-install, ${STEPS}`],
  ["scripts/run_tests.ts", ["--no-install=1"], "--no-install=1", `--gate, --no-install, ${STEPS}`],
  ["scripts/run_tests.ts", ["unit", "unti"], "unti", `--gate, --no-install, ${STEPS}`],
  ["scripts/build.ts", ["--x"], "--x", "--require-compile"],
  ["scripts/build.ts", ["--require-compile", ""], "", "--require-compile"],
  ["scripts/setup.ts", ["demo", "--no-instal"], "--no-instal", "--no-install"],
  ["tests/bench/main.ts", ["--x\n"], "--x\\n", "--json, --strict"],
];

for (const [script, args, unknown, accepted] of REFUSED) {
  Deno.test(`${script} does nothing when told ${JSON.stringify(args)}`, async () => {
    const command = [Deno.execPath(), "run", "--quiet", "-A", `${ROOT}/${script}`, ...args];
    // What each does first shows on standard output, or as a line of its own on the other.
    assertEquals(await run(command, { timeoutMs: 20_000 }), {
      code: 2,
      stdout: "",
      stderr: `Cannot use argument "${unknown}": it is none of ${accepted}\n`,
    });
  });
}

Deno.test("a limited gate refuses the steps that are not in it", async () => {
  const command = [Deno.execPath(), "run", "--quiet", "-A", `${ROOT}/scripts/run_tests.ts`];
  const { code, stderr } = await run([...command, "--gate", "netns"], { timeoutMs: 20_000 });
  assertEquals([code, stderr.startsWith('Cannot use argument "netns": ')], [2, true]);
});

Deno.test("describeUnknown() finds nothing when all arguments are accepted", () => {
  assertEquals(describeUnknown([], []), undefined);
  assertEquals(describeUnknown(["--a", "b", "--a"], ["--a", "b"]), undefined);
});
