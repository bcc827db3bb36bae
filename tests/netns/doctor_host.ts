/**
 * A node of a lab with files and processes of its own, for `flock doctor` to look at: a mount namespace
 * in which `/etc` and `/run` are directories of the test's, and a process namespace in which nothing runs
 * but BIRD and what the test starts. Everything in it ends with its first process.
 *
 * @module
 */
import { assert } from "@std/assert";
import type { DoctorReport } from "../../src/core/doctor/report.ts";
import { runCommand } from "../../src/io/command.ts";
import type { ExecResult } from "../../src/lab/host.ts";
import type { Node } from "../../src/lab/node.ts";
import { until } from "../../src/lab/wait.ts";
import { EXECUTABLE } from "../executable.ts";

/** `$0` has the directories; "ready" appears there when all is in place. */
const SCRIPT = `
set -e
# Names of route protocols, where they are here.
[ ! -d /etc/iproute2 ] || cp -r /etc/iproute2 "$0/etc/"
mount --bind "$0/etc" /etc
for dir in flock-lab netns; do mkdir "$0/run/$dir"; mount --rbind /run/$dir "$0/run/$dir"; done
mount --rbind "$0/run" /run
# The machine's thresholds are not to be seen, let alone changed, in a network namespace.
for family in ipv4 ipv6; do mount --bind "$0/neigh" /proc/sys/net/$family/neigh; done
touch "$0/ready"
while :; do sleep 1000; done`;

/** procps is not everywhere. */
const SYSCTL =
  'command -v sysctl >/dev/null || sysctl() { echo "${2#*=}" >"/proc/sys/${2%%=*}"; }\n';
/** Lines of a fix that need a running systemd, and comments. */
const NOT_PASTED = /^(#|systemctl |udevadm )/;

export class DoctorHost {
  private constructor(readonly node: Node, readonly dir: string, readonly pid: number) {}

  static async create(node: Node): Promise<DoctorHost> {
    const dir = `${node.dir}/host`;
    for (const part of ["etc/sysctl.d", "run/systemd/timesync", "neigh/default", "bin", "cni"]) {
      await Deno.mkdir(`${dir}/${part}`, { recursive: true });
    }
    await Deno.writeTextFile(`${dir}/run/systemd/timesync/synchronized`, "");
    for (const n of [1, 2, 3]) {
      await Deno.writeTextFile(`${dir}/neigh/default/gc_thresh${n}`, `${64 << (2 * n)}\n`);
    }
    await Deno.symlink(EXECUTABLE, `${dir}/cni/flock`);
    const holder = await node.spawn("host", [
      ...["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"],
      ...["sh", "-c", SCRIPT, dir],
    ]);
    const pid = await until("the host's first process", async () => {
      await holder.assertRunning();
      await Deno.stat(`${dir}/ready`);
      const path = `/proc/${holder.pid}/task/${holder.pid}/children`;
      return Number((await Deno.readTextFile(path)).trim());
    });
    return new DoctorHost(node, dir, pid);
  }

  /** A command line that runs there. */
  via(...argv: readonly string[]): string[] {
    return ["nsenter", `--target=${this.pid}`, "--mount", "--pid", ...argv];
  }

  /** Starts the node's BIRD there. */
  async startBird(): Promise<void> {
    const { birdConfig, birdSocket } = this.node;
    this.node.bird = await this.node.spawn(
      "bird",
      this.via(EXECUTABLE, "bird-run", "--bird-config", birdConfig, "--bird-socket", birdSocket),
    );
  }

  /** Ends the node's BIRD with a goodbye. */
  async stopBird(): Promise<void> {
    await runCommand("birdc", ["-s", this.node.birdSocket, "down"]);
    // Signals do not reach it through nsenter: this one only waits.
    await this.node.bird?.stop("SIGCONT");
  }

  /** Starts something that does nothing, under a name; it ends when its file in `bin` is killed. */
  async startProcess(name: string): Promise<() => Promise<void>> {
    const program = `${this.dir}/bin/${name}`;
    await Deno.copyFile("/usr/bin/sleep", program);
    return await this.start(name, [program, "1000"]);
  }

  /** Starts a command there. Returns what ends it. */
  async start(name: string, argv: readonly string[]): Promise<() => Promise<void>> {
    const file = `${this.dir}/bin/${name}.pid`;
    await this.node.spawn(
      name,
      this.via("sh", "-c", 'echo $$ >"$0.new"; mv "$0.new" "$0"; exec "$@"', file, ...argv),
    );
    const pid = await until(`${name} started`, async () => (await Deno.readTextFile(file)).trim());
    return async () => {
      await this.node.exec(this.via("sh", "-c", `kill ${pid}; while kill -0 ${pid}; do :; done`))
        .catch(() => {});
      await Deno.remove(file);
    };
  }

  /** Puts a file of the host into place, or takes it away. */
  async write(path: string, text: string | undefined): Promise<void> {
    if (text === undefined) return await Deno.remove(`${this.dir}${path}`);
    const file = `${this.dir}${path}`;
    await Deno.mkdir(file.replace(/\/[^/]*$/, ""), { recursive: true });
    await Deno.writeTextFile(file, text);
  }

  /** Runs `flock doctor` there. */
  async run(args: readonly string[] = []): Promise<ExecResult> {
    const { node } = this;
    return await node.attempt(this.via(
      EXECUTABLE,
      "doctor",
      ...["--state-dir", node.stateDir, "--socket", node.socket, "--bird-socket", node.birdSocket],
      ...["--conflist", `${this.dir}/net.d/01-flock.conflist`, "--plugin-dir", `${this.dir}/cni`],
      ...["--manifests", node.manifestsDir, "--node", node.name, ...args],
    ));
  }

  /** What it finds, and its exit status. */
  async report(args: readonly string[] = []): Promise<DoctorReport & { readonly code: number }> {
    const { code, stdout, stderr } = await this.run([...args, "--output", "json"]);
    assert(stdout.startsWith("{"), `flock doctor: ${code}: ${stdout}${stderr}`);
    return { code, ...JSON.parse(stdout) };
  }

  /** Pastes the fix of every finding with one of the ids into a shell there. */
  async paste(report: DoctorReport, ids: readonly string[]): Promise<void> {
    for (const { fix } of report.items.filter(({ id }) => ids.includes(id))) {
      const script = fix.filter((line) => !NOT_PASTED.test(line)).join("\n");
      await this.node.exec(this.via("sh", "-ec", SYSCTL + script));
    }
  }
}

/** The findings that are not notes, as `severity id`, each once, sorted. */
export function found(report: DoctorReport): readonly string[] {
  const texts = report.items.filter(({ severity }) => severity !== "note")
    .map(({ id, severity }) => `${severity} ${id}`);
  return [...new Set(texts)].sort();
}
