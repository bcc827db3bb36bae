/**
 * What an agent holds does not grow with what it has done: file descriptors and memory, of the executable
 * as it is built. (A bundler can lose the end of a `using`, and nothing but the number of files tells.)
 *
 * @module
 */
import { assert } from "@std/assert";
import { delay } from "../../src/lab/wait.ts";
import type { Node } from "../../src/lab/node.ts";
import { testWith } from "../support.ts";
import { ask, assertNothingLeft, createNodeLab } from "./node_probe.ts";

/** Rounds of ADD and DEL until all is loaded and every buffer has its size. */
const WARM_UP = 10;
const ROUNDS = 50;
/** What may differ between two moments, far below one for each round. */
const MOST_MORE = 5;

testWith("netns: an agent's file descriptors and memory stay level over many ADDs and DELs", [
  "root",
  "bird",
], async () => {
  const { lab, node } = await createNodeLab();
  await using _lab = lab;
  await node.startAgent();
  await node.waitReady();
  const pod = await node.createPod({ name: "again" });
  const rounds = async (count: number): Promise<void> => {
    for (let n = 0; n < count; n++) {
      await ask(node, "ADD", pod);
      await ask(node, "DEL", pod);
    }
  };
  await rounds(WARM_UP);
  const before = await held(node);
  await rounds(ROUNDS);
  const after = await held(node);
  await assertNothingLeft(node, [pod]);

  const more = after.files.length - before.files.length;
  assert(more <= MOST_MORE, `${more} more files are open: ${countsOf(after.files)}`);
  assert(
    after.kilobytes < 2 * before.kilobytes,
    `${before.kilobytes} kB grew to ${after.kilobytes}`,
  );
  await node.stopAgent();
});

/** What a node's agent holds when it rests: the fewest files of several moments, and its memory. */
async function held(
  node: Node,
): Promise<{ readonly files: readonly string[]; readonly kilobytes: number }> {
  const process = `/proc/${node.agent!.pid}`;
  let files = await openFiles(process);
  for (let n = 0; n < 10; n++) {
    // Commands under way have pipes.
    await delay(50);
    const now = await openFiles(process);
    if (now.length < files.length) files = now;
  }
  assert(files.length > 3, "its files cannot be seen");
  const status = await Deno.readTextFile(`${process}/status`);
  const kilobytes = Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]);
  assert(kilobytes > 10_000, status);
  return { files, kilobytes };
}

/** Each name once, with its number. */
function countsOf(names: readonly string[]): string {
  const groups = Object.entries(Object.groupBy(names, (name) => name));
  return groups.map(([name, all]) => `${all?.length} × ${name}`).join(", ");
}

/** What the descriptors of a process lead to, sorted. */
async function openFiles(process: string): Promise<readonly string[]> {
  const targets: string[] = [];
  for await (const { name } of Deno.readDir(`${process}/fd`)) {
    // The one that is closed meanwhile is of no interest.
    const target = await Deno.readLink(`${process}/fd/${name}`).catch(() => undefined);
    if (target !== undefined) targets.push(target);
  }
  return targets.sort();
}
