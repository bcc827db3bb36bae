/**
 * What a scrape of a node with many pods takes, as Prometheus sees it: from the request to the last byte,
 * by a client on the node.
 *
 * @module
 */
import type { Node } from "../../src/lab/node.ts";
import { METRICS_ADDRESS } from "../netns/scrape.ts";
import { timed } from "./exec.ts";
import { type Measurement, median } from "./report.ts";

const SCRAPES = 30;
/** Of scrapes that look at BIRD, which is done at most every 5 s. */
const LOOKS = 3;
const LOOK_EVERY_MS = 5_100;

/** Measures scrapes of an agent that serves its metrics at {@linkcode METRICS_ADDRESS}. */
export async function benchScrapes(node: Node, pods: number): Promise<readonly Measurement[]> {
  await scrapes(node, 3, 0);
  const looking = await scrapes(node, LOOKS, LOOK_EVERY_MS);
  const times = await scrapes(node, SCRAPES, 0);
  return [
    { name: `scrape, ${pods} pods, p50`, unit: "ms", value: median(times), budget: 10 },
    {
      name: `scrape, ${pods} pods, that looks at BIRD, p50`,
      unit: "ms",
      value: median(looking),
      budget: 10,
    },
  ];
}

/** Milliseconds of each of so many scrapes, after a pause each. */
async function scrapes(node: Node, count: number, pauseMs: number): Promise<readonly number[]> {
  const code = `const times = [];
    for (let n = 0; n < ${count}; n++) {
      await new Promise((resolve) => setTimeout(resolve, ${pauseMs}));
      const began = performance.now();
      const text = await (await fetch("http://${METRICS_ADDRESS}/metrics")).text();
      times.push(performance.now() - began);
      if (!text.includes("\\nflock_bird_up 1\\n")) throw new Error("BIRD is not up");
    }
    console.log(JSON.stringify(times));`;
  const argv = [Deno.execPath(), "eval", "--no-config", "--no-lock", code];
  const env = { DENO_DIR: `${node.dir}/deno`, DENO_NO_UPDATE_CHECK: "1" };
  const { stdout } = await timed({ netns: node.netns, argv, env });
  return JSON.parse(stdout);
}
