/**
 * The node's sysctls at agent start. What they were is kept in `<stateDir>/sysctls.json`, so that
 * uninstalling can put it back.
 *
 * @module
 */
import type { IpRoute } from "../core/ip_state.ts";
import { readTextIfPresent, writeFileDurable } from "../io/fs.ts";
import type { Sysctl } from "../io/sysctl.ts";
import { log } from "../log.ts";

/** What a node needs to forward for pods and to spread flows by their ports. */
const NODE_SYSCTLS: readonly (readonly [path: string, value: string])[] = [
  ["net/ipv4/ip_forward", "1"],
  ["net/ipv6/conf/all/forwarding", "1"],
  ["net/ipv4/fib_multipath_hash_policy", "1"],
  ["net/ipv6/fib_multipath_hash_policy", "1"],
  ["net/ipv4/nexthop_compat_mode", "1"],
];

/** The identity of this boot. */
export async function readBootId(sysctl: Sysctl): Promise<string> {
  const path = "kernel/random/boot_id";
  const bootId = (await sysctl.read([path]))[path];
  if (!bootId) throw new Error(`Cannot read "/proc/sys/${path}": it is empty or missing`);
  return bootId;
}

/**
 * Sets what differs. A link that has its default route from router advertisements is told to go on
 * taking them (`accept_ra` 2) before forwarding makes the kernel ignore them.
 */
export async function setupHost(
  sysctl: Sysctl,
  defaultRoutes: readonly IpRoute[],
  stateDir: string,
): Promise<void> {
  const raLinks = defaultRoutes.filter((r) => r.family === "ipv6" && r.protocol === "ra")
    .flatMap((r) => [r.dev, ...r.nextHops.map(({ dev }) => dev)])
    .filter((dev) => dev !== undefined);
  const wanted = [
    ...[...new Set(raLinks)].map((dev) => [`net/ipv6/conf/${dev}/accept_ra`, "2"] as const),
    ...NODE_SYSCTLS,
  ];
  const present = await sysctl.read(wanted.map(([path]) => path));
  const changes = wanted.filter(([path, value]) =>
    present[path] !== undefined && present[path] !== value
  );
  if (changes.length === 0) return;
  await remember(`${stateDir}/sysctls.json`, changes.map(([path]) => [path, present[path]!]));
  await sysctl.write(changes);
  for (const [path, value] of changes) {
    log.info("Set sysctl", { sysctl: path, value, was: present[path] });
  }
}

/** Adds former values; those of an earlier start are older and stay. */
async function remember(
  file: string,
  former: readonly (readonly [string, string])[],
): Promise<void> {
  let known: Record<string, string>;
  try {
    known = JSON.parse(await readTextIfPresent(file) ?? "{}");
  } catch (error) {
    // Pods do not wait for this: what was in it is for uninstalling only, and stays for a person to read.
    log.error("Could not read the former sysctls", { file, err: error });
    return;
  }
  const all = { ...Object.fromEntries(former), ...known };
  await writeFileDurable(file, JSON.stringify(all, null, 2) + "\n");
}
