/**
 * What the pages on the commands, and the tables of fields and annotations, say is what the code has.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { z } from "zod";
import { AGENT_FLAGS } from "../core/agent_settings.ts";
import { FACT_NAMES } from "./explain_view.ts";
import { ANNOTATION_KEYS } from "../core/annotations.ts";
import {
  DEFAULT_BIRD_CONFIG,
  DEFAULT_BIRD_SOCKET,
  DEFAULT_DRAIN_WAIT,
  DEFAULT_SOCKET,
} from "../core/config.ts";
import { renderCheckTable } from "../core/doctor/checks.ts";
import { TESTED_VERSIONS } from "../core/doctor/machine.ts";
import { parseNodeConfig } from "../core/node_config.ts";
import { nodeConfigSpecSchema } from "../core/node_config_schema.ts";
import { parseObject } from "../core/manifest.ts";
import { parseYamlDocuments } from "../std.ts";
import { INSPECT_COMMANDS } from "./inspect_commands.ts";

const ROOT = new URL("../../", import.meta.url);
const read = (path: string): Promise<string> => Deno.readTextFile(new URL(path, ROOT));

Deno.test("docs: cmd-agent.md has every flag with its variable and default", async () => {
  const section = /<!-- flags: .*?-->(.*)<!-- \/flags -->/s.exec(await read("docs/cmd-agent.md"));
  const listed = rowsOf(section?.[1] ?? "").slice(1)
    .map(([flag, variable, fallback]) => [flag, variable, fallback]);
  assertEquals(
    listed,
    AGENT_FLAGS.map(({ name, variable, fallback }) => [
      `\`--${name}\``,
      `\`${variable}\``,
      fallback ? `\`${fallback}\`` : "",
    ]),
  );
});

Deno.test("docs: flock agent --help has the same flags", async () => {
  const help = await helpOf("agent");
  for (const { name, value, variable } of AGENT_FLAGS) {
    assert(help.includes(value === undefined ? `--${name} ` : `--${name} <${value}>`), name);
    assert(help.includes(variable), variable);
  }
});

Deno.test("docs: cmd-bird.md has every option of both commands, and the defaults", async () => {
  const page = await read("docs/cmd-bird.md");
  await assertOptions(page, ["bird-run", "bird-stop"]);
  assert(page.includes(`| \`${DEFAULT_BIRD_CONFIG}\` |`), DEFAULT_BIRD_CONFIG);
  assert(page.includes(`| \`${DEFAULT_BIRD_SOCKET}\` `), DEFAULT_BIRD_SOCKET);
});

Deno.test("docs: cmd-drain.md has every option of both commands, and the defaults", async () => {
  const page = await read("docs/cmd-drain.md");
  await assertOptions(page, ["drain", "undrain"]);
  for (const value of [DEFAULT_SOCKET, DEFAULT_DRAIN_WAIT]) {
    assert(page.includes(`| \`${value}\` `), value);
  }
});

/** Each command has a section with a table of its options. */
async function assertOptions(page: string, commands: readonly string[]): Promise<void> {
  for (const command of commands) {
    const section = page.split(/^## flock /m).find((part) => part.startsWith(`${command}\n`)) ?? "";
    const options = [...(await helpOf(command)).matchAll(/^ +(--[\w-]+(?: <\w+>)?)/gm)]
      .map(([, option]) => `\`${option}\``);
    const listed = rowsOf(section).map(([first = ""]) => first).filter((c) => c.startsWith("`--"));
    assertEquals(listed.sort(), options.sort(), command);
  }
}

Deno.test("docs: cmd-inspect.md has every command and every option, with the defaults", async () => {
  const page = await read("docs/cmd-inspect.md");
  const section = /<!-- commands: .*?-->(.*)<!-- \/commands -->/s.exec(page)?.[1] ?? "";
  assertEquals(
    rowsOf(section).slice(1).map(([command, watch, check]) => [command, watch, check]),
    INSPECT_COMMANDS.flatMap(({ name, arguments: wanted = [], watch, check = "" }) =>
      (wanted[0]?.pattern === undefined
        ? wanted[0]?.choices ?? [""]
        : [wanted.map((one) => one.name.toUpperCase()).join(" ")]).map((choice) => [
          `\`flock ${`${name} ${choice}`.trim()}\``,
          watch ? "yes" : "",
          check,
        ])
    ),
  );
  const listed = new Map(
    rowsOf(page).filter(([first = ""]) => first.startsWith("`--"))
      .map(([first = "", , fallback = ""]) => [first, fallback]),
  );
  assertEquals(listed.get("`--socket <PATH>`"), `\`${DEFAULT_SOCKET}\``);
  for (const { name, watch, check, examples } of INSPECT_COMMANDS) {
    const help = await helpOf(name);
    for (const option of listed.keys()) {
      const has = option === "`--watch`"
        ? watch === true
        : option === "`--check`"
        ? check !== undefined
        : true;
      assertEquals(help.includes(option.replaceAll("`", "")), has, `${name} ${option}`);
    }
    for (const [example] of examples) assert(help.includes(`  ${example}`), example);
    assert(help.includes("Exit status: 0 success; 1 it failed"), name);
  }
});

Deno.test("docs: cmd-doctor.md has every check and every option, with the defaults", async () => {
  const page = await read("docs/cmd-doctor.md");
  const section = /<!-- checks: .*?-->(.*)<!-- \/checks -->/s.exec(page)?.[1] ?? "";
  assertEquals(rowsOf(section), rowsOf(renderCheckTable()));
  const help = (await helpOf("doctor")).replaceAll(/\s+/g, " ");
  assert(help.includes("Examples: flock doctor # "), help);
  const options = [...help.matchAll(/(--(?!help)[\w-]+ <\w+>)/g)].map(([, name]) => `\`${name}\``);
  const listed = rowsOf(page).filter(([first = ""]) => first.startsWith("`--"));
  assertEquals(listed.map(([first]) => first).sort(), options.sort());
  for (const [option = "", , fallback = ""] of listed) {
    const shown = /^`(\/.*)`$/.exec(fallback)?.[1];
    if (shown !== undefined) assert(help.includes(`(default: "${shown}")`), option);
  }
});

Deno.test("docs: cmd-explain.md has every fact in its order, and every option", async () => {
  const page = await read("docs/cmd-explain.md");
  const section = /<!-- facts: .*?-->(.*)<!-- \/facts -->/s.exec(page)?.[1] ?? "";
  assertEquals(
    rowsOf(section).slice(1).map(([name, json]) => [json, name]),
    Object.entries(FACT_NAMES).map(([json, name]) => [`\`${json}\``, name]),
  );
  const help = await helpOf("explain");
  const options = [...help.matchAll(/(--(?!help)[\w-]+(?: <\w+>)?)/g)].map(([, name]) =>
    `\`${name}\``
  );
  const listed = rowsOf(page).map(([first = ""]) => first).filter((c) => c.startsWith("`--"));
  assertEquals(listed.sort(), [...new Set(options)].sort());
});

Deno.test("docs: policies.md has every option of flock policies explain", async () => {
  const options = [
    ...(await helpOf("policies explain")).matchAll(/ (--(?!help)[\w-]+(?: <\w+>)?)/g),
  ]
    .map(([, option]) => `\`${option}\``);
  const listed = rowsOf(await read("docs/policies.md")).map(([first = ""]) => first)
    .filter((cell) => cell.startsWith("`--"));
  assertEquals(listed.sort(), options.sort());
});

Deno.test("docs: README.md has the versions that flock doctor compares with", async () => {
  const rows = new Map(tableOf(await read("README.md"), "what ").map(([what, is]) => [what, is]));
  assertEquals(
    {
      bird: rows.get("BIRD"),
      ip: rows.get("iproute2"),
      nft: rows.get("nftables"),
      conntrack: rows.get("conntrack-tools"),
    },
    TESTED_VERSIONS,
  );
});

Deno.test("docs: README.md and usage.md list every annotation, and no other", async () => {
  for (const [file, heading] of [["README.md", "annotation ("], ["docs/usage.md", "key"]]) {
    const rows = tableOf(await read(file!), heading!);
    const keys = rows.flatMap(([first = ""]) => [...first.matchAll(/`([\w-]+)`/g)])
      .map(([, key]) => key);
    assertEquals(keys.sort(), [...ANNOTATION_KEYS].sort(), file);
  }
});

Deno.test("docs: usage.md has every field of a NodeConfig, and its example is accepted", async () => {
  const page = await read("docs/usage.md");
  const listed = tableOf(page, "field").map(([first = ""]) => first).join(" ");
  for (const path of leavesOf(z.toJSONSchema(nodeConfigSpecSchema, { io: "input" }) as Schema)) {
    const name = path.replace(/^.*[.\]]\.?/, "") || path;
    assert(listed.includes(name), `no ${path} in the table`);
  }
  const [example] = parseYamlDocuments(/```yaml\n(.*?)```/s.exec(page)?.[1] ?? "");
  const parsed = parseObject(example);
  if (parsed.kind !== "NodeConfig") throw new TypeError(`The example is a ${parsed.kind}`);
  assertEquals(parseNodeConfig(parsed.nodeConfig).warnings, []);
});

