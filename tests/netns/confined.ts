/**
 * Running something with a container's capabilities.
 *
 * @module
 */

/** A command that runs another as a container runtime does: as root, with these capabilities, for good. */
export function confined(capabilities: readonly string[]): string[] {
  const set = ["-all", ...capabilities.map((name) => `+${name.toLowerCase()}`)].join(",");
  const inside = ["--bounding-set", set, "--inh-caps", set, "--ambient-caps", "-all"];
  return ["/usr/bin/setpriv", "--no-new-privs", ...inside];
}
