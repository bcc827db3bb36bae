/**
 * The steps of the gate and the tiers of tests: what each runs and what it may do. Tiers are named and
 * explained in CONTRIBUTING.md.
 *
 * @module
 */
import { ROOT } from "./run.ts";

/** A command that passes or fails as a whole. */
export interface Check {
  readonly name: string;
  readonly args: readonly string[];
}

/** Tests that run together, with the same permissions, and write one report. */
export interface Tier {
  readonly name: string;
  /** Test files, or directories of them. */
  readonly paths: readonly string[];
  readonly permissions: readonly string[];
  /** Of the whole tier, or of each file where several run at once. */
  readonly timeoutMs: number;
  /** So many files at a time, each in a process of its own; unless told all in one. */
  readonly jobs?: number;
}

/** The files of another tier once more, under other circumstances. */
export interface RepeatTier extends Tier {
  /** Variables, besides those of the caller. */
  readonly env: Readonly<Record<string, string>>;
  /** Files that are left out, with the reason. */
  readonly except: Readonly<Record<string, string>>;
}

export const CHECKS: readonly Check[] = [
  { name: "fmt", args: ["fmt", "--check", "--quiet"] },
  { name: "lint", args: ["lint", "--quiet"] },
  { name: "check", args: ["check", "--quiet", "--frozen"] },
];

/** Real files, sockets and programs, but no foreign code, no /proc and no prompts. */
const MOST = [
  "--allow-read",
  "--allow-write",
  "--allow-env",
  "--allow-net",
  "--allow-run",
  "--allow-sys",
];

/** What needs neither root nor the executable. */
export const GATE_TIERS: readonly Tier[] = [
  // Without any permission: a call from src/core to the outside fails.
  { name: "unit", paths: ["src/core"], permissions: [], timeoutMs: 120_000 },
  {
    name: "fake",
    paths: ["src/io", "src/cni", "src/agent", "src/cli", "src/lab", "src/log_test.ts", "scripts"],
    permissions: MOST,
    timeoutMs: 300_000,
  },
  {
    name: "golden",
    paths: ["tests/golden_test.ts", "tests/bird_property_test.ts"],
    permissions: MOST,
    timeoutMs: 300_000,
  },
  {
    // Reads its seed, and the number of worlds.
    name: "property",
    paths: ["tests/policy_property_test.ts"],
    permissions: ["--allow-env"],
    timeoutMs: 300_000,
  },
  {
    name: "architecture",
    paths: [
      "tests/architecture_test.ts",
      "tests/log_wording_test.ts",
      "tests/repository_test.ts",
      "tests/deploy",
    ],
    permissions: ["--allow-read", "--allow-write", "--allow-env", "--allow-run"],
    timeoutMs: 120_000,
  },
];

/** What needs root (and says so where it is not), and the executable. */
export const MACHINE_TIERS: readonly Tier[] = [
  {
    name: "netns",
    paths: ["tests/netns"],
    permissions: ["--allow-all"],
    timeoutMs: 600_000,
    // They wait more than they work, and each lab has namespaces of its own.
    jobs: 3,
  },
  { name: "e2e", paths: ["tests/e2e"], permissions: ["--allow-all"], timeoutMs: 1_200_000 },
];

const NO_AGENT = "no agent, so no source";
const TRAFFIC = "about the kernel's tables; readiness from either source is tested elsewhere";

/** One suite, two sources: the tests of the tier `netns` with an API server instead of manifests. */
export const REPEAT_TIERS: readonly RepeatTier[] = [
  {
    name: "netns-kubernetes",
    paths: ["tests/netns"],
    permissions: ["--allow-all"],
    timeoutMs: 600_000,
    jobs: 3,
    env: { FLOCK_TEST_SOURCE: "kubernetes" },
    except: {
      "tests/netns/anycast_ecmp_test.ts": TRAFFIC,
      "tests/netns/anycast_flows_test.ts": TRAFFIC,
      "tests/netns/anycast_paths_test.ts": TRAFFIC,
      "tests/netns/anycast_two_nodes_test.ts": TRAFFIC,
      "tests/netns/bgp_speaker_test.ts": NO_AGENT,
      "tests/netns/bird_capabilities_test.ts": NO_AGENT,
      "tests/netns/bird_peering_test.ts": NO_AGENT,
      "tests/netns/ip_monitor_test.ts": NO_AGENT,
      "tests/netns/ip_test.ts": NO_AGENT,
      "tests/netns/lab_test.ts": NO_AGENT,
      "tests/netns/nft_table_test.ts": NO_AGENT,
      "tests/netns/uninstall_test.ts": NO_AGENT,
      "tests/netns/cni_environment_test.ts": "about the plugin, which asks no source",
      "tests/netns/cni_input_test.ts": "refused before the source is asked",
      "tests/netns/frr_peering_test.ts":
        "about sessions; designs_test.ts has FRR with either source",
      "tests/netns/container_test.ts": "has the manifests as a mount of the container",
      "tests/netns/kubernetes_test.ts": "has an API server either way",
      "tests/netns/kubernetes_outage_test.ts": "has an API server either way",
      "tests/netns/policy_failures_test.ts": "has an API server either way",
    },
  },
];

/** The test files of a tier, relative to the root. */
export async function tierFiles(tier: Tier | RepeatTier): Promise<string[]> {
  const files = (await Promise.all(tier.paths.map(testFiles))).flat();
  return "except" in tier ? files.filter((file) => !Object.hasOwn(tier.except, file)) : files;
}

/** The test files at a path, relative to the root, sorted; none when the path is absent. */
export async function testFiles(path: string): Promise<string[]> {
  const info = await Deno.stat(`${ROOT}/${path}`).catch((error) => {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  });
  if (info === undefined) return [];
  if (info.isFile) return [path];
  const entries = (await Array.fromAsync(Deno.readDir(`${ROOT}/${path}`)))
    .filter((entry) => entry.isDirectory || entry.name.endsWith("_test.ts"))
    .sort((a, b) => a.name < b.name ? -1 : 1);
  return (await Promise.all(entries.map(({ name }) => testFiles(`${path}/${name}`)))).flat();
}
