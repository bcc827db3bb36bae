/**
 * Events on pods whose ADD is refused for a reason that whoever made the pod, or runs the node, can do
 * something about. The runtime's own event carries the same words among many others.
 *
 * @module
 */
import { parseCniArgs } from "../core/cni.ts";
import { CniCode, CniError } from "../core/errors.ts";
import type { ClusterWriter } from "../core/objects.ts";
import type { Operation } from "./server.ts";

const REASONS: Readonly<Record<number, string>> = {
  [CniCode.poolExhausted]: "AddressPoolExhausted",
  [CniCode.annotationInvalid]: "AnnotationRefused",
  [CniCode.addressRefused]: "AddressRefused",
  [CniCode.familyDisabled]: "AnnotationRefused",
  [CniCode.policyNotInForce]: "PolicyNotInForce",
};

/** The operations, with an event for each ADD that is refused. */
export function withPodEvents(
  operations: Readonly<Record<string, Operation>>,
  writer: Pick<ClusterWriter, "recordEvent">,
): Readonly<Record<string, Operation>> {
  const { ADD: add } = operations;
  if (add === undefined) return operations;
  return {
    ...operations,
    ADD: async (request, signal) => {
      try {
        return await add(request, signal);
      } catch (error) {
        const reason = error instanceof CniError ? REASONS[error.code] : undefined;
        const pod = reason === undefined ? undefined : parseCniArgs(request.args ?? "");
        if (error instanceof CniError && reason !== undefined && pod !== undefined) {
          const { namespace, name, uid } = pod;
          const message = [error.message, error.details].filter((text) => text !== "").join(": ");
          const object = { kind: "Pod", namespace, name, uid } as const;
          writer.recordEvent({ object, type: "Warning", reason, message });
        }
        throw error;
      }
    },
  };
}
