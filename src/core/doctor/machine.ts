/**
 * `flock doctor` on the machine: what the kernel can do, versions of tools, the clock, the state
 * directory, and the container runtime's directories.
 *
 * @module
 */
import type { Problem } from "./checks.ts";
import type {
  ClockFacts,
  Fact,
  Feature,
  HostFacts,
  NetworkFacts,
  RuntimeConfig,
  RuntimeFacts,
  StateDirFacts,
  ToolVersion,
} from "./facts.ts";
import { podLinksOf } from "./kernel.ts";

/** The versions that flock is tested with; README.md has the same. */
export const TESTED_VERSIONS: Readonly<Record<ToolVersion["tool"], string>> = {
  bird: "2.0.12",
  ip: "6.1",
  nft: "1.0.6",
  conntrack: "1.4.7",
};

/** Debian's packages of the tools. */
const PACKAGES: Readonly<Record<ToolVersion["tool"], string>> = {
  bird: "bird2",
  ip: "iproute2",
  nft: "nftables",
  conntrack: "conntrack",
};

/** The first kernel with resilient next-hop groups. */
const FIRST_KERNEL = "5.13";

/** Made by systemd-timesyncd when the clock was set from a server (systemd-timesyncd.service(8)). */
export const TIMESYNC_FILE = "/run/systemd/timesync/synchronized";
const TIMESYNC_PROCESS = "systemd-timesyn";

/** Milliseconds by which a file may be younger than now: clocks of file systems are coarse. */
const CLOCK_TOLERANCE = 60_000;
const MIN_FREE_BYTES = 64 * 1024 * 1024;
const MIN_FREE_INODES = 1_000;

export function judgeFeatures(features: readonly Feature[]): readonly Problem[] {
  return features.filter(({ problem }) => problem !== undefined).map(({ name, problem }) => ({
    id: "kernel-feature",
    finding: `${name}: ${problem}`,
    fix: [
      "# CONFIG_NF_TABLES, CONFIG_NF_TABLES_INET, CONFIG_NFT_FIB_INET, CONFIG_NETFILTER_NETLINK_LOG,",
      "# and Linux 5.13 or later:",
      "modprobe -a nf_tables nft_fib_inet nfnetlink_log",
    ],
  }));
}

export function judgeTools(tools: readonly ToolVersion[]): readonly Problem[] {
  return tools.flatMap(({ tool, version }): Problem[] => {
    const install = [`apt-get install ${PACKAGES[tool]}`];
    if (version === undefined) {
      const id = tool === "conntrack" ? "tool-optional" : "tool-missing";
      return [{ id, finding: `${tool} is not installed`, fix: install }];
    }
    const tested = TESTED_VERSIONS[tool];
    const order = compareVersions(version, tested);
    if (order === 0) return [];
    const otherMajor = parseInt(version) !== parseInt(tested);
    // iproute2 numbers its releases like the kernel's: a new major says nothing.
    const id = order < 0 || otherMajor && tool !== "ip" ? "tool-version" : "tool-newer";
    const finding = `${tool} is ${version}, tested is ${tested}`;
    return [{ id, finding, fix: id === "tool-newer" ? [] : install }];
  });
}

export function judgeKernelVersion(release: string): readonly Problem[] {
  if (compareVersions(release, FIRST_KERNEL) >= 0) return [];
  return [{
    id: "tool-version",
    finding: `Linux is ${release}, needed is ${FIRST_KERNEL}`,
    fix: ["# a kernel of the distribution that is newer"],
  }];
}

/** A string: nobody who could tell runs here. */
export function judgeSynchronized(
  clock: ClockFacts,
  host: HostFacts | undefined,
): readonly Problem[] | string {
  const finding = (who: string, fix: string): readonly Problem[] => [{
    id: "clock",
    finding: `${who} has not synchronized the clock`,
    fix: [fix, "date -u"],
  }];
  if (clock.chrony !== undefined) {
    return clock.chrony === "Not synchronised" ? finding("chrony", "chronyc sources") : [];
  }
  if (host?.files.some(({ path }) => path === TIMESYNC_FILE)) return [];
  if (host?.processes.some(({ name }) => name === TIMESYNC_PROCESS)) {
    return finding("systemd-timesyncd", "timedatectl timesync-status");
  }
  return "neither chrony nor systemd-timesyncd is there to tell; other time services cannot be asked";
}

export function judgeClock({ now, newest }: ClockFacts): readonly Problem[] {
  if (newest === undefined || newest.writtenAt <= now + CLOCK_TOLERANCE) return [];
  const at = new Date(now).toISOString();
  return [{
    id: "clock-past",
    finding: `it is ${at} here, and ${newest.path} was written at ` +
      new Date(newest.writtenAt).toISOString(),
    fix: ["date -u -s 'YYYY-MM-DD HH:MM:SS'", "hwclock --systohc"],
  }];
}

