/**
 * Health and metrics over HTTP. For the kubelet's probes: `/healthz` tells whether the agent turns,
 * `/readyz` whether it can serve. Bodies are for people: `ok`, or one reason per line with status 503;
 * with `?verbose` also each loop's last turn. `/` is the page that shows the node.
 *
 * A failing `/healthz` has the agent restarted, so nothing that a restart does not mend makes it fail: not
 * a bad NodeConfig, a BIRD that is away or an API server that is.
 *
 * @module
 */
import { messageOf } from "../core/errors.ts";
import type { Birdc } from "../io/birdc.ts";
import { log } from "../log.ts";
import type { Metrics } from "./metrics/metrics.ts";
import type { MakePage } from "./page.ts";
import { SharedLook } from "./shared_look.ts";
import type { Turns } from "./turns.ts";

/** A turn of a loop that takes longer, in milliseconds, never ends: each command has a deadline of 10 s. */
const STUCK_MS = 120_000;
/** Of other loops than the reconciler's: what they wait for they give up sooner, one after the other. */
const STUCK_ELSEWHERE_MS = 600_000;
/** For how long an answer of BIRD is good, and how long one is waited for, in milliseconds. */
const BIRD_FRESH_MS = 1_000;
const BIRD_WAIT_MS = 3_000;
/** The reconciler's. */
const QUICK_LOOPS = ["routes", "pods"];

/** What health is judged by. */
export interface HealthInput {
  /** Why ADD cannot be served: caches not in sync, no NodeConfig in force. Undefined when it can. */
  notReady(): string | undefined;
  readonly reconciler: {
    /** True once a pass made everything as it should be. */
    readonly settled: boolean;
  };
  readonly turns: Pick<Turns, "list">;
  /** Why BIRD cannot be reached; empty when it answers. */
  readonly bird: Pick<SharedLook<string>, "look">;
  readonly metrics: Metrics;
  /** The page that shows the node. */
  readonly page: MakePage;
}

/**
 * Whether BIRD answers, for probes: one `birdc` at a time however many ask, as anybody on the address may.
 */
export function birdAnswer(birdc: Pick<Birdc, "status">): SharedLook<string> {
  return new SharedLook(() => birdc.status().then(() => "", messageOf), {
    freshMs: BIRD_FRESH_MS,
    waitMs: BIRD_WAIT_MS,
  });
}

/** Answers a request. */
export async function answerHealth(request: Request, input: HealthInput): Promise<Response> {
  if (request.method !== "GET" && request.method !== "HEAD") return reply(405, "use GET");
  const { pathname, searchParams } = new URL(request.url);
  const facts = searchParams.has("verbose") ? loopFacts(input) : [];
  switch (pathname) {
    case "/healthz":
      return judged(notAlive(input), facts);
    case "/readyz":
      return judged([...notAlive(input), ...await notReady(input)], facts);
    case "/metrics":
      return new Response(await input.metrics.render(), {
        headers: { "content-type": input.metrics.contentType },
      });
    case "/":
      return new Response(await input.page(), {
        headers: {
          "content-type": "text/html; charset=utf-8",
          "cache-control": "no-store",
          "x-content-type-options": "nosniff",
        },
      });
    default:
      return reply(404, "there are /, /healthz, /readyz and /metrics");
  }
}

/**
 * Serves health until it is disposed of. An address that cannot be had is logged, and no more: pods'
 * network does not wait for a probe.
 */
export function serveHealth(
  address: { readonly hostname: string; readonly port: number },
  input: HealthInput,
): AsyncDisposable {
  try {
    return Deno.serve({
      ...address,
      onListen: () => log.info("Began to serve health", address),
      onError: (error) => reply(500, messageOf(error)),
    }, (request) => answerHealth(request, input));
  } catch (error) {
    log.error("Could not serve health", { ...address, err: error });
    return { [Symbol.asyncDispose]: () => Promise.resolve() };
  }
}

function notAlive({ turns }: HealthInput): string[] {
  return turns.list().filter(({ loop, busyMs }) =>
    busyMs > (QUICK_LOOPS.includes(loop) ? STUCK_MS : STUCK_ELSEWHERE_MS)
  ).map(({ loop, busyMs }) =>
    `loop "${loop}" has been at one turn for ${Math.round(busyMs / 1000)} s`
  );
}

/** Each loop's last turn. */
function loopFacts({ turns }: HealthInput): string[] {
  const ago = (at: number): string => `${((Date.now() - at) / 1000).toFixed(1)} s ago`;
  return turns.list().map(({ loop, busyMs, endedAt, succeededAt }) => {
    const now = busyMs > 0 ? `at a turn for ${(busyMs / 1000).toFixed(1)} s, ` : "";
    if (endedAt === undefined) return `loop "${loop}": ${now}none ended so far`;
    const failed = endedAt === succeededAt ? "" : ", which failed";
    return `loop "${loop}": ${now}last turn ${ago(endedAt)}${failed}`;
  });
}

async function notReady({ notReady, reconciler, bird }: HealthInput): Promise<string[]> {
  const reason = notReady();
  const reasons = reason === undefined ? [] : [reason];
  if (!reconciler.settled) reasons.push("the node's routes have not been made yet");
  const answer = await bird.look() ?? "BIRD does not answer";
  return answer === "" ? reasons : [...reasons, answer];
}

function judged(reasons: readonly string[], facts: readonly string[]): Response {
  const lines = [...reasons.length === 0 ? ["ok"] : reasons, ...facts];
  return reply(reasons.length === 0 ? 200 : 503, lines.join("\n"));
}

function reply(status: number, text: string): Response {
  return new Response(`${text}\n`, {
    status,
    headers: { "content-type": "text/plain; charset=utf-8" },
  });
}
