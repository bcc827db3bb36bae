/**
 * The set-up of a machine: what it says when something is missing, and that packages cannot start
 * services while it installs. Machines without a tool are made with a mount namespace in which the tool
 * is hidden; nothing is installed.
 *
 * @module
 */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { run, type RunResult } from "../../scripts/run.ts";
import { startsRefused } from "../../scripts/setup.ts";
import { testWith } from "../support.ts";

/** Empty directories over those of FRR and the reference plugins. */
const HIDE = "mount -t tmpfs none /usr/lib/frr && mount -t tmpfs none /usr/lib/cni";

/** Another user, who may still read what root's directories hold: Deno can be there. */
const NOBODY = [
  "setpriv",
  "--reuid=65534",
  "--clear-groups",
  "--inh-caps=+dac_read_search",
  "--ambient-caps=+dac_read_search",
];

testWith(
  "e2e: set-up with --no-install names what is missing",
  ["root", "frr", "referencePlugins"],
  async () => {
    const { code, stdout } = await setUpWhere(HIDE, ["ci", "--no-install"]);
    assertEquals(code, 3);
    assertStringIncludes(stdout, "missing: frr (/usr/lib/frr/bgpd), containernetworking-plugins (");
    assertStringIncludes(
      stdout,
      "--no-install was given. On Debian: apt-get install --no-install-recommends frr containernetworking-plugins",
    );
  },
);

testWith(
  "e2e: set-up without apt-get names what is missing",
  ["root", "frr", "referencePlugins"],
  async () => {
    const noApt = "mount --bind /dev/null /usr/bin/apt-get";
    const { code, stdout } = await setUpWhere(`${HIDE} && ${noApt}`, ["ci"]);
    assertEquals(code, 3);
    assertStringIncludes(stdout, "Cannot install it: there is no apt-get on this machine");
  },
);

testWith("e2e: set-up of a user other than root names what is missing", [
  "root",
  "frr",
  "referencePlugins",
], async () => {
  const { code, stdout } = await setUpWhere(HIDE, ["ci"], NOBODY);
  assertEquals(code, 3);
  assertStringIncludes(stdout, "Cannot install it: only root may");
});

testWith(
  "e2e: set-up says nothing when everything is there",
  ["root", "bird", "ping"],
  async () => {
    assertEquals(await setUpWhere("true", ["demo"]), { code: 0, stdout: "", stderr: "" });
  },
);

Deno.test("e2e: set-up refuses a purpose it does not know", async () => {
  const script = new URL("../../scripts/setup.ts", import.meta.url).pathname;
  const { code, stdout } = await run([Deno.execPath(), "run", "-A", script, "everything"]);
  assertEquals(code, 2);
  assertStringIncludes(stdout, 'Cannot set up for "everything"');
});

testWith(
  "e2e: packages cannot start services during the installation, and the host does not see how",
  ["root"],
  async () => {
    const starters = ["/usr/sbin/invoke-rc.d", "/usr/bin/deb-systemd-invoke"];
    const before = await Promise.all(starters.map((path) => Deno.readFile(path)));
    const script =
      'for f; do cmp -s "$f" /bin/true || exit 9; "$f" flock-no-such start || exit 8; done; echo held';
    const command = await startsRefused(["sh", "-c", script, "sh", ...starters]);
    assert(command !== undefined, "no mount namespace, and no policy that refuses");
    const during = run(command ?? []);
    assertEquals(await Promise.all(starters.map((path) => Deno.readFile(path))), before);
    assertEquals(await during, { code: 0, stdout: "held\n", stderr: "" });
    assertEquals(await Promise.all(starters.map((path) => Deno.readFile(path))), before);
  },
);

async function setUpWhere(
  prepare: string,
  args: readonly string[],
  as: readonly string[] = [],
): Promise<RunResult> {
  const script = new URL("../../scripts/setup.ts", import.meta.url).pathname;
  const deno = [...as, Deno.execPath(), "run", "--quiet", "--no-lock", "-A", script, ...args];
  return await run(["unshare", "--mount", "sh", "-c", `${prepare} && exec "$@"`, "sh", ...deno]);
}
