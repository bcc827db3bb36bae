/**
 * Attachments: ADD, DEL, CHECK and GC as operations on the store, the kernel and the allocator.
 *
 *     ADD   pod → addresses held → stored "pending" → wired → stored "committed" → result
 *     DEL   unwired → connections forgotten → forgotten → addresses released
 *
 * One way back: whatever an ADD did, at whatever step it failed or was killed, is undone by the same
 * `#detach` that does a DEL. A pending entry is on disk before the first link is made, so a restarted
 * agent knows what to tear down.
 *
 * @module
 */
import type { PodOptions } from "../core/annotations.ts";
import { type Attachment, attachmentKey } from "../core/attachment.ts";
import { type Address, formatAddress } from "../core/cidr.ts";
import type { AttachmentId, NetConf, PodReference } from "../core/cni.ts";
import type { CniResult } from "../core/cni_result.ts";
import { routeProtocol } from "../core/desired_state.ts";
import { CniCode, CniError, messageOf } from "../core/errors.ts";
import type { Ipam } from "../core/ipam.ts";
import type { ClusterSource, Pod } from "../core/objects.ts";
import { hostIfnameOf, podBatch, type Wiring } from "../core/wiring.ts";
import { podSysctlWrites } from "../core/wiring_check.ts";
import type { Ip } from "../io/ip.ts";
import type { NetworkNamespaces } from "../io/netns.ts";
import type { Store } from "../io/store.ts";
import { log } from "../log.ts";
import { readSurroundings, type Surroundings } from "./address_guard.ts";
import { addressesOf, chooseAddresses, podOptions } from "./addressing.ts";
import { checkAttachment } from "./attachment_check.ts";
import { resultOf, wiringOf } from "./attachment_wiring.ts";
import type { ForgetConnections } from "./connections.ts";
import { wireHost } from "./host_wiring.ts";
import { KeyLock } from "./key_lock.ts";
import type { NodeState } from "./node_state.ts";
import { deleteStrayLink, detach, stored } from "./detachment.ts";
import { findPod, podless } from "./pod_lookup.ts";
import { adopt, findAttachment, inSandbox } from "./recovery.ts";
import { deadOf, leadsTo, withoutNetns } from "./sandboxes.ts";
import { NO_STEPS, type Steps } from "./tracing.ts";

/** One ADD. */
export interface AddRequest extends AttachmentId {
  readonly netns: string;
  readonly conf: NetConf;
  /** Undefined: the container is of no pod. */
  readonly pod?: PodReference;
}

export interface PodNetworkOptions {
  readonly node: NodeState;
  readonly nodeName: string;
  readonly source: ClusterSource;
  readonly store: Store;
  readonly ipam: Ipam;
  readonly ip: Ip;
  readonly netns: NetworkNamespaces;
  readonly now: () => Date;
  /** DELs that wait on disk, for what was attached when they came. */
  readonly queue: {
    has(id: AttachmentId): Promise<boolean>;
    remove(id: AttachmentId): Promise<void>;
  };
  /** Called after every attachment that came or went. */
  readonly onChange: (attachment: Attachment) => void;
  /** Withdraws what leads to an attachment; it is about to be detached. */
  readonly withdraw: (attachment: Attachment) => Promise<void>;
  /** Forgets the connections of addresses that nobody has any more, or nobody yet. */
  readonly forget: ForgetConnections;
  /** Has the kernel enforce the policies of a pod whose attachment is stored as pending. */
  readonly admit: (pod: Pod, signal: AbortSignal) => Promise<void>;
  /** Why that would fail now; undefined when it would not, or when it is worth a try. */
  readonly notAdmitting: () => string | undefined;
  /** Called for each attachment that nobody had detached. */
  readonly onLeak?: (source: keyof typeof LEAKS) => void;
}

/** What is said of attachments that nobody detached, by who found them. */
const LEAKS = {
  cni_gc: "Collected garbage",
  unfinished: "Tore down unfinished attachment",
  sandbox: "Released attachment of a dead sandbox",
} as const;

