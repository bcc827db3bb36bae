/**
 * The CNI plugin as a function of environment and stdin: which verb, is its input sound, what to ask the
 * agent, what to print. Reading and writing are in `main.ts`; the work is the agent's.
 *
 * @module
 */
import {
  callerVersion,
  CNI_VERSIONS,
  type CniEnvironment,
  type CniVersion,
  type NetConf,
  NEWEST,
  parseEnvironment,
  parseNetConf,
  parseVersionInput,
  requireVerb,
} from "../core/cni.ts";
import { appendResult, type CniResult, decodeResult, encodeResult } from "../core/cni_result.ts";
import { CniCode, CniError, messageOf } from "../core/errors.ts";
import { AgentAbsentError, callAgent } from "../io/socket.ts";
import { enqueueDeletion } from "../io/deletion_queue.ts";

/** How long an absent agent is waited for, and how long a call may take, in milliseconds. */
const CONNECT_MS = 2_000;
const CALL_MS = 30_000;

/** What the process prints and how it ends. */
export interface PluginOutcome {
  readonly exitCode: 0 | 1;
  /** One JSON object, or empty: the verbs without a result print nothing. */
  readonly stdout: string;
  /** One line for a failure, else empty. */
  readonly stderr: string;
}

/** Answers one exec of the plugin. Never throws: every failure is an error object. */
export async function runPlugin(
  env: (name: string) => string | undefined,
  readStdin: () => Promise<string>,
): Promise<PluginOutcome> {
  let version: CniVersion = NEWEST;
  let doing = env("CNI_COMMAND") ?? "";
  try {
    // First: it says in which version a refusal is answered.
    const stdin = await read(readStdin);
    version = callerVersion(stdin) ?? NEWEST;
    const call = parseEnvironment(env);
    doing = call.verb + (call.containerId ? ` ${call.containerId}/${call.ifname}` : "");
    if (call.verb === "VERSION") return printed(describeVersions(stdin));
    const conf = parseNetConf(stdin, call.verb);
    requireVerb(call.verb, conf.cniVersion);
    return printed(await runVerb(call, conf, stdin, env("TRACEPARENT")));
  } catch (error) {
    const { code, message, details } = CniError.from(error);
    const object = { cniVersion: version, code, msg: message, ...(details ? { details } : {}) };
    return {
      exitCode: 1,
      stdout: JSON.stringify(object) + "\n",
      stderr: `flock: ${doing}: ${message}${details ? `: ${details}` : ""} (code ${code})`
        .replaceAll(/[^\x20-\x7e]/g, "?") + "\n",
    };
  }
}

/** Runs a verb; returns what to print, undefined for nothing. */
async function runVerb(
  call: CniEnvironment,
  conf: NetConf,
  stdin: string,
  traceparent: string | undefined,
): Promise<unknown> {
  const ask = (): Promise<unknown> =>
    callAgent(conf.socket, {
      op: call.verb,
      container_id: call.containerId,
      netns: call.netns,
      ifname: call.ifname,
      args: call.args,
      path: call.path,
      stdin_data: new TextEncoder().encode(stdin).toBase64(),
      cni_version: conf.cniVersion,
      traceparent,
    }, { connectMs: CONNECT_MS, timeoutMs: CALL_MS });

  switch (call.verb) {
    case "ADD": {
      const earlier = conf.prevResult === undefined ? undefined : decodeResult(conf.prevResult);
      const result = await ask().catch(orTryAgainLater) as CniResult;
      return encodeResult(earlier ? appendResult(earlier, result) : result, conf.cniVersion);
    }
    case "CHECK":
      if (conf.prevResult === undefined) {
        throw new CniError(
          CniCode.invalidConfig,
          'Cannot check attachment: "prevResult" is missing',
        );
      }
      decodeResult(conf.prevResult);
      await ask().catch(orTryAgainLater);
      return undefined;
    case "DEL":
      await ask().catch((error) => queueDeletion(error, call, conf));
      return undefined;
    case "GC":
      if (conf.validAttachments === undefined) {
        throw new CniError(
          CniCode.invalidConfig,
          'Cannot collect garbage: "cni.dev/valid-attachments" is missing',
        );
      }
      await ask().catch(orTryAgainLater);
      return undefined;
    case "STATUS":
      await ask().catch((error) => {
        // 50 is also for an agent that is there and does not answer.
        const isAway = error instanceof AgentAbsentError ||
          (error instanceof CniError && error.code === CniCode.tryAgainLater);
        throw isAway ? new CniError(CniCode.notAvailable, error.message, { cause: error }) : error;
      });
      return undefined;
    case "VERSION":
      return undefined;
  }
}

/** VERSION echoes the version it was given. */
function describeVersions(stdin: string): unknown {
  return { cniVersion: parseVersionInput(stdin) ?? NEWEST, supportedVersions: CNI_VERSIONS };
}

function orTryAgainLater(error: unknown): never {
  if (!(error instanceof AgentAbsentError)) throw error;
  throw new CniError(CniCode.tryAgainLater, error.message, { cause: error.cause });
}

/**
 * DEL without an agent succeeds once the deletion is on disk: the agent makes it true before it serves
 * anything.
 */
async function queueDeletion(error: unknown, call: CniEnvironment, conf: NetConf): Promise<void> {
  if (!(error instanceof AgentAbsentError)) throw error;
  const { containerId, ifname } = call;
  try {
    await enqueueDeletion(conf.stateDir, {
      containerId,
      ifname,
      queuedAt: new Date().toISOString(),
    });
  } catch (cause) {
    throw new CniError(
      CniCode.tryAgainLater,
      `Cannot queue deletion of "${containerId}/${ifname}": ${messageOf(cause)}`,
      { cause: error },
    );
  }
}

async function read(readStdin: () => Promise<string>): Promise<string> {
  try {
    return await readStdin();
  } catch (cause) {
    throw new CniError(CniCode.io, "Cannot read network configuration: reading stdin failed", {
      cause,
    });
  }
}

function printed(value: unknown): PluginOutcome {
  return {
    exitCode: 0,
    stdout: value === undefined ? "" : JSON.stringify(value) + "\n",
    stderr: "",
  };
}
