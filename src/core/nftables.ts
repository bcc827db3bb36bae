/**
 * A table of nftables as data: rendered whole, as the difference of two, and compared with what
 * `nft list` prints. Rules, types and elements are texts in the form in which `nft` 1.0.6 prints them, so
 * that a listing is equal to what it was made of.
 *
 * @module
 */

/** A named set, or a map: then each element has a value. */
export interface NftSet {
  /** Statements that define it: `type ipv4_addr`, `flags interval`. A map's type has its values' type. */
  readonly spec: readonly string[];
  readonly kind: "set" | "map";
  /** Elements and, in a map, their values; in a set the values are empty. */
  readonly elements: ReadonlyMap<string, string>;
}

/** A chain. */
export interface NftChain {
  /** Hook, priority and policy of a base chain. */
  readonly base?: string;
  readonly rules: readonly string[];
}

/** All that is in a table. */
export interface NftTable {
  readonly sets: ReadonlyMap<string, NftSet>;
  readonly chains: ReadonlyMap<string, NftChain>;
}

/** Elements of a set, which have no values. */
export function keys(elements: readonly string[]): ReadonlyMap<string, string> {
  return new Map(elements.map((element) => [element, ""]));
}

/** Nothing. */
export const EMPTY_TABLE: NftTable = { sets: new Map(), chains: new Map() };

/** Sets, maps and chains in a listing: head and content. */
const BLOCKS = /^\t(\S+ \S+) \{\n(.*?)^\t\}$/gms;
/** So many elements in a line: `nft` reads lines of any length, people do not. */
const ELEMENTS_PER_LINE = 500;

/** How much there is in a table. */
export function sizeOf(
  { sets, chains }: NftTable = EMPTY_TABLE,
): {
  readonly chains: number;
  readonly rules: number;
  readonly sets: number;
  readonly elements: number;
} {
  const sum = (numbers: Iterable<number>): number => [...numbers].reduce((a, b) => a + b, 0);
  return {
    chains: chains.size,
    rules: sum(chains.values().map(({ rules }) => rules.length)),
    sets: sets.size,
    elements: sum(sets.values().map(({ elements }) => elements.size)),
  };
}

/**
 * The commands that put a table in the place of whatever had its name, in one transaction. `nft` 1.0.6 has no
 * `destroy`: `add` makes sure that there is something to delete.
 */
export function renderTable(name: string, table: NftTable): string {
  const lines = [`add table inet ${name}`, `delete table inet ${name}`, `table inet ${name} {`];
  for (const [key, set] of table.sets) {
    lines.push(`\t${set.kind} ${key} {`, ...set.spec.map((line) => `\t\t${line}`));
    const elements = elementTexts(set.elements);
    if (elements.length > 0) lines.push(`\t\telements = { ${elements.join(", ")} }`);
    lines.push("\t}");
  }
  for (const [key, { base, rules }] of table.chains) {
    lines.push(`\tchain ${key} {`);
    for (const line of base === undefined ? rules : [base, ...rules]) lines.push(`\t\t${line}`);
    lines.push("\t}");
  }
  return [...lines, "}", ""].join("\n");
}

/**
 * The commands that make one state of a table another, in one transaction; empty when they are equal. What is
 * the same object in both is not looked at. A name stands for the same kind of set or chain in both.
 */
export function renderDifference(name: string, from: NftTable, to: NftTable): string {
  const at = `inet ${name}`;
  const made: string[] = [];
  const ruled: string[] = [];
  const filled: string[] = [];
  for (const [key, set] of to.sets) {
    const before = from.sets.get(key);
    if (before === set) continue;
    if (before === undefined) made.push(`add ${set.kind} ${at} ${key} { ${set.spec.join("; ")}; }`);
    for (
      const line of changeElements(`${at} ${key}`, before?.elements ?? new Map(), set.elements)
    ) {
      filled.push(line);
    }
  }
  for (const [key, chain] of to.chains) {
    const before = from.chains.get(key);
    if (before !== undefined && isSameChain(before, chain)) continue;
    const base = chain.base === undefined ? "" : ` { ${chain.base} }`;
    made.push(before === undefined ? `add chain ${at} ${key}${base}` : `flush chain ${at} ${key}`);
    for (const rule of chain.rules) ruled.push(`add rule ${at} ${key} ${rule}`);
  }
  const chains = [...from.chains.keys().filter((key) => !to.chains.has(key))];
  const sets = [...from.sets.entries().filter(([key]) => !to.sets.has(key))];
  // What others name comes before them, and goes after them.
  return [
    ...made,
    ...ruled,
    ...filled,
    ...chains.map((key) => `flush chain ${at} ${key}`),
    ...chains.map((key) => `delete chain ${at} ${key}`),
    ...sets.map(([key, { kind }]) => `delete ${kind} ${at} ${key}`),
  ].map((line) => `${line}\n`).join("");
}

