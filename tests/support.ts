/**
 * Tests that need something of the machine: where it is absent they are skipped, and their name says why
 * (a JUnit report has room for the name only).
 *
 * @module
 */
import { isPresent } from "../scripts/setup.ts";

/** What agents under test read their cluster from: `FLOCK_TEST_SOURCE`. */
export type TestSource = "manifests" | "kubernetes";

/** The source that the tests are run with. @throws {RangeError} when it is none */
export function testSource(): TestSource {
  const source = Deno.env.get("FLOCK_TEST_SOURCE") ?? "manifests";
  if (source === "manifests" || source === "kubernetes") return source;
  throw new RangeError(
    `Cannot run tests with FLOCK_TEST_SOURCE "${source}": there is no such source`,
  );
}

/** What a test may need, and why it cannot be had; undefined when it can. */
const NEEDS = {
  root: () => Deno.uid() === 0 ? undefined : "needs root",
  bird: () => lacks("bird2", "bird"),
  nft: () => lacks("nftables", "nft"),
  conntrack: () => lacks("conntrack", "conntrack"),
  ping: () => lacks("iputils-ping", "ping"),
  frr: () => lacks("frr", "/usr/lib/frr/bgpd"),
  referencePlugins: () => lacks("containernetworking-plugins", "/usr/lib/cni/portmap"),
  tcpdump: () => lacks("tcpdump", "tcpdump"),
  kubectl: () => lacks("kubernetes-client", "kubectl"),
  debootstrap: () => lacks("debootstrap", "debootstrap"),
  chromium: () => lacks("chromium", "chromium"),
  strace: () => lacks("strace", "strace"),
  promtool: () => lacks("prometheus", "promtool"),
  manifests: () => testSource() === "manifests" ? undefined : "is about the directory of manifests",
} as const satisfies Readonly<Record<string, () => string | undefined>>;

export type Need = keyof typeof NEEDS;

/**
 * Registers a test that runs where everything it needs is there.
 *
 * ```ts
 * testWith("netns: FRR learns both prefixes", ["root", "frr"], async (t) => { … });
 * ```
 */
export function testWith(
  name: string,
  needs: readonly Need[],
  fn: (t: Deno.TestContext) => void | Promise<void>,
): void {
  const lacking = needs.flatMap((need) => NEEDS[need]() ?? []);
  if (lacking.length === 0) Deno.test(name, fn);
  else skip(name, lacking.join(", "), fn);
}

/** Registers a test as skipped, with the reason in its name. */
export function skip(
  name: string,
  reason: string,
  fn: (t: Deno.TestContext) => void | Promise<void>,
): void {
  Deno.test({ name: `${name} [${reason}]`, ignore: true, fn });
}

function lacks(packageName: string, file: string): string | undefined {
  return isPresent(file) ? undefined : `${packageName} is not installed`;
}
