/**
 * An API server for tests: HTTPS on loopback, behaving like kube-apiserver for what flock asks. It lists
 * in pages, watches with bookmarks and time limits, answers 410 for what it has forgotten, applies
 * server-side, checks tokens, and remembers who asked for what. It can also be slow, refuse, fall silent
 * and go away.
 *
 * @module
 */
import { type Authority, type Certificate, createAuthority } from "./certificates.ts";
import {
  type ApiRequest,
  apiVersionOf,
  parseRequest,
  Refusal,
  selector,
  statusOf,
} from "./api_request.ts";
import { ApiStore, type Change, type Resource } from "./api_store.ts";
import { ApplyConflict, type JsonObject } from "./server_side_apply.ts";

/** Milliseconds before a watch's end at which the last bookmark comes. */
const LAST_BOOKMARK_MS = 100;

/** A running API server. Its objects outlive `stop()`. */
export class ApiServer implements AsyncDisposable {
  readonly store = new ApiStore();
  readonly requests: ApiRequest[] = [];
  /** Tokens that are accepted. */
  readonly tokens = new Set(["token"]);
  /** Milliseconds between bookmarks. */
  bookmarkMs = 60_000;
  /** Milliseconds before each answer. */
  delayMs = 0;
  /** A watch from a forgotten version gets HTTP's status 410 and not an event that says so. */
  goneAsStatus = false;
  /** Refuses a request: 403, or what it returns. */
  refuse: (request: ApiRequest) => boolean | { code: number; retryAfter?: number } = () => false;

  readonly #authority: Authority;
  readonly #certificate: Certificate;
  readonly #watches = new Set<() => void>();
  #port = 0;
  #server: { readonly running: Deno.HttpServer; readonly end: AbortController } | undefined;
  /** Set while nothing is answered. */
  #frozen: PromiseWithResolvers<void> | undefined;

  private constructor(authority: Authority, certificate: Certificate) {
    this.#authority = authority;
    this.#certificate = certificate;
  }

  static async start(): Promise<ApiServer> {
    const authority = await createAuthority("test-ca");
    const certificate = await authority.issue("kube-apiserver", ["127.0.0.1", "localhost"]);
    const server = new ApiServer(authority, certificate);
    server.resume();
    return server;
  }

  get url(): string {
    return `https://127.0.0.1:${this.#port}`;
  }

  /** PEM of the authority that signed the server's certificate. */
  get ca(): string {
    return this.#authority.ca;
  }

  get port(): number {
    return this.#port;
  }

  /** Open watches. */
  get watches(): number {
    return this.#watches.size;
  }

  /** What was asked for, once each, for comparison with RBAC rules: `get pods`, `patch nodes/status`. */
  get verbs(): readonly string[] {
    const all = this.requests.map(({ verb, group, resource, subresource }) =>
      `${verb} ${resource}${subresource === undefined ? "" : `/${subresource}`}${
        group === "" ? "" : `.${group}`
      }`
    );
    return [...new Set(all)].sort();
  }

