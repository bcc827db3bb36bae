/**
 * A node of the walk: its NodeConfig, its agent and its BIRD.
 *
 * @module
 */
import { createBirdc } from "../../src/io/birdc.ts";
import type { Lab } from "../../src/lab/lab.ts";
import type { Node } from "../../src/lab/node.ts";
import { until } from "../../src/lab/wait.ts";
import type { Allowed, ModelNode } from "./anycast_model.ts";
import type { WalkPod } from "./anycast_walk_pod.ts";

/** Of a NodeConfig's spec, what changes. */
export interface WalkConfig {
  readonly prefixes: readonly string[];
  readonly allowed: readonly Allowed[] | undefined;
}

export class WalkNode {
  readonly pods: WalkPod[] = [];
  /** Of pods that are on their way out. */
  #leaving: Promise<void>[] = [];
  #agentRuns = true;
  #bird: Promise<void> = Promise.resolve();
  #configs: WalkConfig[] = [];
  #earlier: readonly WalkConfig[] = [];

  constructor(readonly node: Node, readonly lab: Lab) {}

  /** The NodeConfigs of now and not long ago: an ADD may have met any of them. */
  get recent(): readonly WalkConfig[] {
    return [...this.#earlier, ...this.#configs];
  }

  get agentRuns(): boolean {
    return this.#agentRuns;
  }

  get model(): ModelNode {
    return {
      ...this.#configs.at(-1)!,
      gateways: Object.values(this.node.plan.addresses),
      pods: this.pods.map((pod) => pod.model),
    };
  }

  /** Writes a NodeConfig. */
  async configure(config: WalkConfig): Promise<void> {
    this.#configs.push(config);
    const { lab: { plan }, node } = this;
    const peers = Object.values(plan.router.addresses)
      .map((address) => ({ address, asn: plan.router.asn }));
    await node.writeManifest(`nodeconfig-${node.name}.json`, [{
      apiVersion: "flock.fritzlab.net/v1alpha1",
      kind: "NodeConfig",
      metadata: { name: node.name },
      spec: {
        cidr6: config.prefixes.filter((prefix) => prefix.includes(":")),
        cidr4: config.prefixes.filter((prefix) => !prefix.includes(":")),
        bgp: { asn: node.plan.asn, peers },
        announce: config.allowed && { allowed: config.allowed },
      },
    }]);
  }

  async removePod(pod: WalkPod, objectFirst: boolean): Promise<void> {
    this.pods.splice(this.pods.indexOf(pod), 1);
    await pod.remove(objectFirst);
    this.#leaving.push(pod.settled());
  }

  async startAgent(): Promise<void> {
    if (this.#agentRuns) return;
    this.#agentRuns = true;
    await this.node.startAgent();
  }

  async stopAgent(signal: Deno.Signal): Promise<void> {
    this.#agentRuns = false;
    await this.node.stopAgent(signal);
  }

  /** Has BIRD end and start again, after the restarts that are under way. */
  restartBird(graceful: boolean): void {
    this.#bird = this.#bird.then(() => restartBird(this.node, graceful));
    // Whoever waits for it is told; until then it is nobody's.
    this.#bird.catch(() => {});
  }

  /** Has an agent run, and waits for what runtimes and restarts are at. */
  async settle(): Promise<void> {
    await this.startAgent();
    await this.#bird;
    for (const pod of this.pods) await pod.settled();
    await Promise.all(this.#leaving.splice(0));
    await this.node.agent?.assertRunning();
    await this.node.bird?.assertRunning();
  }

  /** All agree on the present: of what was before, only this is still recent. */
  agreed(): void {
    this.#earlier = this.#configs;
    this.#configs = this.#configs.slice(-1);
  }
}

async function restartBird(node: Node, graceful: boolean): Promise<void> {
  const birdc = createBirdc({ socket: node.birdSocket });
  const answers = (): Promise<boolean> => birdc.status().then(() => true, () => false);
  // One that is only starting cannot be asked to end.
  await until(`BIRD of ${node.name}`, answers);
  if (graceful) await birdc.gracefulRestart();
  else await node.stopBird("SIGKILL");
  // Its watcher kills BIRD a moment later.
  await until(`the end of BIRD of ${node.name}`, async () => !await answers());
  await node.bird?.ended;
  await node.startBird();
}
