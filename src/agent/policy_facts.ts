/**
 * What policies rest on, as it is now: the node's links with their pods, the cluster's pods and namespaces.
 * What has not changed is the same object each time, so that only what has is computed anew.
 *
 * Of this node's pods the attachments say which addresses they have: the API server hears of them later, and
 * forgets them later.
 *
 * @module
 */
import { addressReason } from "../core/anycast.ts";
import { askedAddresses, policyModeOf } from "../core/annotations.ts";
import type { Attachment } from "../core/attachment.ts";
import { contains, formatAddress, parseAddress, type Prefix } from "../core/cidr.ts";
import { messageOf } from "../core/errors.ts";
import type { Labels } from "../core/label_selector.ts";
import type { NodeConfig } from "../core/node_config.ts";
import type { ClusterSource, Namespace, PeerPod } from "../core/objects.ts";
import { podOf } from "../core/pod_identity.ts";
import type { PolicyPod } from "../core/policy.ts";
import type { GuardedLink, PolicyMode } from "../core/policy_selection.ts";
import type { Store } from "../io/store.ts";
import { log } from "../log.ts";
import type { NodeState } from "./node_state.ts";

/** What was found. */
export interface PolicyFacts {
  readonly links: readonly GuardedLink[];
  /** Those with their node's network, too. */
  readonly pods: readonly PolicyPod[];
  readonly namespaces: ReadonlyMap<string, Labels>;
}

export interface PolicyFactsOptions {
  readonly source: Pick<ClusterSource, "pod" | "peers" | "namespaces">;
  readonly store: Pick<Store, "list">;
  readonly node: Pick<NodeState, "config" | "nodePrefixes" | "reserved">;
  readonly nodeName: string;
}

/** A pod as policies see it, and what that was made of. */
interface Seen {
  readonly key: string;
  readonly text: string;
  readonly pod: PolicyPod;
  /** The number of the look that saw it last. */
  look: number;
}

/** A pod of attachments. */
interface SeenOwn {
  readonly pod: PeerPod;
  readonly held: readonly Attachment[];
  readonly seen: Seen;
}

const NEVER = -1;

/** Gathers facts. */
export class PolicyFactsReader {
  readonly #o: PolicyFactsOptions;
  /** Pods of attachments as they were known last, by `podKey`: they may be deleted before they are detached. */
  readonly #own = new Map<string, PeerPod>();
  readonly #seen = new Map<string, Seen>();
  #looks = 0;
  #pods: readonly PolicyPod[] = [];
  /** Of those of attachments, what each was made of. */
  #seenOwn: ReadonlyMap<string, SeenOwn> = new Map();
  /** Those of the source, by the very object that it has. */
  #byObject = new WeakMap<PeerPod, Seen>();
  #namespaces: ReadonlyMap<string, Labels> = new Map();
  #config: NodeConfig | undefined;
  #reserved: readonly Prefix[] = [];
  /** Annotations that were warned about. */
  readonly #warned = new Set<string>();

  constructor(options: PolicyFactsOptions) {
    this.#o = options;
  }

  /** A pod that is being attached: the source may not know it yet. */
  know(pod: PeerPod): void {
    if (pod.namespace !== "") this.#own.set(podKey(pod), pod);
  }

