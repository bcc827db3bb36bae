/**
 * Shell patterns as network managers use them for names of links: `*`, `?` and `[a-z]`.
 *
 * @module
 */

/** True when a text is as a pattern says. */
export function matchesPattern(pattern: string, text: string): boolean {
  const source = pattern.replaceAll(/\[[^\]]*\]|[^\w]/g, (part) => {
    if (part === "*") return ".*";
    if (part === "?") return ".";
    return part.length > 1 ? part.replace("[!", "[^").replaceAll("\\", "\\\\") : `\\${part}`;
  });
  try {
    return new RegExp(`^${source}$`).test(text);
  } catch {
    return false; // "[z-a]"
  }
}
