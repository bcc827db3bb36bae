/**
 * The executable under test.
 *
 * @module
 */

/** What `deno task build` made, or what FLOCK_EXECUTABLE names. */
export const EXECUTABLE: string = Deno.env.get("FLOCK_EXECUTABLE") ||
  new URL("../dist/flock", import.meta.url).pathname;
