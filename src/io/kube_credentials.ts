/**
 * How to reach the API server and as whom: a pod's service account, or a kubeconfig, as the client of the
 * Kubernetes project reads them. It is the only file that knows that client; requests go over the
 * connections that it sets up here.
 *
 * Only its configuration is imported: the whole package, with a class for each kind of object, costs
 * three times the code and 18 MB of memory more.
 *
 * @module
 */
import { type DispatcherOptions, KubeConfig } from "@kubernetes/client-node/config";
import { HttpMethod, RequestContext } from "@kubernetes/client-node/http";
import { messageOf, TerminalError } from "../core/errors.ts";
import { isFields } from "../core/node_config_problems.ts";
import { quote } from "../core/quote.ts";
import { log } from "../log.ts";
import { parseYamlDocuments } from "../std.ts";
import { readTextIfPresent } from "./fs.ts";

/** Where a pod finds its service account: the client's own place. */
const SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount";
/** What the client would leave out quietly: it changes who asks. */
const UNKNOWN_TO_CLIENT = ["as-uid", "as-groups", "as-user-extra"];
/** Providers of credentials that run no program. */
const PROVIDERS = ["oidc"];

type Connections = NonNullable<ReturnType<RequestContext["getDispatcher"]>>;

/** What one request is sent with. */
export interface KubeAuthorization {
  /** `https://host:port`, without a path's last slash. */
  readonly server: string;
  readonly headers: Readonly<Record<string, string>>;
  /** Makes connections when they are needed. */
  readonly connections: Connections;
  /** The same for connections that may be used in place of one another. */
  readonly identity: string;
}

/** Reads the credentials, again whenever it is called. */
export type KubeCredentials = () => Promise<KubeLogin>;

/** The client's configuration: files that it names are read again as time goes on. */
export class KubeLogin extends KubeConfig {
  #identity = "";

