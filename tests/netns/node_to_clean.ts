/**
 * A host of its own for `flock install` and `flock uninstall`: a network namespace, with a directory for each
 * that flock writes in. The executable is the one that was built, with its permissions.
 *
 * @module
 */
import { run } from "../../scripts/run.ts";
import { runCommand } from "../../src/io/command.ts";
import { EXECUTABLE } from "../executable.ts";
import { BirdHost } from "./bird_host.ts";

/** What a command printed. */
export interface Said {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** The host. */
export class NodeToClean implements AsyncDisposable {
  readonly stateDir: string;
  readonly runDir: string;
  readonly pluginDir: string;
  readonly cniDir: string;

  private constructor(readonly bird: BirdHost) {
    this.stateDir = `${bird.dir}/lib/flock`;
    this.runDir = `${bird.dir}/run/flock`;
    this.pluginDir = `${bird.dir}/opt`;
    this.cniDir = `${bird.dir}/net.d`;
  }

  static async create(): Promise<NodeToClean> {
    const node = new NodeToClean(await BirdHost.create());
    for (const dir of [node.pluginDir, node.cniDir]) await Deno.mkdir(dir);
    await node.makeDirs();
    return node;
  }

  /** Path of the agent's socket. */
  get socket(): string {
    return `${this.runDir}/flock.sock`;
  }

  /** The directories that uninstalling removes. */
  async makeDirs(): Promise<void> {
    for (const dir of [this.stateDir, this.runDir]) await Deno.mkdir(dir, { recursive: true });
  }

  async removeDirs(): Promise<void> {
    for (const dir of [this.stateDir, this.runDir]) await Deno.remove(dir, { recursive: true });
  }

  /** Runs a command of flock in the namespace, with the plugin's and the list's places. */
  async flock(command: string, ...more: readonly string[]): Promise<Said> {
    return await this.flockThrough([], command, ...more);
  }

  /** The same, started by another command. */
  async flockThrough(
    through: readonly string[],
    command: string,
    ...more: readonly string[]
  ): Promise<Said> {
    const { code, stdout, stderr } = await run([
      ...["/usr/bin/nsenter", `--net=/run/netns/${this.bird.netns}`],
      ...[...through, EXECUTABLE, command],
      ...["--plugin-dir", this.pluginDir, "--conflist", `${this.cniDir}/01-flock.conflist`],
      ...more,
    ], { env: { PATH: "/usr/bin:/bin" } });
    return { code, out: stdout, err: stderr };
  }

  async uninstall(...more: readonly string[]): Promise<Said> {
    return await this.flock("uninstall", ...this.places, ...more);
  }

  /** Options that name flock's places, but for the plugin's and the list's. */
  get places(): readonly string[] {
    const { stateDir, socket, bird } = this;
    return ["--state-dir", stateDir, "--socket", socket, "--bird-socket", bird.socket];
  }

  /** Runs a command in the namespace. */
  async in(...command: readonly string[]): Promise<string> {
    const args = [`--net=/run/netns/${this.bird.netns}`, ...command];
    return (await runCommand("nsenter", args)).stdout;
  }

  /** Everything of the namespace and of the directories that uninstalling may touch. */
  async world(): Promise<unknown> {
    const { bird } = this;
    const routes = await Promise.all(
      [[], ["-6"]].map((family) => bird.ipJson(...family, "route", "show", "table", "all")),
    );
    // BIRD's own directory is in one that has not our name here: what is in it stays.
    const files = await run(["find", bird.dir, "-name", "bird", "-prune", "-o", "-print"]);
    return {
      links: (await bird.ipJson("link", "show")).map(({ ifname }) => ifname),
      // The kernel's own come by themselves, some of them late.
      routes: routes.flat().filter(({ protocol }) => protocol !== "kernel"),
      nexthops: (await bird.ipJson("nexthop", "show")).map(({ id }) => id),
      filters: await this.in("nft", "list", "tables"),
      forwarding: await this.in("cat", "/proc/sys/net/ipv4/ip_forward"),
      hash: await this.in("cat", "/proc/sys/net/ipv4/fib_multipath_hash_policy"),
      files: files.stdout.split("\n").sort(),
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.bird[Symbol.asyncDispose]();
  }
}
