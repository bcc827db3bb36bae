/**
 * Where an agent's Pods and NodeConfigs come from: an API server, or a directory of manifests.
 *
 * @module
 */
import type { AgentSettings } from "../core/agent_settings.ts";
import type { ClusterSource, ClusterWriter } from "../core/objects.ts";
import type * as Kube from "../io/kube.ts";
import { createManifestSource } from "../io/manifests.ts";

/** What is loaded only when it is asked for. */
export interface AgentParts {
  /** The way to an API server, which costs more than the rest of the agent at start. */
  kube(): Promise<
    Pick<
      typeof Kube,
      "createKubeCluster" | "inClusterCredentials" | "kubeconfigCredentials"
    >
  >;
}

/** Where the cluster's objects come from, and who is told of this node: nobody, by a directory. */
export async function openCluster(
  { node, source }: AgentSettings,
  parts: AgentParts,
): Promise<{ source: ClusterSource; writer?: ClusterWriter } & AsyncDisposable> {
  if (source.kind === "manifests") {
    const manifests = createManifestSource(source.dir);
    return {
      source: manifests,
      [Symbol.asyncDispose]: () => manifests[Symbol.asyncDispose](),
    };
  }
  const kube = await parts.kube();
  const credentials = source.kubeconfig === undefined
    ? await kube.inClusterCredentials()
    : await kube.kubeconfigCredentials(source.kubeconfig);
  return kube.createKubeCluster({ node, credentials });
}
