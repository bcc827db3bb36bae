/**
 * Who a pod is: the texts that are UIDs, and whether a UID that the runtime or an attachment names is that
 * of a Pod. Everything that compares the two asks here.
 *
 * A static pod has two UIDs: the kubelet gives the runtime the hash of its configuration, and the API
 * server numbers the mirror pod that the kubelet makes there. The mirror pod names the hash in
 * annotations. On the CNI path: no npm, no node.
 *
 * @module
 */
import type { Pod } from "./objects.ts";

/** Set by the kubelet on every mirror pod, and on no other; the API server lets nobody change it. */
const MIRROR = "kubernetes.io/config.mirror";
/** Annotations whose value is the UID that the runtime has of a static pod. */
export const MIRROR_ANNOTATIONS: readonly string[] = [MIRROR, "kubernetes.io/config.hash"];

/** True for a UUID from an API server, the hash of a static pod, or what somebody wrote by hand. */
export function isUid(text: string): boolean {
  return /^[A-Za-z0-9._-]{0,64}$/.test(text);
}

/**
 * True when a UID is that of a Pod. An empty one, on either side, is one that nobody said: then namespace
 * and name decide, which the caller has compared.
 */
export function isUidOf(uid: string, pod: Pick<Pod, "uid" | "annotations">): boolean {
  if (uid === "" || pod.uid === "" || uid === pod.uid) return true;
  // Without the first the other is a text that anybody may write on a pod.
  return pod.annotations[MIRROR] !== undefined &&
    MIRROR_ANNOTATIONS.some((key) => pod.annotations[key] === uid);
}

/** The Pod of an attachment among those that a source has, not another of the same name. */
export function podOf<T extends Pick<Pod, "uid" | "annotations">>(
  source: { pod(namespace: string, name: string): T | undefined },
  { namespace, podName, podUid }: {
    readonly namespace: string;
    readonly podName: string;
    readonly podUid: string;
  },
): T | undefined {
  const pod = namespace === "" ? undefined : source.pod(namespace, podName);
  return pod !== undefined && isUidOf(podUid, pod) ? pod : undefined;
}
