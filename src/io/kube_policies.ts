/**
 * What NetworkPolicies rest on, as an API server serves it: the policies, the namespaces and, as soon as
 * there is a policy, the pods of all nodes. A cluster without policies does not pay for a watch of all
 * pods; one that had a policy goes on, so that the next one is in force at once.
 *
 * @module
 */
import { parseNamespace } from "../core/manifest.ts";
import { objectText } from "../core/manifest_entries.ts";
import type { NetworkPolicy } from "../core/network_policy.ts";
import { parseNetworkPolicy } from "../core/network_policy_manifest.ts";
import type { Labels } from "../core/label_selector.ts";
import type { Namespace, PeerPod } from "../core/objects.ts";
import { parsePeerPod } from "../core/pod_manifest.ts";
import { log } from "../log.ts";
import { ListWatch, type ListWatchOptions } from "./kube_list_watch.ts";
import { ownAnnotations } from "./kube_annotations.ts";

/**
 * A page of pods is megabytes of which little is kept. With 5,000 pods of 8 kB the agent needs 138 MB at
 * most with pages of this size, 152 MB with 250 and 168 MB with 500 (`deno task bench`).
 */
const PEERS_PAGE_SIZE = 125;
/** Sets of labels that pods share are looked for among so many: mostly one for each Deployment. */
const MAX_SHARED_LABELS = 2_000;

/** Policies, namespaces and peers. */
export class KubePolicies {
  readonly #policies: ListWatch<NetworkPolicy>;
  readonly #namespaces: ListWatch<Namespace>;
  readonly #peers: ListWatch<PeerPod>;
  readonly #shared = new Map<string, Labels>();
  readonly #wanted = Promise.withResolvers<void>();
  #peersWanted = false;
  #synced = false;

  constructor(options: Pick<ListWatchOptions<unknown>, "client" | "onChange" | "timing">) {
    const onChange = (): void => {
      this.#wantPeers();
      this.#synced ||= this.#policies.synced && this.#namespaces.synced &&
        (!this.#peersWanted || this.#peers.synced);
      options.onChange();
    };
    const common = { ...options, onChange, isSame };
    this.#policies = new ListWatch({
      ...common,
      path: "/apis/networking.k8s.io/v1/networkpolicies",
      parse: parseNetworkPolicy,
      onTaken: warnOfProblems,
    });
    this.#namespaces = new ListWatch({
      ...common,
      path: "/api/v1/namespaces",
      parse: parseOwnNamespace,
    });
    this.#peers = new ListWatch({
      ...common,
      path: "/api/v1/pods",
      pageSize: PEERS_PAGE_SIZE,
      parse: (raw) => this.#parsePeer(raw),
    });
  }

  /**
   * True once everything that policies rest on was read. It stays true when the first policy comes and the pods
   * of other nodes are yet to be read: until they are, the policy is in force without them.
   */
  get synced(): boolean {
    return this.#synced;
  }

  /** What is missing or may be out of date, and why; undefined: nothing. */
  get problem(): string | undefined {
    const parts: readonly (readonly [string, Pick<ListWatch<unknown>, "synced" | "trouble">])[] = [
      ["NetworkPolicies", this.#policies],
      ["namespaces", this.#namespaces],
      ...(this.#policies.items.size === 0 ? [] : [["pods of other nodes", this.#peers] as const]),
    ];
    for (const [what, { synced, trouble }] of parts) {
      if (!synced) return `${what} are not known yet${trouble === undefined ? "" : `: ${trouble}`}`;
      if (trouble !== undefined) return `changes of ${what} are not heard of: ${trouble}`;
    }
    return undefined;
  }

  policies(): Iterable<NetworkPolicy> {
    return this.#policies.items.values();
  }

  namespaces(): Iterable<Namespace> {
    return this.#namespaces.items.values();
  }

  peers(): Iterable<PeerPod> {
    return this.#peers.items.values();
  }

  /** Keeps the caches up to date until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const end = (): void => this.#wanted.resolve();
    signal.addEventListener("abort", end);
    await Promise.all([
      this.#policies.run(signal),
      this.#namespaces.run(signal),
      this.#wanted.promise.then(() => this.#peers.run(signal)),
    ]);
    signal.removeEventListener("abort", end);
  }

  #wantPeers(): void {
    if (this.#peersWanted || this.#policies.items.size === 0) return;
    this.#peersWanted = true;
    this.#wanted.resolve();
  }

  #parsePeer(raw: unknown): PeerPod {
    const pod = parsePeerPod(raw);
    return { ...pod, labels: this.#share(pod.labels), annotations: ownAnnotations(pod) };
  }

  /** One object for equal labels: pods of one Deployment have the same, and there are thousands. */
  #share(labels: Labels): Labels {
    const text = JSON.stringify(labels);
    const known = this.#shared.get(text);
    if (known !== undefined) return known;
    if (this.#shared.size >= MAX_SHARED_LABELS) this.#shared.clear();
    this.#shared.set(text, labels);
    return labels;
  }
}

function parseOwnNamespace(raw: unknown): Namespace {
  const namespace = parseNamespace(raw);
  return { ...namespace, annotations: ownAnnotations(namespace) };
}

function isSame(a: unknown, b: unknown): boolean {
  return objectText(a) === objectText(b);
}

function warnOfProblems({ namespace, name, problems }: NetworkPolicy): void {
  if (problems.length === 0) return;
  log.warn("Refused parts of policy", { object: `NetworkPolicy ${namespace}/${name}`, problems });
}