  /** The facts as they are now. */
  read(): PolicyFacts {
    const { source, store, node } = this.#o;
    const { config, reserved } = node;
    if (config !== this.#config || reserved !== this.#reserved) this.#byObject = new WeakMap();
    [this.#config, this.#reserved] = [config, reserved];
    const attachments = store.list();
    const namespaces = new Map(
      Array.from(source.namespaces(), (namespace) => [namespace.name, namespace]),
    );
    this.#namespaces = this.#labelsOf(namespaces);
    const own = this.#ownPods(attachments);
    const containers = Map.groupBy(attachments, ({ containerId }) => containerId);
    const links = attachments.map((attachment): GuardedLink => {
      const { hostIfname, namespace, podName, containerId } = attachment;
      const pod = own.get(attachedKey(attachment));
      return {
        hostIfname,
        namespace,
        podName,
        addresses: [...new Set((containers.get(containerId) ?? []).flatMap(addressesOf))],
        pod,
        mode: this.#modeOf(pod, namespaces.get(namespace)),
      };
    });
    return { links, pods: this.#podsOf(attachments, own), namespaces: this.#namespaces };
  }

  /** The pods of attachments that are known, by `podKey`. */
  #ownPods(attachments: readonly Attachment[]): ReadonlyMap<string, PeerPod> {
    const attached = new Set(attachments.map(attachedKey));
    for (const attachment of attachments) {
      const pod = podOf(this.#o.source, attachment);
      if (pod !== undefined) this.#own.set(attachedKey(attachment), pod);
    }
    for (const key of this.#own.keys()) if (!attached.has(key)) this.#own.delete(key);
    return this.#own;
  }

  #podsOf(
    attachments: readonly Attachment[],
    own: ReadonlyMap<string, PeerPod>,
  ): readonly PolicyPod[] {
    const { source, nodeName } = this.#o;
    const look = ++this.#looks;
    const byPod = Map.groupBy(attachments, attachedKey);
    const isOwn = new Set<string>();
    const seenOwn = new Map<string, SeenOwn>();
    let isChanged = false;
    const see = (one: Seen): Seen => {
      if (one.look === look) return one;
      if (one.look !== look - 1) {
        this.#seen.set(one.key, one);
        isChanged = true;
      }
      one.look = look;
      return one;
    };
    const add = (key: string, pod: PeerPod, addresses: readonly string[]): Seen => {
      const { namespace, name, labels, hostNetwork, ports } = pod;
      const made = {
        namespace,
        name,
        labels,
        addresses,
        hostNetwork,
        ports,
        nodeName: pod.nodeName,
      };
      const text = JSON.stringify(made);
      const known = this.#seen.get(key);
      return see(known?.text === text ? known : { key, text, pod: made, look: NEVER });
    };
    for (const [key, pod] of own) {
      isOwn.add(`${pod.namespace}/${pod.name}`);
      if (pod.finished) continue;
      const held = byPod.get(key) ?? [];
      const before = this.#seenOwn.get(key);
      if (before?.pod === pod && isSameList(before.held, held)) {
        seenOwn.set(key, before);
        see(before.seen);
        continue;
      }
      const addresses = new Set(held.flatMap(addressesOf));
      const placed = pod.nodeName === undefined ? { ...pod, nodeName } : pod;
      seenOwn.set(key, { pod, held, seen: add(key, placed, [...addresses]) });
    }
    this.#seenOwn = seenOwn;
    const held = new Set(attachments.flatMap(addressesOf));
    for (const pod of source.peers()) {
      const known = this.#byObject.get(pod);
      const isOurs = pod.nodeName === nodeName && isOwn.has(`${pod.namespace}/${pod.name}`);
      if (isOurs || own.has(known?.key ?? podKey(pod))) continue;
      if (pod.nodeName === nodeName) {
        if (!pod.finished) add(podKey(pod), pod, this.#addressesLeft(pod, held));
      } else if (known !== undefined) see(known);
      // What has ended may have left its addresses to others.
      else if (!pod.finished) this.#byObject.set(pod, this.#peer(pod, add));
    }
    for (const { key, look: last } of this.#seen.values()) {
      if (last !== look) isChanged = this.#seen.delete(key);
    }
    // The whole list is the same object as long as all in it are.
    if (isChanged) this.#pods = Array.from(this.#seen.values(), ({ pod }) => pod);
    return this.#pods;
  }

  #peer(
    pod: PeerPod,
    add: (key: string, pod: PeerPod, addresses: readonly string[]) => Seen,
  ): Seen {
    const { node } = this.#o;
    // A pod that has addresses was given those of its annotations, too. They can be changed afterwards:
    // what its namespace may not have is not believed.
    const allowed = node.config?.announce.allowed;
    const asked = pod.hostNetwork || pod.addresses.length === 0
      ? []
      : askedAddresses(pod.annotations).filter((address) =>
        addressReason(address, pod.namespace, { allowed, reserved: node.reserved }) === undefined
      );
    return add(podKey(pod), pod, [...new Set([...pod.addresses, ...asked.map(formatAddress)])]);
  }

  /**
   * What a pod of this node has that is not attached: those of its node, or what it has from before flock.
   * Addresses of the node's prefixes would be attached, and one that is attached is another pod's by now.
   */
  #addressesLeft(pod: PeerPod, held: ReadonlySet<string>): readonly string[] {
    if (pod.hostNetwork) return pod.addresses;
    return pod.addresses.filter((text) => {
      const address = parseAddress(text);
      return !held.has(text) &&
        !this.#o.node.nodePrefixes.some((prefix) => contains(prefix, address));
    });
  }

  /** Labels by namespace; equal ones are the same object as before, and so is the whole. */
  #labelsOf(namespaces: ReadonlyMap<string, Namespace>): ReadonlyMap<string, Labels> {
    const before = this.#namespaces;
    const now = new Map(Array.from(namespaces, ([name, { labels }]) => {
      const known = before.get(name);
      return [name, known && JSON.stringify(known) === JSON.stringify(labels) ? known : labels];
    }));
    const isSame = now.size === before.size &&
      now.entries().every(([name, labels]) => before.get(name) === labels);
    return isSame ? before : now;
  }

  /** A pod's own annotation, else that of its namespace. */
  #modeOf(pod: PeerPod | undefined, namespace: Namespace | undefined): PolicyMode {
    if (pod === undefined) return "enforce";
    const asPod = { annotations: pod.annotations, object: `Pod ${pod.namespace}/${pod.name}` };
    const asNamespace = {
      annotations: namespace?.annotations ?? {},
      object: `Namespace ${pod.namespace}`,
    };
    for (const { annotations, object } of [asPod, asNamespace]) {
      try {
        const mode = policyModeOf(annotations);
        if (mode !== undefined) return mode;
      } catch (error) {
        const what = `${object}: ${messageOf(error)}`;
        if (!this.#warned.has(what)) {
          log.warn("Ignored policy-mode, enforcing policies", { object, err: messageOf(error) });
        }
        this.#warned.add(what);
        return "enforce";
      }
    }
    return "enforce";
  }
}

function addressesOf({ ip6, ip4, addresses = [], anycast = [] }: Attachment): readonly string[] {
  return [ip6, ip4, ...addresses, ...anycast].filter((address) => address !== undefined);
}

function isSameList(a: readonly unknown[], b: readonly unknown[]): boolean {
  return a.length === b.length && a.every((one, n) => one === b[n]);
}

function podKey({ namespace, name, uid }: Pick<PeerPod, "namespace" | "name" | "uid">): string {
  return `${namespace}/${name}/${uid}`;
}

function attachedKey({ namespace, podName, podUid }: Attachment): string {
  return `${namespace}/${podName}/${podUid}`;
}
