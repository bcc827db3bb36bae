/**
 * The arguments of the repository's scripts: what a script does not know stops it before it does anything.
 *
 * @module
 */

/** Exit status of a wrong command line. */
const EXIT_USAGE = 2;

/**
 * The error for the first argument that is not accepted.
 *
 * @returns one line; undefined when all are accepted
 */
export function describeUnknown(
  args: readonly string[],
  accepted: readonly string[],
): string | undefined {
  const unknown = args.find((arg) => !accepted.includes(arg));
  if (unknown === undefined) return undefined;
  return `Cannot use argument ${JSON.stringify(unknown)}: it is none of ${accepted.join(", ")}`;
}

/** Ends the program, with the error on standard error, when an argument is not accepted. */
export function requireKnown(args: readonly string[], accepted: readonly string[]): void {
  const problem = describeUnknown(args, accepted);
  if (problem === undefined) return;
  Deno.stderr.writeSync(new TextEncoder().encode(`${problem}\n`));
  Deno.exit(EXIT_USAGE);
}
