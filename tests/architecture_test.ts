/**
 * The import rules of docs/design.md, checked on the source and on the built files.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { bundle } from "../scripts/bundle.ts";
import { mustRun, ROOT } from "../scripts/run.ts";
import { closure, type Import, importsOf, sourceFiles, sourceImports } from "./module_graph.ts";

/** Per directory (or file) what it may import: a name, or a beginning when it ends in "/" or "*". */
const MAY_IMPORT: readonly (readonly [from: string, to: readonly string[]])[] = [
  ["main.ts", [
    "src/cni/main.ts",
    "src/agent/main.ts",
    "src/io/kube.ts",
    "src/cli/",
    "src/std.ts",
    "node:process",
  ]],
  ["src/core/cidr.ts", ["src/core/", "npm:ipaddr.js"]],
  ["src/core/node_config_*", ["src/core/", "npm:zod"]],
  ["src/core/bird_config.ts", ["src/core/", "npm:eta", "templates/"]],
  ["src/core/conflist.ts", ["src/core/", "npm:eta", "templates/"]],
  ["src/core/page.ts", ["src/core/", "npm:eta", "templates/"]],
  ["src/core/", ["src/core/"]],
  ["src/io/kube_credentials.ts", [
    "src/core/",
    "src/log.ts",
    "src/std.ts",
    "src/io/fs.ts",
    "npm:@kubernetes/client-node",
  ]],
  ["src/io/kube_client.ts", [
    "src/core/",
    "src/version.ts",
    "src/io/kube_credentials.ts",
    "npm:undici",
  ]],
  ["src/io/kube*", [
    "src/core/",
    "src/log.ts",
    "src/sleep.ts",
    "src/io/kube_*",
  ]],
  ["src/io/", [
    "src/core/",
    "src/log.ts",
    "src/sleep.ts",
    "src/std.ts",
    "src/io/command.ts",
    "src/io/fs.ts",
    "src/io/temp_files.ts",
  ]],
  ["src/cni/", [
    "src/cni/",
    "src/core/cni.ts",
    "src/core/cni_result.ts",
    "src/core/config.ts",
    "src/core/errors.ts",
    "src/io/socket.ts",
    "src/io/deletion_queue.ts",
    "src/version.ts",
  ]],
  ["src/agent/metrics/", [
    "src/agent/",
    "src/core/",
    "src/io/",
    "src/version.ts",
    "npm:prom-client",
    // Time on a CPU: Deno itself does not tell it.
    "node:process",
  ]],
  ["src/agent/tracing.ts", ["src/core/", "src/version.ts", "npm:@opentelemetry/api"]],
  ["src/agent/", [
    "src/agent/",
    "src/core/",
    "src/io/",
    "src/log.ts",
    "src/sleep.ts",
    "src/version.ts",
  ]],
  ...["src/cli/main.ts", "src/cli/inspect_program.ts", "src/cli/completion.ts"].map((
    from,
  ): [string, string[]] => [from, [
    "src/cli/",
    "src/core/",
    "src/io/",
    "src/lab/",
    "src/log.ts",
    "npm:commander",
    "src/version.ts",
  ]]),
  ["src/cli/", [
    "src/cli/",
    "src/core/",
    "src/io/",
    "src/lab/",
    "src/log.ts",
    "src/std.ts",
    "src/version.ts",
  ]],
  ["src/lab/", ["src/lab/", "src/core/", "src/io/command.ts", "src/io/fs.ts", "src/log.ts"]],
  ["src/log.ts", ["npm:@logtape/logtape"]],
  ["src/sleep.ts", []],
  ["src/std.ts", ["npm:deno-std"]],
  ["src/version.ts", []],
];

/** Files that read the clock that people set: to write a time down, or to compare it with one written elsewhere. */
const WALL_CLOCK: readonly string[] = [
  ...["clock", "health", "bgp", "bgp_sessions"].map((name) => `src/agent/${name}.ts`),
  ...["config_status", "node_condition", "drain"].map((name) => `src/agent/${name}.ts`),
  ...["kube", "manifests"].map((name) => `src/io/${name}.ts`),
  "src/cli/doctor_facts.ts",
];

