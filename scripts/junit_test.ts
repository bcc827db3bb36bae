import { assertEquals, assertThrows } from "@std/assert";
import { countTests } from "./junit.ts";
import { mustRun, run } from "./run.ts";

const TESTS = `
Deno.test("plain", () => {});
Deno.test("with > arrow & \\"quotes\\"", () => {});
Deno.test({ name: "ignored", ignore: true, fn() {} });
Deno.test("steps pass", async (t) => {
  await t.step("one", () => {});
  await t.step("two", async (t) => { await t.step("deep", () => {}); });
  await t.step({ name: "ignored", ignore: true, fn() {} });
});
Deno.test("a step fails", async (t) => {
  await t.step("bad", () => { throw new Error("<failure <skipped/>"); });
  await t.step("good", () => {});
});
Deno.test("fails itself", async (t) => {
  await t.step("good", () => {});
  throw new Error("x");
});
`;

Deno.test("countTests() counts each test once when deno wrote the report", async () => {
  const dir = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(`${dir}/a_test.ts`, TESTS);
    await Deno.writeTextFile(`${dir}/broken_test.ts`, `throw new Error("does not load");`);
    const { code } = await run(
      [Deno.execPath(), "test", "--no-config", "--junit-path=report.xml", "."],
      { cwd: dir },
    );
    assertEquals(code, 1);
    assertEquals(countTests(await Deno.readTextFile(`${dir}/report.xml`)), {
      passed: 6,
      failed: ["a_test.ts: fails itself", "a_test.ts: a step fails > bad"],
      skipped: ["a_test.ts: ignored", "a_test.ts: steps pass > ignored"],
      files: ["a_test.ts"],
    });
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

Deno.test("countTests() refuses what is no report", () => {
  assertThrows(() => countTests("no"), SyntaxError, "Cannot parse JUnit report");
});

Deno.test("mustRun() names the command and what it said when it fails", async () => {
  const command = ["/bin/sh", "-c", "echo because >&2; exit 4"];
  const error = await mustRun(command).catch((e) => e);
  assertEquals(error.message, `Cannot run "${command.join(" ")}": exit status 4:\nbecause`);
});

Deno.test("run() gives up when the deadline is missed", async () => {
  const error = await run(["/bin/sleep", "30"], { timeoutMs: 30 }).catch((e) => e);
  assertEquals(error.message, `Cannot run "/bin/sleep 30": not done after 30 ms`);
});