  /**
   * Reads certificates for each request, and a token every minute.
   *
   * @throws {Error} when a file cannot be read, or holds nothing of use
   */
  async authorize(): Promise<KubeAuthorization> {
    const server = this.getCurrentCluster()?.server ?? "";
    const context = new RequestContext(server, HttpMethod.GET);
    let made: Pick<KubeAuthorization, "connections" | "identity"> | undefined;
    // Called right after createDispatcherOptions(), with no other request in between.
    context.setDispatcher = (connections) => made = { connections, identity: this.#identity };
    await this.applySecurityAuthentication(context);
    if (made === undefined) throw new Error("the client has set up no connections");
    // White space around a token goes; what is no header is refused here, and not half-way out.
    const headers = Object.fromEntries(new Headers(context.getHeaders()));
    return { server, headers, ...made };
  }

  /** The client's hook: what connections are made with. */
  override createDispatcherOptions(
    ...given: Parameters<KubeConfig["createDispatcherOptions"]>
  ): DispatcherOptions {
    const options = overHttp1(super.createDispatcherOptions(...given));
    const { ca } = given[1];
    if (ca !== undefined && !String(ca).includes("-----BEGIN CERTIFICATE-----")) {
      throw new SyntaxError("the file of certificate authorities holds no certificate");
    }
    this.#identity = JSON.stringify(options);
    return options;
  }
}

/**
 * A pod's own credentials.
 *
 * @param root what the service account's directory is below
 * @throws {TerminalError} when this is no pod
 */
export async function inClusterCredentials(root: string = ""): Promise<KubeCredentials> {
  if (!Deno.env.get("KUBERNETES_SERVICE_HOST")) {
    throw new TerminalError(
      "Cannot find API server: this is not a pod (KUBERNETES_SERVICE_HOST is not set); " +
        "use --kubeconfig or --manifests",
    );
  }
  const dir = `${root}${SERVICE_ACCOUNT}`;
  for (const file of [`${dir}/ca.crt`, `${dir}/token`]) {
    if (await readTextIfPresent(file) === undefined) {
      throw new TerminalError(`Cannot use service account "${dir}": file "${file}" is missing`);
    }
  }
  const login = new KubeLogin();
  login.loadFromCluster(root);
  try {
    requireHttps(login);
  } catch (cause) {
    throw new TerminalError(`Cannot find API server: ${messageOf(cause)}`, { cause });
  }
  return () => {
    // Another one has not read the token yet.
    const again = new KubeLogin();
    again.loadFromOptions(login);
    return Promise.resolve(again);
  };
}

/**
 * The credentials of a kubeconfig's current context.
 *
 * @throws {TerminalError} naming the file and what is wrong with it
 */
export async function kubeconfigCredentials(path: string): Promise<KubeCredentials> {
  const load = async (): Promise<KubeLogin> => {
    try {
      const text = await readTextIfPresent(path);
      if (text === undefined) throw new SyntaxError("there is no such file");
      return parseKubeconfig(text, path.slice(0, path.lastIndexOf("/")));
    } catch (cause) {
      throw new TerminalError(`Cannot use kubeconfig "${path}": ${messageOf(cause)}`, { cause });
    }
  };
  const cluster = (await load()).getCurrentCluster();
  if (cluster?.skipTLSVerify) {
    log.warn("Left API server's certificate unverified", { path, server: cluster.server });
  }
  return load;
}

/**
 * Parses a kubeconfig.
 *
 * @param dir what relative paths in it are relative to
 * @throws {SyntaxError} naming the field
 */
export function parseKubeconfig(text: string, dir: string): KubeLogin {
  const [raw] = parseYamlDocuments(text);
  if (!isFields(raw)) throw new SyntaxError("it is not an object");
  const login = new KubeLogin();
  login.loadFromString(text);
  if (!login.currentContext) throw new SyntaxError("current-context is missing");
  const context = login.getContextObject(login.currentContext);
  if (context === null) throw new SyntaxError(`there is no context ${quote(login.currentContext)}`);
  // Without a user the client would use no authority either, and trust everybody's.
  if (login.getCurrentUser() === null) throw missing("user", context.user);
  if (login.getCurrentCluster() === null) throw missing("cluster", context.cluster);
  requireHttps(login);
  completeUser(login, userOf(raw, context.user));
  login.makePathsAbsolute(dir);
  const provider = login.getCurrentUser()?.authProvider?.config;
  if (typeof provider?.tokenFile === "string" && !provider.tokenFile.startsWith("/")) {
    provider.tokenFile = `${dir}/${provider.tokenFile}`;
  }
  return login;
}

type Fields = Readonly<Record<string, unknown>>;

/** What the client overlooks in a user: refused, or put where it looks. */
function completeUser(login: KubeLogin, raw: Fields): void {
  const user = login.users.find(({ name }) => name === login.getCurrentUser()?.name);
  if (user === undefined) return;
  if (user.exec || (user.authProvider && !PROVIDERS.includes(user.authProvider.name))) {
    const what = user.exec ? "exec" : `auth-provider ${quote(user.authProvider.name)}`;
    throw new SyntaxError(
      `${what} of its user runs a program, and flock's permissions allow its own tools only`,
    );
  }
  for (const field of UNKNOWN_TO_CLIENT) {
    if (raw[field] !== undefined) throw new SyntaxError(`${field} of its user is not supported`);
  }
  const certificate = user.certData ?? user.certFile;
  const key = user.keyData ?? user.keyFile;
  if ((certificate === undefined) !== (key === undefined)) {
    throw new SyntaxError("client-certificate and client-key belong together, and one is missing");
  }
  // With a name and no password the client would send the word "undefined".
  if (user.username !== undefined) Object.assign(user, { password: user.password ?? "" });
  // kubectl's spelling: the client knows another one, and reads that file only once.
  if (typeof raw.tokenFile === "string") {
    const config = { tokenFile: raw.tokenFile };
    Object.assign(user, { token: undefined, authProvider: { name: "tokenFile", config } });
  }
}

function userOf(config: Fields, name: string): Fields {
  const users: readonly unknown[] = Array.isArray(config.users) ? config.users : [];
  const found = users.find((item) => isFields(item) && item.name === name);
  return isFields(found) && isFields(found.user) ? found.user : {};
}

function missing(kind: "user" | "cluster", name: string): SyntaxError {
  return new SyntaxError(`there is no ${kind} ${quote(name ?? "")}`);
}

/** Without TLS a token would be for everybody on the way to read. */
function requireHttps(login: KubeLogin): void {
  const server = login.getCurrentCluster()?.server ?? "";
  if (URL.parse(server)?.protocol === "https:") return;
  throw new SyntaxError(`server ${quote(server)} is not an https address`);
}

/**
 * One connection per request that is under way: a dead one holds up nobody else, as it would with
 * HTTP/2, which puts all of them on one.
 */
function overHttp1(options: DispatcherOptions): DispatcherOptions {
  const http1 = { allowH2: false };
  switch (options.type) {
    case "agent":
      return { ...options, connect: { ...options.connect, ...http1 } };
    case "proxy":
      return { ...options, requestTls: { ...options.requestTls, ...http1 } };
    case "none":
      return { type: "agent", connect: { keepAlive: true, ...http1 } };
    case "socks":
      return options;
  }
}
