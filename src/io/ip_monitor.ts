/**
 * The kernel's events as `ip monitor` tells them: links and their settings, addresses, routes, rules,
 * next-hop objects. A hint that something changed, soon; what is so is read with `io/ip.ts`.
 *
 * An `ip` whose reader was killed ends by itself: SIGPIPE, at the next event.
 *
 * @module
 */
import { type IpEvent, parseIpEvent } from "../core/ip_events.ts";
import { isNews, log } from "../log.ts";
import { sleep } from "../sleep.ts";
import { CommandError, type FollowCommand, followCommand } from "./command.ts";

/** Who is told. Handlers must not throw: one that does restarts `ip`. */
export interface IpMonitorHandlers {
  onEvent(event: IpEvent): void;
  /**
   * Events may have been missed, and a full look is due: at each start, once more when `ip` surely
   * listens, and when the kernel's buffer ran over.
   */
  onGap(reason: string): void;
}

/** What tests replace. */
export interface IpMonitorOptions {
  readonly follow?: FollowCommand;
  /** Waits for milliseconds, or until the signal aborts. */
  readonly sleep?: typeof sleep;
  /** Milliseconds of a clock that only goes forward. */
  readonly now?: () => number;
}

/**
 * Bytes of events that the kernel keeps while nobody reads: those of thousands of routes that come at once.
 * It gives at most twice `net.core.rmem_max`, which is less on many machines.
 */
const BUFFER_BYTES = 8 * 1024 * 1024;
const ARGS = [
  ...["-rcvbuf", `${BUFFER_BYTES}`, "-o", "monitor", "label"],
  ...["link", "address", "route", "rule", "netconf"],
];
/** Linux 5.3, iproute2 5.3. */
const NEXTHOP = "nexthop";
/** `ip` says nothing when it begins to listen, and has begun after so many milliseconds. */
const LISTENS_MS = 1_000;
const RETRY_MIN_MS = 100;
const RETRY_MAX_MS = 10_000;
/** An `ip` that ran so many milliseconds was a good one. */
const STEADY_MS = 10_000;
/** Lines of what `ip` said that are worth telling. */
const LAST_WORDS = 3;
/** ENOBUFS: the kernel dropped events, and `ip` goes on. */
const OVERRUN = "No buffer space";

/** Follows events until the signal aborts, with one `ip` after the other. Never rejects for what `ip` does. */
export async function runIpMonitor(
  handlers: IpMonitorHandlers,
  signal: AbortSignal,
  options: IpMonitorOptions = {},
): Promise<void> {
  const { follow = followCommand, sleep: rest = sleep, now = () => performance.now() } = options;
  let args: readonly string[] = [...ARGS, NEXTHOP];
  let failures = 0;
  while (!signal.aborted) {
    const started = now();
    const said: string[] = [];
    let err: unknown;
    try {
      const { code, signal: killer } = await followOnce(handlers, {
        args,
        said,
        signal,
        follow,
        sleep: rest,
      });
      const command = `ip ${args.join(" ")}`;
      err = new CommandError(
        command,
        code,
        killer ?? undefined,
        "",
        said.join("\n"),
        now() - started,
      );
    } catch (error) {
      err = error;
    }
    if (signal.aborted) return;
    if (args.includes(NEXTHOP) && said.some((line) => line.includes(NEXTHOP))) {
      log.warn("Could not follow next hops", { err });
      args = ARGS;
      continue;
    }
    if (now() - started >= STEADY_MS) failures = 0;
    const retryInMs = Math.min(RETRY_MIN_MS * 2 ** Math.min(failures, 16), RETRY_MAX_MS);
    // At first, and then at each doubling.
    if (isNews(failures)) log.warn("Route monitor ended", { err, retryInMs });
    failures++;
    await rest(retryInMs, signal);
  }
}

/** One `ip`, from its start to its end. */
async function followOnce(
  handlers: IpMonitorHandlers,
  { args, said, signal, follow, sleep: rest }: {
    readonly args: readonly string[];
    /** Takes the last lines of stderr. */
    readonly said: string[];
    readonly signal: AbortSignal;
  } & Required<Pick<IpMonitorOptions, "follow" | "sleep">>,
): Promise<Deno.CommandStatus> {
  const over = new AbortController();
  const either = AbortSignal.any([signal, over.signal]);
  const running = follow("ip", args, {
    signal: either,
    onLine(line) {
      const event = parseIpEvent(line);
      if (event !== undefined) handlers.onEvent(event);
    },
    onErrorLine(line) {
      said.push(line);
      if (said.length > LAST_WORDS) said.shift();
      if (line.includes(OVERRUN)) handlers.onGap("the kernel's buffer ran over");
    },
  });
  try {
    const [status] = await Promise.all([
      running.finally(() => over.abort()),
      tellStart(handlers, rest, either),
    ]);
    return status;
  } finally {
    // Nothing of it goes on, whichever of the two failed.
    over.abort();
    await running.catch(() => {});
  }
}

async function tellStart(
  handlers: IpMonitorHandlers,
  rest: typeof sleep,
  signal: AbortSignal,
): Promise<void> {
  handlers.onGap("ip monitor starts");
  await rest(LISTENS_MS, signal);
  if (!signal.aborted) handlers.onGap("ip monitor listens");
}