/** The attachments of this node. */
export class PodNetwork {
  readonly #o: PodNetworkOptions;
  readonly #lock = new KeyLock();
  #knewPolicies = false;

  constructor(options: PodNetworkOptions) {
    this.#o = options;
    for (const attachment of options.store.list()) {
      for (const address of addressesOf(attachment)) options.ipam.markUsed(address);
    }
    options.ipam.restoreLastGiven(options.store.lastGiven());
  }

  /** Why no pods should be given to this node now; undefined when they can be. */
  get notReady(): string | undefined {
    // An ADD tries nevertheless: it may be the one that finds the trouble over.
    return this.#missing ?? this.#o.notAdmitting();
  }

  /** What has to be known before an ADD can be tried; undefined when it is. */
  get #missing(): string | undefined {
    const { node, nodeName, source } = this.#o;
    if (!source.synced) return "its caches are not in sync yet";
    // Only at first: later an ADD waits for what is missing.
    this.#knewPolicies ||= source.policiesSynced;
    if (!this.#knewPolicies) {
      const why = source.policiesProblem;
      return `policies are not known yet${why === undefined ? "" : `: ${why}`}`;
    }
    if (node.config === undefined) {
      return node.error ?? `there is no NodeConfig "${nodeName}"`;
    }
    if (node.nodePrefixes.length === 0) return `NodeConfig "${nodeName}" has no prefix`;
    return undefined;
  }

  /**
   * Attaches a container. Asked again, gives the same answer.
   *
   * @param signal aborts when nobody waits for the answer any more: everything is undone
   * @param steps is told of each step
   * @throws {CniError}
   */
  add(request: AddRequest, signal: AbortSignal, steps: Steps = NO_STEPS): Promise<CniResult> {
    const cancelled = new AbortController();
    const either = AbortSignal.any([signal, cancelled.signal]);
    return this.#lock.run(
      attachmentKey(request),
      () => this.#attach(request, either, steps),
      (reason) => cancelled.abort(reason),
    );
  }

  /** Detaches a container; one that is not attached is no error. An ADD under way is undone. */
  del(id: AttachmentId): Promise<void> {
    const key = attachmentKey(id);
    const reason = `Cannot attach container "${key}": it was deleted meanwhile`;
    this.#lock.cancel(key, new CniError(CniCode.unknownContainer, reason));
    return this.#lock.run(key, () => this.#detach(id));
  }

  /** Makes a DEL true that waits on disk. False when an ADD has done that meanwhile. */
  replay(id: AttachmentId): Promise<boolean> {
    return this.#lock.run(attachmentKey(id), () => this.#takeFromQueue(id));
  }

  async #takeFromQueue(id: AttachmentId): Promise<boolean> {
    const { queue } = this.#o;
    if (!await queue.has(id)) return false;
    await this.#detach(id);
    await queue.remove(id);
    return true;
  }

  async #detach(id: AttachmentId): Promise<void> {
    const attachment = findAttachment(this.#o.store, id);
    if (attachment === undefined) return await deleteStrayLink(id, this.#o);
    await detach(attachment, this.#o);
    this.#o.onChange(attachment);
  }

  /**
   * Compares an attachment with what it should be.
   *
   * @throws {CniError} code 104 naming everything that is missing or different
   */
  check(id: AttachmentId, netns: string, prevResult: CniResult): Promise<void> {
    const key = attachmentKey(id);
    return this.#lock.run(key, async () => {
      const { store, ip, node } = this.#o;
      const attachment = findAttachment(store, id);
      if (attachment?.state !== "committed") {
        throw new CniError(
          CniCode.unknownContainer,
          `Cannot check attachment "${key}": it is not known`,
        );
      }
      const whole = attachment.netns === "" ? await inSandbox(attachment, netns, ip) : attachment;
      const protocolOf = (address: Address): number =>
        routeProtocol(address, whole, {
          nodePrefixes: node.nodePrefixes,
          allowed: node.config?.announce.allowed,
          reserved: node.reserved,
        });
      await checkAttachment(whole, netns, prevResult, {
        ip,
        namespaces: this.#o.netns,
        protocolOf,
      });
    });
  }

  /**
   * Detaches what of a network is not in the list of valid attachments. An empty list could be a runtime's mistake:
   * then only what has lost its namespace goes.
   *
   * @throws {AggregateError} after having tried all
   */
  async collectGarbage(network: string, valid: readonly AttachmentId[] | null): Promise<void> {
    const { store, netns } = this.#o;
    const found = (valid ?? []).map((id) => findAttachment(store, id));
    const ours = store.list().filter((a) =>
      a.state === "committed" && (a.network ?? network) === network
    );
    const garbage = found.length > 0
      ? ours.filter((a) => !found.includes(a))
      : await withoutNetns(ours, netns);
    await this.#detachAll(garbage, "cni_gc");
  }

  /**
   * Tears down what an ADD left half-done: after a crash, or where undoing failed.
   *
   * @throws {AggregateError} after having tried all
   */
  async detachPending(): Promise<void> {
    const pending = this.#o.store.list().filter(({ state }) => state === "pending");
    await this.#detachAll(pending, "unfinished");
  }

  async #detachAll(
    attachments: readonly Attachment[],
    source: keyof typeof LEAKS,
  ): Promise<void> {
    const results = await Promise.allSettled(
      attachments.filter((a) => !this.#lock.isBusy(attachmentKey(a))).map((attachment) =>
        this.#lock.run(attachmentKey(attachment), async () => {
          const { namespace, podName, containerId, ifname } = attachment;
          await detach(attachment, this.#o);
          log.info(LEAKS[source], { pod: `${namespace}/${podName}`, containerId, ifname });
          this.#o.onLeak?.(source);
          this.#o.onChange(attachment);
        })
      ),
    );
    const errors = results.filter((r) => r.status === "rejected").map((r) => r.reason);
    if (errors.length > 0) {
      throw new AggregateError(
        errors,
        `Cannot detach ${errors.length} attachments: ${errors.map(messageOf).join("; ")}`,
      );
    }
  }

  async #attach(
    request: AddRequest,
    signal: AbortSignal,
    { step }: Steps,
  ): Promise<CniResult> {
    signal.throwIfAborted();
    const { store, ip, node, nodeName, source } = this.#o;
    await this.#takeFromQueue(request);
    const existing = findAttachment(store, request);
    if (existing?.state === "committed" && await leadsTo(request.netns, existing, this.#o)) {
      return existing.result as CniResult;
    }
    if (existing?.state === "committed" && existing.netns === "") {
      return await adopt(existing, request, this.#o);
    }
    const missing = this.#missing;
    if (missing !== undefined) {
      throw new CniError(CniCode.tryAgainLater, `Cannot attach container: ${missing}`);
    }
    // A path that leads nowhere takes nothing away.
    if (existing?.state === "committed") await ip.runPod(request.netns, { batch: [] });
    if (existing !== undefined) await detach(existing, this.#o);
    const { pod, options, surroundings } = await step("lookup", async () => {
      const pod = request.pod === undefined
        ? podless(request)
        : await findPod(source, request.pod, { node: nodeName, signal });
      await this.#takeOver(pod, request);
      const options = podOptions(pod, node.config!);
      const surroundings = await readSurroundings(options, { source, ip, nodeName, signal });
      return { pod, options, surroundings };
    });
    const { attachment, wiring, pending } = step(
      "allocate",
      () => this.#reserve(request, { pod, options, surroundings }),
    );
    // All that was begun. It is undone only when none of it goes on: what comes later would stay.
    const begun: Promise<void>[] = [];
    try {
      // Both processes start now and wait for their turn: stored, node's end, pod's end.
      const wait = (step: Promise<void>): Promise<void> => {
        const checked = step.then(() => signal.throwIfAborted());
        // Held at once: a step that fails while another cannot be begun is waited for below.
        checked.catch(() => {});
        begun.push(checked);
        return checked;
      };
      const isStored = wait(step("store", () => pending));
      const isEnforced = wait(step("enforce", () => this.#o.admit(pod, signal)));
      // Of an address that was another node's this node may know connections: its pods', and what it forwarded.
      const isUnknown = wait(this.#o.forget(options.addresses));
      // Its first packet, either way, already meets its rules.
      const isReady = wait(Promise.all([isStored, isEnforced, isUnknown]).then(() => {}));
      const isOnNode = wait(
        step(
          "wire node",
          () => wireHost(wiring, { ip, nodePrefixes: node.nodePrefixes, after: isReady }),
          isReady,
        ),
      );
      await wait(step("wire pod", () =>
        ip.runPod(wiring.netns, {
          batch: podBatch(wiring),
          sysctls: podSysctlWrites(wiring),
          after: isOnNode,
        }), isOnNode));
      const result = resultOf(wiring, request.conf.dns);
      await step("commit", () => stored(store.put({ ...attachment, state: "committed", result })));
      signal.throwIfAborted();
      this.#o.onChange(attachment);
      return result;
    } catch (error) {
      await Promise.allSettled(begun);
      await this.#undo(attachment);
      throw error;
    }
  }

  /**
   * Releases what dead sandboxes of a pod left, whose DEL never came: their addresses are its own. One that
   * cannot be released goes on holding them.
   */
  async #takeOver({ namespace, name }: Pod, { containerId }: AddRequest): Promise<void> {
    const { store } = this.#o;
    const others = store.list().filter((a) =>
      namespace !== "" && a.namespace === namespace && a.podName === name &&
      a.state === "committed" && a.containerId !== containerId
    );
    const dead = await deadOf(others, this.#o);
    await this.#detachAll(dead.filter((a) => store.get(attachmentKey(a)) === a), "sandbox")
      .catch((error) =>
        log.warn("Could not release dead sandbox", { pod: `${namespace}/${name}`, err: error })
      );
  }

  /** Holds addresses and a name, and begins to store them; all in one turn, so that none is given twice. */
  #reserve(
    request: AddRequest,
    { pod, options, surroundings }: {
      readonly pod: Pod;
      readonly options: PodOptions;
      readonly surroundings: Surroundings;
    },
  ): { attachment: Attachment; wiring: Wiring; pending: Promise<void> } {
    const { node, ipam, store } = this.#o;
    const { containerId, ifname, netns, conf } = request;
    const attachments = store.list();
    const mtu = node.mtu(conf.mtu);
    const context = { node, ipam, attachments, surroundings };
    const chosen = chooseAddresses({ pod, options, containerId }, context);
    const attachment: Attachment = {
      containerId,
      ifname,
      namespace: pod.namespace,
      podName: pod.name,
      podUid: pod.uid,
      ownerUid: pod.owner?.uid,
      network: conf.name,
      hostIfname: hostIfnameOf(request, (name) => attachments.some((a) => a.hostIfname === name)),
      netns,
      ip6: chosen.primary.ipv6,
      ip4: chosen.primary.ipv4,
      anycast: chosen.anycast.length > 0 ? chosen.anycast : undefined,
      addresses: chosen.extra.length > 0 ? chosen.extra : undefined,
      asked: options.addresses.length > 0 ? options.addresses.map(formatAddress) : undefined,
      state: "pending",
      allocatedAt: this.#o.now().toISOString(),
    };
    return {
      attachment,
      wiring: wiringOf(attachment, mtu),
      pending: stored(store.put(attachment, ...chosen.lastGiven)),
    };
  }

  async #undo(attachment: Attachment): Promise<void> {
    try {
      await detach(attachment, this.#o);
      this.#o.onChange(attachment);
    } catch (error) {
      // Still stored as pending: the periodic pass tries again.
      log.error("Could not undo attachment", {
        containerId: attachment.containerId,
        ifname: attachment.ifname,
        err: error,
      });
    }
  }
}
