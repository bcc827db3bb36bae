/**
 * What a plugin of somebody else's says of itself, and what follows for a list that it is chained in.
 *
 * @module
 */

/** Versions of the specification that flock's list offers, oldest first. */
const OFFERED = ["0.3.1", "0.4.0", "1.0.0", "1.1.0"] as const;

/** A plugin that answers. */
export interface PluginAnswer {
  /** Versions of the specification that it speaks. */
  readonly versions: readonly string[];
}

/**
 * The versions in the answer to VERSION.
 *
 * @throws {SyntaxError} when it is no such answer
 */
export function parseVersions(answer: string): readonly string[] {
  let value: unknown;
  try {
    value = JSON.parse(answer);
  } catch { /* said below */ }
  const versions = value && (value as Record<string, unknown>).supportedVersions;
  if (!Array.isArray(versions) || versions.length === 0 || !versions.every(isText)) {
    throw new SyntaxError('it answers VERSION without "supportedVersions"');
  }
  return versions;
}

/**
 * The versions that a list can offer whose plugins speak these: what all of them speak, flock among them.
 * A runtime that knows `cniVersions` takes the highest of it, for every plugin of the list.
 */
export function commonVersions(plugins: readonly PluginAnswer[]): readonly string[] {
  return OFFERED.filter((version) => plugins.every(({ versions }) => versions.includes(version)));
}

/**
 * Whether `portmap` knows the key `backend`: 1.6 and later.
 *
 * @param about what it prints without CNI_COMMAND; a distribution's may not say its version. One that speaks
 * 1.1.0 is 1.5 or later then, and 1.5 takes no notice of the key.
 */
export function knowsBackend(about: string, { versions }: PluginAnswer): boolean {
  const [, major, minor] = /^CNI portmap plugin v?(\d+)\.(\d+)/m.exec(about) ?? [];
  if (major === undefined) return versions.includes("1.1.0");
  return Number(major) > 1 || (Number(major) === 1 && Number(minor) >= 6);
}

function isText(value: unknown): value is string {
  return typeof value === "string";
}
