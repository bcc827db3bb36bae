/**
 * What this kernel can do, tried in a network namespace that ends with the trial: the node's network is
 * not touched. The kernel may load modules for it.
 *
 * @module
 */
import { CommandError, type RunCommand, runCommand } from "./command.ts";

/** Something that was tried. */
export interface TriedFeature {
  readonly name: string;
  /** What was said when it failed. */
  readonly problem?: string;
}

/** Prints `ok` and a name, or `no`, a name, a tab and what was said. */
const SCRIPT = `
try() {
  name=$1; shift
  if said=$("$@" 2>&1); then printf 'ok %s\\n' "$name"
  else printf 'no %s\\t%s\\n' "$name" "$(printf %s "$said" | head -n 1)"; fi
}
table() { printf '%s\\n' "$1" | nft -f -; }
ip link add probe0 type veth peer name probe1 && ip link set probe0 up && ip link set probe1 up &&
  ip address add 198.51.100.1/24 dev probe0 || exit
try "next-hop objects" ip nexthop add id 1 via 198.51.100.2 dev probe0
try "resilient next-hop groups" ip nexthop add id 2 group 1 type resilient buckets 32 idle_timer 60
command -v nft >/dev/null || exit 0
try "nftables, family inet" table 'add table inet probe
add map inet probe links { type ifname : verdict; }
add chain inet probe forward { type filter hook forward priority 0; }
add rule inet probe forward iifname vmap @links'
try "nftables, expression fib" table 'add rule inet probe forward fib saddr . iif oif missing drop'
try "nftables, log group" table 'add rule inet probe forward log group 1'`;

/**
 * Tries everything.
 *
 * @throws {Error} when no network namespace can be made
 */
export async function tryFeatures(run: RunCommand = runCommand): Promise<readonly TriedFeature[]> {
  try {
    const { stdout } = await run("sh", ["-c", 'exec unshare --net sh -c "$1"', "flock", SCRIPT]);
    return stdout.split("\n").filter((line) => line !== "").map((line) => {
      const [name = "", problem] = line.slice(3).split("\t");
      return line.startsWith("ok ") ? { name } : { name, problem: problem || "it failed" };
    });
  } catch (cause) {
    if (!(cause instanceof CommandError)) throw cause;
    const said = cause.stderr.trim().split("\n")[0];
    throw new Error(`no network namespace could be made to try in: ${said}`, { cause });
  }
}
