/**
 * Traces of ADD, where OpenTelemetry is switched on: a span per ADD with a child for each of its steps,
 * below the caller's span where one was named. Deno exports them, when it was started with
 * `OTEL_DENO=true`; where it was not, nothing here is called.
 *
 *     ADD ├ lookup ┤├ allocate ┤├ store ───┤├ wire node ┤├ wire pod ┤├ commit ┤
 *                                ├ enforce ┤
 *
 * @module
 */
import { context, type Span, SpanStatusCode, trace } from "@opentelemetry/api";
import { messageOf } from "../core/errors.ts";
import type { TraceContext } from "../core/trace_context.ts";
import { VERSION } from "../version.ts";

/** The steps of one piece of work. */
export interface Steps {
  /**
   * Runs a step and notes how long it took, until what it returns has settled.
   *
   * @param after what the step waits for before it does anything; one that is never due is not noted
   */
  step<T>(name: string, work: () => T, after?: Promise<unknown>): T;
}

/** Notes nothing. */
export const NO_STEPS: Steps = { step: (_name, work) => work() };

/** What a trace says of its work. */
export interface TraceOptions {
  readonly parent?: TraceContext;
  /** Attributes, by names of OpenTelemetry's semantic conventions where there are such. */
  readonly attributes: Readonly<Record<string, string | undefined>>;
}

/** Notes work as a trace. */
export interface Tracing {
  trace<T>(
    name: string,
    options: TraceOptions,
    work: (steps: Steps) => Promise<T>,
  ): Promise<T>;
}

/** Notes nothing. */
export const NO_TRACING: Tracing = { trace: (_name, _options, work) => work(NO_STEPS) };

/** Traces through OpenTelemetry; where it is off, {@linkcode NO_TRACING}. */
export function createTracing(): Tracing {
  const tracer = trace.getTracer("flock", VERSION);
  // A span that never ends is never exported.
  if (!tracer.startSpan("probe").isRecording()) return NO_TRACING;
  return {
    async trace(name, { parent, attributes }, work) {
      const root = context.active();
      const above = parent === undefined ? root : trace.setSpanContext(root, {
        traceId: parent.traceId,
        spanId: parent.spanId,
        traceFlags: parent.flags,
        isRemote: true,
      });
      const span = tracer.startSpan(name, { attributes }, above);
      const within = trace.setSpan(above, span);
      const begin = (step: string): Span => tracer.startSpan(step, {}, within);
      const result = work({ step: (step, run, after) => noted(begin, step, run, after) });
      return await ending(span, result);
    },
  };
}

function noted<T>(
  begin: (step: string) => Span,
  step: string,
  run: () => T,
  after: Promise<unknown> | undefined,
): T {
  if (after !== undefined) {
    const result = run();
    after.then(() => ending(begin(step), Promise.resolve(result))).catch(() => {});
    return result;
  }
  const span = begin(step);
  let result: T;
  try {
    result = run();
  } catch (error) {
    fail(span, error);
    throw error;
  }
  if (result instanceof Promise) ending(span, result).catch(() => {});
  else span.end();
  return result;
}

/** Ends a span with its work. */
async function ending<T>(span: Span, work: Promise<T>): Promise<T> {
  try {
    const result = await work;
    span.end();
    return result;
  } catch (error) {
    fail(span, error);
    throw error;
  }
}

function fail(span: Span, error: unknown): void {
  span.setStatus({ code: SpanStatusCode.ERROR, message: messageOf(error) });
  span.end();
}
