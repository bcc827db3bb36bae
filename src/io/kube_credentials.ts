/**
 * How to reach the API server and as whom: a pod's service account, or a kubeconfig. Files are read anew
 * whenever they are asked for, since a token is replaced every hour or so and certificates once a year.
 *
 * Of a kubeconfig everything is taken that a node's agent can honour. Programs that print credentials
 * (`exec`, `auth-provider`) are not: flock runs no programs but its own tools.
 *
 * @module
 */
import { messageOf, TerminalError } from "../core/errors.ts";
import { isFields } from "../core/node_config_problems.ts";
import { parseYamlDocuments } from "../std.ts";
import { readTextIfPresent } from "./fs.ts";

/** Where a pod finds its service account. */
const SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount";

/** A text that is in a file, or was given. */
export type Text = { readonly file: string } | { readonly text: string };

/** Where the API server is and what proves who asks. */
export interface KubeCredentials {
  /** `https://host:port`, without a path's last slash. */
  readonly server: string;
  /** PEM of the authorities that sign the server's certificate; undefined: those of the system. */
  readonly ca?: Text;
  /** PEM of the own certificate and its key. */
  readonly certificate?: Text;
  readonly key?: Text;
  readonly token?: Text;
  /** `user:password`. */
  readonly basic?: string;
}

/**
 * A pod's own credentials.
 *
 * @param env reads a variable
 * @param dir where the service account is mounted
 * @throws {TerminalError} when this is no pod
 */
export async function inClusterCredentials(
  env: (name: string) => string | undefined,
  dir: string = SERVICE_ACCOUNT,
): Promise<KubeCredentials> {
  const host = env("KUBERNETES_SERVICE_HOST");
  const port = env("KUBERNETES_SERVICE_PORT") || "443";
  if (!host) {
    throw new TerminalError(
      "Cannot find API server: this is not a pod (KUBERNETES_SERVICE_HOST is not set); " +
        "use --kubeconfig or --manifests",
    );
  }
  const [ca, token] = [`${dir}/ca.crt`, `${dir}/token`];
  for (const file of [ca, token]) {
    if (await readTextIfPresent(file) === undefined) {
      throw new TerminalError(`Cannot use service account "${dir}": file "${file}" is missing`);
    }
  }
  const server = `https://${host.includes(":") ? `[${host}]` : host}:${port}`;
  return {
    server: parseServer(server, "KUBERNETES_SERVICE_HOST"),
    ca: { file: ca },
    token: { file: token },
  };
}

/**
 * The credentials of a kubeconfig's current context.
 *
 * @throws {TerminalError} naming the file and what is wrong with it
 */
export async function kubeconfigCredentials(path: string): Promise<KubeCredentials> {
  try {
    const text = await readTextIfPresent(path);
    if (text === undefined) throw new SyntaxError("there is no such file");
    return parseKubeconfig(text, path.slice(0, path.lastIndexOf("/")));
  } catch (cause) {
    throw new TerminalError(`Cannot use kubeconfig "${path}": ${messageOf(cause)}`, { cause });
  }
}

/**
 * Parses a kubeconfig.
 *
 * @param dir what relative paths in it are relative to
 * @throws {SyntaxError} naming the field
 */
export function parseKubeconfig(text: string, dir: string): KubeCredentials {
  const [config] = parseYamlDocuments(text);
  if (!isFields(config)) throw new SyntaxError("it is not an object");
  const currentContext = config["current-context"];
  if (typeof currentContext !== "string" || currentContext === "") {
    throw new SyntaxError("current-context is missing");
  }
  const context = named(config, "context", currentContext);
  const cluster = named(config, "cluster", textOf(context, "cluster") ?? "");
  const user = named(config, "user", textOf(context, "user") ?? "");
  refuse(cluster, "cluster", ["insecure-skip-tls-verify", "tls-server-name", "proxy-url"]);
  refuse(user, "user", ["exec", "auth-provider", "as", "as-uid", "as-groups", "as-user-extra"]);
  const [username, password] = [textOf(user, "username"), textOf(user, "password")];
  const certificate = fileOrData(user, "client-certificate", dir);
  const key = fileOrData(user, "client-key", dir);
  if ((certificate === undefined) !== (key === undefined)) {
    throw new SyntaxError("client-certificate and client-key belong together, and one is missing");
  }
  const tokenFile = textOf(user, "tokenFile");
  const token = textOf(user, "token");
  return {
    server: parseServer(textOf(cluster, "server") ?? "", "server"),
    ca: fileOrData(cluster, "certificate-authority", dir),
    certificate,
    key,
    token: tokenFile !== undefined
      ? { file: absolute(tokenFile, dir) }
      : token === undefined
      ? undefined
      : { text: token },
    basic: username === undefined ? undefined : `${username}:${password ?? ""}`,
  };
}

/** The text, now. */
export async function readText(text: Text): Promise<string> {
  if ("text" in text) return text.text;
  const read = await readTextIfPresent(text.file);
  if (read === undefined) throw new Error(`Cannot read file "${text.file}": it is missing`);
  return read;
}

type Fields = Readonly<Record<string, unknown>>;

/** The part of a kubeconfig's list that has a name. */
function named(config: Fields, kind: "context" | "cluster" | "user", name: string): Fields {
  const list = config[`${kind}s`];
  const found = (Array.isArray(list) ? list : []).find((item) =>
    isFields(item) && item.name === name
  );
  const part = isFields(found) ? found[kind] ?? {} : undefined;
  if (isFields(part)) return part;
  throw new SyntaxError(`there is no ${kind} ${JSON.stringify(name)}`);
}

/** What would change who asks, or whom: it cannot be left out quietly. */
function refuse(part: Fields, kind: string, fields: readonly string[]): void {
  for (const field of fields) {
    if (part[field] === undefined || part[field] === null || part[field] === false) continue;
    throw new SyntaxError(`${field} of its ${kind} is not supported`);
  }
}

function fileOrData(part: Fields, field: string, dir: string): Text | undefined {
  // As kubectl has it, data wins.
  const data = textOf(part, `${field}-data`);
  if (data !== undefined) {
    try {
      return { text: new TextDecoder().decode(Uint8Array.fromBase64(data)) };
    } catch (cause) {
      throw new SyntaxError(`${field}-data is not base64`, { cause });
    }
  }
  const file = textOf(part, field);
  return file === undefined ? undefined : { file: absolute(file, dir) };
}

function absolute(path: string, dir: string): string {
  return path.startsWith("/") ? path : `${dir}/${path}`;
}

function textOf(part: Fields, field: string): string | undefined {
  const value = part[field];
  if (value === undefined || value === null || value === "") return undefined;
  if (typeof value === "string") return value;
  throw new SyntaxError(`${field} is not a text`);
}

function parseServer(text: string, field: string): string {
  const url = URL.parse(text);
  // Without TLS a token would be for everybody on the way to read.
  if (url?.protocol === "https:" && url.search === "" && url.hash === "" && url.username === "") {
    return url.href.replace(/\/+$/, "");
  }
  throw new SyntaxError(`${field} ${JSON.stringify(text)} is not an https address`);
}
