/**
 * Finds the Pod that an ADD is for. The runtime can be faster than the watch: a pod that is not cached
 * yet, or cached as an earlier pod of the same name, is waited for, then asked for once.
 *
 * @module
 */
import type { AttachmentId, PodReference } from "../core/cni.ts";
import { CniCode, CniError } from "../core/errors.ts";
import type { ClusterSource, Pod } from "../core/objects.ts";
import { isUidOf } from "../core/pod_identity.ts";
import { quote } from "../core/quote.ts";

/** How long to wait for the cache unless told, in milliseconds. */
const WAIT_MS = 3_000;

/**
 * The pod, under the UID that the runtime has of it: a static pod keeps that one for life, and its mirror
 * pod may be made again with another.
 *
 * @throws {CniError} code 3 when there is none, 11 when it cannot be told
 */
export async function findPod(
  source: ClusterSource,
  reference: PodReference,
  options: { readonly node: string; readonly signal: AbortSignal; readonly waitMs?: number },
): Promise<Pod> {
  const { namespace, name, uid } = reference;
  const isIt = (pod: Pod | undefined): boolean => pod !== undefined && isUidOf(uid, pod);
  const shown = `${namespace}/${name}`;

  let pod = await waitFor(source, () => source.pod(namespace, name), isIt, options);
  if (!isIt(pod)) {
    try {
      pod = await source.fetchPod(namespace, name, options.signal);
    } catch (cause) {
      throw new CniError(CniCode.tryAgainLater, `Cannot find pod "${shown}": source is away`, {
        cause,
      });
    }
  }
  if (pod === undefined) {
    throw new CniError(CniCode.unknownContainer, `Cannot find pod "${shown}": there is none`);
  }
  if (!isIt(pod)) {
    throw new CniError(
      CniCode.tryAgainLater,
      `Cannot find pod "${shown}" with UID "${uid}": the one there has UID "${pod.uid}"`,
    );
  }
  if (pod.nodeName !== undefined && pod.nodeName !== options.node) {
    throw new CniError(
      CniCode.unknownContainer,
      `Cannot attach pod "${shown}": it belongs to node ${quote(pod.nodeName)}`,
    );
  }
  return uid === "" || pod.uid === "" || pod.uid === uid ? pod : { ...pod, uid };
}

/** What `read` gives, as soon as `accept` takes it; what it gives in the end when it never does. */
async function waitFor<T>(
  source: ClusterSource,
  read: () => T | undefined,
  accept: (value: T | undefined) => boolean,
  { signal, waitMs = WAIT_MS }: { readonly signal: AbortSignal; readonly waitMs?: number },
): Promise<T | undefined> {
  if (accept(read())) return read();
  const { promise, resolve } = Promise.withResolvers<void>();
  using _subscription = source.onChange(() => {
    if (accept(read())) resolve();
  });
  const timer = setTimeout(resolve, waitMs);
  const stop = (): void => resolve();
  signal.addEventListener("abort", stop, { once: true });
  await promise;
  clearTimeout(timer);
  signal.removeEventListener("abort", stop);
  signal.throwIfAborted();
  return read();
}

/** The pod of a container that belongs to none: without annotations, never announced by itself. */
export function podless({ containerId }: AttachmentId): Pod {
  return {
    namespace: "",
    name: containerId.slice(0, 63),
    uid: "",
    labels: {},
    annotations: {},
    addresses: [],
    hostNetwork: false,
    ports: [],
    finished: false,
    ready: false,
    terminating: false,
  };
}