  /** Goes away: connections break, new ones are refused. */
  async stop(): Promise<void> {
    for (const close of [...this.#watches]) close();
    this.#server?.end.abort();
    await this.#server?.running.finished;
    this.#server = undefined;
  }

  /** Comes back, at the same address. */
  resume(): void {
    const end = new AbortController();
    const running = Deno.serve({
      hostname: "127.0.0.1",
      port: this.#port,
      ...this.#certificate,
      signal: end.signal,
      onListen: ({ port }) => this.#port = port,
      onError: () => new Response(null, { status: 500 }),
    }, (request) => this.#handle(request));
    this.#server = { running, end };
  }

  /** Connections stay and nothing comes from them any more, as when a path is dead. */
  freeze(): void {
    this.#frozen ??= Promise.withResolvers();
  }

  thaw(): void {
    this.#frozen?.resolve();
    this.#frozen = undefined;
  }

  /** Ends every watch, as a server does that is about to restart. */
  endWatches(): void {
    for (const close of [...this.#watches]) close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.thaw();
    await this.stop();
  }

  async #handle(request: Request): Promise<Response> {
    await this.#frozen?.promise;
    if (this.delayMs > 0) await new Promise((resolve) => setTimeout(resolve, this.delayMs));
    try {
      const { asked, resource } = await parseRequest(request);
      if (!this.tokens.has(asked.token)) {
        throw new Refusal(401, "Unauthorized", "Unauthorized");
      }
      this.requests.push(asked);
      this.#authorize(asked);
      const answer = this.#answer(asked, resource);
      return answer instanceof Response ? answer : Response.json(answer);
    } catch (error) {
      const refusal = error instanceof Refusal
        ? error
        : new Refusal(500, "InternalError", String(error));
      return Response.json(statusOf(refusal), { status: refusal.code, headers: refusal.headers });
    }
  }

  #authorize(asked: ApiRequest): void {
    const refused = this.refuse(asked);
    if (refused === false) return;
    const { code = 403, retryAfter } = refused === true ? {} : refused;
    const headers: Record<string, string> = retryAfter === undefined
      ? {}
      : { "retry-after": String(retryAfter) };
    const { verb, resource, name, group } = asked;
    throw new Refusal(
      code,
      code === 403 ? "Forbidden" : "ServiceUnavailable",
      `${resource} "${name ?? ""}" is forbidden: User "flock" cannot ${verb} resource ` +
        `"${resource}" in API group "${group}"`,
      headers,
    );
  }

  #answer(asked: ApiRequest, resource: Resource): JsonObject | Response {
    switch (asked.verb) {
      case "get":
        return this.#existing(asked);
      case "list":
        return this.#list(asked, resource);
      case "watch":
        return this.#watch(asked, resource);
      case "create":
        return this.#create(asked, resource);
      case "patch":
        return this.#patch(asked);
    }
  }

  #existing({ resource, namespace, name }: ApiRequest): JsonObject {
    const key = namespace === undefined ? `${name}` : `${namespace}/${name}`;
    const found = this.store.get(resource, key);
    if (found === undefined) throw new Refusal(404, "NotFound", `${resource} "${name}" not found`);
    return found;
  }

  #list(asked: ApiRequest, resource: Resource): JsonObject {
    const { limit = "0", continue: token } = asked.query;
    const matches = selector(asked, resource);
    const at = token === undefined
      ? { version: this.store.version, after: "" }
      : JSON.parse(atob(token)) as { version: number; after: string };
    const snapshot = this.store.list(asked.resource, at.version);
    if (snapshot === undefined) {
      throw new Refusal(410, "Expired", "The provided continue parameter is too old");
    }
    const rest = snapshot.filter(({ key, object }) => key > at.after && matches(object));
    const page = Number(limit) > 0 ? rest.slice(0, Number(limit)) : rest;
    const last = page.at(-1);
    const more: JsonObject = page.length < rest.length && last !== undefined
      ? { continue: btoa(JSON.stringify({ version: at.version, after: last.key })) }
      : {};
    return {
      apiVersion: apiVersionOf(resource),
      kind: `${resource.kind}List`,
      metadata: { resourceVersion: String(at.version), ...more },
      items: page.map(({ object }) => withoutKind(object)),
    };
  }

  #watch(asked: ApiRequest, resource: Resource): Response {
    const { resourceVersion = "0", timeoutSeconds = "1800", allowWatchBookmarks } = asked.query;
    const matches = selector(asked, resource);
    const encoder = new TextEncoder();
    const stack = new DisposableStack();
    let write: (event: JsonObject) => void = () => {};
    let closeWatch: () => void = () => {};
    let cancelled = false;
    const body = new ReadableStream<Uint8Array>({
      start: (controller) => {
        write = (event) => {
          // What falls into a dead path never arrives.
          if (this.#frozen === undefined) {
            controller.enqueue(encoder.encode(JSON.stringify(event) + "\n"));
          }
        };
        const close = (): void => {
          if (!this.#watches.delete(close)) return;
          stack.dispose();
          // A dead path does not tell of an end either; a reader that has gone closed it itself.
          if (this.#frozen === undefined && !cancelled) controller.close();
        };
        this.#watches.add(close);
        closeWatch = close;
        if (Number(resourceVersion) < this.store.compacted && resourceVersion !== "0") {
          const gone = new Refusal(410, "Expired", `too old resource version: ${resourceVersion}`);
          write({ type: "ERROR", object: statusOf(gone) });
          return close();
        }
        const tell = (change: Change): void => {
          const event = change.resource === asked.resource ? eventOf(change, matches) : undefined;
          if (event !== undefined) write(event);
        };
        this.store.since(Number(resourceVersion)).forEach(tell);
        stack.use(this.store.follow(tell));
        const bookmark = (): void => {
          const metadata = { resourceVersion: String(this.store.version) };
          const object = { apiVersion: apiVersionOf(resource), kind: resource.kind, metadata };
          if (allowWatchBookmarks === "true") write({ type: "BOOKMARK", object });
        };
        const lifeMs = Number(timeoutSeconds) * 1000;
        const timers = [
          setInterval(bookmark, this.bookmarkMs),
          setTimeout(bookmark, Math.max(0, lifeMs - LAST_BOOKMARK_MS)),
          setTimeout(close, lifeMs),
        ];
        stack.defer(() => timers.forEach((timer) => clearTimeout(timer)));
      },
      cancel: () => {
        cancelled = true;
        closeWatch();
      },
    });
    if (this.goneAsStatus && Number(resourceVersion) < this.store.compacted) {
      throw new Refusal(410, "Expired", `too old resource version: ${resourceVersion}`);
    }
    return new Response(body, { headers: { "content-type": "application/json" } });
  }

  #create({ resource, namespace, body }: ApiRequest, { kind, namespaced }: Resource): JsonObject {
    const metadata = body?.metadata as JsonObject | undefined;
    if (body === undefined || metadata === undefined || body.kind !== kind) {
      throw new Refusal(400, "BadRequest", `the object provided is not a ${kind}`);
    }
    if (namespaced && (metadata.namespace ?? namespace) !== namespace) {
      throw new Refusal(
        400,
        "BadRequest",
        "the namespace of the object does not match the request",
      );
    }
    const object = { ...body, metadata: { ...metadata, ...(namespaced ? { namespace } : {}) } };
    const key = namespaced ? `${namespace}/${metadata.name}` : `${metadata.name}`;
    if (this.store.get(resource, key)) {
      throw new Refusal(409, "AlreadyExists", `${resource} "${metadata.name}" already exists`);
    }
    return this.store.put(resource, object as JsonObject);
  }

