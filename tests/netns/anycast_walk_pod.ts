/**
 * A pod of the walk, with the runtime that attaches and detaches it: one thing after the other, each
 * request made again until it is answered, as kubelets and runtimes do.
 *
 * @module
 */
import { ANNOTATION_PREFIX } from "../../src/core/config.ts";
import { CniCode, CniError } from "../../src/core/errors.ts";
import { AgentAbsentError } from "../../src/io/socket.ts";
import type { Pod, PodResult } from "../../src/lab/pod.ts";
import { delay } from "../../src/lab/wait.ts";
import { mayAttach, type ModelPod } from "./anycast_model.ts";
import type { WalkNode } from "./anycast_walk_node.ts";
import { ask, hostIfname } from "./node_probe.ts";

/** How long a runtime goes on asking, in milliseconds. */
const PATIENCE_MS = 60_000;
/** What is answered differently when it is asked again. */
const PASSING: readonly number[] = [CniCode.tryAgainLater, CniCode.io];

export interface WalkPodOptions {
  readonly name: string;
  readonly namespace: string;
  readonly ready: boolean;
  readonly anycast: readonly string[];
  readonly asked: readonly string[];
  readonly weight: number;
}

/** Of the Pod object, what changes. */
interface PodState {
  readonly ready: boolean;
  readonly terminating: boolean;
}

export class WalkPod {
  readonly dev: string;
  state: PodState;
  #addresses: readonly string[] = [];
  #linked = true;
  #touched = false;
  #work: Promise<void> = Promise.resolve();

  private constructor(
    readonly walk: WalkNode,
    readonly options: WalkPodOptions,
    readonly pod: Pod,
  ) {
    this.dev = hostIfname(pod);
    this.state = { ready: options.ready, terminating: false };
  }

  /** Makes the pod's object and its sandbox. */
  static async create(walk: WalkNode, options: WalkPodOptions): Promise<WalkPod> {
    const { name, namespace, ready, anycast, asked, weight } = options;
    const annotations = Object.entries({
      anycast: anycast.join(","),
      addresses: asked.join(","),
      // One is what is taken without the annotation.
      "anycast-weight": weight === 1 ? "" : String(weight),
    }).filter(([, value]) => value !== "").map(([key, value]) => [ANNOTATION_PREFIX + key, value]);
    const pod = await walk.node.createPod({
      name,
      namespace,
      ready,
      annotations: Object.fromEntries(annotations),
    });
    return new WalkPod(walk, options, pod);
  }

  get name(): string {
    return this.options.name;
  }

  get model(): ModelPod {
    return {
      ...this.options,
      dev: this.dev,
      addresses: this.#addresses,
      eligible: this.state.ready && !this.state.terminating,
      linked: this.#linked,
    };
  }

  /** Resolves when the runtime is done with what it was told so far. */
  settled(): Promise<void> {
    return this.#work;
  }

  /** Changes the pod's object; says what it is now. */
  async set(change: Partial<PodState>): Promise<string> {
    this.state = { ...this.state, ...change };
    await this.walk.node.updatePod(this.pod, this.state);
    return `${this.state.ready ? "" : "not "}ready${this.state.terminating ? ", terminating" : ""}`;
  }

  /** Has the runtime attach it. Where it may not announce what it asks for, that is refused. */
  attach(): void {
    this.#then(async () => {
      const answer = await this.#ask("ADD");
      const may = this.walk.recent.map((config) => mayAttach(config, this.options));
      if (answer instanceof CniError) {
        // An object that went meanwhile is unknown.
        const gone = answer.code === CniCode.unknownContainer && !this.walk.pods.includes(this);
        const refused = answer.code === CniCode.addressRefused && may.includes(false);
        if (!gone && !refused) throw answer;
        return;
      }
      if (!may.includes(true)) {
        throw new Error(`Cannot expect ADD of "${this.name}": it should have been refused`);
      }
      this.pod.result = answer;
      this.#addresses = (answer.ips ?? []).map(({ address }) => address.split("/")[0]!);
    });
  }

  /** Has the runtime detach it and remove its sandbox; its object goes before that or after it. */
  async remove(objectFirst: boolean): Promise<void> {
    const { node } = this.walk;
    const removeObject = (): Promise<void> => node.writeManifest(`pod-${this.name}.json`, []);
    if (objectFirst) await removeObject();
    this.#then(async () => {
      const answer = await this.#ask("DEL");
      if (answer instanceof CniError) throw answer;
      if (!objectFirst) await removeObject();
      await this.pod.remove();
      node.pods.splice(node.pods.indexOf(this.pod), 1);
    });
  }

  /**
   * CHECK, where somebody touched the link since the last one.
   *
   * @throws {Error} with what the plugin said
   */
  async check(): Promise<void> {
    if (!this.#touched || !this.#linked || this.#addresses.length === 0) return;
    await this.walk.node.check(this.pod);
    this.#touched = false;
  }

  /** Sets its link down and perhaps up again; nothing without a link. */
  setLink(...steps: readonly ("down" | "up")[]): void {
    this.#then(async () => {
      this.#touched = true;
      for (const step of steps) {
        await this.walk.node.attempt(["ip", "link", "set", this.dev, step]);
      }
    });
  }

  /** Deletes its link, once it has one. */
  deleteLink(): void {
    this.#then(async () => {
      if (this.#addresses.length === 0) return;
      await this.walk.node.attempt(["ip", "link", "del", this.dev]);
      this.#linked = false;
    });
  }

  /** What the agent answers, or the plugin, which has a way without an agent. */
  async #ask(verb: "ADD" | "DEL"): Promise<PodResult | CniError> {
    const { node } = this.walk;
    const end = performance.now() + PATIENCE_MS;
    for (;;) {
      try {
        return await ask(node, verb, this.pod) as unknown as PodResult;
      } catch (error) {
        const absent = error instanceof AgentAbsentError;
        if (absent && verb === "DEL" && (await node.cni("DEL", this.pod)).code === 0) {
          return {} as PodResult;
        }
        if (!absent && !(error instanceof CniError)) throw error;
        if (!absent && !PASSING.includes(error.code)) return error;
        if (performance.now() > end) throw error;
      }
      await delay(50);
    }
  }

  #then(work: () => Promise<void>): void {
    this.#work = this.#work.then(work);
    // Whoever waits for it is told; until then it is nobody's.
    this.#work.catch(() => {});
  }
}
