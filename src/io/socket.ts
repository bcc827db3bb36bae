/**
 * The agent's unix socket, both ends: one connection per call, one JSON line each way. On the CNI path:
 * no npm, no node.
 *
 * @module
 */
import { CniCode, CniError } from "../core/errors.ts";

/** Longest line either side accepts, in bytes. */
export const MAX_LINE_BYTES = 1 << 20;
/** How long a client may take to send its request, in milliseconds. */
const REQUEST_DEADLINE_MS = 5_000;
/** Milliseconds until a connection that could not be taken is tried again. */
const ACCEPT_RETRY_MS = 100;
/** Version of the exchange. Unknown fields are ignored, so that releases one apart work together. */
const PROTOCOL_VERSION = 1;

/** A call: a CNI verb with its parameters, or an operator's command. */
export interface AgentRequest {
  readonly version: number;
  readonly op: string;
  readonly container_id?: string;
  readonly netns?: string;
  readonly ifname?: string;
  readonly args?: string;
  readonly path?: string;
  /** The network configuration, base64. */
  readonly stdin_data?: string;
  readonly cni_version?: string;
  readonly traceparent?: string;
  /** Of `drain`, in milliseconds. */
  readonly wait_ms?: number;
  /** Milliseconds the caller is going to wait. */
  readonly deadline_ms?: number;
}

/** The answer to a call. */
export type AgentResponse =
  | { readonly version: number; readonly result: unknown }
  | { readonly version: number; readonly error: ErrorObject };

interface ErrorObject {
  readonly code: number;
  readonly msg: string;
  readonly details?: string;
}

/** Answers one request. The signal aborts when the client goes away. */
export type AgentHandler = (request: AgentRequest, signal: AbortSignal) => Promise<unknown>;

/** The agent is not there: no socket, or nobody behind it. */
export class AgentAbsentError extends Error {
  override readonly name = "AgentAbsentError";
}

/**
 * Makes one call.
 *
 * @param options.connectMs how long to go on trying while there is no agent, in milliseconds
 * @param options.timeoutMs how long the whole call may take, in milliseconds
 * @returns the answer's `result`
 * @throws {AgentAbsentError} when there is no agent
 * @throws {CniError} the agent's own error; code 11 when no answer came in time; code 5 or 6 when the
 *   answer was cut off or is not JSON
 */
export async function callAgent(
  path: string,
  request: Omit<AgentRequest, "version">,
  options: { connectMs: number; timeoutMs: number },
): Promise<unknown> {
  const end = performance.now() + options.timeoutMs;
  const conn = await connect(path, Math.min(performance.now() + options.connectMs, end));
  // Not setTimeout: its first use loads half as much again as all the rest of the plugin's start.
  const late = AbortSignal.timeout(Math.max(1, end - performance.now()));
  late.addEventListener("abort", () => close(conn));
  try {
    await writeLine(conn, {
      version: PROTOCOL_VERSION,
      ...request,
      deadline_ms: end - performance.now(),
    });
    return parseResponse(await readLine(conn, MAX_LINE_BYTES), path);
  } catch (error) {
    if (error instanceof CniError) throw error;
    if (late.aborted) {
      throw new CniError(
        CniCode.tryAgainLater,
        `Cannot call agent at "${path}": no answer within ${options.timeoutMs / 1000} s`,
      );
    }
    throw new CniError(CniCode.io, `Cannot call agent at "${path}": the connection broke`, {
      cause: error,
    });
  } finally {
    close(conn);
  }
}

/** The server's end. */
export interface AgentServer extends AsyncDisposable {
  /** Stops listening, waits for the calls under way (at most `graceMs`), then closes what is left. */
  stop(graceMs: number): Promise<void>;
}

/**
 * Listens on the socket (mode 0600, directory 0700) and answers every connection with `handler`.
 *
 * @param options.requestDeadlineMs milliseconds a client may take to send; 5,000 unless told
 * @throws {Error} when somebody answers on that socket already, or the path is not a socket's
 */