  #patch(asked: ApiRequest): JsonObject {
    const { resource, subresource, query, body = {}, contentType } = asked;
    const live = this.#existing(asked);
    if (contentType === "application/merge-patch+json") {
      return this.store.put(resource, mergePatch(live, body) as JsonObject);
    }
    if (contentType === "application/strategic-merge-patch+json") {
      return this.store.put(resource, withoutConditions(live, body));
    }
    if (contentType !== "application/apply-patch+yaml") {
      throw new Refusal(
        415,
        "UnsupportedMediaType",
        `content type ${contentType} is not supported`,
      );
    }
    const { apiVersion, kind, metadata, ...rest } = body;
    if (query.fieldManager === undefined) {
      throw new Refusal(400, "BadRequest", "fieldManager is required for apply patch");
    }
    if (apiVersion !== live.apiVersion || kind !== live.kind) {
      throw new Refusal(400, "BadRequest", "apiVersion and kind must be set and match the object");
    }
    // A subresource takes its own part and overlooks the others.
    const part = subresource === undefined ? rest : { [subresource]: rest[subresource] ?? {} };
    try {
      return this.store.apply(resource, {
        apiVersion: live.apiVersion ?? null,
        kind: live.kind ?? null,
        metadata: { name: (metadata as JsonObject).name ?? "", ...namespaceOf(live) },
        ...part,
      }, { manager: query.fieldManager, force: query.force === "true" });
    } catch (error) {
      if (error instanceof ApplyConflict) throw new Refusal(409, "Conflict", error.message);
      throw error;
    }
  }
}

/** A change as a watcher with a selector sees it: an object that leaves the selection is deleted. */
function eventOf(
  { version, before, after }: Change,
  matches: (object: JsonObject) => boolean,
): JsonObject | undefined {
  const was = before !== undefined && matches(before);
  if (after !== undefined && matches(after)) {
    return { type: was ? "MODIFIED" : "ADDED", object: after };
  }
  if (!was) return undefined;
  const metadata = { ...before.metadata as JsonObject, resourceVersion: String(version) };
  return { type: "DELETED", object: { ...before, metadata } };
}

/** A strategic merge as far as flock asks for one: conditions to delete, by their types. */
function withoutConditions(live: JsonObject, patch: JsonObject): JsonObject {
  const asked = (patch.status as JsonObject).conditions as readonly JsonObject[];
  if (!asked.every(({ $patch }) => $patch === "delete")) {
    throw new Refusal(415, "UnsupportedMediaType", "only conditions to delete are merged here");
  }
  const gone = new Set(asked.map(({ type }) => type));
  const status = live.status as JsonObject;
  const conditions = (status.conditions as readonly JsonObject[] ?? [])
    .filter(({ type }) => !gone.has(type ?? null));
  return { ...live, status: { ...status, conditions } };
}

function mergePatch(live: unknown, patch: unknown): unknown {
  if (typeof patch !== "object" || patch === null || Array.isArray(patch)) return patch;
  const merged: Record<string, unknown> = { ...live as JsonObject };
  for (const [name, value] of Object.entries(patch)) {
    if (value === null) delete merged[name];
    else merged[name] = mergePatch(merged[name], value);
  }
  return merged;
}

function namespaceOf(object: JsonObject): JsonObject {
  const { namespace } = object.metadata as JsonObject;
  return namespace === undefined ? {} : { namespace };
}

/** Items of a list do not repeat what they are. */
function withoutKind({ apiVersion: _apiVersion, kind: _kind, ...object }: JsonObject): JsonObject {
  return object;
}