Deno.test("docs: links between the pages lead somewhere", async () => {
  const pages = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"];
  for await (const { name } of Deno.readDir(new URL("docs", ROOT))) pages.push(`docs/${name}`);
  for (const page of pages) {
    for (const [, target = ""] of (await read(page)).matchAll(/\]\(([^)#:]+)\)/g)) {
      const found = await Deno.stat(new URL(target, new URL(page, ROOT))).catch(() => undefined);
      assert(found?.isFile, `${page} links to ${target}`);
    }
  }
});

Deno.test("docs: failure-scenarios.md names only tests that exist", async () => {
  const files = new Set<string>();
  for (const dir of ["src/agent", "src/cni", "src/io", "tests/netns", "tests/e2e"]) {
    for await (const { name } of Deno.readDir(new URL(dir, ROOT))) files.add(name);
  }
  const named = [...(await read("docs/failure-scenarios.md")).matchAll(/`(\w+_test)`/g)];
  assert(named.length > 20);
  for (const [, name] of named) assert(files.has(`${name}.ts`), name);
});

/** What a command's `--help` prints. */
async function helpOf(command: string): Promise<string> {
  const main = new URL("main.ts", ROOT).pathname;
  const { stdout, success } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "-A", main, ...command.split(" "), "--help"],
    env: { NO_COLOR: "1" },
  }).output();
  assert(success);
  return new TextDecoder().decode(stdout);
}

/** The rows of the tables in a text, as cells. */
function rowsOf(text: string): string[][] {
  return text.split("\n").filter((line) => line.startsWith("|") && !/^[|\s-]*$/.test(line))
    .map((line) => line.split("|").slice(1, -1).map((cell) => cell.trim()));
}

/** The rows of the table whose first heading begins so. */
function tableOf(page: string, heading: string): string[][] {
  const lines = page.split("\n");
  const start = lines.findIndex((line) => line.startsWith(`| ${heading}`));
  assert(start >= 0, `no table "${heading}"`);
  const length = lines.slice(start).findIndex((line) => !line.startsWith("|"));
  return rowsOf(lines.slice(start, start + length).join("\n")).slice(1);
}

interface Schema {
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly items?: Schema;
}

/** Paths of the fields that hold a value. */
function leavesOf(schema: Schema, path = ""): string[] {
  if (schema.items?.properties) return leavesOf(schema.items, `${path}[]`);
  if (!schema.properties) return [path];
  return Object.entries(schema.properties).flatMap(([name, field]) =>
    leavesOf(field, path === "" ? name : `${path}.${name}`)
  );
}
