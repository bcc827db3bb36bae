/**
 * Requests to the API server: JSON in, JSON out, and streams of lines. Every request has a deadline, a
 * stream one that each byte moves on. Errors carry what the server said (`metav1.Status`).
 *
 * This is Deno's own `fetch`. The generated client of the Kubernetes project costs 83 MB of memory and
 * 0.3 s at start, more than everything else of the agent together, for credentials of two kinds and a
 * handful of paths.
 *
 * @module
 */
import { messageOf } from "../core/errors.ts";
import { isFields } from "../core/node_config_problems.ts";
import { VERSION } from "../version.ts";
import { type KubeCredentials, readText } from "./kube_credentials.ts";

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
}

export interface KubeWrite extends KubeRequest {
  readonly method: "POST" | "PATCH";
  readonly contentType: string;
  readonly body: unknown;
}

/** An API server, asked as somebody. */
export class KubeClient implements Disposable {
  readonly #credentials: KubeCredentials;
  #connections: { readonly client: Deno.HttpClient; readonly identity: string } | undefined;

  constructor(credentials: KubeCredentials) {
    this.#credentials = credentials;
  }

  /** One answer, parsed. */
  async json(request: KubeRequest | KubeWrite): Promise<unknown> {
    using attempt = new Attempt(request);
    return await this.#guarded(request, attempt, async () => {
      const response = await this.#fetch(request, attempt);
      return await response.json();
    });
  }

  /** The lines of an answer, as they come. Ends when the server ends it. */
  async *lines(request: KubeRequest): AsyncGenerator<string, void, void> {
    using attempt = new Attempt(request);
    const response = await this.#guarded(request, attempt, () => this.#fetch(request, attempt));
    if (response.body === null) return;
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    try {
      while (true) {
        const { value, done } = await this.#guarded(request, attempt, () => reader.read());
        if (done) return;
        attempt.extend();
        const pieces = (rest + value).split("\n");
        rest = pieces.pop() ?? "";
        if (rest.length > MAX_LINE) throw new RangeError(`Cannot ${verb(request)}: line too long`);
        yield* pieces.filter((line) => line !== "");
      }
    } finally {
      // Whoever stops reading in the middle leaves no open stream.
      await reader.cancel().catch(() => {});
    }
  }

  [Symbol.dispose](): void {
    this.#connections?.client.close();
    this.#connections = undefined;
  }

  async #fetch(request: KubeRequest | KubeWrite, attempt: Attempt): Promise<Response> {
    const { server } = this.#credentials;
    const url = new URL(`${server}${request.path}`);
    for (const [name, value] of Object.entries(request.query ?? {})) {
      if (value !== undefined) url.searchParams.set(name, value);
    }
    const headers = new Headers({ accept: "application/json", "user-agent": `flock/${VERSION}` });
    const authorization = await this.#authorization();
    if (authorization !== undefined) headers.set("authorization", authorization);
    const client = attempt.client = await this.#client();
    const init: RequestInit & { client: Deno.HttpClient } = {
      client,
      headers,
      signal: attempt.signal,
      // The credentials are for this server, not for one that it names.
      redirect: "error",
    };
    if ("method" in request) {
      headers.set("content-type", request.contentType);
      init.method = request.method;
      init.body = JSON.stringify(request.body);
    }
    const response = await fetch(url, init);
    if (response.ok) return response;
    throw await errorOf(request, response);
  }

  /**
   * Turns what went wrong with a connection into words. After a missed deadline the connections are
   * not used again: HTTP/2 puts every request on the one that may be dead.
   */
  async #guarded<T>(request: KubeRequest, attempt: Attempt, step: () => Promise<T>): Promise<T> {
    try {
      return await step();
    } catch (error) {
      request.signal.throwIfAborted();
      if (error instanceof KubeError) throw error;
      if (attempt.missed) {
        if (attempt.client === this.#connections?.client) this[Symbol.dispose]();
        const why = `nothing came for ${attempt.ms / 1000} s`;
        throw new Error(`Cannot ${verb(request)}: ${why}`, { cause: error });
      }
      throw new Error(`Cannot ${verb(request)}: ${reasonOf(error)}`, { cause: error });
    }
  }

  async #authorization(): Promise<string | undefined> {
    const { token, basic } = this.#credentials;
    if (token !== undefined) return `Bearer ${(await readText(token)).trim()}`;
    return basic === undefined ? undefined : `Basic ${new TextEncoder().encode(basic).toBase64()}`;
  }

  /** Connections made with the certificates as they are now. */
  async #client(): Promise<Deno.HttpClient> {
    const { ca, certificate, key } = this.#credentials;
    const [caText, cert, keyText] = await Promise.all(
      [ca, certificate, key].map((text) => text === undefined ? undefined : readText(text)),
    );
    if (caText !== undefined && !caText.includes("-----BEGIN CERTIFICATE-----")) {
      throw new SyntaxError("the file of certificate authorities holds no certificate");
    }
    const identity = JSON.stringify([caText, cert, keyText]);
    if (this.#connections?.identity !== identity) {
      this[Symbol.dispose]();
      const client = Deno.createHttpClient({
        ...(caText === undefined ? {} : { caCerts: [caText] }),
        ...(cert === undefined || keyText === undefined ? {} : { cert, key: keyText }),
      });
      this.#connections = { client, identity };
    }
    return this.#connections.client;
  }
}

/** One request under way: it ends when the caller gives it up, or when nothing comes for too long. */
class Attempt implements Disposable {
  readonly ms: number;
  /** What it was sent with. */
  client: Deno.HttpClient | undefined;
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
  const text = await response.text();
  let said = text.trim().slice(0, 200) || response.statusText;
  try {
    const status: unknown = JSON.parse(text);
    if (isFields(status) && typeof status.message === "string") said = status.message;
  } catch { /* a proxy's page, or an old server's word */ }
  const seconds = Number(response.headers.get("retry-after") ?? NaN);
  return new KubeError(
    `Cannot ${verb(request)}: ${response.status} ${said}`,
    response.status,
    Number.isFinite(seconds) ? seconds * 1000 : undefined,
  );
}

function verb(request: KubeRequest | KubeWrite): string {
  const what = "method" in request ? request.method === "POST" ? "create" : "change" : "read";
  return `${what} "${request.path}"`;
}

/** The innermost reason: fetch itself says only that it failed, and then repeats the address. */
function reasonOf(error: unknown): string {
  let reason = error;
  while (reason instanceof Error && reason.cause instanceof Error) reason = reason.cause;
  return messageOf(reason).replace(/^error sending request for url \([^)]*\): /, "");
}
