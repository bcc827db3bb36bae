import { assert, assertEquals, assertMatch } from "@std/assert";
import { configureLog, type Format, isNews, type Level, log } from "./log.ts";

/** What is written, without its line ends. */
function lines(
  options: { level?: Level; format: Format; colour?: boolean },
  write: () => void,
): readonly string[] {
  const written: string[] = [];
  configureLog({ level: "info", ...options, write: (line) => written.push(line) });
  write();
  assert(written.every((line) => line.endsWith("\n") && line.trimEnd().split("\n").length === 1));
  return written.map((line) => line.trimEnd());
}

Deno.test("log writes a JSON object per line: time, level, message, fields as they are", () => {
  const [line, ...more] = lines({ format: "json" }, () => {
    log.info("Attached pod", { pod: "default/web", durationMs: 1.5, absent: undefined, list: [1] });
  });
  assertEquals(more, []);
  const { ts, ...rest } = JSON.parse(line!);
  assertEquals(Object.keys(JSON.parse(line!)).slice(0, 3), ["ts", "level", "msg"]);
  assert(Math.abs(Date.parse(ts) - Date.now()) < 60_000);
  assertEquals(rest, {
    level: "info",
    msg: "Attached pod",
    pod: "default/web",
    durationMs: 1.5,
    list: [1],
  });
});

Deno.test("log writes an error's message, and its causes", () => {
  const cause = new Error("Cannot run ip", { cause: "killed by SIGKILL" });
  const several = new AggregateError([new Error("one"), "two"], "Cannot do it all");
  const written = lines({ format: "json" }, () => {
    log.warn("Could not attach", { err: new Error("Cannot attach pod", { cause }) });
    log.warn("Could not attach", { err: several });
  }).map((line) => JSON.parse(line));
  assertEquals(written.map(({ level, err, cause }) => [level, err, cause]), [
    ["warn", "Cannot attach pod", "Cannot run ip: killed by SIGKILL"],
    ["warn", "Cannot do it all", "one: two"],
  ]);
});

Deno.test("log leaves out what is below its level", () => {
  const all = (): void => {
    log.debug("Reconciled");
    log.info("Attached pod");
    log.warn("Could not attach");
    log.error("Could not start");
  };
  const levels = (level: Level): readonly string[] =>
    lines({ level, format: "json" }, all).map((line) => JSON.parse(line).level);
  assertEquals(levels("debug"), ["debug", "info", "warn", "error"]);
  assertEquals(levels("warn"), ["warn", "error"]);
  assertEquals(levels("error"), ["error"]);
});

Deno.test("log writes text for people: no value can be taken for another field or line", () => {
  const [line] = lines({ format: "text" }, () => {
    log.warn("Could not attach", { pod: "default/web", err: 'a "b"=c\nd', code: 11, list: ["x"] });
  });
  assertMatch(line!, /^\d\d:\d\d:\d\d\.\d{3} WARN {2}Could not attach /);
  assert(
    line!.endsWith(' pod=default/web err="a \\"b\\"=c\\nd" code=11 list=["x"]'),
    line,
  );
});

Deno.test("log colours levels and dims names of fields only where it is told to", () => {
  const write = (): void => log.error("Could not start", { err: "no" });
  const [plain] = lines({ format: "text" }, write);
  const [coloured] = lines({ format: "text", colour: true }, write);
  assertEquals(plain!.includes("\x1b"), false);
  assert(coloured!.includes("\x1b[31mERROR\x1b[0m Could not start \x1b[2merr=\x1b[0mno"), coloured);
  assertEquals(
    // deno-lint-ignore no-control-regex
    coloured!.replaceAll(/\x1b\[\d+m/g, "").slice(13),
    plain!.slice(13),
  );
  const [json] = lines({ format: "json", colour: true }, write);
  assertEquals(json!.includes("\x1b"), false);
});

Deno.test("isNews() is true for the first failure and at each doubling", () => {
  const news = Array.from({ length: 20 }, (_, n) => n + 1).filter(isNews);
  assertEquals(news, [1, 2, 4, 8, 16]);
});
