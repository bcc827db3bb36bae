/**
 * W3C Trace Context, level 1: the header `traceparent`, which a container runtime hands to a plugin as
 * the variable `TRACEPARENT`.
 *
 *     00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01
 *     version, trace id, id of the caller's span, flags (1: recorded)
 *
 * @module
 */

/** The caller's place in a trace. */
export interface TraceContext {
  /** As version 00 writes it. */
  readonly text: string;
  readonly traceId: string;
  readonly spanId: string;
  readonly flags: number;
}

const TRACEPARENT = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/;

/** The context that a text names; undefined for one that is malformed, which is to be ignored (section 3.2). */
export function parseTraceparent(text: unknown): TraceContext | undefined {
  const match = typeof text === "string" ? TRACEPARENT.exec(text) : null;
  if (match === null) return undefined;
  const [, version, traceId = "", spanId = "", flags = "", more] = match;
  // Versions to come may have more fields, this one has not.
  if (version === "ff" || version === "00" && more !== undefined) return undefined;
  if (/^0+$/.test(traceId) || /^0+$/.test(spanId)) return undefined;
  return {
    text: `00-${traceId}-${spanId}-${flags}`,
    traceId,
    spanId,
    flags: Number.parseInt(flags, 16),
  };
}
