/**
 * Of an object's annotations those that flock reads: other people's can be hundreds of kilobytes.
 *
 * @module
 */
import { ANNOTATION_PREFIX } from "../core/config.ts";
import { MIRROR_ANNOTATIONS } from "../core/pod_identity.ts";

type Annotations = Readonly<Record<string, string>>;

/** The annotations whose keys are flock's, and those that say whose mirror a pod is. */
export function ownAnnotations(
  { annotations }: { readonly annotations: Annotations },
): Annotations {
  return Object.fromEntries(
    Object.entries(annotations).filter(([key]) =>
      key.startsWith(ANNOTATION_PREFIX) || MIRROR_ANNOTATIONS.includes(key)
    ),
  );
}
