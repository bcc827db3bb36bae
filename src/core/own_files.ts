/**
 * Names of the files that flock writes, by the directory: what is taken away with it. Everything else in
 * those directories is somebody else's.
 *
 * @module
 */

/** In the state directory. A test compares this with what the code writes there. */
export const STATE_FILES = [
  "allocations.json",
  "drain.json",
  "lock",
  "node_config.json",
  "router_id",
  "session_addresses.json",
  "sysctls.json",
] as const;

/** Below the state directory: deletions that wait for the agent. */
export const DELETIONS_DIR = "deletions";

/** True for a file of the queue of deletions. */
export function isDeletionFile(name: string): boolean {
  return /\.json(\.damaged)?$/.test(name);
}

/** In the directory of BIRD's control socket, by the name of its configuration. */
export function birdFiles(config: string): readonly string[] {
  return [config, `${config}.new`, `${config}.started`];
}
