/**
 * Requests to the API server: JSON in, JSON out, and streams of lines. Every request has a deadline, a
 * stream one that each byte moves on. Errors carry what the server said (`metav1.Status`).
 *
 * They go over the connections of the Kubernetes project's client, with the HTTP library that it uses
 * itself. Its own calls and watches do not say what the server said, decode lists into objects of twice
 * the size, and make a new connection each time.
 *
 * @module
 */
import { request as send } from "undici";
import { messageOf } from "../core/errors.ts";
import { isFields } from "../core/node_config_problems.ts";
import { VERSION } from "../version.ts";
import type { KubeAuthorization, KubeCredentials, KubeLogin } from "./kube_credentials.ts";

/** Milliseconds a request may take, unless told. */
const TIMEOUT_MS = 10_000;
/** etcd takes objects of 1.5 MiB; what is longer is not a line. */
const MAX_LINE = 16 * 1024 * 1024;

/** The API server answered with an error. */
export class KubeError extends Error {
  override readonly name = "KubeError";

  constructor(
    message: string,
    /** HTTP's status, or that of a watch's error event. */
    readonly status: number,
    /** Milliseconds that the server asks to wait. */
    readonly retryAfterMs?: number,
  ) {
    super(message);
  }
}

export interface KubeRequest {
  readonly path: string;
  readonly query?: Readonly<Record<string, string | undefined>>;
  readonly signal: AbortSignal;
  /** Milliseconds: for all of it, or for a stream between two of its bytes. */
  readonly timeoutMs?: number;
  /** Of a stream: called when the server has begun to answer. */
  readonly onOpen?: () => void;
}

export interface KubeWrite extends KubeRequest {
  readonly method: "POST" | "PATCH";
  readonly contentType: string;
  readonly body: unknown;
}

type Response = Awaited<ReturnType<typeof send>>;

/** An API server, asked as somebody. */
export class KubeClient implements AsyncDisposable {
  readonly #credentials: KubeCredentials;
  #login: KubeLogin | undefined;
  #authorization: KubeAuthorization | undefined;

  constructor(credentials: KubeCredentials) {
    this.#credentials = credentials;
  }

  /** One answer, parsed. */
  async json(request: KubeRequest | KubeWrite): Promise<unknown> {
    using attempt = new Attempt(request);
    return await this.#guarded(request, attempt, async () => {
      const { body } = await this.#send(request, attempt);
      return await body.json();
    });
  }

  /** The lines of an answer, as they come. Ends when the server ends it. */
  async *lines(request: KubeRequest): AsyncGenerator<string, void, void> {
    using attempt = new Attempt(request);
    const { body } = await this.#guarded(request, attempt, () => this.#send(request, attempt));
    request.onOpen?.();
    // Nobody listens any more when it is given up.
    body.on("error", () => {});
    const chunks: AsyncIterator<Uint8Array> = body[Symbol.asyncIterator]();
    const decoder = new TextDecoder();
    let rest = "";
    try {
      while (true) {
        const { value, done } = await this.#guarded(request, attempt, () => chunks.next());
        if (done) return;
        attempt.extend();
        const pieces = (rest + decoder.decode(value, { stream: true })).split("\n");
        rest = pieces.pop() ?? "";
        if (rest.length > MAX_LINE) throw new RangeError(`Cannot ${verb(request)}: line too long`);
        yield* pieces.filter((line) => line !== "");
      }
    } finally {
      // Whoever stops reading in the middle leaves no open stream.
      body.destroy();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#authorization?.connections.destroy();
    this.#authorization = undefined;
  }

  /** Redirections are answers like others: the credentials are for this server, not for one it names. */
  async #send(request: KubeRequest | KubeWrite, attempt: Attempt): Promise<Response> {
    const { server, headers, connections } = await this.#authorize();
    const url = new URL(`${server}${request.path}`);
    for (const [name, value] of Object.entries(request.query ?? {})) {
      if (value !== undefined) url.searchParams.set(name, value);
    }
    const write = "method" in request ? request : undefined;
    const response = await send(url, {
      method: write?.method ?? "GET",
      headers: {
        ...headers,
        accept: "application/json",
        "user-agent": `flock/${VERSION}`,
        ...(write === undefined ? {} : { "content-type": write.contentType }),
      },
      body: write === undefined ? null : JSON.stringify(write.body),
      dispatcher: connections,
      signal: attempt.signal,
    });
    const { statusCode } = response;
    if (statusCode >= 200 && statusCode < 300) return response;
    // The client looks at a token's file once a minute: it may be an old one.
    if (statusCode === 401) this.#login = undefined;
    throw await errorOf(request, response);
  }

  /** Ends in time, and turns what went wrong with a connection into words. */
  async #guarded<T>(request: KubeRequest, attempt: Attempt, step: () => Promise<T>): Promise<T> {
    try {
      return await attempt.race(step());
    } catch (error) {
      request.signal.throwIfAborted();
      if (error instanceof KubeError) throw error;
      if (attempt.missed) this.#retire();
      const why = attempt.missed ? `nothing came for ${attempt.ms / 1000} s` : reasonOf(error);
      throw new Error(`Cannot ${verb(request)}: ${why}`, { cause: error });
    }
  }

  /** Credentials as they are now. Connections that were made with others end with their requests. */
  async #authorize(): Promise<KubeAuthorization> {
    const login = this.#login ??= await this.#credentials();
    const asked = await login.authorize();
    if (this.#authorization?.identity !== asked.identity) this.#retire();
    const connections = this.#authorization?.connections ?? asked.connections;
    return this.#authorization = { ...asked, connections };
  }

  /** What is under way goes on, what comes next gets connections of its own. */
  #retire(): void {
    this.#authorization?.connections.close().catch(() => {});
    this.#authorization = undefined;
  }
}

