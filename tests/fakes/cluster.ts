/**
 * Objects as an API server serves them, and a cluster's source that follows them.
 *
 * @module
 */
import { type Cluster, createKubeCluster } from "../../src/io/kube.ts";
import { type KubeCredentials, KubeLogin } from "../../src/io/kube_credentials.ts";
import type { ListWatchTiming } from "../../src/io/kube_list_watch.ts";
import { ApiServer } from "./api_server.ts";
import type { JsonObject } from "./server_side_apply.ts";

/** Short times, so that tests are. */
export const QUICK: ListWatchTiming = {
  watchMs: 5_000,
  silenceMs: 6_000,
  retryMinMs: 10,
  retryMaxMs: 50,
  troubleMs: 200,
};

/** Watches that an agent has as long as there is no NetworkPolicy; one more with one. */
export const WATCHES = 6;

/** A Pod of a node, with the fields that every pod has and flock does not use. */
export function apiPod(
  name: string,
  options: {
    readonly node?: string;
    readonly ready?: boolean;
    readonly annotations?: Record<string, string>;
    readonly labels?: Record<string, string>;
    readonly addresses?: readonly string[];
  } = {},
): JsonObject {
  const { node = "n1", ready = true, annotations = {}, labels = {}, addresses = [] } = options;
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: {
      name,
      namespace: "default",
      annotations: { "kubectl.kubernetes.io/last-applied-configuration": "{}", ...annotations },
      labels: { app: "web", "pod-template-hash": "abc12", ...labels },
      ownerReferences: [
        {
          apiVersion: "apps/v1",
          kind: "ReplicaSet",
          name: "web-abc12",
          uid: "r1",
          controller: true,
        },
      ],
    },
    spec: {
      nodeName: node,
      containers: [{ name: "web", image: "example.net/web:1", env: [{ name: "A", value: "b" }] }],
    },
    status: {
      phase: "Running",
      ...(addresses[0] === undefined ? {} : { podIP: addresses[0] }),
      podIPs: addresses.map((ip) => ({ ip })),
      conditions: [
        { type: "Initialized", status: "True" },
        { type: "Ready", status: ready ? "True" : "False" },
      ],
    },
  };
}

export function apiNodeConfig(name: string, spec: JsonObject): JsonObject {
  const apiVersion = "flock.fritzlab.net/v1alpha1";
  return { apiVersion, kind: "NodeConfig", metadata: { name }, spec };
}

/** A Namespace. */
export function apiNamespace(name: string, labels: JsonObject = {}): JsonObject {
  return { apiVersion: "v1", kind: "Namespace", metadata: { name, labels } };
}

/** A NetworkPolicy in `default`. */
export function apiPolicy(name: string, spec: JsonObject): JsonObject {
  const metadata = { name, namespace: "default" };
  return { apiVersion: "networking.k8s.io/v1", kind: "NetworkPolicy", metadata, spec };
}

export function apiNode(name: string, podCIDRs: readonly string[] = []): JsonObject {
  return {
    apiVersion: "v1",
    kind: "Node",
    metadata: { name },
    spec: { podCIDRs, ...(podCIDRs[0] === undefined ? {} : { podCIDR: podCIDRs[0] }) },
    status: {
      conditions: [
        { type: "Ready", status: "True", reason: "KubeletReady" },
        { type: "NetworkUnavailable", status: "True", reason: "NoRouteCreated" },
      ],
    },
  };
}

/** Credentials of a test's API server, reached at another port when told. */
export function credentialsFor(server: ApiServer, port: number = server.port): KubeCredentials {
  return () => {
    const login = new KubeLogin();
    const cluster = { name: "test", caData: btoa(server.ca), skipTLSVerify: false };
    login.loadFromClusterAndUser(
      { ...cluster, server: `https://127.0.0.1:${port}` },
      { name: "flock", token: "token" },
    );
    return Promise.resolve(login);
  };
}

/** An API server and a cluster that is read from it. */
export interface ClusterFixture extends AsyncDisposable {
  readonly server: ApiServer;
  readonly cluster: Cluster;
  readonly source: Cluster["source"];
  readonly writer: Cluster["writer"];
  /** Waits until something holds; fails after `timeoutMs`. */
  until(condition: () => boolean, timeoutMs?: number): Promise<void>;
}

/** Starts an API server with node `n1` and a source that runs unless told not to. */
export async function createClusterFixture(
  options: {
    readonly timing?: Partial<ListWatchTiming>;
    readonly credentials?: (server: ApiServer) => Promise<KubeCredentials> | KubeCredentials;
    readonly run?: boolean;
    readonly now?: () => number;
  } = {},
): Promise<ClusterFixture> {
  const server = await ApiServer.start();
  server.store.put("nodes", apiNode("n1"));
  const credentials = await options.credentials?.(server) ??
    credentialsFor(server);
  const timing = { ...QUICK, ...options.timing };
  const cluster = createKubeCluster({ node: "n1", credentials, timing, now: options.now });
  const stop = new AbortController();
  const running = options.run === false ? undefined : cluster.source.run(stop.signal);
  return {
    server,
    cluster,
    source: cluster.source,
    writer: cluster.writer,
    until,
    async [Symbol.asyncDispose]() {
      stop.abort();
      await running;
      await cluster[Symbol.asyncDispose]();
      await server[Symbol.asyncDispose]();
    },
  };
}

/** Waits until something holds; fails after `timeoutMs`. */
export async function until(condition: () => boolean, timeoutMs = 3_000): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`never came true: ${condition}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