/** True when what `nft -s list table` printed is this table. */
export function isListing(listing: string, table: NftTable): boolean {
  const blocks = parseListing(listing);
  if (blocks?.size !== table.sets.size + table.chains.size) return false;
  for (const [key, set] of table.sets) {
    const elements = elementTexts(set.elements).sort();
    const expected = [...set.spec, ...(elements.length > 0 ? [elements.join(", ")] : [])];
    if (blocks.get(`${set.kind} ${key}`) !== expected.join("\n")) return false;
  }
  for (const [key, { base, rules }] of table.chains) {
    const expected = (base === undefined ? rules : [base, ...rules]).join("\n");
    if (blocks.get(`chain ${key}`) !== expected) return false;
  }
  return true;
}

/**
 * The blocks of a listing by their heads, each with its lines, elements in one line and sorted; undefined when
 * there is more: a table can be dormant.
 */
function parseListing(listing: string): ReadonlyMap<string, string> | undefined {
  const blocks = new Map<string, string>();
  const rest = hexAddresses(listing).replace(BLOCKS, (_, head: string, body: string) => {
    const [lines = "", elements] = body.split("\t\telements = { ");
    const parts = lines.split("\n").map((line) => line.trim()).filter((line) => line !== "");
    if (elements !== undefined) {
      const list = elements.replace(/ \}\s*$/, "").split(/,\s*/)
        // A counter's value is left out (`-s`), not the counter.
        .map((element) => element.replace(/ counter$/, ""));
      parts.push(list.sort().join(", "));
    }
    blocks.set(head, parts.join("\n"));
    return "";
  });
  return /^table inet \S+ \{\s*\}\s*$/.test(rest) ? blocks : undefined;
}

/** The C library prints ::1.2.3.4 for what is ::102:304 in RFC 5952, and so with ::ffff:1.2.3.4. */
function hexAddresses(text: string): string {
  return text.replaceAll(
    /(?<![\da-f])(::(?:ffff:)?)(\d+)\.(\d+)\.(\d+)\.(\d+)/g,
    (_, start: string, ...bytes: readonly string[]) => {
      const [a = 0, b = 0, c = 0, d = 0] = bytes.slice(0, 4).map(Number);
      return `${start}${(a << 8 | b).toString(16)}:${(c << 8 | d).toString(16)}`;
    },
  );
}

function elementTexts(elements: ReadonlyMap<string, string>): string[] {
  return Array.from(elements, ([key, value]) => value === "" ? key : `${key} : ${value}`);
}

function changeElements(
  at: string,
  from: ReadonlyMap<string, string>,
  to: ReadonlyMap<string, string>,
): string[] {
  if (from === to) return [];
  const gone: string[] = [];
  for (const [key, value] of from) if (to.get(key) !== value) gone.push(key);
  const fresh = new Map<string, string>();
  for (const [key, value] of to) if (from.get(key) !== value) fresh.set(key, value);
  return [
    ...elementLines(`delete element ${at}`, gone),
    ...elementLines(`add element ${at}`, elementTexts(fresh)),
  ];
}

function elementLines(command: string, elements: readonly string[]): string[] {
  const lines: string[] = [];
  for (let n = 0; n < elements.length; n += ELEMENTS_PER_LINE) {
    lines.push(`${command} { ${elements.slice(n, n + ELEMENTS_PER_LINE).join(", ")} }`);
  }
  return lines;
}

function isSameChain(a: NftChain, b: NftChain): boolean {
  return a === b || a.rules === b.rules ||
    (a.rules.length === b.rules.length && a.rules.every((rule, n) => rule === b.rules[n]));
}
