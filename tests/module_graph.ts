/**
 * Who imports whom, as Deno sees it: one `deno info --json` over all source files.
 *
 * @module
 */
import { mustRun, ROOT } from "../scripts/run.ts";

export interface Import {
  /** Path relative to the root, without tests. */
  readonly from: string;
  /** Path relative to the root, or `npm:name`, `node:name`. */
  readonly to: string;
  readonly dynamic: boolean;
  /** Only types: nothing of it is loaded. */
  readonly typeOnly: boolean;
}

interface InfoDependency {
  readonly code?: { readonly specifier?: string };
  readonly type?: { readonly specifier?: string };
  readonly isDynamic?: boolean;
}

interface Info {
  readonly modules: readonly {
    readonly specifier: string;
    readonly error?: string;
    readonly dependencies?: readonly InfoDependency[];
  }[];
}

/** The source files, tests among them left out, sorted; paths relative to the root. */
export async function sourceFiles(dir = "src"): Promise<string[]> {
  const found: string[] = [];
  for await (const { name, isDirectory } of Deno.readDir(`${ROOT}/${dir}`)) {
    if (isDirectory) found.push(...await sourceFiles(`${dir}/${name}`));
    else if (name.endsWith(".ts") && !name.endsWith("_test.ts")) found.push(`${dir}/${name}`);
  }
  return found.sort();
}

/** Every import of the source files and of main.ts. */
export async function sourceImports(): Promise<Import[]> {
  const files = ["main.ts", ...await sourceFiles()];
  const all = await Deno.makeTempFile({ suffix: ".ts" });
  try {
    await Deno.writeTextFile(
      all,
      files.map((file) => `import "file://${ROOT}/${file}";`).join("\n"),
    );
    const known = new Set(files);
    return (await importsOf(all, `${ROOT}/deno.json`)).filter(({ from }) => known.has(from));
  } finally {
    await Deno.remove(all);
  }
}

/**
 * Every import in the closure of a file.
 *
 * @throws {Error} when a module of it cannot be loaded
 */
export async function importsOf(file: string, config?: string): Promise<Import[]> {
  const how = config === undefined ? ["--no-config"] : ["--config", config];
  const text = await mustRun([Deno.execPath(), "info", "--json", "--no-lock", ...how, file]);
  const info: Info = JSON.parse(text);
  return info.modules.flatMap(({ specifier, error, dependencies = [] }) => {
    if (error !== undefined) throw new Error(`Cannot load module "${specifier}": ${error}`);
    return dependencies.flatMap(({ code, type, isDynamic }) => {
      const to = code?.specifier ?? type?.specifier;
      return to === undefined ? [] : {
        from: nameOf(specifier),
        to: nameOf(to),
        dynamic: isDynamic === true,
        typeOnly: code === undefined,
      };
    });
  });
}

/** What is loaded from a file on, dynamic imports included when asked for. */
export function closure(
  imports: readonly Import[],
  start: string,
  options: { readonly dynamic: boolean },
): Set<string> {
  const reached = new Set([start]);
  for (const name of reached) {
    for (const { from, to, dynamic, typeOnly } of imports) {
      if (from === name && !typeOnly && (options.dynamic || !dynamic)) reached.add(to);
    }
  }
  return reached;
}

/** `npm:zod@4.6.7` → `npm:zod`; a file of ours → its path from the root. */
function nameOf(specifier: string): string {
  if (specifier.startsWith("npm:")) {
    return specifier.replace(/^npm:\/?((@[^/]+\/)?[^@/]+).*/, "npm:$1");
  }
  return specifier.replace(`file://${ROOT}/`, "").replace(/^file:\/\//, "");
}
