/**
 * What the program logs, over the whole tree: each message is a constant that names what happened, and
 * each field a word, so that logs can be searched.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { ROOT } from "../scripts/run.ts";

/** One call of the log. */
interface Call {
  readonly where: string;
  readonly level: string;
  /** Its arguments, as they are written. */
  readonly text: string;
}

/** Past tenses that do not end in "ed", and what stands for one. */
const IRREGULAR = ["Began", "Chose", "Found", "Forgot", "Gave", "Kept", "Left", "Let", "Lost"];
const IRREGULAR_TOO = ["Made", "Put", "Read", "Set", "Took", "Tore", "Withdrew", "Wrote"];
const FORBIDDEN_KEYS = ["error", "message", "ns", "name", "container", "ip", "iface", "duration"];

async function calls(): Promise<readonly Call[]> {
  const found: Call[] = [];
  for await (const path of sources(`${ROOT}/src`)) {
    const text = await Deno.readTextFile(path);
    for (const match of text.matchAll(/\blog\.(debug|info|warn|error)\(/g)) {
      const start = match.index + match[0].length;
      const line = text.slice(0, start).split("\n").length;
      found.push({
        where: `${path.slice(ROOT.length + 1)}:${line}`,
        level: match[1]!,
        text: argumentsAt(text, start),
      });
    }
  }
  return found;
}

async function* sources(dir: string): AsyncGenerator<string> {
  for await (const { name, isDirectory } of Deno.readDir(dir)) {
    const path = `${dir}/${name}`;
    if (isDirectory) yield* sources(path);
    else if (name.endsWith(".ts") && !name.endsWith("_test.ts") && path !== `${ROOT}/src/log.ts`) {
      yield path;
    }
  }
}

/** The text up to the parenthesis that closes the call. */
function argumentsAt(text: string, start: number): string {
  let depth = 1;
  let quote = "";
  for (let at = start; at < text.length; at++) {
    const char = text[at]!;
    if (quote !== "") {
      if (char === "\\") at++;
      else if (char === quote) quote = "";
    } else if (`"'\``.includes(char)) quote = char;
    else if ("([{".includes(char)) depth++;
    else if (")]}".includes(char) && --depth === 0) return text.slice(start, at);
  }
  throw new SyntaxError("Cannot find the end of a call");
}

/** The messages of a call: one, or those of a conditional. */
function messagesOf({ text }: Call): readonly string[] {
  const [, direct] = /^\s*"([^"]*)"/.exec(text) ?? [];
  if (direct !== undefined) return [direct];
  const [, one, other] = /^[^,]*?\?\s*"([^"]*)"\s*:\s*"([^"]*)"/.exec(text) ?? [];
  return one !== undefined && other !== undefined ? [one, other] : [];
}

Deno.test("log: every message is a constant", async () => {
  const all = await calls();
  assert(all.length > 60, `${all.length} calls found`);
  const others = all.filter((call) => messagesOf(call).length === 0).map(({ where, text }) =>
    `${where.replace(/:\d+$/, "")} ${text.split(",")[0]}`
  );
  // Each takes it from a table of constants, or passes one on.
  assertEquals(others.sort(), [
    "src/agent/pod_network.ts LEAKS[source]",
    "src/io/manifests.ts msg",
  ]);
});

Deno.test("log: a message says what happened: capital letter, past tense, no period, no value", async () => {
  const verbs = [...IRREGULAR, ...IRREGULAR_TOO];
  const wrong = (await calls()).flatMap((call) =>
    messagesOf(call).filter((msg) => {
      const [first = ""] = msg.split(" ");
      const isPast = first === "Could"
        ? msg.startsWith("Could not ")
        : /^[A-Z]\w*ed$/.test(first) || verbs.includes(first) ||
          / (ended|failed|was|did)\b/.test(msg);
      return msg.includes("${") || /[.:!]$/.test(msg) || !/^[A-Z]/.test(msg) || !isPast;
    }).map((msg) => `${call.where} ${msg}`)
  );
  assertEquals(wrong, []);
});

Deno.test("log: fields are whole words in lower camel case", async () => {
  const wrong = (await calls()).flatMap(({ where, text }) => {
    const fields = /^[^{]*\{([\s\S]*)\}\s*,?\s*$/.exec(text)?.[1] ?? "";
    // What is inside further braces, brackets and strings is a value.
    const flat = fields.replaceAll(/"[^"]*"|`[^`]*`/g, "''").replaceAll(/\([^()]*\)/g, "")
      .replaceAll(/\{[^{}]*\}|\[[^[\]]*\]/g, "");
    const keys = flat.split(",").map((part) => part.trim().split(":")[0]!.trim())
      .filter((key) => key !== "" && !key.startsWith("..."));
    return keys.filter((key) => !/^[a-z][a-zA-Z0-9]*$/.test(key) || FORBIDDEN_KEYS.includes(key))
      .map((key) => `${where} ${key}`);
  });
  assertEquals(wrong, []);
});

Deno.test("log: a failure names its error", async () => {
  const nameless = (await calls()).filter((call) =>
    messagesOf(call).some((msg) => msg.startsWith("Could not ")) &&
    !/\b(err|reason|others|fields|afterMs)\b/.test(call.text)
  );
  assertEquals(nameless.map(({ where }) => where), []);
});
