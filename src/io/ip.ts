/**
 * `ip` on the node and inside pods: wires and unwires an attachment, reads what the kernel has, applies
 * route changes. One process per step: sysctls that belong to a step are read and written in it.
 *
 * @module
 */
import {
  type IpLink,
  type IpRoute,
  type Json,
  type KernelState,
  parseIpBatch,
  parseKernelState,
  parseLinks,
  parseNeighbors,
  parseRoutes,
} from "../core/ip_state.ts";
import { LINK_PREFIX } from "../core/config.ts";
import { CniCode, CniError } from "../core/errors.ts";
import { parseSysctls, READ_SYSCTLS, WRITE_SYSCTLS } from "../core/sysctl.ts";
import type { ObservedEnd } from "../core/wiring_check.ts";
import {
  CommandError,
  type CommandOutput,
  type RunCommand,
  runCommand,
  toolPath,
} from "./command.ts";

export type { KernelState, NodeKernel } from "../core/ip_state.ts";

/** Exit statuses of our own in the shell scripts below: no namespace, the node's own, or a file. */
const NO_NETNS = 90;
const OWN_NETNS = 91;
const NOT_NETNS = 92;

/** The kernel's network, through `ip`. */
export interface Ip {
  /**
   * Runs a batch on the node, then writes sysctls (path below /proc/sys → value; absent ones are
   * skipped). With `netns`, refuses when that path is absent or is the node's own namespace.
   */
  runHost(step: Step & { readonly netns?: string }): Promise<void>;
  /** Writes sysctls, then runs a batch inside a network namespace, which is not the node's own. */
  runPod(netns: string, step: Step): Promise<void>;
  /** Deletes a link of the node; one that is not there is no error. */
  deleteLink(ifname: string): Promise<void>;
  /** One link of the node with its addresses; undefined when there is none. */
  link(ifname: string): Promise<IpLink | undefined>;
  /** The node's end of an attachment. */
  inspectHost(ifname: string, sysctls: readonly string[]): Promise<ObservedEnd>;
  /** The pod's end of an attachment. */
  inspectPod(netns: string, sysctls: readonly string[]): Promise<ObservedEnd>;
  /**
   * All links, and the routes and next hops that are or could be ours: the same object again when nothing
   * changed.
   *
   * @param options.aliases also the links' aliases, which is one more look at all links
   */
  observe(options?: { readonly aliases?: boolean }): Promise<KernelState>;
  /**
   * Runs a batch, all of it that can be. What is to be removed and is not there is no failure.
   *
   * @returns the lines that failed, with what the kernel said
   */
  change(batch: readonly string[]): Promise<readonly FailedLine[]>;
  /** All routes of the main table to exactly this prefix. */
  routesTo(prefix: string): Promise<readonly IpRoute[]>;
  /** The routes the kernel takes to addresses; none for one that it cannot reach. */
  routesToward(addresses: readonly string[]): Promise<ReadonlyMap<string, IpRoute>>;
  /** Who else has something to do with these addresses. */
  inspectAddresses(addresses: readonly string[]): Promise<ObservedAddresses>;
}

/** What the kernel knows of some addresses. */
export interface ObservedAddresses {
  /** Routes of the main table to exactly one of them. */
  readonly routes: readonly IpRoute[];
  /** Those that are a next hop of a route, or of a neighbour that says it is a router (RFC 4861, R flag). */
  readonly routers: readonly string[];
}

/** A line of a batch that the kernel refused. */
export interface FailedLine {
  readonly line: string;
  readonly reason: string;
}

/** Lines for `ip -batch` and the sysctls that go with them. */
export interface Step {
  readonly batch: readonly string[];
  readonly sysctls?: Readonly<Record<string, string>>;
  /**
   * What has to be true before the batch: the process starts at once, and waits. When it rejects, the
   * step rejects with the same error and no line has been run.
   */
  readonly after?: Promise<void>;
}

const HOST_SCRIPT = `
ip=$1 netns=$2; shift 2
run() {
  # A sysctl's first byte is all that the shell's "read" gets of it.
  { read -r off </proc/sys/net/ipv6/conf/default/disable_ipv6; } 2>/dev/null
  [ "$off" = 1 ] || { "$ip" -batch -; return; }
  # New links have IPv6 off: between the line that makes one and the others it is switched on.
  IFS= read -r link || return 0
  echo "$link" | "$ip" -batch - || return
  (sysctls "$@") || return
  { echo; cat; } | "$ip" -batch -
}
sysctls() {
${WRITE_SYSCTLS}
}
if [ -n "$netns" ]; then
  [ -e "$netns" ] || exit ${NO_NETNS}
  [ "$netns" -ef /proc/self/ns/net ] && exit ${OWN_NETNS}
fi
run "$@" || {
  status=$?
  # What the kernel says of a path that is something else could mean anything.
  [ -z "$netns" ] || nsenter --net="$netns" true 2>/dev/null || exit ${NOT_NETNS}
  exit $status
}
sysctls "$@"`;

