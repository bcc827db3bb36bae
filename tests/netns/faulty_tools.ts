/**
 * Tools that fail as told, for one agent: in its mount namespace `ip`, `nsenter` and `nft` are wrappers
 * around the real ones, which look up in a directory what to do with which step of which attachment. The agent
 * itself is the real one and knows nothing of it.
 *
 * @module
 */
import { runCommand, toolPath } from "../../src/io/command.ts";
import type { Node } from "../../src/lab/node.ts";
import { until } from "../../src/lab/wait.ts";

/**
 * The processes of an attachment's life: batch on the node, entering the pod, batch there, removal. `nft`: a
 * transaction, of whomever, with the name `table`.
 */
export type FaultStep = "host" | "enter" | "pod" | "delete" | "nft";

/** What becomes of a step. Lines are counted from 0: the first `line` of them are carried out. */
export type Fault =
  | { readonly kind: "fail"; readonly line?: number }
  /** Waits, until `release` or the end of the test. */
  | { readonly kind: "hold"; readonly line?: number }
  /** `enter` only: no sysctl can be written inside. */
  | { readonly kind: "readonly" };

const IP = `
case "$*" in
  "-batch -")
    batch=$(cat)
    case $batch in
      "link add flock"*) step=host name=\${batch#link add } name=\${name%% *} ;;
      *"lladdr 02:f0:"*)
        step=pod name=\${batch#*lladdr 02:f0:} name=\${name%% *}
        name=flock$(printf %s "$name" | tr -d :) ;;
      *) printf '%s\\n' "$batch" | exec "$dir/real/ip" "$@" ;;
    esac
    printf '%s\\n' "$batch" >"$dir/seen/$name.$step" ;;
  "link delete dev flock"*) step=delete name=$4 batch= ;;
  *) exec "$dir/real/ip" "$@" ;;
esac
rest() { if [ $step = delete ]; then "$dir/real/ip" "$@"; else
  printf '%s\\n' "$batch" | tail -n +$((line + 1)) | "$dir/real/ip" -batch -; fi; }
read -r kind line 2>/dev/null <"$dir/plan/$name.$step" || { line=0; rest "$@"; exit; }
[ "$line" = 0 ] || printf '%s\\n' "$batch" | head -n "$line" | "$dir/real/ip" -batch - || exit
case $kind in
  fail) printf 'RTNETLINK answers: Operation not permitted\\nCommand failed -:%s\\n' $((line + 1)) >&2
    exit 1 ;;
  hold) hold; rest "$@" ;;
esac`;

/** `ip` on a kernel before 5.13: a line with a resilient group is one that the kernel refuses. */
const IP_WITHOUT_RESILIENT = `
case "$*" in
  *"type resilient"*) echo "Error: Invalid group type." >&2; exit 2 ;;
  *"-batch -")
    sed 's/^nexthop .* type resilient.*/nexthop add id 4294967295 group 4294967294/' |
      "$dir/real/ip" "$@" ;;
  *) exec "$dir/real/ip" "$@" ;;
esac`;

const NSENTER = `
netns=\${1#--net=} name=\${netns##*/} step=enter
read -r kind _ 2>/dev/null <"$dir/plan/$name.$step" || exec "$dir/real/nsenter" "$@"
case $kind in
  fail) echo "nsenter: reassociate to namespace 'ns/net' failed: Operation not permitted" >&2
    exit 1 ;;
  hold) hold; exec "$dir/real/nsenter" "$@" ;;
  readonly) exec unshare --mount "$dir/real/sh" -c '
      mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys && exec "$@"
    ' sh "$dir/real/nsenter" "$@" ;;
esac`;

const NFT = `
step=nft name=table
[ "$*" = "-f -" ] || exec "$dir/real/nft" "$@"
read -r kind _ 2>/dev/null <"$dir/plan/$name.$step" || exec "$dir/real/nft" "$@"
case $kind in
  fail) echo "netlink: Error: cache initialization failed: Operation not permitted" >&2; exit 1 ;;
  hold) hold; exec "$dir/real/nft" "$@" ;;
esac`;

const HOLD = `
hold() {
  mkfifo "$dir/go/$name.$step"
  echo $$ >"$dir/held/.$name.$step" && mv "$dir/held/.$name.$step" "$dir/held/$name.$step"
  read -r _ <"$dir/go/$name.$step"
}`;

export class FaultyTools {
  private constructor(readonly dir: string) {}