export function judgeStateDir(dir: StateDirFacts): readonly Problem[] {
  const problems: Problem[] = [];
  const add = (id: Problem["id"], finding: string, fix: string): void =>
    void problems.push({ id, finding: `${dir.path} ${finding}`, fix: [fix] });
  if (!dir.writable) {
    add("state-permissions", "cannot be written", `findmnt --target ${dir.path}`);
  }
  if (dir.uid !== 0) {
    add("state-permissions", `belongs to user ${dir.uid}`, `chown root: ${dir.path}`);
  }
  if ((dir.mode & 0o022) !== 0) {
    add(
      "state-permissions",
      `has mode ${(dir.mode & 0o7777).toString(8)}`,
      `chmod go-w ${dir.path}`,
    );
  }
  if (dir.freeBytes < MIN_FREE_BYTES) {
    const mib = Math.floor(dir.freeBytes / 1024 / 1024);
    add("state-space", `has ${mib} MiB left`, `df -h ${dir.path}`);
  }
  if (dir.freeInodes !== undefined && dir.freeInodes < MIN_FREE_INODES) {
    add("state-space", `has ${dir.freeInodes} inodes left`, `df -i ${dir.path}`);
  }
  return problems;
}

/** Without pods nobody misses the agent: it may not have been started yet, or not any more. */
export function judgeAgent(network: NetworkFacts, agent: Fact<string>): readonly Problem[] {
  const pods = podLinksOf(network).length;
  if (pods === 0 || !("unknown" in agent)) return [];
  return [{
    id: "agent-absent",
    finding: `${agent.unknown}, and ${pods} pod links are there`,
    fix: [
      "kubectl -n kube-system get pods -l app.kubernetes.io/component=agent -o wide",
      "kubectl -n kube-system logs ds/flock-agent --previous",
    ],
  }];
}

export function judgeRuntime(runtime: RuntimeFacts): readonly Problem[] {
  const { dir, configs, plugins, pluginDir } = runtime;
  const own = configs.find((config) => config.own);
  const [first] = configs;
  if (own === undefined) {
    const others = configs.map(({ name }) => name).join(", ") || "nothing";
    return [{
      id: "conflist-missing",
      finding: `${dir} has ${others} and no configuration of flock`,
      fix: [
        `flock agent --conflist ${dir}/01-flock.conflist`,
        "# it is there once the agent is ready:",
        "kubectl -n kube-system get pods -l app.kubernetes.io/component=agent -o wide",
      ],
    }, ...first === undefined ? [] : judgePlugins(runtime, first)];
  }
  const problems: Problem[] = [];
  if (first !== undefined && !first.own) {
    const what = first.plugins.length > 0 ? first.plugins.join(", ") : "cannot be parsed";
    problems.push({
      id: "conflist-order",
      finding: `${dir}/${first.name} (${what}) comes before ${own.name}`,
      fix: [
        `mv ${dir}/${first.name} ${dir}/${first.name}.disabled`,
        "# or all that are not flock's:",
        "flock install --exclusive",
      ],
    });
  }
  problems.push(
    ...judgePlugins(runtime, own),
    ...first === own || first === undefined ? [] : judgePlugins(runtime, first),
  );
  const { portmap } = plugins;
  if (portmap !== undefined && !own.plugins.includes("portmap")) {
    const why = typeof portmap === "string"
      ? `: it is ${portmap}`
      : "problem" in portmap
      ? `: ${portmap.problem}`
      : "";
    problems.push({
      id: "host-ports",
      finding: `${dir}/${own.name} does not chain ${pluginDir}/portmap${why}`,
      fix: [`cp /usr/lib/cni/portmap ${pluginDir}/portmap # Debian: containernetworking-plugins`],
    });
  }
  return problems;
}

/** Whether the plugins of a configuration are there and speak what runtimes use it with. */
function judgePlugins(runtime: RuntimeFacts, config: RuntimeConfig): readonly Problem[] {
  const { dir, plugins, pluginDir } = runtime;
  return config.plugins.flatMap((type): readonly Problem[] => {
    const state = plugins[type];
    if (state === undefined) return [];
    const path = `${pluginDir}/${type}`;
    if (typeof state === "object" && "versions" in state) {
      return config.versions.filter((version) => !state.versions.includes(version))
        .map((version) => ({
          id: "conflist-versions",
          finding: `${dir}/${config.name} has runtimes use version ${version}, which ${path} ` +
            `does not speak: it speaks ${state.versions.join(", ")}`,
          fix: [
            `# a ${type} that speaks ${version}, or without ${version} in ${dir}/${config.name}`,
            ...(config.own
              ? ["# flock's agent writes the list so that all its plugins speak it"]
              : []),
          ],
        }));
    }
    const fix = state === "not executable"
      ? `chmod 0755 ${path}`
      : type === "flock"
      ? `flock install --plugin-dir ${pluginDir}`
      : `cp /usr/lib/cni/${type} ${path} # Debian: containernetworking-plugins`;
    const what = typeof state === "string" ? `is ${state}` : `does not work: ${state.problem}`;
    return [{
      id: "plugin",
      finding: `${path}, which ${config.name} names, ${what}`,
      fix: [fix],
    }];
  });
}

/** Compares as far as the second one goes: 6.1.0 is 6.1. */
function compareVersions(a: string, b: string): number {
  const [left, right] = [a, b].map((text) => text.split(/[^\d]+/).map(Number));
  for (const [i, n] of right!.entries()) {
    const difference = (left![i] ?? 0) - n;
    if (difference !== 0) return difference;
  }
  return 0;
}