const POD_SCRIPT = `
ip=$1; shift
[ "/proc/$PPID/ns/net" -ef /proc/self/ns/net ] && exit ${OWN_NETNS}
${WRITE_SYSCTLS}
exec "$ip" -batch -`;

/** Prints "path:value" lines, an empty line, then what the batch prints. */
const INSPECT_SCRIPT = `
ip=$1; shift
${READ_SYSCTLS}
echo
exec "$ip" -j -batch -`;

/**
 * The real `ip`.
 *
 * @param options.nexthops false for a kernel without next-hop objects: there are none, and asking for
 * them fails
 */
export function createIp(
  run: RunCommand = runCommand,
  options: { readonly nexthops?: boolean } = {},
): Ip {
  const withNexthops = options.nexthops ?? true;
  const shell = (
    prefix: readonly string[],
    script: string,
    args: readonly string[],
    stdin: string | Promise<string>,
  ): Promise<CommandOutput> => {
    const command = ["-c", script, "flock", toolPath("ip"), ...args];
    return prefix.length > 0
      ? run("nsenter", [...prefix, toolPath("sh"), ...command], { stdin })
      : run("sh", command, { stdin });
  };
  const inNetns = (netns: string): readonly string[] => [`--net=${netns}`];

  const inspect = async (
    prefix: readonly string[],
    sysctls: readonly string[],
    batch: readonly string[],
  ): Promise<ObservedEnd> => {
    const { stdout } = await shell(prefix, INSPECT_SCRIPT, sysctls, lines(batch));
    const split = stdout.startsWith("\n") ? 0 : stdout.indexOf("\n\n") + 1;
    const [addresses, links, routes, neighbors] = parseIpBatch(stdout.slice(split), 4);
    return {
      links: parseLinks(addresses!, links!),
      routes: parseRoutes(routes!),
      neighbors: parseNeighbors(neighbors!),
      sysctls: parseSysctls(stdout.slice(0, split)),
    };
  };

  const change = async (batch: readonly string[]): Promise<readonly FailedLine[]> => {
    try {
      await run("ip", ["-force", "-batch", "-"], { stdin: lines(batch) });
      return [];
    } catch (error) {
      if (!(error instanceof CommandError) || error.signal !== undefined) throw error;
      const failed = parseFailedLines(error.stderr, batch);
      if (failed.length === 0) throw error;
      // What is gone, or went with its link since it was read, need not be removed.
      return failed.filter(({ line, reason }) => !(IS_REMOVAL.test(line) && IS_GONE.test(reason)));
    }
  };

  const list = async (batch: readonly string[]): Promise<string> =>
    (await run("ip", ["-j", "-batch", "-"], { stdin: lines(batch) })).stdout;
  /** What was observed last: mostly it is the same, and need not be read again. */
  let seen: { readonly texts: readonly string[]; readonly state: KernelState } | undefined;

  return {
    async runHost({ batch, sysctls = {}, after, netns = "" }) {
      const args = [netns, ...Object.entries(sysctls).flat()];
      try {
        await shell([], HOST_SCRIPT, args, linesAfter(batch, after));
      } catch (error) {
        throw explain(error, batch, netns);
      }
    },

    async runPod(netns, { batch, sysctls = {}, after }) {
      try {
        const args = Object.entries(sysctls).flat();
        await shell(inNetns(netns), POD_SCRIPT, args, linesAfter(batch, after));
      } catch (error) {
        throw explain(error, batch, netns);
      }
    },

    async deleteLink(ifname) {
      try {
        await run("ip", ["link", "delete", "dev", ifname]);
      } catch (error) {
        if (!isMissingLink(error)) throw error;
      }
    },

    async link(ifname) {
      try {
        const { stdout } = await run("ip", ["-j", "-batch", "-"], {
          stdin: lines([`addr show dev ${ifname}`, `link show dev ${ifname}`]),
        });
        const [addresses, links] = parseIpBatch(stdout, 2);
        return parseLinks(addresses!, links!)[0];
      } catch (error) {
        if (isMissingLink(error)) return undefined;
        throw error;
      }
    },

    async inspectHost(ifname, sysctls) {
      try {
        return await inspect([], sysctls, [
          `addr show dev ${ifname}`,
          `link show dev ${ifname}`,
          `route show table all dev ${ifname}`,
          `neigh show dev ${ifname}`,
        ]).then((end) => ({
          ...end,
          // Asked for one device, ip does not repeat its name.
          routes: end.routes.map((route) => ({ ...route, dev: ifname })),
          neighbors: end.neighbors.map((neighbor) => ({ ...neighbor, dev: ifname })),
        }));
      } catch (error) {
        if (!isMissingLink(error)) throw error;
        return { links: [], routes: [], neighbors: [], sysctls: {} };
      }
    },

    async inspectPod(netns, sysctls) {
      try {
        return await inspect(inNetns(netns), sysctls, [
          "addr show",
          "link show",
          "route show table all",
          "neigh show",
        ]);
      } catch (error) {
        throw explain(error, [], netns);
      }
    },

    async observe({ aliases = false } = {}) {
      // Side by side: together they are most of what a pass takes.
      const batches = [
        [
          "addr show",
          ...(withNexthops ? ["nexthop show protocol 144"] : []),
          ...(aliases ? ["link show"] : []),
        ],
        [
          // First: it learns the names of all links at once, which routes would ask for one by one.
          "neigh show nud permanent",
          "route show table all proto 143",
          "route show table all proto 144",
          "route show table all default",
        ],
      ];
      const texts = await Promise.all(batches.map(list));
      if (seen === undefined || texts.some((text, i) => text !== seen?.texts[i])) {
        const answers = texts.map((text, i) => parseIpBatch(text, batches[i]!.length));
        seen = { texts, state: parseKernelState(answers[0]!, answers[1]!) };
      }
      return seen.state;
    },

    change,

    async routesTo(prefix) {
      const family = prefix.includes(":") ? "-6" : "-4";
      const { stdout } = await run("ip", ["-j", family, "route", "show", "exact", prefix]);
      return parseRoutes(JSON.parse(stdout || "[]") as Json[]);
    },

    async routesToward(addresses) {
      const batch = lines(addresses.map((address) => `route get ${address}`));
      let stdout: string;
      try {
        stdout = (await run("ip", ["-j", "-force", "-batch", "-"], { stdin: batch })).stdout;
      } catch (error) {
        // There is no way to some of them: nothing is printed for those.
        if (!(error instanceof CommandError) || error.signal !== undefined) throw error;
        stdout = error.stdout;
      }
      const routes = stdout.split("\n").filter((line) => line.trim() !== "")
        .flatMap((line) => parseRoutes(JSON.parse(line) as Json[]));
      return new Map(routes.map((route) => [route.dst.split("/")[0]!, route]));
    },

    async inspectAddresses(addresses) {
      const { stdout } = await run("ip", ["-j", "-batch", "-"], {
        // "table all": for one table, ip shows one family only.
        stdin: lines(addresses.flatMap((address) => [
          `route show table all exact ${address}/${address.includes(":") ? 128 : 32}`,
          `route show table all via ${address}`,
          `neigh show to ${address}`,
        ])),
      });
      const answers = parseIpBatch(stdout, 3 * addresses.length);
      return {
        routes: addresses.flatMap((_, n) => parseRoutes(answers[3 * n]!))
          .filter(({ table }) => table === "main"),
        routers: addresses.filter((_, n) =>
          [...answers[3 * n + 1]!, ...answers[3 * n + 2]!.filter((item) => "router" in item)]
            // What is behind a pod is no router on the node's links.
            .some(({ dev }) => !String(dev).startsWith(LINK_PREFIX))
        ),
      };
    },
  };
}