/** One request under way: it ends when the caller gives it up, or when nothing comes for too long. */
class Attempt implements Disposable {
  readonly ms: number;
  missed = false;
  readonly #caller: AbortSignal;
  readonly #end = new AbortController();
  readonly #giveUp = (): void => this.#end.abort(this.#caller.reason);
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor({ signal, timeoutMs = TIMEOUT_MS }: KubeRequest) {
    signal.throwIfAborted();
    this.ms = timeoutMs;
    this.#caller = signal;
    signal.addEventListener("abort", this.#giveUp);
    this.extend();
  }

  get signal(): AbortSignal {
    return this.#end.signal;
  }

  /** A step's outcome, or the end: a request that waits for a connection does not hear of it (undici 8). */
  async race<T>(step: Promise<T>): Promise<T> {
    const { promise, reject } = Promise.withResolvers<never>();
    const end = (): void => reject(this.signal.reason);
    this.signal.addEventListener("abort", end);
    if (this.signal.aborted) end();
    try {
      return await Promise.race([step, promise]);
    } finally {
      this.signal.removeEventListener("abort", end);
    }
  }

  /** Something came: the deadline moves on. */
  extend(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.missed = true;
      this.#end.abort();
    }, this.ms);
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
    this.#caller.removeEventListener("abort", this.#giveUp);
  }
}

/** The error that an answer stands for. */
async function errorOf(request: KubeRequest, response: Response): Promise<KubeError> {
  const { statusCode, headers, body } = response;
  const text = await body.text();
  let said = text.trim().slice(0, 200);
  try {
    const status: unknown = JSON.parse(text);
    if (isFields(status) && typeof status.message === "string") said = status.message;
  } catch { /* a proxy's page, or an old server's word */ }
  const seconds = Number(headers["retry-after"] ?? NaN);
  return new KubeError(
    `Cannot ${verb(request)}: ${statusCode} ${said}`.trimEnd(),
    statusCode,
    Number.isFinite(seconds) ? seconds * 1000 : undefined,
  );
}

function verb(request: KubeRequest | KubeWrite): string {
  const what = "method" in request ? request.method === "POST" ? "create" : "change" : "read";
  return `${what} "${request.path}"`;
}

/** The innermost reason: a failed connection says only that it failed. */
function reasonOf(error: unknown): string {
  let reason = error;
  while (reason instanceof Error && reason.cause instanceof Error) reason = reason.cause;
  return messageOf(reason);
}
