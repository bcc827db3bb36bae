/**
 * The table of `nft` in memory: transactions are carried out whole or not at all, and it can be made to
 * fail, to hang, and to lose its table. It knows the commands that flock gives, and refuses others.
 *
 * @module
 */
import { NFT_TABLE } from "../../src/core/config.ts";
import { CommandError } from "../../src/io/command.ts";
import type { Nft } from "../../src/io/nft.ts";

/** A set, map or chain. */
interface Block {
  readonly lines: string[];
  readonly elements: Map<string, string>;
}

type Table = Map<string, Block>;

export class FakeNft implements Pick<Nft, "list" | "run" | "follow"> {
  /** Each transaction that was asked for. */
  readonly scripts: string[] = [];
  /** How often the table was looked at. */
  lists = 0;
  /** Transactions at one time, at most. */
  mostAtOnce = 0;
  /** What becomes of looks and transactions. */
  failure: Error | undefined;
  /** What transactions wait for before they begin. */
  held: Promise<void> = Promise.resolve();
  #table: Table | undefined;
  #running = 0;
  readonly #followers = new Set<() => void>();

  /** The chains that there are. */
  get chains(): readonly string[] {
    return [...this.#table?.keys() ?? []].filter((head) => head.startsWith("chain "))
      .map((head) => head.slice("chain ".length));
  }

  /** The elements of a set or map, each with its value. */
  elements(name: string): readonly string[] {
    const block = this.#table?.get(`set ${name}`) ?? this.#table?.get(`map ${name}`);
    return textsOf(block?.elements ?? new Map()).sort();
  }

  /** Somebody deletes the table. */
  deleteTable(): void {
    this.#table = undefined;
    for (const tell of this.#followers) tell();
  }

  /** Somebody changes the table. */
  change(script: string): void {
    this.#table = execute(script, this.#table);
  }

  list(): Promise<string | undefined> {
    this.lists++;
    if (this.failure !== undefined) return Promise.reject(this.failure);
    if (this.#table === undefined) return Promise.resolve(undefined);
    const blocks = Array.from(this.#table, ([head, { lines, elements }]) => {
      const texts = textsOf(elements);
      const all = texts.length === 0 ? lines : [...lines, `elements = { ${texts.join(", ")} }`];
      return `\t${head} {\n${all.map((line) => `\t\t${line}\n`).join("")}\t}\n`;
    });
    return Promise.resolve(`table inet ${NFT_TABLE} {\n${blocks.join("\n")}}\n`);
  }

  async run(script: string): Promise<void> {
    this.scripts.push(script);
    this.mostAtOnce = Math.max(this.mostAtOnce, ++this.#running);
    try {
      await this.held;
      if (this.failure !== undefined) throw this.failure;
      this.#table = execute(script, this.#table);
    } finally {
      this.#running--;
    }
  }

  async follow(onDeleted: () => void, signal: AbortSignal): Promise<void> {
    this.#followers.add(onDeleted);
    const { promise, resolve } = Promise.withResolvers<void>();
    signal.addEventListener("abort", () => resolve());
    if (!signal.aborted) await promise;
    this.#followers.delete(onDeleted);
    throw new CommandError("nft monitor", 1, "SIGKILL", "", "", 0);
  }
}

/** What `nft` says of a transaction that it refuses. */
export function refused(why: string): CommandError {
  return new CommandError("nft -f -", 1, undefined, "", why, 0);
}

function execute(script: string, before: Table | undefined): Table | undefined {
  let table = structuredClone(before);
  let block: Block | undefined;
  const find = (head: string): Block => {
    const found = table?.get(head);
    if (found === undefined) throw refused(`No such file or directory: ${head}`);
    return found;
  };
  for (const line of script.split("\n").filter((line) => line !== "")) {
    const [verb, kind = "", , , name = "", ...more] = line.split(" ");
    const rest = more.join(" ");
    if (line.startsWith("\t\t")) {
      const elements = /^\t\telements = \{ (.*) \}$/.exec(line)?.[1];
      if (elements === undefined) block?.lines.push(line.trim());
      else addElements(block!, elements);
    } else if (/^\t(set|map|chain) \S+ \{$/.test(line)) {
      table!.set(line.slice(1, -2), block = { lines: [], elements: new Map() });
    } else if (line === `table inet ${NFT_TABLE} {`) table ??= new Map();
    else if (line === "\t}" || line === "}") continue;
    else if (line === `add table inet ${NFT_TABLE}`) table ??= new Map();
    else if (line === `delete table inet ${NFT_TABLE}` && table !== undefined) table = undefined;
    else if (verb === "add" && ["set", "map", "chain"].includes(kind)) {
      if (table === undefined) throw refused(`No such file or directory: ${line}`);
      const spec = /^\{ (.*) \}$/.exec(rest)?.[1] ?? "";
      // A base chain's hook and policy are one line, a set's statements one each.
      const lines = kind === "chain" ? [spec] : spec.split(";").map((text) => text.trim());
      const own = lines.filter((text) => text !== "");
      table.set(`${kind} ${name}`, { lines: own, elements: new Map() });
    } else if (verb === "flush" && kind === "chain") {
      const { lines } = find(`chain ${name}`);
      lines.splice(lines[0]?.startsWith("type ") ? 1 : 0);
    } else if (verb === "add" && kind === "rule") find(`chain ${name}`).lines.push(rest);
    else if (verb === "delete" && ["set", "map", "chain"].includes(kind)) {
      find(`${kind} ${name}`);
      table?.delete(`${kind} ${name}`);
    } else if (kind === "element") {
      const own = find(table?.has(`set ${name}`) ? `set ${name}` : `map ${name}`);
      const elements = /^\{ (.*) \}$/.exec(rest)?.[1] ?? "";
      if (verb === "add") addElements(own, elements);
      else {
        for (const key of elements.split(", ")) {
          if (!own.elements.delete(key)) throw refused(`No such file or directory: ${key}`);
        }
      }
    } else throw refused(`syntax error: ${line}`);
  }
  return table;
}

function addElements({ elements }: Block, text: string): void {
  for (const element of text.split(", ")) {
    const [key = "", value = ""] = element.split(" : ");
    elements.set(key, value);
  }
}

function textsOf(elements: ReadonlyMap<string, string>): string[] {
  return Array.from(elements, ([key, value]) => value === "" ? key : `${key} : ${value}`);
}
