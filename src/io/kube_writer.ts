/**
 * What flock tells the API server: the Node's condition and the NodeConfig's status by server-side apply,
 * which leaves what others wrote in the same lists alone, and events.
 *
 * @module
 */
import { API_GROUP, API_VERSION, FIELD_MANAGER, NETWORK_READY } from "../core/config.ts";
import { EventLimiter, type EventSeries } from "../core/event_series.ts";
import type { NodeConfigStatus } from "../core/node_config_status.ts";
import { isFields } from "../core/node_config_problems.ts";
import type {
  ClusterEvent,
  ClusterNode,
  ClusterWriter,
  SecretReference,
  SecretValue,
} from "../core/objects.ts";
import { log } from "../log.ts";
import { type KubeClient, KubeError } from "./kube_client.ts";

/** JSON is YAML; the API server wants it called so. */
const APPLY = "application/apply-patch+yaml";
const MERGE = "application/merge-patch+json";
const STRATEGIC_MERGE = "application/strategic-merge-patch+json";
/** Events waiting to be sent; further ones are dropped. */
const MAX_QUEUED = 100;
/** Kubernetes refuses longer messages. */
const MAX_MESSAGE = 1_024;

export interface KubeWriterOptions {
  readonly client: KubeClient;
  /** The node that speaks. */
  readonly nodeName: string;
  /** The Node as it is cached. */
  readonly node: () => ClusterNode | undefined;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Milliseconds of a clock that nobody sets. */
  readonly ticks: () => number;
}

/** Writes to the API server. Disposing it gives up the events that wait. */
export class KubeWriter implements ClusterWriter, AsyncDisposable {
  readonly #o: KubeWriterOptions;
  readonly #limiter = new EventLimiter();
  readonly #end = new AbortController();
  #queue: EventSeries[] = [];
  #sending: Promise<void> | undefined;
  #eventError: string | undefined;

  constructor(options: KubeWriterOptions) {
    this.#o = options;
  }

