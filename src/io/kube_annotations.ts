/**
 * Of an object's annotations those that are flock's: other people's can be hundreds of kilobytes.
 *
 * @module
 */
import { ANNOTATION_PREFIX } from "../core/config.ts";

type Annotations = Readonly<Record<string, string>>;

/** The annotations whose keys are flock's. */
export function ownAnnotations(
  { annotations }: { readonly annotations: Annotations },
): Annotations {
  return Object.fromEntries(
    Object.entries(annotations).filter(([key]) => key.startsWith(ANNOTATION_PREFIX)),
  );
}
