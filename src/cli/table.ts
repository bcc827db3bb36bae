/**
 * Tables for people: columns as wide as their cells, headings, colour where the caller wants it.
 *
 * @module
 */

/** What a cell's colour says, besides its words. */
export type Tone = "good" | "bad" | "warn" | "faint";

/** Text, or text with a tone. */
export type Cell = string | { readonly text: string; readonly tone?: Tone };

const SGR: Readonly<Record<Tone | "heading", string>> = {
  good: "\x1b[32m",
  bad: "\x1b[31m",
  warn: "\x1b[33m",
  faint: "\x1b[2m",
  heading: "\x1b[1m",
};

/** A text in a tone, when colours are wanted. */
export function toned(text: string, tone: Tone | "heading" | undefined, colour: boolean): string {
  return colour && tone !== undefined && text !== "" ? `${SGR[tone]}${text}\x1b[0m` : text;
}

/**
 * Renders rows under headings, two spaces apart, no trailing spaces. What comes from elsewhere cannot
 * steer the terminal: control characters are shown as `�`.
 */
export function renderTable(
  headings: readonly string[],
  rows: readonly (readonly Cell[])[],
  colour: boolean,
): string {
  const cells = rows.map((row) => headings.map((_, n) => partsOf(row[n] ?? "")));
  const widths = headings.map((heading, n) =>
    Math.max(widthOf(heading), ...cells.map((row) => widthOf(row[n]!.text)))
  );
  const line = (row: readonly Parts[]): string => {
    const last = row.findLastIndex(({ text }) => text !== "");
    return row.slice(0, last + 1).map(({ text, tone }, n) => {
      const padding = n === last ? "" : " ".repeat(widths[n]! - widthOf(text) + 2);
      return toned(text, tone, colour) + padding;
    }).join("") + "\n";
  };
  return [headings.map((text): Parts => ({ text, tone: "heading" })), ...cells].map(line).join("");
}

/** Renders `name  value` lines. */
export function renderFacts(
  facts: readonly (readonly [name: string, value: Cell])[],
  colour: boolean,
): string {
  const width = Math.max(...facts.map(([name]) => name.length));
  return facts.map(([name, value]) => {
    const { text, tone } = partsOf(value);
    return `${toned(name.padEnd(width), "heading", colour)}  ${toned(text, tone, colour)}`
      .trimEnd() +
      "\n";
  }).join("");
}

interface Parts {
  readonly text: string;
  readonly tone?: Tone | "heading";
}

function partsOf(cell: Cell): Parts {
  const { text, tone } = typeof cell === "string" ? { text: cell, tone: undefined } : cell;
  return { text: withoutControls(text), tone };
}

/** A text that cannot steer the terminal. */
export function withoutControls(text: string): string {
  // deno-lint-ignore no-control-regex
  return text.replaceAll(/[\x00-\x1f\x7f-\x9f]/g, "�");
}

function widthOf(text: string): number {
  return [...text].length;
}
