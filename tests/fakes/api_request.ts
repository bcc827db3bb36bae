/**
 * Requests to a test's API server: what is asked for, what it selects, and how it is refused.
 *
 * @module
 */
import { type Resource, RESOURCES } from "./api_store.ts";
import type { JsonObject } from "./server_side_apply.ts";

/** One request, as RBAC sees it. */
export interface ApiRequest {
  readonly verb: "get" | "list" | "watch" | "create" | "patch";
  readonly group: string;
  readonly resource: string;
  readonly subresource?: string;
  readonly namespace?: string;
  readonly name?: string;
  readonly query: Readonly<Record<string, string>>;
  readonly body?: JsonObject;
  readonly contentType?: string;
  readonly token: string;
}

/** Any answer that is not a success: becomes a `metav1.Status`. */
export class Refusal extends Error {
  constructor(
    readonly code: number,
    readonly reason: string,
    message: string,
    readonly headers: Record<string, string> = {},
  ) {
    super(message);
  }
}

/** Reads a request. */
export async function parseRequest(
  request: Request,
): Promise<{ asked: ApiRequest; resource: Resource }> {
  const url = new URL(request.url);
  const parts = url.pathname.split("/").filter((part) => part !== "");
  const [group, version] = parts[0] === "api" ? ["", parts[1]] : [parts[1], parts[2]];
  const path = parts.slice(parts[0] === "api" ? 2 : 3);
  const namespace = path[0] === "namespaces" && path.length > 2 ? path[1] : undefined;
  const [plural, name, subresource] = namespace === undefined ? path : path.slice(2);
  const resource = RESOURCES.find((known) =>
    known.group === group && known.version === version && known.resource === plural
  );
  if (resource === undefined) {
    throw new Refusal(404, "NotFound", "the server could not find the requested resource");
  }
  const query = Object.fromEntries(url.searchParams);
  const text = await request.text();
  const verb = request.method === "POST"
    ? "create"
    : request.method === "PATCH"
    ? "patch"
    : name !== undefined
    ? "get"
    : query.watch === "true"
    ? "watch"
    : "list";
  return {
    resource,
    asked: {
      verb,
      group: resource.group,
      resource: resource.resource,
      subresource,
      namespace,
      name,
      query,
      body: text === "" ? undefined : JSON.parse(text) as JsonObject,
      contentType: request.headers.get("content-type") ?? undefined,
      token: (request.headers.get("authorization") ?? "").replace(/^Bearer /, ""),
    },
  };
}

/** What a request's namespace and field selector let through. */
export function selector(asked: ApiRequest, resource: Resource): (object: JsonObject) => boolean {
  const terms = (asked.query.fieldSelector ?? "").split(",").filter((term) => term !== "");
  const wanted = terms.map((term) => {
    const [field = "", value = ""] = term.split("=");
    const known = ["metadata.name", "metadata.namespace", ...resource.selectable ?? []];
    if (!known.includes(field)) {
      throw new Refusal(400, "BadRequest", `field label not supported: ${field}`);
    }
    return [field.split("."), value] as const;
  });
  return (object) =>
    (asked.namespace === undefined ||
      (object.metadata as JsonObject).namespace === asked.namespace) &&
    wanted.every(([path, value]) => {
      const found = path.reduce<unknown>(
        (at, name) => (at as JsonObject | undefined)?.[name],
        object,
      );
      return (found ?? "") === value;
    });
}

/** A refusal as the API server says it: `metav1.Status`. */
export function statusOf({ code, reason, message }: Refusal): JsonObject {
  return {
    apiVersion: "v1",
    kind: "Status",
    metadata: {},
    status: "Failure",
    code,
    reason,
    message,
  };
}

/** `apiVersion` of a kind's objects. */
export function apiVersionOf({ group, version }: Resource): string {
  return group === "" ? version : `${group}/${version}`;
}
