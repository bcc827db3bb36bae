import { assert, assertEquals, assertRejects } from "@std/assert";
import { gate } from "../../tests/fakes/reconciler_fixture.ts";
import { type Address, parseAddress } from "../core/cidr.ts";
import { CommandError, type RunCommand } from "./command.ts";
import { createConntrack } from "./conntrack.ts";

const DONE = { stdout: "", stderr: "" };

function addresses(...texts: readonly string[]): readonly Address[] {
  return texts.map(parseAddress);
}

function failed(stderr: string): CommandError {
  return new CommandError("conntrack -R -", 1, undefined, "", stderr, 1);
}

/** Remembers what each process was given; answers as told. */
function recording(answer: (n: number) => Promise<unknown> = () => Promise.resolve()) {
  const given: string[] = [];
  const run: RunCommand = async (tool, args, { stdin } = {}) => {
    assertEquals([tool, ...args], ["conntrack", "-R", "-"]);
    await answer(given.push(await stdin!));
    return DONE;
  };
  return { given, run };
}

Deno.test("forget() deletes what an address sends, in either direction, in one process", async () => {
  const { given, run } = recording();
  const conntrack = createConntrack(run);
  await conntrack.forget(addresses("10.244.1.3", "2001:db8::3"));
  assertEquals(given, [
    "-D -f ipv4 -s 10.244.1.3\n-D -f ipv4 -r 10.244.1.3\n" +
    "-D -f ipv6 -s 2001:db8::3\n-D -f ipv6 -r 2001:db8::3\n",
  ]);
});

Deno.test("forget() starts no process for no address", async () => {
  const { given, run } = recording();
  await createConntrack(run).forget([]);
  assertEquals(given, []);
});

Deno.test("forget() has one process at a time; what comes up meanwhile shares the next", async () => {
  const { held, release } = gate();
  const { given, run } = recording((n) => n === 1 ? held : Promise.resolve());
  const conntrack = createConntrack(run);
  const first = conntrack.forget(addresses("10.244.1.1"));
  while (given.length === 0) await Promise.resolve();
  const others = ["10.244.1.2", "10.244.1.3"].map((text) => conntrack.forget(addresses(text)));
  for (let turn = 0; turn < 20; turn++) await Promise.resolve();
  assertEquals(given.length, 1);
  release();
  await Promise.all([first, ...others]);
  assertEquals(given.map((text) => text.match(/(?<=-s )\S+/g)), [
    ["10.244.1.1"],
    ["10.244.1.2", "10.244.1.3"],
  ]);
});

Deno.test("forget() begins again when an entry ended by itself meanwhile", async () => {
  const gone = failed(
    "conntrack v1.4.7 (conntrack-tools): Operation failed: such conntrack doesn't exist",
  );
  const { given, run } = recording((n) => n < 3 ? Promise.reject(gone) : Promise.resolve());
  await createConntrack(run).forget(addresses("10.244.1.1"));
  assertEquals([given.length, new Set(given).size], [3, 1]);
});

Deno.test("forget() fails with what conntrack says; the next one begins anew", async () => {
  const refused = failed("Operation failed: Operation not permitted");
  const { given, run } = recording((n) => n === 1 ? Promise.reject(refused) : Promise.resolve());
  const conntrack = createConntrack(run);
  await assertRejects(
    () => conntrack.forget(addresses("10.244.1.1")),
    CommandError,
    "not permitted",
  );
  await conntrack.forget(addresses("10.244.1.2"));
  assertEquals(given.length, 2);
});

Deno.test("forget() waits no longer than it may, also for its turn", async () => {
  const { held, release } = gate();
  const { given, run } = recording((n) => n === 1 ? held : Promise.resolve());
  const conntrack = createConntrack(run, { timeoutMs: 40 });
  const started = performance.now();
  const isLate = (text: string): Promise<unknown> =>
    assertRejects(() => conntrack.forget(addresses(text)), DOMException, "not done within 0.04 s");
  const first = isLate("10.244.1.1");
  while (given.length === 0) await Promise.resolve();
  await Promise.all([first, isLate("10.244.1.2")]);
  assert(performance.now() - started < 1_000);
  release();
  // What nobody waits for any more is done all the same.
  await conntrack.forget(addresses("10.244.1.2"));
  assertEquals(given.map((text) => text.match(/(?<=-s )\S+/g)), [["10.244.1.1"], ["10.244.1.2"]]);
});
