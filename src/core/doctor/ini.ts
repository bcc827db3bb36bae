/**
 * Configuration of systemd and NetworkManager: sections of `key=value` lines, in several directories
 * with a precedence (systemd.syntax(7), systemd-networkd's networkd.conf(5)).
 *
 * @module
 */
import type { HostFile } from "./facts.ts";

/** One line of a file. */
export interface Setting {
  readonly section: string;
  readonly key: string;
  readonly value: string;
}

/** Parses a file: comments begin with `#` or `;`, a backslash at the end continues the line. */
export function parseIni(text: string): readonly Setting[] {
  const settings: Setting[] = [];
  let section = "";
  for (const raw of text.replaceAll(/\\\n/g, " ").split("\n")) {
    const line = raw.trim();
    if (line === "" || /^[#;]/.test(line)) continue;
    const heading = /^\[(.*)\]$/.exec(line);
    if (heading) section = heading[1]!;
    const at = line.indexOf("=");
    if (heading || at < 0) continue;
    settings.push({ section, key: line.slice(0, at).trim(), value: line.slice(at + 1).trim() });
  }
  return settings;
}

/**
 * Files of one directory of the precedence list by their names: of those with one name the first
 * directory's counts. Sorted by name.
 *
 * @param dirs the most important first
 */
export function filesIn(
  files: readonly HostFile[],
  dirs: readonly string[],
  ending: string,
): readonly (HostFile & { readonly name: string })[] {
  const found = new Map<string, HostFile>();
  for (const dir of dirs) {
    for (const file of files) {
      const name = file.path.slice(dir.length + 1);
      if (!file.path.startsWith(`${dir}/`) || name.includes("/") || !name.endsWith(ending)) {
        continue;
      }
      if (!found.has(name)) found.set(name, file);
    }
  }
  return [...found].sort(([a], [b]) => a < b ? -1 : 1).map(([name, file]) => ({ ...file, name }));
}

/** Settings of a file and of what is dropped in beside it (`NAME.d/*.conf`), in their order. */
export function settingsOf(
  files: readonly HostFile[],
  dirs: readonly string[],
  name: string,
): readonly Setting[] {
  const main = dirs.map((dir) => files.find(({ path }) => path === `${dir}/${name}`))
    .find((file) => file !== undefined);
  const dropIns = filesIn(files, dirs.map((dir) => `${dir}/${name}.d`), ".conf");
  return [main, ...dropIns].flatMap((file) => file === undefined ? [] : parseIni(file.text));
}
