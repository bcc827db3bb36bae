/**
 * What the demo prints: steps with their time, and a table at the end. On standard output; colours only
 * on a terminal.
 *
 * @module
 */
// deno-lint-ignore-file no-console -- what it prints is its purpose
import { causeChain } from "../core/errors.ts";

const COLOURS = { bold: 1, red: 31, green: 32, grey: 90 } as const;

interface Outcome {
  readonly title: string;
  readonly held: boolean;
  readonly ms: number;
}

export class DemoOutput {
  readonly #outcomes: Outcome[] = [];
  readonly #started = performance.now();

  readonly #colour: boolean;

  constructor(colour: boolean) {
    this.#colour = colour;
  }

  title(text: string): void {
    console.log(`${this.#paint("bold", text)}\n`);
  }

  note(text: string): void {
    console.log(`\n${text}\n`);
  }

  /** Says on standard error why there is no demo. */
  refuse(text: string): void {
    console.error(text);
  }

  details(title: string, lines: readonly string[]): void {
    console.log(`\n${title}`);
    for (const line of lines) console.log(this.#paint("grey", line));
  }

  /**
   * Runs a step and prints it with what it found, or why it failed.
   *
   * @returns whether it held
   */
  async step(title: string, run: () => Promise<readonly string[]>): Promise<boolean> {
    const started = performance.now();
    let lines: readonly string[];
    let held = true;
    try {
      lines = await run();
    } catch (error) {
      held = false;
      lines = causeChain(error).split("\n");
    }
    const ms = performance.now() - started;
    this.#outcomes.push({ title, held, ms });
    const mark = held ? this.#paint("green", "ok  ") : this.#paint("red", "FAIL");
    const time = this.#paint("grey", seconds(ms).padStart(8));
    console.log(`${mark} ${time}  ${this.#paint("bold", title)}`);
    for (const line of lines) console.log(`${" ".repeat(15)}${line}`);
    return held;
  }

  /** @param planned number of steps when none fails */
  summary(planned: number): void {
    const width = Math.max(...this.#outcomes.map(({ title }) => title.length));
    const rule = `+${"-".repeat(width + 2)}+--------+----------+`;
    const row = (title: string, result: string, time: string): string =>
      `| ${title.padEnd(width)} | ${result} | ${time.padStart(8)} |`;
    console.log(`\n${rule}\n${row("Step", "Result", "Time")}\n${rule}`);
    for (const { title, held, ms } of this.#outcomes) {
      const result = held ? this.#paint("green", "ok    ") : this.#paint("red", "FAILED");
      console.log(row(title, result, seconds(ms)));
    }
    const held = this.#outcomes.filter((outcome) => outcome.held).length;
    const total = seconds(performance.now() - this.#started);
    console.log(`${rule}\n${held} of ${planned} steps held, ${total} in all`);
  }

  #paint(colour: keyof typeof COLOURS, text: string): string {
    return this.#colour ? `\x1b[${COLOURS[colour]}m${text}\x1b[0m` : text;
  }
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(2)} s`;
}