/** Words that only some files may use, and why. */
const RESERVED: readonly {
  readonly word: RegExp;
  readonly why: string;
  readonly where: (file: string) => boolean;
}[] = [
  {
    word: /\bDeno\b|\bglobalThis\b|\bfetch\(/,
    why: "core has no outside world",
    where: (file) => !file.startsWith("src/core/"),
  },
  {
    word: /\bDate\.now\b|\bnew Date\(\)|\bperformance\.|\bset(Timeout|Interval)\b/,
    why: "core has no clock",
    where: (file) => !file.startsWith("src/core/"),
  },
  {
    word: /\bDate\.now\b/,
    why: "who measures or orders reads performance.now(); times for people are epochOf()'s",
    where: (file) => WALL_CLOCK.includes(file) || file.startsWith("src/lab/"),
  },
  {
    word: /\bMath\.random\b|\bcrypto\./,
    why: "core has no randomness",
    where: (file) => !file.startsWith("src/core/"),
  },
  {
    word: /\bconsole\./,
    why: "output goes through the log or the command line",
    where: (file) => file === "src/log.ts" || file.startsWith("src/cli/"),
  },
  {
    word: /\bDeno\.Command\b/,
    why: "commands are run by io/command.ts",
    where: (file) => file === "src/io/command.ts",
  },
  {
    word: /\bimport\(/,
    why: "only main.ts loads lazily",
    where: (file) => file === "main.ts",
  },
];

const imports = await sourceImports();

Deno.test("architecture: every import is allowed by the table", () => {
  assertEquals(imports.filter((i) => !isAllowed(i)).map(show), []);
});

Deno.test("architecture: every source file is in the table", async () => {
  assertEquals((await sourceFiles()).filter((file) => rulesFor(file) === undefined), []);
});

Deno.test("architecture: main.ts imports nothing statically, and only it imports lazily", () => {
  assertEquals(imports.filter((i) => i.dynamic !== (i.from === "main.ts")).map(show), []);
});

Deno.test("architecture: the plugin's sources load nothing from npm or node", () => {
  const loaded = [...closure(imports, "src/cni/main.ts", { dynamic: true })];
  assertEquals(loaded.filter((name) => !name.startsWith("src/")), []);
  assertEquals(loaded.includes("src/io/socket.ts"), true, "the walk went nowhere");
});

Deno.test("architecture: the fast way of operators' commands loads nothing from npm or node", () => {
  const loaded = [...closure(imports, "src/cli/quick.ts", { dynamic: true })];
  assertEquals(loaded.filter((name) => !name.startsWith("src/")), []);
  assertEquals(loaded.includes("src/io/socket.ts"), true, "the walk went nowhere");
});

Deno.test("architecture: the Kubernetes client is loaded with an API server only", () => {
  for (const start of ["src/agent/main.ts", "src/cli/main.ts"]) {
    const loaded = [...closure(imports, start, { dynamic: true })];
    assertEquals(loaded.filter((name) => /kube_client|client-node|undici/.test(name)), [], start);
  }
  const loaded = closure(imports, "main.ts", { dynamic: true });
  assertEquals(loaded.has("npm:@kubernetes/client-node"), true, "the walk went nowhere");
});

Deno.test("architecture: the built plugin and the fast way are one file each, and nothing is loaded before it is known what to be", async (t) => {
  const dir = await Deno.makeTempDir();
  try {
    await bundle(dir);
    for (const alone of ["plugin.js", "quick.js"]) {
      await t.step(`${alone} imports nothing`, async () => {
        assertEquals((await importsOf(`${dir}/${alone}`)).map(show), []);
      });
    }
    const built = await importsOf(`${dir}/main.js`);
    await t.step("main.js imports nothing statically", () => {
      assertEquals([...closure(built, `${dir}/main.js`, { dynamic: false })], [`${dir}/main.js`]);
    });
    await t.step("main.js names the files that are built alone, and nobody else does", () => {
      for (const alone of ["plugin.js", "quick.js"]) {
        const named = built.filter((i) => i.to === `${dir}/${alone}`);
        assertEquals(named.map((i) => [i.from, i.dynamic]), [[`${dir}/main.js`, true]], alone);
      }
    });
    await t.step("nothing is left outside of the bundle", () => {
      const outside = built.filter((i) => !i.to.startsWith(`${dir}/`) && !i.to.startsWith("node:"));
      assertEquals(outside.map(show), []);
    });
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

Deno.test("architecture: every using declaration survives in the built files", async () => {
  const dir = await Deno.makeTempDir();
  try {
    const [plain, built] = [`${dir}/plain`, `${dir}/built`];
    for (const path of [plain, built]) await Deno.mkdir(path);
    await bundle(plain, { minify: false });
    await bundle(built);
    const declared = await usingsOf(plain);
    const inSource = (await Promise.all((await sourceFiles()).map((file) =>
      Deno.readTextFile(`${ROOT}/${file}`)
    ))).flatMap((code) => code.match(/^ *(await )?using \w+ =/gm) ?? []);
    // The files of the plugin are bundled twice, and what nothing calls not at all.
    assert(declared.length >= inSource.length, "what was bundled lacks declarations of the source");
    const survived = await usingsOf(built);
    assertEquals(
      survived.length,
      declared.length,
      "the bundler folded a using whose name is read once, in the next statement, into that statement, " +
        `and disposes of nothing: use try and finally.\nDeclared: ${declared.join("\n")}\n` +
        `Survived: ${survived.join("\n")}`,
    );
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

Deno.test("architecture: a using declaration that the bundler loses is missed", async () => {
  const dir = await Deno.makeTempDir();
  try {
    const source = `export async function f() {
      using lost = await Deno.open("/a");
      await lost.sync();
      using kept = await Deno.open("/b"), _unused = await Deno.open("/c");
      await kept.sync();
      for (using x of [kept]) await x.sync();
    }`;
    await Deno.writeTextFile(`${dir}/source.js`, source);
    assertEquals((await usingsOf(dir)).length, 4);
    await mustRun(
      [
        Deno.execPath(),
        "bundle",
        "--quiet",
        "--minify",
        "-o",
        `${dir}/built.js`,
        `${dir}/source.js`,
      ],
    );
    await Deno.remove(`${dir}/source.js`);
    assertEquals((await usingsOf(dir)).length, 3);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

Deno.test("architecture: reserved words are used where they may be", async () => {
  const found: string[] = [];
  for (const file of ["main.ts", ...await sourceFiles()]) {
    const code = withoutComments(await Deno.readTextFile(`${ROOT}/${file}`));
    for (const { word, why, where } of RESERVED) {
      if (!where(file) && word.test(code)) found.push(`${file}: ${code.match(word)?.[0]} (${why})`);
    }
  }
  assertEquals(found, []);
});

Deno.test("architecture: source files say what they are and stay short", async () => {
  const bad: string[] = [];
  for (const file of ["main.ts", ...await sourceFiles()]) {
    const text = await Deno.readTextFile(`${ROOT}/${file}`);
    if (!/^\/\*\*[^]*?@module/.test(text)) bad.push(`${file}: no module documentation`);
    if (text.split("\n").length > 401) bad.push(`${file}: more than 400 lines`);
  }
  assertEquals(bad, []);
});

/** What is declared with `using` in the JavaScript files of a directory: one entry for each name. */
async function usingsOf(dir: string): Promise<string[]> {
  const found: string[] = [];
  const plugin: Deno.lint.Plugin = {
    name: "flock",
    rules: {
      using: {
        create: ({ sourceCode }) => ({
          VariableDeclaration({ kind, declarations }) {
            if (kind !== "using" && kind !== "await using") return;
            found.push(...declarations.map((d) => `${kind} ${sourceCode.getText(d)}`));
          },
        }),
      },
    },
  };
  for await (const { name } of Deno.readDir(dir)) {
    if (!name.endsWith(".js")) continue;
    Deno.lint.runPlugin(plugin, name, await Deno.readTextFile(`${dir}/${name}`));
  }
  return found;
}

function rulesFor(file: string): readonly string[] | undefined {
  return MAY_IMPORT.find(([from]) => matches(file, from))?.[1];
}

function isAllowed({ from, to }: Import): boolean {
  return rulesFor(from)?.some((allowed) => matches(to, allowed)) ?? false;
}

function matches(name: string, pattern: string): boolean {
  if (pattern.endsWith("/")) return name.startsWith(pattern);
  return pattern.endsWith("*") ? name.startsWith(pattern.slice(0, -1)) : name === pattern;
}

function show({ from, to, dynamic }: Import): string {
  return `${from} imports ${to}${dynamic ? " lazily" : ""}`;
}

/** Comments speak of what the code may not do. Strings stay: a word in one is rare, and is seen. */
function withoutComments(code: string): string {
  return code.replace(/\/\*[^]*?\*\//g, "").replace(/^\s*\/\/.*$|\s\/\/ .*$/gm, "");
}