  async setNetworkAvailable(node: string, now: Date, signal: AbortSignal): Promise<void> {
    const present = this.#o.node()?.networkUnavailable;
    const time = timeOf(now.getTime());
    const since = present?.status === "False" ? present.lastTransitionTime : undefined;
    await this.#apply(`/api/v1/nodes/${node}/status`, {
      apiVersion: "v1",
      kind: "Node",
      metadata: { name: node },
      status: {
        conditions: [{
          type: "NetworkUnavailable",
          status: "False",
          reason: NETWORK_READY,
          message: "flock announces this node's prefixes",
          lastHeartbeatTime: time,
          lastTransitionTime: since ?? time,
        }],
      },
    }, signal);
  }

  async removeNetworkAvailable(node: string, signal: AbortSignal): Promise<void> {
    // Applying without it would leave an empty one where somebody else had set it before.
    const body = {
      status: { conditions: [{ $patch: "delete", type: "NetworkUnavailable" }] },
    };
    const path = `/api/v1/nodes/${node}/status`;
    const request = { path, method: "PATCH", contentType: STRATEGIC_MERGE, body, signal } as const;
    await this.#o.client.json({ ...request, query: { fieldManager: FIELD_MANAGER } });
  }

  async applyNodeConfigStatus(
    name: string,
    status: NodeConfigStatus,
    signal: AbortSignal,
  ): Promise<void> {
    await this.#apply(`/apis/${API_GROUP}/${API_VERSION}/nodeconfigs/${name}/status`, {
      apiVersion: `${API_GROUP}/${API_VERSION}`,
      kind: "NodeConfig",
      metadata: { name },
      status,
    }, signal);
  }

  async readSecret(reference: SecretReference, signal: AbortSignal): Promise<SecretValue> {
    const { namespace, name, key } = reference;
    try {
      const path = `/api/v1/namespaces/${namespace}/secrets/${name}`;
      const secret = await this.#o.client.json({ path, signal });
      const data = isFields(secret) && isFields(secret.data) ? secret.data : {};
      const value = Object.hasOwn(data, key) ? data[key] : undefined;
      if (typeof value !== "string") {
        return { kind: "missing", reason: `Secret "${namespace}/${name}" has no key "${key}"` };
      }
      return { kind: "value", value: new TextDecoder().decode(Uint8Array.fromBase64(value)) };
    } catch (error) {
      if (!(error instanceof KubeError)) throw error;
      if (error.status === 403) return { kind: "forbidden" };
      if (error.status !== 404) throw error;
      return { kind: "missing", reason: `there is no Secret "${namespace}/${name}"` };
    }
  }

  recordEvent(event: ClusterEvent): void {
    const message = event.message.slice(0, MAX_MESSAGE);
    const { now, ticks } = this.#o;
    const series = this.#limiter.add({ ...event, message }, now(), ticks());
    if (series === undefined || this.#queue.includes(series)) return;
    if (this.#queue.length >= MAX_QUEUED) return;
    this.#queue.push(series);
    this.#sending ??= this.#send().finally(() => this.#sending = undefined);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#queue = [];
    this.#end.abort();
    await this.#sending;
  }

  async #apply(path: string, body: unknown, signal: AbortSignal): Promise<void> {
    const query = { fieldManager: FIELD_MANAGER, force: "true" };
    await this.#o.client.json({ path, query, body, method: "PATCH", contentType: APPLY, signal });
  }

  async #send(): Promise<void> {
    for (let series = this.#queue.shift(); series !== undefined; series = this.#queue.shift()) {
      try {
        await this.#sendOne(series);
        this.#eventError = undefined;
      } catch (error) {
        if (this.#end.signal.aborted) return;
        // Events are for people: losing one is worth a line, not a retry.
        const said = String(error);
        if (said !== this.#eventError) log.warn("Could not record event", { err: error });
        this.#eventError = said;
      }
    }
  }

  /** Creates the event, or counts on in the one that is there. */
  async #sendOne(series: EventSeries): Promise<void> {
    const { client } = this.#o;
    const { object } = series.event;
    const { signal } = this.#end;
    // Events of what is in no namespace are in this one.
    const path = `/api/v1/namespaces/${
      object.kind === "Pod" ? object.namespace : "default"
    }/events`;
    if (series.name !== undefined) {
      try {
        const body = { count: series.count, lastTimestamp: timeOf(series.lastAt) };
        await client.json({
          path: `${path}/${series.name}`,
          method: "PATCH",
          contentType: MERGE,
          body,
          signal,
        });
        return;
      } catch (error) {
        // Events live for an hour: then it begins anew.
        if (!(error instanceof KubeError) || error.status !== 404) throw error;
      }
    }
    const name = eventName(object.name);
    const event = { ...eventOf(series, this.#o.nodeName), metadata: { name } };
    await client.json({
      path,
      method: "POST",
      contentType: "application/json",
      body: event,
      signal,
    });
    series.name = name;
  }
}

/** A core/v1 Event, which `kubectl describe` shows; without its name. */
function eventOf({ event, count, firstAt, lastAt }: EventSeries, host: string): object {
  const { object, type, reason, message } = event;
  return {
    apiVersion: "v1",
    kind: "Event",
    involvedObject: {
      apiVersion: object.kind === "Pod" ? "v1" : `${API_GROUP}/${API_VERSION}`,
      ...object,
    },
    type,
    reason,
    message,
    count,
    firstTimestamp: timeOf(firstAt),
    lastTimestamp: timeOf(lastAt),
    source: { component: FIELD_MANAGER, host },
    reportingComponent: FIELD_MANAGER,
    reportingInstance: host,
  };
}

/** A name of its own, that shows whose event it is. */
function eventName(objectName: string): string {
  const suffix = `.${crypto.randomUUID().replaceAll("-", "").slice(0, 16)}`;
  return objectName.slice(0, 253 - suffix.length).replace(/[-.]+$/, "") + suffix;
}

/** `metav1.Time`: whole seconds. */
function timeOf(ms: number): string {
  return new Date(ms).toISOString().replace(/\.\d+Z$/, "Z");
}
