/**
 * The cluster as an API server serves it: this node's Pods, its NodeConfig and the one named `default`,
 * and its Node; of the other nodes, when asked, what they have for themselves. Objects become flock's
 * own types at once, and only what flock uses of them is kept.
 *
 * @module
 */
import { API_GROUP, API_VERSION, DEFAULT_NODE_CONFIG } from "../core/config.ts";
import type { NodeClaim } from "../core/node_claims.ts";
import { parseNode, parseNodeConfigObject } from "../core/manifest.ts";
import type { NetworkPolicy } from "../core/network_policy.ts";
import type {
  ClusterNode,
  ClusterSource,
  ClusterWriter,
  Namespace,
  NodeConfigObject,
  PeerPod,
  Pod,
} from "../core/objects.ts";
import { parsePod } from "../core/pod_manifest.ts";
import { KubeClaims } from "./kube_claims.ts";
import { KubeClient, KubeError } from "./kube_client.ts";
import type { KubeCredentials } from "./kube_credentials.ts";
import { ListWatch, type ListWatchTiming } from "./kube_list_watch.ts";
import { KubePolicies } from "./kube_policies.ts";
import { KubeWriter } from "./kube_writer.ts";
import { ownAnnotations } from "./kube_annotations.ts";

export {
  inClusterCredentials,
  kubeconfigCredentials,
  type KubeCredentials,
} from "./kube_credentials.ts";

/** Milliseconds that one GET for a pod may take: a runtime waits. */
const FETCH_TIMEOUT_MS = 5_000;
const NODE_CONFIGS = `/apis/${API_GROUP}/${API_VERSION}/nodeconfigs`;
const NODES = "/api/v1/nodes";

export interface KubeOptions {
  readonly node: string;
  readonly credentials: KubeCredentials;
  readonly timing?: Partial<ListWatchTiming>;
  /** Milliseconds since the epoch; a test's clock measures, too. */
  readonly now?: () => number;
}

/** A cluster: what it says, and what flock tells it. */
export interface Cluster extends AsyncDisposable {
  readonly source: ClusterSource;
  readonly writer: ClusterWriter;
}

/** A cluster behind an API server. Nothing is asked before the source runs or something is written. */
export function createKubeCluster(options: KubeOptions): Cluster {
  const { node, credentials, now = Date.now, now: ticks = () => performance.now() } = options;
  const client = new KubeClient(credentials);
  const source = new KubeSource(client, options);
  const own = (): ClusterNode | undefined => source.node(node);
  const writer = new KubeWriter({ client, nodeName: node, node: own, now, ticks });
  return {
    source,
    writer,
    async [Symbol.asyncDispose](): Promise<void> {
      await writer[Symbol.asyncDispose]();
      await client[Symbol.asyncDispose]();
    },
  };
}

class KubeSource implements ClusterSource {
  readonly #client: KubeClient;
  readonly #pods: ListWatch<Pod>;
  readonly #own: ListWatch<NodeConfigObject>;
  readonly #default: ListWatch<NodeConfigObject>;
  readonly #node: ListWatch<ClusterNode>;
  readonly #claims: KubeClaims;
  readonly #policies: KubePolicies;
  readonly #listeners = new Set<() => void>();

  constructor(client: KubeClient, { node, timing, now = () => performance.now() }: KubeOptions) {
    this.#client = client;
    const onChange = (): void => {
      for (const listener of [...this.#listeners]) listener();
    };
    const common = { client, onChange, timing };
    const named = (name: string): string => `metadata.name=${name}`;
    const nodeConfigs = { ...common, path: NODE_CONFIGS, parse: parseConfig };
    this.#pods = new ListWatch({
      ...common,
      path: "/api/v1/pods",
      fieldSelector: `spec.nodeName=${node}`,
      parse: parseOwnPod,
    });
    this.#own = new ListWatch({ ...nodeConfigs, fieldSelector: named(node) });
    this.#default = new ListWatch({ ...nodeConfigs, fieldSelector: named(DEFAULT_NODE_CONFIG) });
    this.#node = new ListWatch({
      ...common,
      path: NODES,
      fieldSelector: named(node),
      parse: parseNode,
    });
    this.#policies = new KubePolicies(common);
    this.#claims = new KubeClaims({
      client,
      nodeConfigs: { path: NODE_CONFIGS, parse: parseConfig },
      nodes: { path: NODES, parse: parseNode },
      now,
    });
  }

  get synced(): boolean {
    return this.#all.every(({ synced }) => synced);
  }

  pods(): Iterable<Pod> {
    return this.#pods.items.values();
  }

  pod(namespace: string, name: string): Pod | undefined {
    return this.#pods.items.get(`${namespace}/${name}`);
  }

  async fetchPod(namespace: string, name: string, signal: AbortSignal): Promise<Pod | undefined> {
    try {
      const path = `/api/v1/namespaces/${encodeURIComponent(namespace)}/pods/${
        encodeURIComponent(name)
      }`;
      const timeoutMs = FETCH_TIMEOUT_MS;
      return parseOwnPod(await this.#client.json({ path, signal, timeoutMs }));
    } catch (error) {
      if (error instanceof KubeError && error.status === 404) return undefined;
      throw error;
    }
  }

  nodeConfig(name: string): NodeConfigObject | undefined {
    return this.#own.items.get(name) ?? this.#default.items.get(name);
  }

  node(name: string): ClusterNode | undefined {
    return this.#node.items.get(name);
  }

  claims(signal: AbortSignal): Promise<readonly NodeClaim[]> {
    return this.#claims.get(signal);
  }

  get policiesSynced(): boolean {
    return this.#policies.synced;
  }

  get policiesProblem(): string | undefined {
    return this.#policies.problem;
  }

  policies(): Iterable<NetworkPolicy> {
    return this.#policies.policies();
  }

  namespaces(): Iterable<Namespace> {
    return this.#policies.namespaces();
  }

  peers(): Iterable<PeerPod> {
    return this.#policies.peers();
  }

  onChange(listener: () => void): Disposable {
    const own = (): void => listener();
    this.#listeners.add(own);
    return { [Symbol.dispose]: () => void this.#listeners.delete(own) };
  }

  async run(signal: AbortSignal): Promise<void> {
    await Promise.all([...this.#all, this.#policies].map((one) => one.run(signal)));
  }

  /** What routes rest on; they do not wait for policies. */
  get #all(): readonly Pick<ListWatch<unknown>, "synced" | "run">[] {
    return [this.#pods, this.#own, this.#default, this.#node];
  }
}

function parseOwnPod(raw: unknown): Pod {
  const pod = parsePod(raw);
  return { ...pod, annotations: ownAnnotations(pod) };
}

function parseConfig(raw: unknown): NodeConfigObject {
  const config = parseNodeConfigObject(raw);
  return { ...config, annotations: ownAnnotations(config) };
}
