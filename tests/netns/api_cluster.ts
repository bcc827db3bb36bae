/**
 * The lab with an API server instead of a directory of manifests. What the lab writes into its directory
 * is put into the API server, so that every scenario of the lab is one of a cluster too.
 *
 * ```
 *   manifests ──▶ API server ◀── Unix socket ◀── relay in the node's namespace ◀── agent
 * ```
 *
 * @module
 */
import { readTextIfPresent, watchDir } from "../../src/io/fs.ts";
import type { Lab } from "../../src/lab/lab.ts";
import type { LabSource } from "../../src/lab/node.ts";
import { until } from "../../src/lab/wait.ts";
import { parseYamlDocuments } from "../../src/std.ts";
import { ApiServer } from "../fakes/api_server.ts";
import { apiNamespace, apiNode } from "../fakes/cluster.ts";
import type { JsonObject } from "../fakes/server_side_apply.ts";

const RELAY = new URL("api_relay.ts", import.meta.url).pathname;

/** The resource of each kind that the lab writes. */
const RESOURCES: Readonly<Record<string, string>> = {
  Namespace: "namespaces",
  NetworkPolicy: "networkpolicies",
  NodeConfig: "nodeconfigs",
  Pod: "pods",
};

/** An API server as the source of a lab's agents. */
export class ApiCluster implements LabSource {
  readonly #stop = new AbortController();
  readonly #mirroring: Promise<void>;
  readonly #listener: Deno.UnixListener;
  /** What a file of manifests has put into the API server, as text. */
  readonly #mirrored = new Map<string, Map<string, string>>();
  /** One look at the directory at a time: what an earlier one read must not follow what a later one did. */
  #looking: Promise<void> = Promise.resolve();

  private constructor(readonly lab: Lab, readonly server: ApiServer) {
    this.#listener = Deno.listen({ transport: "unix", path: `${lab.dir}/api.sock` });
    this.#accept();
    this.#mirroring = this.#mirror();
  }

  /**
   * Starts an API server for a lab, and a relay in each of its nodes. From now on it is the source of the
   * lab's agents; it ends with the lab.
   */
  static async create(lab: Lab): Promise<ApiCluster> {
    const cluster = new ApiCluster(lab, await ApiServer.start());
    lab.useSource(cluster);
    const { server } = cluster;
    await Deno.writeTextFile(
      `${lab.dir}/kubeconfig`,
      JSON.stringify({
        "current-context": "lab",
        contexts: [{ name: "lab", context: { cluster: "lab", user: "flock" } }],
        clusters: [{
          name: "lab",
          cluster: { server: server.url, "certificate-authority-data": btoa(server.ca) },
        }],
        users: [{ name: "flock", user: { token: "token" } }],
      }),
    );
    await Promise.all(lab.nodes.map(async (node) => {
      server.store.put("nodes", apiNode(node.name));
      const relay = await node.spawn("relay", [
        ...[Deno.execPath(), "run", "--quiet", "--allow-net", "--allow-read", "--allow-write"],
        ...[RELAY, String(server.port), `${lab.dir}/api.sock`],
      ]);
      // An agent that finds nobody waits a second before it tries again.
      await until(`relay of ${node.name}`, async () => {
        await relay.assertRunning();
        return await relay.tail(1) === "relaying";
      }, { everyMs: 10 });
    }));
    return cluster;
  }

  /** The API server has by then what was in the directory. */
  async agentArgs(): Promise<readonly string[]> {
    await this.#look();
    return ["--kubeconfig", `${this.lab.dir}/kubeconfig`];
  }

  /** An object's conditions, as `status reason`. */
  conditions(resource: string, key: string): Readonly<Record<string, string>> {
    const status = this.server.store.get(resource, key)?.status as JsonObject | undefined;
    const conditions = (status?.conditions ?? []) as readonly JsonObject[];
    return Object.fromEntries(
      conditions.map(({ type, status, reason }) => [type, `${status} ${reason}`]),
    );
  }

  /** Every event, as `object reason: message`. */
  events(): readonly string[] {
    const { store } = this.server;
    return (store.list("events", store.version) ?? []).map(({ object }) => {
      const { kind, name } = object.involvedObject as JsonObject;
      return `${kind} ${name} ${object.reason}: ${object.message}`;
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#mirroring;
    this.#listener.close();
    await this.server[Symbol.asyncDispose]();
  }

  get #dir(): string {
    return `${this.lab.dir}/manifests`;
  }

  async #mirror(): Promise<void> {
    const { signal } = this.#stop;
    for await (const _ of watchDir(this.#dir, { signal, pollMs: 1_000 })) await this.#look();
  }

  /** Puts into the API server what is in the directory. */
  #look(): Promise<void> {
    return this.#looking = this.#looking.then(async () => {
      const names = Array.from(Deno.readDirSync(this.#dir), ({ name }) => name);
      const files = names.filter((name) => !name.startsWith("."));
      for (const file of new Set([...files, ...this.#mirrored.keys()])) {
        // It may be gone by now.
        const text = await readTextIfPresent(`${this.#dir}/${file}`) ?? "";
        const documents = parseYamlDocuments(text) as readonly (JsonObject | null)[];
        this.#put(file, documents.filter((document) => document !== null));
      }
    });
  }

  #put(file: string, documents: readonly JsonObject[]): void {
    const { store } = this.server;
    const before = this.#mirrored.get(file) ?? new Map<string, string>();
    const now = new Map<string, string>();
    for (const document of documents) {
      const resource = RESOURCES[String(document.kind)];
      if (resource === undefined) continue;
      const object = this.#placed(document, resource);
      const { namespace, name } = object.metadata as JsonObject;
      const key = namespace === undefined ? `${name}` : `${namespace}/${name}`;
      const text = JSON.stringify(object);
      now.set(`${resource} ${key}`, text);
      if (before.get(`${resource} ${key}`) === text) continue;
      // A write of the spec leaves the status alone.
      const status = store.get(resource, key)?.status;
      store.put(resource, { ...(status === undefined ? {} : { status }), ...object });
    }
    for (const id of before.keys()) {
      const [resource = "", key = ""] = id.split(" ");
      if (now.has(id)) continue;
      // As long as something may be in it, a namespace is there.
      if (resource === "namespaces") store.put(resource, apiNamespace(key));
      else store.delete(resource, key);
    }
    if (now.size > 0) this.#mirrored.set(file, now);
    else this.#mirrored.delete(file);
  }

  /** An object in its namespace, which an API server would have asked for first. */
  #placed(object: JsonObject, resource: string): JsonObject {
    if (resource !== "pods" && resource !== "networkpolicies") return object;
    const metadata = { namespace: "default", ...object.metadata as JsonObject };
    if (this.server.store.get("namespaces", metadata.namespace) === undefined) {
      this.server.store.put("namespaces", apiNamespace(metadata.namespace));
    }
    return { ...object, metadata };
  }

  async #accept(): Promise<void> {
    for await (const inside of this.#listener) {
      Deno.connect({ hostname: "127.0.0.1", port: this.server.port }).then(
        (outside) =>
          Promise.all([
            inside.readable.pipeTo(outside.writable),
            outside.readable.pipeTo(inside.writable),
          ]),
      ).catch(() => {
        try {
          inside.close();
        } catch { /* the pipe closed it */ }
      });
    }
  }
}
