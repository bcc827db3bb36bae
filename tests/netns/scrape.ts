/**
 * Asking an agent of a lab over HTTP, from inside its node: a body, or metrics as values by their names
 * and labels.
 *
 * @module
 */
import type { Node } from "../../src/lab/node.ts";

const METRICS_HOST = "127.0.0.1";
const METRICS_PORT = 9474;
/** Where agents that are asked over HTTP listen. */
export const METRICS_ADDRESS = `${METRICS_HOST}:${METRICS_PORT}`;

/** Status and body; undefined when nobody answers. */
export async function httpGet(
  node: Node,
  path: string,
  host: string = METRICS_HOST,
): Promise<readonly [number, string] | undefined> {
  const script = `exec 3<>/dev/tcp/${host}/${METRICS_PORT} || exit 9
    printf "GET ${path} HTTP/1.0\\r\\n\\r\\n" >&3; cat <&3`;
  const { code, stdout } = await node.attempt(["bash", "-c", script]);
  if (code !== 0) return undefined;
  const end = stdout.indexOf("\r\n\r\n");
  return [Number(stdout.split(" ")[1]), stdout.slice(end + 4)];
}

/** What `/metrics` serves, as text. @throws {Error} when it is not served */
export async function scrape(node: Node): Promise<string> {
  const answer = await httpGet(node, "/metrics");
  if (answer?.[0] !== 200) {
    throw new Error(`Cannot scrape node "${node.name}": ${answer?.join(" ") ?? "nobody answers"}`);
  }
  return answer[1];
}

/** The values of a scrape: `name{label="value"}` → number. */
export function parseScrape(text: string): Readonly<Record<string, number>> {
  const lines = text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  return Object.fromEntries(lines.map((line) => {
    const end = line.lastIndexOf(" ");
    return [line.slice(0, end), Number(line.slice(end + 1))];
  }));
}