/** A line that removes something, and what the kernel says when that is not there. */
const IS_REMOVAL = /^(route|nexthop) del /;
const IS_GONE = /No such process|No such file or directory|Cannot find device/;

/** True when `ip` says that a link does not exist. */
function isMissingLink(error: unknown): boolean {
  return error instanceof CommandError &&
    /Cannot find device|does not exist|No such device/.test(error.stderr);
}

/** The failure of a batch, with the line that failed; code 8 when the namespace is the trouble. */
function explain(error: unknown, batch: readonly string[], netns: string): unknown {
  if (!(error instanceof CommandError)) return error;
  const invalid = (state: string): CniError =>
    new CniError(CniCode.invalidNetns, `Cannot use network namespace "${netns}": ${state}`, {
      cause: error,
    });
  if (error.exitCode === NO_NETNS) return invalid("no such path");
  if (error.exitCode === OWN_NETNS) return invalid("it is the node's own");
  if (error.exitCode === NOT_NETNS) return invalid("it is not a network namespace");
  if (netns !== "" && /^nsenter: /m.test(error.stderr)) return invalid("it cannot be entered");
  const [failed] = parseFailedLines(error.stderr, batch);
  if (failed === undefined) return error;
  return new CniError(
    CniCode.wiringFailed,
    `Cannot run "ip ${failed.line}": ${failed.reason}`,
    // Not the command itself: it is a script of ours.
    { cause: error, details: error.stderr.trim() },
  );
}

/** What `ip -batch` says on stderr: reasons, then "Command failed -:N" for line N, for each failure. */
function parseFailedLines(stderr: string, batch: readonly string[]): readonly FailedLine[] {
  const failed: FailedLine[] = [];
  let reasons: string[] = [];
  for (const text of stderr.split("\n")) {
    const number = /^Command failed -:(\d+)/.exec(text)?.[1];
    const line = batch[Number(number) - 1];
    if (number === undefined) reasons.push(text.trim());
    else if (line !== undefined) {
      failed.push({ line, reason: reasons.filter((r) => r !== "").join(" ") });
      reasons = [];
    }
  }
  return failed;
}

function lines(batch: readonly string[]): string {
  return batch.map((line) => `${line}\n`).join("");
}

function linesAfter(
  batch: readonly string[],
  after: Promise<void> | undefined,
): string | Promise<string> {
  if (after === undefined) return lines(batch);
  const text = after.then(() => lines(batch));
  // Whoever runs the command waits for it; where it cannot even be tried, nobody does.
  text.catch(() => {});
  return text;
}
