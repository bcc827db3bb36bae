/**
 * The agent's end of the socket: turns requests into operations and logs each one. CNI's verbs and
 * operators' commands share it.
 *
 * @module
 */
import { parseCniArgs, parseNetConf } from "../core/cni.ts";
import { decodeResult } from "../core/cni_result.ts";
import { CniCode, CniError } from "../core/errors.ts";
import { parseTraceparent } from "../core/trace_context.ts";
import type { AgentHandler, AgentRequest } from "../io/socket.ts";
import { log } from "../log.ts";
import type { PodNetwork } from "./pod_network.ts";
import { NO_TRACING, type Tracing } from "./tracing.ts";

/** Answers one operation. */
export type Operation = (request: AgentRequest, signal: AbortSignal) => Promise<unknown>;

/** Health of what STATUS reports besides ADD's own needs. */
export interface DataPathHealth {
  /** Why BIRD cannot announce anything; undefined when it can, or has nothing to. */
  degraded(): Promise<string | undefined>;
}

/** CNI's verbs. */
export function cniOperations(
  network: Pick<PodNetwork, "notReady" | "add" | "del" | "check" | "collectGarbage">,
  health: DataPathHealth,
  tracing: Tracing = NO_TRACING,
): Readonly<Record<string, Operation>> {
  return {
    ADD: (request, signal) => {
      const conf = parseNetConf(stdinOf(request));
      const pod = parseCniArgs(request.args ?? "");
      if (pod === undefined && conf.requirePod) {
        throw new CniError(
          CniCode.invalidEnvironment,
          "Cannot accept environment: CNI_ARGS names no pod " +
            "(K8S_POD_NAMESPACE, K8S_POD_NAME), and requirePod is true",
        );
      }
      const add = { ...idOf(request), netns: request.netns ?? "", conf, pod };
      return tracing.trace(
        "ADD",
        {
          parent: parseTraceparent(request.traceparent),
          attributes: {
            "k8s.namespace.name": pod?.namespace,
            "k8s.pod.name": pod?.name,
            "k8s.pod.uid": pod?.uid,
            "container.id": add.containerId,
            "flock.ifname": add.ifname,
          },
        },
        (steps) => network.add(add, signal, steps),
      );
    },
    DEL: (request) => network.del(idOf(request)),
    CHECK: (request) => {
      const conf = parseNetConf(stdinOf(request), "CHECK");
      return network.check(idOf(request), request.netns ?? "", decodeResult(conf.prevResult));
    },
    GC: (request) => {
      const { name, validAttachments: valid } = parseNetConf(stdinOf(request), "GC");
      if (valid === undefined) {
        throw new CniError(
          CniCode.invalidConfig,
          'Cannot collect garbage: "cni.dev/valid-attachments" is missing',
        );
      }
      return network.collectGarbage(name, valid);
    },
    STATUS: async () => {
      const reason = network.notReady;
      if (reason === undefined) return;
      const degraded = await health.degraded();
      throw new CniError(
        degraded === undefined ? CniCode.notAvailable : CniCode.notAvailableLimited,
        `Cannot attach containers: ${reason}`,
        { details: degraded },
      );
    },
  };
}

/** Dispatches requests; every answer is logged with its code and duration. */
export function createHandler(operations: Readonly<Record<string, Operation>>): AgentHandler {
  return async (request, signal) => {
    const started = performance.now();
    const limited = request.deadline_ms === undefined
      ? signal
      : AbortSignal.any([signal, AbortSignal.timeout(Math.max(1, request.deadline_ms))]);
    const fields = {
      op: request.op,
      pod: podOf(request.args),
      containerId: request.container_id || undefined,
      ifname: request.ifname || undefined,
      traceparent: parseTraceparent(request.traceparent)?.text,
    };
    try {
      const operation = Object.hasOwn(operations, request.op) ? operations[request.op] : undefined;
      if (operation === undefined) {
        throw new CniError(
          CniCode.invalidEnvironment,
          `Cannot answer request: operation ${JSON.stringify(request.op.slice(0, 80))} is unknown`,
        );
      }
      const result = await operation(request, limited);
      const durationMs = roundedSince(started);
      // STATUS comes every few seconds.
      const write = Object.hasOwn(CHANGES, request.op) ? log.info : log.debug;
      write("Served request", { ...fields, durationMs, code: 0 });
      return result;
    } catch (error) {
      const cniError = asCniError(error, limited);
      const { code, message, details } = cniError;
      // What an operator mistyped is told to the operator, and is no problem of the node's.
      const isMistyped = code === CniCode.invalidEnvironment &&
        Object.hasOwn(operations, request.op) && !Object.hasOwn(VERBS, request.op);
      const write = isMistyped ? log.debug : log.warn;
      write("Refused request", {
        ...fields,
        durationMs: roundedSince(started),
        code,
        err: message,
        details: details || undefined,
      });
      throw cniError;
    }
  };
}

const VERBS: Readonly<Record<string, true>> = {
  ADD: true,
  DEL: true,
  CHECK: true,
  GC: true,
  STATUS: true,
};
const CHANGES: Readonly<Record<string, true>> = { ADD: true, DEL: true, GC: true };

/** An abort is what it was aborted for; running out of time is "try again later". */
function asCniError(error: unknown, signal: AbortSignal): CniError {
  if (signal.aborted && error === signal.reason && !(error instanceof CniError)) {
    return new CniError(CniCode.tryAgainLater, "Cannot finish request: it was given up", {
      cause: error,
    });
  }
  return CniError.from(error);
}

function idOf(request: AgentRequest): { containerId: string; ifname: string } {
  const { container_id: containerId = "", ifname = "" } = request;
  if (containerId === "" || ifname === "" || /[\s/]/.test(containerId + ifname)) {
    throw new CniError(
      CniCode.invalidEnvironment,
      "Cannot accept request: container_id or ifname is missing or malformed",
    );
  }
  return { containerId, ifname };
}

function stdinOf(request: AgentRequest): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(
      Uint8Array.fromBase64(request.stdin_data ?? ""),
    );
  } catch (cause) {
    throw new CniError(CniCode.decode, "Cannot decode request: stdin_data is not base64 of UTF-8", {
      cause,
    });
  }
}

/** The pod of a request, for the log; undefined where it cannot be told. */
function podOf(args: string | undefined): string | undefined {
  const value = (key: string): string | undefined =>
    new RegExp(`(?:^|;)${key}=([^;]*)`).exec(args ?? "")?.[1];
  const name = value("K8S_POD_NAME");
  return name === undefined ? undefined : `${value("K8S_POD_NAMESPACE") ?? ""}/${name}`;
}

function roundedSince(started: number): number {
  return Math.round((performance.now() - started) * 10) / 10;
}
