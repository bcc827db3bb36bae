/**
 * A network namespace of a test's own, and tools inside it.
 *
 * @module
 */
import {
  type FollowCommand,
  followCommand,
  type RunCommand,
  runCommand,
  toolPath,
} from "../../src/io/command.ts";
import { createIp, type Ip } from "../../src/io/ip.ts";

/** A network namespace, deleted when it is disposed of. */
export class Namespace implements AsyncDisposable {
  readonly path: string;
  readonly ip: Ip;

  private constructor(readonly name: string) {
    this.path = `/run/netns/${name}`;
    this.ip = createIp(this.command);
  }

  static async create(): Promise<Namespace> {
    const name = `t-ip-${crypto.randomUUID().slice(0, 8)}`;
    await runCommand("ip", ["netns", "add", name]);
    return new Namespace(name);
  }

  /** Runs a tool inside to its end. */
  readonly command: RunCommand = (tool, args, options) =>
    runCommand("nsenter", [`--net=${this.path}`, toolPath(tool), ...args], options);

  /** Runs a tool inside that goes on. */
  readonly follow: FollowCommand = (tool, args, options) =>
    followCommand("nsenter", [`--net=${this.path}`, toolPath(tool), ...args], options);

  /** Lines for `ip -batch`, all of them or an error. */
  async run(lines: readonly string[]): Promise<void> {
    await runCommand("ip", ["-n", this.name, "-batch", "-"], { stdin: lines.join("\n") + "\n" });
  }

  /** The processes inside. */
  async pids(): Promise<readonly number[]> {
    const { stdout } = await runCommand("ip", ["netns", "pids", this.name]);
    return stdout.split("\n").filter((line) => line !== "").map(Number);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await runCommand("ip", ["netns", "del", this.name]);
  }
}
