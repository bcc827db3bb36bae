/**
 * Timing of programs as a runtime starts them: in a node's network namespace, from exec to exit.
 *
 * @module
 */
import type { Node } from "../../src/lab/node.ts";
import type { Pod } from "../../src/lab/pod.ts";

/** One program to start. */
export interface Exec {
  /** Network namespace to start it in. */
  readonly netns: string;
  readonly argv: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly stdin?: string;
}

/** What it printed, and the milliseconds from exec to exit. */
export interface Timed {
  readonly ms: number;
  readonly stdout: string;
}

/**
 * Runs a program to its end.
 *
 * @throws {Error} when it fails
 */
export async function timed({ netns, argv, env = {}, stdin = "" }: Exec): Promise<Timed> {
  const command = new Deno.Command("/usr/bin/nsenter", {
    args: [`--net=/run/netns/${netns}`, ...argv],
    clearEnv: true,
    env,
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  });
  const started = performance.now();
  const child = command.spawn();
  const writer = child.stdin.getWriter();
  const [output] = await Promise.all([
    child.output(),
    writer.write(new TextEncoder().encode(stdin)).then(() => writer.close()).catch(() => {}),
  ]);
  const ms = performance.now() - started;
  const stdout = new TextDecoder().decode(output.stdout);
  if (output.success) return { ms, stdout };
  throw new Error(
    `Cannot run "${argv.join(" ")}": ${stdout}${new TextDecoder().decode(output.stderr)}`,
  );
}

/** Execs the plugin on a node, as a container runtime does it. */
export function runPlugin(
  node: Node,
  executable: string,
  verb: "ADD" | "DEL" | "STATUS",
  pod?: Pod,
): Promise<Timed> {
  return timed({
    netns: node.netns,
    argv: [executable],
    env: node.cniEnv(verb, pod),
    stdin: JSON.stringify(node.netConf()),
  });
}

/** Calls `work` for 0 … count-1, so many at a time. */
export async function inParallel(
  count: number,
  atATime: number,
  work: (i: number) => Promise<void>,
): Promise<void> {
  let next = 0;
  await Promise.all(Array.from({ length: atATime }, async () => {
    while (next < count) await work(next++);
  }));
}

/** Times of the second and later of so many calls, in milliseconds. */
export async function samples(
  count: number,
  call: () => Promise<Timed>,
): Promise<readonly number[]> {
  await call();
  const times: number[] = [];
  for (let i = 0; i < count; i++) times.push((await call()).ms);
  return times;
}

/**
 * Times of Deno itself, with a program of no lines.
 *
 * @param dir directory for the program
 */
export async function emptyProgram(
  dir: string,
  netns: string,
  count: number,
): Promise<readonly number[]> {
  const file = `${dir}/empty.js`;
  await Deno.writeTextFile(file, "");
  const argv = [Deno.execPath(), "run", "--no-config", "--no-lock", file];
  const env = { DENO_DIR: `${dir}/deno`, DENO_NO_UPDATE_CHECK: "1" };
  return await samples(count, () => timed({ netns, argv, env }));
}
