/**
 * What the nodes of a cluster have for themselves, asked when it is needed and not followed: every
 * node writes its status all the time, and a watch of them all would bring each node every write.
 *
 * @module
 */
import { messageOf } from "../core/errors.ts";
import { claimsOf, type NodeClaim } from "../core/node_claims.ts";
import type { ClusterNode, NodeConfigObject } from "../core/objects.ts";
import { log } from "../log.ts";
import type { KubeClient } from "./kube_client.ts";
import { listPages } from "./kube_list.ts";

/** Milliseconds for which an answer, or that there is none, is good enough. */
const FRESH_MS = 30_000;
/** Milliseconds that reading may take: a runtime waits. */
const READ_MS = 10_000;

export interface KubeClaimsOptions {
  readonly client: KubeClient;
  readonly nodeConfigs: KubeCollection<NodeConfigObject>;
  readonly nodes: KubeCollection<ClusterNode>;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

/** Objects of one kind. */
export interface KubeCollection<T> {
  readonly path: string;
  /** Throws when it is none. */
  readonly parse: (raw: unknown) => T;
}

/** The claims of all nodes. */
export class KubeClaims {
  readonly #o: KubeClaimsOptions;
  #claims: readonly NodeClaim[] = [];
  #readAt = -Infinity;
  #reading: Promise<void> | undefined;
  #failing = false;

  constructor(options: KubeClaimsOptions) {
    this.#o = options;
  }

  /** The claims, at most half a minute old; older, or none at all, when the server is away. */
  async get(signal: AbortSignal): Promise<readonly NodeClaim[]> {
    signal.throwIfAborted();
    const age = this.#o.now() - this.#readAt;
    if (age >= FRESH_MS) {
      const { promise, reject } = Promise.withResolvers<never>();
      const abort = (): void => reject(signal.reason);
      signal.addEventListener("abort", abort);
      try {
        // Shared: whoever gives up leaves it to the others.
        await Promise.race([this.#reading ??= this.#read(), promise]);
      } finally {
        signal.removeEventListener("abort", abort);
      }
    }
    return this.#claims;
  }

  async #read(): Promise<void> {
    const { nodeConfigs, nodes, now } = this.#o;
    const deadline = new AbortController();
    const timer = setTimeout(
      () => deadline.abort(new Error(`Cannot read nodes: nothing came for ${READ_MS / 1000} s`)),
      READ_MS,
    );
    try {
      const [configs, own] = await Promise.all([
        this.#list(nodeConfigs, deadline.signal),
        this.#list(nodes, deadline.signal),
      ]);
      this.#claims = claimsOf({ nodeConfigs: configs, nodes: own });
      if (this.#failing) log.info("Read other nodes again");
      this.#failing = false;
    } catch (error) {
      // What one of the two has not brought must not be waited for by the other.
      deadline.abort(error);
      if (!this.#failing) {
        log.warn("Could not read other nodes, their addresses are not refused", {
          err: messageOf(error),
          known: this.#claims.length,
          retryInMs: FRESH_MS,
        });
      }
      this.#failing = true;
    } finally {
      clearTimeout(timer);
      this.#readAt = now();
      this.#reading = undefined;
    }
  }

  /** Every object of a kind; one that makes no sense has no claims. */
  async #list<T>({ path, parse }: KubeCollection<T>, signal: AbortSignal): Promise<readonly T[]> {
    const objects: T[] = [];
    for await (const { items } of listPages(this.#o.client, { path, signal })) {
      for (const raw of items) {
        try {
          objects.push(parse(raw));
        } catch (error) {
          log.warn("Could not read object", { path, err: error });
        }
      }
    }
    return objects;
  }
}
