/**
 * Installs what the demo and the tests run, on Debian and its kin, and says so before it does. Nothing
 * it installs is started, now or at the next boot: BIRD and FRR are for network namespaces of our own.
 *
 * ```
 * deno run -A scripts/setup.ts demo|test|ci [--no-install]
 * ```
 *
 * `--no-install`, another distribution, or a user other than root: names what is missing, exit 3.
 *
 * @module
 */
import { TOOL_DIRS } from "../src/io/command.ts";
import { requireKnown } from "./options.ts";
import { run } from "./run.ts";

interface Requirement {
  /** The Debian package. */
  readonly package: string;
  /** A file that is there when the package is: a command, or an absolute path. */
  readonly file: string;
  /** The service it would start. */
  readonly service?: string;
}

/** What the demo runs. */
const DEMO: readonly Requirement[] = [
  { package: "bird2", file: "bird", service: "bird.service" },
  { package: "iproute2", file: "ip" },
  { package: "nftables", file: "nft" },
  { package: "util-linux", file: "nsenter" },
  { package: "iputils-ping", file: "ping" },
];

/** What single tests need, which report themselves skipped without it. */
const SINGLE_TESTS: readonly Requirement[] = [
  { package: "frr", file: "/usr/lib/frr/bgpd", service: "frr.service" },
  { package: "containernetworking-plugins", file: "/usr/lib/cni/portmap" },
  { package: "conntrack", file: "conntrack" },
  { package: "tcpdump", file: "tcpdump" },
  { package: "kubernetes-client", file: "kubectl" },
  { package: "debootstrap", file: "debootstrap" },
  { package: "strace", file: "strace" },
  { package: "chromium", file: "chromium" },
  { package: "xz-utils", file: "xz" },
  { package: "prometheus", file: "promtool", service: "prometheus.service" },
];

/** Who asks, and what it needs. The tests need what the demo needs. */
const REQUIREMENTS = { demo: DEMO, test: DEMO, ci: [...DEMO, ...SINGLE_TESTS] } as const;
export type Purpose = keyof typeof REQUIREMENTS;

/** Exit status when something is missing and was not installed. */
export const EXIT_MISSING = 3;

/** The services' ways to be started by a package: these are made to do nothing while apt-get runs. */
const STARTERS = ["/usr/sbin/invoke-rc.d", "/usr/bin/deb-systemd-invoke"] as const;
/** Debian's other way to refuse, which container images have in place. */
const POLICY = "/usr/sbin/policy-rc.d";

/**
 * Makes sure that everything for a purpose is there.
 *
 * @returns exit status: 0, or 3 when something is missing and could or should not be installed
 */
export async function setUp(purpose: Purpose, options: { install: boolean }): Promise<number> {
  const missing = REQUIREMENTS[purpose].filter((requirement) => !isPresent(requirement.file));
  if (missing.length === 0) return 0;
  const packages = missing.map((requirement) => requirement.package);
  const list = missing.map(({ package: name, file }) => `${name} (${file})`).join(", ");
  const obstacle = options.install ? await findObstacle() : "--no-install was given";
  if (obstacle !== undefined) {
    say(`missing: ${list}`);
    say(
      `Cannot install it: ${obstacle}. On Debian: apt-get install --no-install-recommends ${
        packages.join(" ")
      }`,
    );
    return EXIT_MISSING;
  }
  say(`installing with apt-get, without starting any service: ${list}`);
  const services = missing.flatMap(({ service }) => service === undefined ? [] : [service]);
  if (!await aptInstall(packages)) {
    say(`Cannot install ${packages.join(" ")}: apt-get failed (see above)`);
    return EXIT_MISSING;
  }
  await keepDisabled(services);
  const still = missing.filter((requirement) => !isPresent(requirement.file));
  if (still.length === 0) return 0;
  say(`Cannot find ${still.map(({ file }) => file).join(", ")}: absent after the installation`);
  return EXIT_MISSING;
}

/** Whether a command, or a file by its absolute path, is there. */
export function isPresent(file: string): boolean {
  const paths = file.startsWith("/") ? [file] : TOOL_DIRS.map((dir) => `${dir}/${file}`);
  return paths.some(isFile);
}

function isFile(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

async function findObstacle(): Promise<string | undefined> {
  if (!isPresent("apt-get")) return "there is no apt-get on this machine";
  if (Deno.uid() !== 0) return "only root may";
  if (await startsRefused([]) === undefined) {
    return "services could not be kept from starting (no right to a mount namespace of our own)";
  }
}

/**
 * A command that runs `command` while packages cannot start services. In a mount namespace of its own
 * the programs by which packages start services are replaced by one that does nothing: the host never
 * sees it, and nothing is left behind however this ends, a SIGKILL included, as would be with a
 * `policy-rc.d` of our own. Where that is not allowed (a container), a policy that is there and refuses
 * serves as well.
 *
 * @returns undefined when neither is possible
 */
export async function startsRefused(command: readonly string[]): Promise<string[] | undefined> {
  const binds = STARTERS.filter(isFile).map((path) => `mount --bind /bin/true ${path}`);
  const script = [...binds, 'exec "$@"'].join(" && ");
  const wrap = ["unshare", "--mount", "--", "sh", "-c", script, "sh"];
  if ((await run([...wrap, "true"])).code === 0) return [...wrap, ...command];
  if (isFile(POLICY) && (await run([POLICY, "bird", "start"])).code === 101) return [...command];
}

async function aptInstall(packages: readonly string[]): Promise<boolean> {
  const apt = [
    "env",
    "DEBIAN_FRONTEND=noninteractive",
    "apt-get",
    "-q",
    "-o",
    "DPkg::Lock::Timeout=120",
  ];
  const install = await startsRefused([
    ...[...apt, "install", "--yes", "--no-install-recommends"],
    ...packages,
  ]);
  if (install === undefined) return false;
  const known = await run(["apt-cache", "show", ...packages]);
  const fresh = known.code !== 0;
  if (fresh) await run([...apt, "update"], { show: true });
  if ((await run(install, { show: true })).code === 0) return true;
  if (fresh) return false;
  // Lists that are there may be too old: what they name is gone from the mirror.
  await run([...apt, "update"], { show: true });
  return (await run(install, { show: true })).code === 0;
}

/** A package enables its service for the next boot; the operator did not ask for one. */
async function keepDisabled(services: readonly string[]): Promise<void> {
  if (services.length === 0 || !isPresent("systemctl")) return;
  const result = await run(["systemctl", "disable", "--no-reload", ...services]);
  say(
    result.code === 0
      ? `not started and not enabled for the next boot: ${services.join(", ")}`
      : `Cannot disable ${services.join(", ")}: ${result.stderr.trim()}`,
  );
}

function say(line: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`setup: ${line}\n`));
}

function isPurpose(text: string | undefined): text is Purpose {
  return text !== undefined && Object.hasOwn(REQUIREMENTS, text);
}

if (import.meta.main) {
  requireKnown(Deno.args.filter((arg) => arg.startsWith("-")), ["--no-install"]);
  const purpose = Deno.args.find((arg) => !arg.startsWith("-"));
  if (!isPurpose(purpose)) {
    say(
      `Cannot set up for "${purpose ?? ""}": it is none of ${Object.keys(REQUIREMENTS).join(", ")}`,
    );
    Deno.exit(2);
  }
  Deno.exit(await setUp(purpose, { install: !Deno.args.includes("--no-install") }));
}