  /**
   * Makes the tools in a directory of the node's.
   *
   * @param options.resilientGroups false: the kernel seems to have none, and no step fails or is held
   */
  static async create(
    node: Node,
    { resilientGroups = true }: { readonly resilientGroups?: boolean } = {},
  ): Promise<FaultyTools> {
    const ip = resilientGroups ? IP : IP_WITHOUT_RESILIENT;
    const dir = `${node.dir}/tools`;
    for (const part of ["real", "plan", "seen", "held", "go"]) {
      await Deno.mkdir(`${dir}/${part}`, { recursive: true });
    }
    for (const [name, text] of [["ip", ip], ["nsenter", NSENTER], ["nft", NFT]] as const) {
      await Deno.copyFile(toolPath(name), `${dir}/real/${name}`);
      const script = `#!${dir}/real/sh\ndir=${dir}${HOLD}${text}\n`;
      await Deno.writeTextFile(`${dir}/${name}`, script, { mode: 0o755 });
    }
    await Deno.copyFile("/usr/bin/sh", `${dir}/real/sh`);
    return new FaultyTools(dir);
  }

  /**
   * Starts a node's agent with these tools, and waits until it is ready. `/proc/sys` is a mount of its
   * own, so that `setSysctlsWritable` can make it read-only for this agent.
   */
  async startAgent(node: Node, args: readonly string[] = []): Promise<void> {
    const tools = (["ip", "nsenter", "nft"] as const).map(toolPath);
    const script = `
      for tool in ${tools.join(" ")}; do mount --bind "$0/\${tool##*/}" "$tool" || exit; done
      mount --bind /proc/sys /proc/sys && exec "$@"`;
    await node.startAgent({
      args,
      via: [
        ...["unshare", "--mount", "--propagation", "slave"],
        ...["sh", "-c", script, this.dir],
      ],
    });
    await node.waitReady({ timeoutMs: 30_000 });
  }

  /** What is to become of a step of an attachment from now on; without a fault, nothing. */
  async plan(step: FaultStep, name: string, fault?: Fault): Promise<void> {
    const file = `${this.dir}/plan/${name}.${step}`;
    if (fault === undefined) return await Deno.remove(file);
    const line = "line" in fault ? fault.line ?? 0 : 0;
    await Deno.writeTextFile(file, `${fault.kind} ${line}\n`);
  }

  /** The lines of a batch, as the agent gave them the last time. */
  async seen(step: "host" | "pod", name: string): Promise<readonly string[]> {
    return (await Deno.readTextFile(`${this.dir}/seen/${name}.${step}`)).trimEnd().split("\n");
  }

  /** Waits until a step is held. */
  async held(step: FaultStep, name: string): Promise<number> {
    return await until(
      `step ${step} of ${name} held`,
      async () => Number(await Deno.readTextFile(`${this.dir}/held/${name}.${step}`)),
      { everyMs: 5 },
    );
  }

  /** Lets a step that is held go on, and forgets its plan. */
  async release(step: FaultStep, name: string): Promise<void> {
    await this.plan(step, name);
    await Deno.writeTextFile(`${this.dir}/go/${name}.${step}`, "\n");
    await this.#forget(step, name);
  }

  /** Kills a step that is held, and forgets its plan. */
  async kill(step: FaultStep, name: string): Promise<void> {
    await this.plan(step, name);
    Deno.kill(await this.held(step, name), "SIGKILL");
    await this.#forget(step, name);
  }

  async #forget(step: FaultStep, name: string): Promise<void> {
    await Deno.remove(`${this.dir}/go/${name}.${step}`);
    await Deno.remove(`${this.dir}/held/${name}.${step}`);
  }
}

/** Makes every sysctl read-only for a node's agent, or writable again. */
export async function setSysctlsWritable(node: Node, writable: boolean): Promise<void> {
  await inMountNamespace(node, ["-o", `remount,bind,${writable ? "rw" : "ro"}`, "/proc/sys"]);
}

/** Has a read-only file system in the place of the state directory, for a node's agent only. */
export async function coverStateDir(node: Node): Promise<void> {
  await inMountNamespace(node, ["-t", "tmpfs", "-o", "ro", "none", node.stateDir]);
}

/** Gives the agent its state directory back. */
export async function uncoverStateDir(node: Node): Promise<void> {
  await runCommand("nsenter", [`--mount=/proc/${node.agent?.pid}/ns/mnt`, "umount", node.stateDir]);
}

async function inMountNamespace(node: Node, mountArgs: readonly string[]): Promise<void> {
  const args = [`--mount=/proc/${node.agent?.pid}/ns/mnt`, "mount", ...mountArgs];
  await runCommand("nsenter", args);
}
