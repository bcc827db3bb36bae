/**
 * The version of flock, as `deno.json` has it (a test compares them). The CNI path imports this file,
 * so it must stay free of imports.
 *
 * @module
 */

/** Semantic version of this build. */
export const VERSION = "0.1.0";
