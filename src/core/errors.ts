/**
 * Errors that a caller branches on. Imported by the CNI path: no imports here.
 *
 * @module
 */

/** Error codes of the CNI specification 1.1.0 and, from 100 on, our own. */
export const CniCode = {
  incompatibleVersion: 1,
  unsupportedField: 2,
  unknownContainer: 3,
  invalidEnvironment: 4,
  io: 5,
  decode: 6,
  invalidConfig: 7,
  invalidNetns: 8,
  tryAgainLater: 11,
  notAvailable: 50,
  notAvailableLimited: 51,
  poolExhausted: 100,
  annotationInvalid: 101,
  addressRefused: 102,
  familyDisabled: 103,
  wiringFailed: 104,
  policyNotInForce: 105,
  internal: 999,
} as const;

/** An error that reaches the container runtime as `{code, msg, details}`. */
export class CniError extends Error {
  override readonly name = "CniError";

  constructor(
    readonly code: number,
    message: string,
    options: { details?: string; cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? {} : { cause: options.cause });
    this.details = options.details ?? causeChain(options.cause);
  }

  /** Further text for the error object; empty when there is none. */
  readonly details: string;

  /** Any error as a `CniError`: itself, or `internal` with the chain of causes as details. */
  static from(error: unknown): CniError {
    if (error instanceof CniError) return error;
    return new CniError(CniCode.internal, messageOf(error), {
      cause: error instanceof Error ? error.cause : undefined,
    });
  }
}

/** An error that trying again does not mend: bad input, a damaged file. The program exits. */
export class TerminalError extends Error {
  override readonly name = "TerminalError";
}

/** The message of whatever was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** The messages of an error and its causes, outermost first, joined with ": ". */
export function causeChain(error: unknown): string {
  const messages: string[] = [];
  for (let e = error; e !== undefined && e !== null; e = e instanceof Error ? e.cause : undefined) {
    messages.push(messageOf(e));
  }
  return messages.join(": ");
}
