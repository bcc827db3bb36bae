/**
 * A host of the lab: a network namespace in which commands run. The processes of a lab see the machine's
 * files and processes; only the network is their own.
 *
 * @module
 */
import { CommandError, type CommandOutput, runCommand } from "../io/command.ts";
import { type Family, parsePrefix } from "../core/cidr.ts";
import { type IpRoute, parseRoutes } from "../core/ip_state.ts";
import { until, type WaitOptions } from "./wait.ts";
import { Background, type BackgroundOptions } from "./background.ts";

export interface ExecOptions {
  readonly stdin?: string;
  /** The whole environment; unless told PATH and LC_ALL only. */
  readonly env?: Readonly<Record<string, string>>;
  /** Milliseconds until it is killed; 10,000 unless told. */
  readonly timeoutMs?: number;
}

/** What a command printed, and its exit status. */
export interface ExecResult extends CommandOutput {
  readonly code: number;
}

/** What a lab's hosts know of it. */
export interface Site {
  /** Prefix of the names of its namespaces. */
  readonly id: string;
  readonly dir: string;
  /** Every background process that was started, ended or not. */
  readonly processes: Background[];
}

export class Host {
  /** Name of the network namespace, in /run/netns. */
  readonly netns: string;

  /** @param name short name in its lab: `rtr`, `n1`, `p3` */
  constructor(protected readonly site: Site, readonly name: string) {
    this.netns = `${site.id}-${name}`;
  }

  /** Directory of what belongs to this host; made by whoever first writes to it. */
  get dir(): string {
    return `${this.site.dir}/${this.name}`;
  }

  /** Path of the network namespace. */
  get netnsPath(): string {
    return `/run/netns/${this.netns}`;
  }

  /**
   * Runs a command to its end. (`nsenter`: `ip netns exec` would give it another /sys.)
   *
   * @throws {CommandError} on an exit status other than 0, or at the deadline
   */
  exec(argv: readonly string[], options: ExecOptions = {}): Promise<CommandOutput> {
    const { env, ...rest } = options;
    const clean = env === undefined ? [] : ["env", "-i", ...Object.entries(env).map(assignment)];
    return runCommand("nsenter", [`--net=${this.netnsPath}`, ...clean, ...argv], rest);
  }

  /**
   * Runs a command to its end, whatever its exit status.
   *
   * @throws {CommandError} when it was killed, at the deadline for one
   */
  async attempt(argv: readonly string[], options: ExecOptions = {}): Promise<ExecResult> {
    try {
      return { code: 0, ...await this.exec(argv, options) };
    } catch (error) {
      if (!(error instanceof CommandError) || error.signal !== undefined) throw error;
      return { code: error.exitCode, stdout: error.stdout, stderr: error.stderr };
    }
  }

  /** Starts a command that goes on; what it prints goes to `<name of the host>/<log>.log`. */
  async spawn(
    log: string,
    argv: readonly string[],
    options: Pick<BackgroundOptions, "env"> = {},
  ): Promise<Background> {
    await Deno.mkdir(this.dir, { recursive: true });
    const process = new Background(["nsenter", `--net=${this.netnsPath}`, ...argv], {
      ...options,
      lab: this.site.id,
      log: `${this.dir}/${log}.log`,
    });
    this.site.processes.push(process);
    return process;
  }

  /** `ip ARGS` on this host; what it printed. */
  async ip(...args: string[]): Promise<string> {
    return (await runCommand("ip", ["-n", this.netns, ...args])).stdout;
  }

  /** `ip -j ARGS` on this host, parsed: a list of objects. */
  async ipJson(...args: string[]): Promise<Record<string, unknown>[]> {
    return JSON.parse(await this.ip("-j", ...args) || "[]");
  }

  /** Several `ip` commands in one process. */
  async ipBatch(lines: readonly string[]): Promise<void> {
    await runCommand("ip", ["-n", this.netns, "-batch", "-"], { stdin: lines.join("\n") + "\n" });
  }

  /** The main table of one family. */
  async routes(family: Family): Promise<readonly IpRoute[]> {
    const flag = family === "ipv6" ? "-6" : "-4";
    return parseRoutes(await this.ipJson(flag, "route", "show"), family);
  }

  /** Waits until the main table has a route to exactly this prefix. */
  waitRoute(prefix: string, options: WaitOptions = {}): Promise<IpRoute> {
    return until(`route to ${prefix} on ${this.name}`, () => this.route(prefix), options);
  }

  /** Waits until the main table has no route to exactly this prefix. */
  async waitNoRoute(prefix: string, options: WaitOptions = {}): Promise<void> {
    await until(
      `no route to ${prefix} on ${this.name}`,
      async () => await this.route(prefix) === undefined,
      options,
    );
  }

  /** The route of the main table to exactly this prefix, if there is one. */
  async route(prefix: string): Promise<IpRoute | undefined> {
    return (await this.routes(parsePrefix(prefix).family)).find((route) => route.dst === prefix);
  }

  /** The next hop's address on the way to an address; `undefined` when that is on a link. */
  async gatewayTo(address: string): Promise<string | undefined> {
    return parseRoutes(await this.ipJson("route", "get", address))[0]?.gateway;
  }

  /**
   * One echo request.
   *
   * @returns the round-trip time in milliseconds; `undefined` when no answer came within two seconds
   */
  async ping(address: string, options: { from?: string } = {}): Promise<number | undefined> {
    const from = options.from === undefined ? [] : ["-I", options.from];
    const { code, stdout } = await this.attempt(
      ["ping", "-n", "-c", "1", "-W", "2", ...from, address],
    );
    const time = /time[=<]([\d.]+) ms/.exec(stdout)?.[1];
    return code === 0 && time !== undefined ? Number(time) : undefined;
  }
}

function assignment([name, value]: [string, string]): string {
  return `${name}=${value}`;
}

/** The next hops' addresses of a route, sorted; none for a route to a link. */
export function gatewaysOf(route: IpRoute | undefined): readonly string[] {
  return [route, ...route?.nextHops ?? []].flatMap((hop) => hop?.gateway ?? []).sort();
}