export async function serveAgent(
  path: string,
  handler: AgentHandler,
  onError: (error: unknown) => void,
  options: { readonly requestDeadlineMs?: number } = {},
): Promise<AgentServer> {
  const { requestDeadlineMs = REQUEST_DEADLINE_MS } = options;
  await Deno.mkdir(path.slice(0, path.lastIndexOf("/")) || "/", { recursive: true, mode: 0o700 });
  if (await isServed(path)) {
    throw new Error(`Cannot listen on "${path}": another agent answers there`);
  }
  await removeStaleSocket(path);
  // The mode is there from the first moment: a chmod afterwards would leave a gap.
  const umask = Deno.umask(0o177);
  let listener: Deno.Listener;
  try {
    listener = Deno.listen({ transport: "unix", path });
  } finally {
    Deno.umask(umask);
  }
  const calls = new Map<Promise<void>, AbortController>();
  const accepting = (async () => {
    for await (const conn of connectionsOf(listener, onError)) {
      const gone = new AbortController();
      const call = serveConnection(conn, { handler, gone, requestDeadlineMs }).catch(onError);
      calls.set(call, gone);
      call.finally(() => calls.delete(call));
    }
  })();
  let stopping: Promise<void> | undefined;
  const stop = (graceMs: number): Promise<void> =>
    stopping ??= (async () => {
      listener.close();
      await accepting;
      const timer = setTimeout(() => {
        for (const gone of calls.values()) gone.abort(new Error("The agent is stopping"));
      }, graceMs);
      await Promise.all(calls.keys());
      clearTimeout(timer);
    })();
  return { stop, [Symbol.asyncDispose]: () => stop(0) };
}

/**
 * The connections of a listener until it is closed. One that cannot be taken, as when the process has no descriptor
 * left (EMFILE), is told and waited for: it goes on waiting in the kernel's queue.
 */
async function* connectionsOf(
  listener: Deno.Listener,
  onError: (error: unknown) => void,
): AsyncGenerator<Deno.Conn> {
  for (let failures = 0;;) {
    try {
      yield await listener.accept();
      failures = 0;
    } catch (error) {
      // It is closed.
      if (error instanceof Deno.errors.BadResource || error instanceof Deno.errors.Interrupted) {
        return;
      }
      // At first, and then at each doubling.
      if ((failures & (failures - 1)) === 0) onError(error);
      failures++;
      await new Promise((resolve) => setTimeout(resolve, ACCEPT_RETRY_MS));
    }
  }
}

async function serveConnection(
  conn: Deno.Conn,
  { handler, gone, requestDeadlineMs }: {
    readonly handler: AgentHandler;
    readonly gone: AbortController;
    readonly requestDeadlineMs: number;
  },
): Promise<void> {
  try {
    const giveUp = (): void => close(conn);
    const timer = setTimeout(giveUp, requestDeadlineMs);
    gone.signal.addEventListener("abort", giveUp);
    let line: string;
    try {
      line = await readLine(conn, MAX_LINE_BYTES);
    } catch (error) {
      // A client that sent nothing, or not in time, gets no answer.
      if (error instanceof CniError) await writeLine(conn, errorResponse(error));
      return;
    } finally {
      clearTimeout(timer);
      gone.signal.removeEventListener("abort", giveUp);
    }
    void watchForEnd(conn, gone);
    const response = await answer(line, handler, gone.signal);
    try {
      await writeLine(conn, response);
    } catch (error) {
      if (!(error instanceof CniError)) throw error;
      // Nothing of an answer that is too long was sent.
      await writeLine(conn, errorResponse(error));
    }
  } catch (error) {
    // Nobody is there to hear the answer: that is the client's right.
    if (!isDisconnect(error)) throw error;
  } finally {
    close(conn);
  }
}

async function answer(
  line: string,
  handler: AgentHandler,
  signal: AbortSignal,
): Promise<AgentResponse> {
  try {
    const request = parseRequest(line);
    const result = await handler(request, signal);
    return { version: PROTOCOL_VERSION, result: result ?? null };
  } catch (error) {
    return errorResponse(CniError.from(error));
  }
}

function errorResponse({ code, message, details }: CniError): AgentResponse {
  return { version: PROTOCOL_VERSION, error: { code, msg: message, details } };
}

function parseRequest(line: string): AgentRequest {
  let request: unknown;
  try {
    request = JSON.parse(line);
  } catch (cause) {
    throw new CniError(CniCode.decode, "Cannot decode request: it is not JSON", { cause });
  }
  if (typeof request !== "object" || request === null || Array.isArray(request)) {
    throw new CniError(CniCode.decode, "Cannot decode request: it is not an object");
  }
  const { version, op, ...rest } = request as Record<string, unknown>;
  if (version !== PROTOCOL_VERSION) {
    throw new CniError(
      CniCode.tryAgainLater,
      `Cannot answer request: its version is ${
        JSON.stringify(version)
      }, ours is ${PROTOCOL_VERSION}`,
    );
  }
  for (const key of ["container_id", "netns", "ifname", "args", "path", "stdin_data"]) {
    if (rest[key] !== undefined && typeof rest[key] !== "string") {
      throw new CniError(CniCode.decode, `Cannot decode request: "${key}" is not a string`);
    }
  }
  return { ...rest, version, op: String(op) };
}

