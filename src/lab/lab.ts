/**
 * A lab: a router, a client behind it, and nodes, each a network namespace of this machine, wired as in
 * `plan.ts`. The router's daemon, BIRD, the agents and the plugin are the real ones. For the demo, the
 * tests and the benches. Needs root.
 *
 * @module
 */
import { Host } from "./host.ts";
import type { Background } from "./background.ts";
import { wireHosts } from "./network.ts";
import { type LabSource, Node, type NodeSite, writeManifest } from "./node.ts";
import { ANYCAST_SPACE, type LabPlan, type NodePlan, planLab, type PlanOptions } from "./plan.ts";
import { Reaper } from "./reaper.ts";
import { Router, type RouterKind } from "./router.ts";
import type { WaitOptions } from "./wait.ts";

export interface LabOptions extends PlanOptions {
  /** Path of the flock executable. */
  readonly executable: string;
  /** `bird` unless told. */
  readonly router?: RouterKind;
  /** Lines for the routing daemon's configuration, in its own language. */
  readonly extraRouterConfig?: string;
  /** Keys of a node's `spec` in its NodeConfig, over the usual ones. */
  readonly spec?: (node: NodePlan) => Readonly<Record<string, unknown>>;
  /** Further arguments of every agent. */
  readonly agentArgs?: readonly string[];
  readonly signal?: AbortSignal;
}

/**
 * Makes a lab with its router running; agents and BIRD of the nodes are started by `start`, or one by
 * one.
 *
 * @throws {Error} when something cannot be made; nothing is left behind then
 */
export async function createLab(options: LabOptions): Promise<Lab> {
  const plan = planLab(options);
  await using undo = new AsyncDisposableStack();
  const lab = undo.use(new Lab(options, plan, await Reaper.start()));
  await lab.build(options);
  options.signal?.throwIfAborted();
  undo.move();
  return lab;
}

export class Lab implements AsyncDisposable {
  readonly switch: Host;
  readonly router: Router;
  readonly client: Host;
  readonly nodes: readonly Node[];
  readonly #reaper: Reaper;
  readonly #site: NodeSite;
  #pods = 0;

  /** Use `createLab`. */
  constructor(options: LabOptions, readonly plan: LabPlan, reaper: Reaper) {
    this.#reaper = reaper;
    this.#site = {
      id: reaper.id,
      dir: reaper.dir,
      processes: [],
      executable: options.executable,
      manifestsDir: `${reaper.dir}/manifests`,
      agentArgs: options.agentArgs ?? [],
      nextPod: () => ++this.#pods,
    };
    this.switch = new Host(this.#site, "sw");
    this.client = new Host(this.#site, "cli");
    this.router = new Router(
      this.#site,
      plan,
      options.router ?? "bird",
      options.extraRouterConfig ?? "",
    );
    this.nodes = plan.nodes.map((node) => new Node(this.#site, node));
  }

  /** Prefix of its namespaces, name of its directory. */
  get id(): string {
    return this.#site.id;
  }
  get dir(): string {
    return this.#site.dir;
  }
  /** Every background process that was started, ended or not. */
  get processes(): readonly Background[] {
    return this.#site.processes;
  }

  /** The node of a name. @throws {RangeError} when there is none */
  node(name: string): Node {
    const node = this.nodes.find((node) => node.name === name);
    if (node === undefined) throw new RangeError(`Cannot find node "${name}": the lab has no such`);
    return node;
  }

  /**
   * Has the agents that start from now on read something else than the directory of manifests. It goes
   * with the lab.
   */
  useSource(source: LabSource): void {
    this.#site.source = source;
  }

  /** Makes namespaces, wires and manifests, and starts the router. */
  async build(options: LabOptions): Promise<void> {
    const { router, client, nodes } = this;
    await wireHosts({ switch: this.switch, router, client, nodes }, this.plan);
    options.signal?.throwIfAborted();
    await Deno.mkdir(this.#site.manifestsDir);
    for (const node of this.plan.nodes) {
      const spec = { ...usualSpec(this.plan, node), ...options.spec?.(node) };
      await writeManifest(this.#site.manifestsDir, `nodeconfig-${node.name}.json`, [{
        apiVersion: "flock.fritzlab.net/v1alpha1",
        kind: "NodeConfig",
        metadata: { name: node.name },
        spec,
      }]);
    }
    await router.start();
  }

  /** Starts BIRD and agent of every node and waits until all are ready and all sessions established. */
  async start(options: WaitOptions = {}): Promise<void> {
    await Promise.all(this.nodes.map(async (node) => {
      await Promise.all([node.startBird(), node.startAgent()]);
      await node.waitReady(options);
    }));
    await this.router.waitSessions(undefined, { timeoutMs: 30_000, ...options });
  }

  /** The last lines of every log, for a failure's report. */
  async tails(lines: number): Promise<string> {
    // One that was started again goes on in the log of the one before.
    const latest = new Map(this.processes.map((process) => [process.log, process]));
    const parts = await Promise.all(
      Array.from(
        latest.values(),
        async (process) =>
          `--- ${process.log}${process.running ? "" : " (ended)"}\n${await process.tail(lines)}\n`,
      ),
    );
    return parts.join("");
  }

  /** Ends its processes and removes its namespaces and its directory; resolves when they are gone. */
  async [Symbol.asyncDispose](): Promise<void> {
    // It reads the directory, which is about to go.
    await this.#site.source?.[Symbol.asyncDispose]();
    await this.#reaper[Symbol.asyncDispose]();
    // Dead by now; this takes note of it.
    await Promise.all(this.processes.map((process) => process.stop("SIGKILL")));
  }
}

function usualSpec(plan: LabPlan, node: NodePlan): Record<string, unknown> {
  const { ipv6, ipv4 } = node.prefixes;
  return {
    cidr6: ipv6 === undefined ? [] : [ipv6],
    cidr4: ipv4 === undefined ? [] : [ipv4],
    defaults: { ipv6: ipv6 !== undefined, ipv4: ipv4 !== undefined },
    bgp: {
      asn: node.asn,
      peers: Object.values(plan.router.addresses).map((address) => ({
        address,
        asn: plan.router.asn,
      })),
    },
    announce: {
      allowed: plan.families.map((family) => ({ cidr: ANYCAST_SPACE[family], namespaces: ["*"] })),
    },
  };
}
