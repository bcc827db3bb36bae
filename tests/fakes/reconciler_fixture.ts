/**
 * A reconciler with a kernel, a cluster and a clock in memory: node `n1` with a prefix of each family and
 * pods `default/p<n>` that share an anycast address.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import { ChangeLog } from "../../src/agent/change_log.ts";
import { KernelSync } from "../../src/agent/kernel_sync.ts";
import { NodeState } from "../../src/agent/node_state.ts";
import { Reconciler } from "../../src/agent/reconciler.ts";
import { Turns } from "../../src/agent/turns.ts";
import type { Refusal } from "../../src/core/anycast.ts";
import type { Transition } from "../../src/core/anycast_transitions.ts";
import type { Attachment } from "../../src/core/attachment.ts";
import type { BirdInput } from "../../src/core/bird_config.ts";
import type { Prefix } from "../../src/core/cidr.ts";
import { configureLog } from "../../src/log.ts";
import { attachment, linkName, readyPod } from "../attachments.ts";
import { FakeClock, FakePulse } from "./fake_clock.ts";
import { FakeIp } from "./fake_ip.ts";
import { FakeSource } from "./fake_source.ts";

/** The address that the pods share. */
export const ANY = "2001:db8:ffff::53";
export const CONFIG = { cidr6: ["2001:db8:f001::/64"], cidr4: ["10.244.1.0/24"] };

export class ReconcilerFixture implements AsyncDisposable {
  readonly ip = new FakeIp();
  readonly clock = new FakeClock();
  readonly source = new FakeSource();
  readonly changes = new ChangeLog(() => new Date(0));
  readonly kernel = new KernelSync({ ip: this.ip, sticky: true, changes: this.changes });
  readonly node: NodeState;
  readonly reconciler: Reconciler;
  readonly attachments = new Map<number, Attachment>();
  /** What BIRD runs: the texts it was given, and whether it has taken the last one over. */
  readonly birdTexts: string[] = [];
  birdApplied = true;
  refused: readonly Refusal[] = [];
  readonly turns = new Turns();
  /** Transitions of anycast addresses, and the seconds each took. */
  readonly timed: (readonly [Transition, number])[] = [];
  /** Level and message of each line above `debug`. */
  readonly logged: string[] = [];
  readonly #dir = Deno.makeTempDirSync({ prefix: "flock-reconciler-" });
  readonly #stop = new AbortController();
  #running: Promise<void> | undefined;

  private constructor(intervalMs: number) {
    configureLog({
      level: "info",
      format: "json",
      write: (line) => {
        const { level, msg } = JSON.parse(line);
        this.logged.push(`${level} ${msg}`);
      },
    });
    this.ip.addLink("eth0");
    this.node = new NodeState("n1", this.#dir);
    this.reconciler = new Reconciler({
      kernel: this.kernel,
      sysctls: { sync: () => Promise.resolve(undefined), isBehind: false },
      store: { list: () => [...this.attachments.values()] },
      source: this.source,
      node: this.node,
      bgpInput: {
        gather: (kept, { retiring = [] } = {}) => Promise.resolve(this.#birdInput(kept, retiring)),
        ways: () => Promise.resolve({ peers: [], routes: new Map() }),
      },
      speaker: {
        apply: (text) => void (this.birdTexts.at(-1) !== text && this.birdTexts.push(text)),
        state: this.#speakerState(),
      },
      drained: () => false,
      onRefusals: (refused) => void (this.refused = refused),
      changes: this.changes,
      intervalMs,
      now: this.clock.now,
      pulse: new FakePulse(this.clock),
      turns: this.turns,
      onTransitions: (transitions, seconds) =>
        void this.timed.push(...transitions.map((one) => [one, seconds] as const)),
    });
  }

  /** A fixture whose pods are attached and Ready, and whose loop does not run yet. */
  static async create(
    options: {
      readonly pods?: number;
      readonly config?: Readonly<Record<string, unknown>>;
      readonly intervalMs?: number;
    } = {},
  ): Promise<ReconcilerFixture> {
    const f = new ReconcilerFixture(options.intervalMs ?? 0);
    await f.configure(options.config ?? CONFIG);
    for (let n = 1; n <= (options.pods ?? 1); n++) f.attach(n);
    return f;
  }

  /** Takes over a NodeConfig. */
  async configure(config: Readonly<Record<string, unknown>>): Promise<void> {
    this.source.putConfig("n1", config);
    await this.node.update(this.source);
  }

  /** Runs the loop. */
  start(): void {
    this.source.onChange(() => this.reconciler.markPodsChanged(this.clock.now()));
    this.#running = this.reconciler.run(this.#stop.signal);
  }

  /** Attaches a pod that is Ready, with its link. */
  attach(n: number, change: Partial<Attachment> = {}): Attachment {
    const host = n.toString(16);
    const one = attachment(n, {
      hostIfname: linkName(0).slice(0, -4) + host.padStart(4, "0"),
      ip6: `2001:db8:f001::${host}`,
      ip4: `10.244.1.${n + 1}`,
      anycast: [ANY],
      ...change,
    });
    this.ip.addLink(one.hostIfname);
    this.attachments.set(n, one);
    this.source.put(readyPod(one));
    return one;
  }

  setReady(n: number, ready: boolean): void {
    this.source.put({ ...readyPod(this.attachments.get(n)!), ready });
  }

  /** Lets everything that can go on without the clock go on. */
  async settle(): Promise<void> {
    for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setTimeout(resolve, 0));
  }

  /** Moves the clock, and lets go on what waited for it. */
  async advance(ms: number): Promise<void> {
    this.clock.advance(ms);
    await this.settle();
  }

  /** Whether the shared address has its route. */
  get isRouted(): boolean {
    return this.ip.routes.includes(`${ANY}/128 group 144 16`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#running;
    Deno.removeSync(this.#dir, { recursive: true });
    assertEquals(this.ip.mostAtOnce <= 1, true, "the kernel is read and changed by one at a time");
    this.ip[Symbol.dispose]();
  }

  #speakerState(): { readonly applied: boolean; reloads: number; failures: number } {
    const isApplied = (): boolean => this.birdApplied;
    return {
      get applied() {
        return isApplied();
      },
      reloads: 0,
      failures: 0,
    };
  }

  #birdInput(kept: readonly Prefix[], retiring: readonly Prefix[]): BirdInput | undefined {
    if (this.node.config === undefined) return undefined;
    return {
      routerId: "198.51.100.11",
      allowLocalAs: false,
      nodePrefixes: [...this.node.nodePrefixes, ...retiring],
      import: [],
      connected: [],
      reserved: [],
      announceAllowed: kept,
      peers: [],
    };
  }
}

/** Something that is held until it is let go. */
export function gate(): { readonly held: Promise<void>; readonly release: () => void } {
  const { promise, resolve } = Promise.withResolvers<void>();
  return { held: promise, release: resolve };
}