function parseResponse(line: string, path: string): unknown {
  const refuse = (state: string, cause?: unknown): CniError =>
    new CniError(CniCode.decode, `Cannot decode answer of agent at "${path}": ${state}`, { cause });
  let response: { readonly result?: unknown; readonly error?: Partial<ErrorObject> } | null;
  try {
    response = JSON.parse(line);
  } catch (cause) {
    throw refuse("it is not JSON", cause);
  }
  if (typeof response !== "object" || response === null) throw refuse("it is not an object");
  if (response.error === undefined) return response.result;
  const { code, msg, details } = response.error ?? {};
  if (typeof code !== "number" || typeof msg !== "string") throw refuse("its error has no code");
  throw new CniError(code, msg, { details });
}

/** Connects, trying again until `end` (`performance.now`). */
async function connect(path: string, end: number): Promise<Deno.Conn> {
  for (let wait = 10;; wait = Math.min(wait * 2, 200)) {
    try {
      return await Deno.connect({ transport: "unix", path });
    } catch (error) {
      const absent = error instanceof Deno.errors.NotFound ||
        error instanceof Deno.errors.ConnectionRefused;
      if (!absent || performance.now() + wait > end) {
        throw new AgentAbsentError(`Cannot call agent at "${path}": nobody answers there`, {
          cause: error,
        });
      }
      await new Promise((resolve) => setTimeout(resolve, wait));
    }
  }
}

/** Closes a connection that may be closed already, by a deadline. */
function close(conn: Deno.Conn): void {
  try {
    conn.close();
  } catch (error) {
    if (!(error instanceof Deno.errors.BadResource)) throw error;
  }
}

/** Removes what an agent that was killed left. Anything but a socket is somebody else's. */
async function removeStaleSocket(path: string): Promise<void> {
  try {
    const { isSocket } = await Deno.lstat(path);
    if (!isSocket) throw new Error(`Cannot listen on "${path}": it is there and is no socket`);
    await Deno.remove(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

async function isServed(path: string): Promise<boolean> {
  try {
    (await Deno.connect({ transport: "unix", path })).close();
    return true;
  } catch {
    return false;
  }
}

/** Aborts when the other side closes. What else it sends is not read by anybody. */
async function watchForEnd(conn: Deno.Conn, gone: AbortController): Promise<void> {
  const rest = new Uint8Array(1024);
  try {
    while (await conn.read(rest) !== null);
  } catch { /* closed, by them or by us */ }
  gone.abort(new Error("The client went away"));
}

async function writeLine(conn: Deno.Conn, value: unknown): Promise<void> {
  const bytes = new TextEncoder().encode(JSON.stringify(value) + "\n");
  if (bytes.length > MAX_LINE_BYTES) {
    throw new CniError(CniCode.io, `Cannot send ${bytes.length} bytes: over ${MAX_LINE_BYTES}`);
  }
  for (let sent = 0; sent < bytes.length;) sent += await conn.write(bytes.subarray(sent));
}

async function readLine(conn: Deno.Conn, maxBytes: number): Promise<string> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  while (true) {
    const chunk = new Uint8Array(16_384);
    const n = await conn.read(chunk);
    if (n === null) {
      throw new Deno.errors.UnexpectedEof("The connection closed before a line ended");
    }
    const end = chunk.subarray(0, n).indexOf(10);
    chunks.push(chunk.subarray(0, end < 0 ? n : end));
    length += end < 0 ? n : end;
    if (length > maxBytes) {
      throw new CniError(CniCode.io, `Cannot read line: it is over ${maxBytes} bytes`);
    }
    if (end >= 0) break;
  }
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, at);
    at += chunk.length;
  }
  return new TextDecoder().decode(bytes);
}

function isDisconnect(error: unknown): boolean {
  return error instanceof Deno.errors.BrokenPipe || error instanceof Deno.errors.ConnectionReset ||
    error instanceof Deno.errors.BadResource || error instanceof Deno.errors.Interrupted ||
    error instanceof Deno.errors.UnexpectedEof;
}
