/**
 * A browser without a screen, as a test's eyes: what a page holds, what it asked for, what it complained
 * of, and how it looks.
 *
 * @module
 */
import type { ExecOptions } from "../src/lab/host.ts";

/** What came of showing a page. */
export interface Shown {
  /** The document as it is once it is shown. */
  readonly dom: string;
  /** Every address that was asked for over the network, without the browser's own errands. */
  readonly requests: readonly string[];
  /** Lines of the console. */
  readonly console: readonly string[];
  /** Path of the picture, PNG. */
  readonly picture: string;
  /** How much of the picture is not of one colour: bytes of it, filtered, that are not zero. */
  readonly ink: number;
}

/** Runs a command to its end, where the page can be reached. */
export type Run = (
  argv: readonly string[],
  options: ExecOptions,
) => Promise<{ readonly stdout: string; readonly stderr: string }>;

/** Hosts of Google's, which Chromium asks for updates, the time and accounts. */
const OWN_ERRANDS = /^https?:\/\/[^/]*\.google(apis)?\.com\//;

/**
 * Shows a page in Chromium.
 *
 * @param options.dir for what the browser writes: it is the caller's to remove
 */
export async function show(
  url: string,
  { run, dir, dark = false }: { readonly run: Run; readonly dir: string; readonly dark?: boolean },
): Promise<Shown> {
  const home = await Deno.makeTempDir({ dir });
  const picture = `${home}/page.png`;
  const { stdout, stderr } = await run([
    "chromium",
    ...["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run"],
    ...["--disable-background-networking", "--disable-component-update", "--disable-sync"],
    ...(dark ? ["--blink-settings=preferredColorScheme=0"] : []),
    `--user-data-dir=${home}/data`,
    `--log-net-log=${home}/net.json`,
    "--enable-logging=stderr",
    "--window-size=1400,1500",
    `--screenshot=${picture}`,
    "--dump-dom",
    url,
  ], { env: { HOME: home, PATH: "/usr/bin:/bin", LC_ALL: "C.UTF-8" }, timeoutMs: 60_000 });
  return {
    dom: stdout,
    requests: requestsIn(await Deno.readTextFile(`${home}/net.json`)),
    console: stderr.split("\n").filter((line) => /:CONSOLE[:(]/.test(line)),
    picture,
    ink: await inkOf(await Deno.readFile(picture)),
  };
}

/** The addresses in a log of the browser's network. */
function requestsIn(text: string): readonly string[] {
  const { events } = JSON.parse(text) as { events: { params?: { url?: string } }[] };
  const urls = events.flatMap(({ params }) => params?.url ?? [])
    .filter((url) => /^(https?|wss?):/.test(url) && !OWN_ERRANDS.test(url));
  return [...new Set(urls)];
}

/** The image data of a PNG (its chunks `IDAT`), inflated: filtered rows, where zero is "as before". */
async function inkOf(png: Uint8Array<ArrayBuffer>): Promise<number> {
  const view = new DataView(png.buffer);
  const parts: Uint8Array<ArrayBuffer>[] = [];
  for (let at = 8; at < png.length;) {
    const length = view.getUint32(at);
    const type = new TextDecoder().decode(png.subarray(at + 4, at + 8));
    if (type === "IDAT") parts.push(png.subarray(at + 8, at + 8 + length));
    at += length + 12;
  }
  const inflated = new Blob(parts).stream().pipeThrough(new DecompressionStream("deflate"));
  const bytes = new Uint8Array(await new Response(inflated).arrayBuffer());
  return bytes.reduce((count, byte) => count + (byte === 0 ? 0 : 1), 0);
}
