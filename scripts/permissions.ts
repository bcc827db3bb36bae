/**
 * The permissions baked into the executable, each with its reason. The build, the launcher and the
 * table in docs/security.md come from here; run this file to print the table.
 *
 * @module
 */
import { TOOL_DIRS, TOOLS } from "../src/io/command.ts";

export interface Permission {
  /** The flag of `deno run` and `deno compile`. */
  readonly flag: string;
  /** What the flag is limited to; empty means without limit. */
  readonly values: readonly string[];
  readonly reason: string;
}

/** What the executable may do, in every mode. */
export const PERMISSIONS: readonly Permission[] = [
  {
    flag: "--allow-run",
    // Absolute paths: names would be looked up at every start, and one that is missing (the host
    // that runs the plugin has no BIRD) prints a line or, without a PATH, stops the program.
    values: TOOLS.flatMap((tool) => TOOL_DIRS.map((dir) => `${dir}/${tool}`)),
    reason:
      "the tools that do the work: links and routes, pod namespaces, BIRD, nftables, tracked connections",
  },
  {
    flag: "--allow-net",
    values: [],
    reason: "the agent's socket and the API server, which the operator chooses",
  },
  {
    flag: "--allow-env",
    values: [
      "CNI_*",
      "FLOCK_*",
      "NODE_NAME",
      "KUBERNETES_SERVICE_*",
      "TRACEPARENT",
      "NO_COLOR",
      "FORCE_COLOR",
      "CLICOLOR_FORCE",
    ],
    reason:
      "the CNI protocol, flock's settings, the node's name, the API server's address, trace context, colours in help",
  },
  {
    flag: "--ignore-env",
    // Without names: a library of the Kubernetes client asks for all names at once, and gets the above.
    values: [],
    reason: "nobody: the other variables read as not set, where libraries would fail on a refusal",
  },
  {
    flag: "--allow-read",
    values: [],
    reason: "manifests, state and configuration, whose paths the operator chooses",
  },
  {
    flag: "--deny-read",
    values: [
      "/etc/shadow",
      "/etc/gshadow",
      "/etc/ssh",
      "/root/.ssh",
      "/etc/kubernetes/pki",
      "/var/lib/kubelet",
    ],
    reason: "secrets of the host and of Kubernetes that flock has no business with",
  },
  {
    flag: "--allow-write",
    values: [],
    reason: "state, sockets, BIRD's configuration, the plugin and the network configuration list",
  },
  {
    flag: "--deny-write",
    values: [
      "/usr",
      "/bin",
      "/sbin",
      "/lib",
      "/lib64",
      "/boot",
      "/etc/passwd",
      "/etc/group",
      "/etc/shadow",
      "/etc/gshadow",
      "/etc/sudoers",
      "/etc/sudoers.d",
      "/etc/pam.d",
      "/etc/ssh",
      "/etc/systemd",
      "/etc/ld.so.preload",
      "/etc/kubernetes",
      "/root/.ssh",
    ],
    reason: "programs, accounts, services and keys of the host",
  },
  {
    flag: "--allow-sys",
    values: [],
    reason: "the host's name, the user id, and umask, which has no name to be allowed by",
  },
  {
    flag: "--deny-sys",
    values: [
      "networkInterfaces",
      "loadavg",
      "osRelease",
      "osUptime",
      "systemMemoryInfo",
      "gid",
      "cpus",
      "homedir",
      "username",
      "setPriority",
    ],
    reason: "everything of the host's particulars that is not used",
  },
  {
    flag: "--allow-import",
    // A name that never resolves (RFC 2606). Without the flag Deno imports from hosts of a list of its
    // own, and a --deny-import without values does not change that (Deno 2.9.6).
    values: ["flock.invalid"],
    reason: "nobody: code comes from the executable only, and this name never exists",
  },
];

/** The flags as `deno run` and `deno compile` take them; never asks on a terminal. */
export function permissionFlags(): string[] {
  return [
    "--no-prompt",
    ...PERMISSIONS.map(({ flag, values }) =>
      values.length === 0 ? flag : `${flag}=${values.join(",")}`
    ),
  ];
}

/**
 * V8's settings: a young generation of 1 MB and code compiled for size keep the agent at 80 MB with 250
 * pods instead of 120 MB, and cost no time that can be measured.
 */
const V8_FLAGS = "--v8-flags=--max-semi-space-size=1,--optimize-for-size";

/** Everything that is baked into the executable. */
export function bakedFlags(): string[] {
  return [...permissionFlags(), V8_FLAGS];
}

/** The table of docs/security.md. */
export function renderPermissionTable(): string {
  const rows = PERMISSIONS.map(({ flag, values, reason }) =>
    `| \`${flag}\` | ${values.length === 0 ? "everything" : limits(flag, values)} | ${reason} |`
  );
  return ["| flag | of | for |", "| --- | --- | --- |", ...rows].join("\n");
}

function limits(flag: string, values: readonly string[]): string {
  if (flag !== "--allow-run") return values.map((value) => `\`${value}\``).join(", ");
  const code = (list: readonly string[]): string => list.map((item) => `\`${item}\``).join(", ");
  return `${code(TOOLS)}, each in ${code(TOOL_DIRS)}`;
}

if (import.meta.main) {
  await Deno.stdout.write(new TextEncoder().encode(renderPermissionTable() + "\n"));
}
