/**
 * A cluster to which things happen: pods come, become Ready and go, agents and BIRDs end, NodeConfigs
 * change, somebody spoils the kernel's state. What happens next is drawn from a seed and does not depend
 * on how fast anything is; nothing waits for what it leads to. What it should lead to is computed by
 * `anycast_model.ts`.
 *
 * @module
 */
import type { Lab } from "../../src/lab/lab.ts";
import { ANYCAST_SPACE } from "../../src/lab/plan.ts";
import type { Random } from "../seed.ts";
import { type Allowed, expectedKernel } from "./anycast_model.ts";
import { nexthopsOf } from "./anycast_views.ts";
import { WalkNode } from "./anycast_walk_node.ts";
import { WalkPod } from "./anycast_walk_pod.ts";

/** Pods that there are at most. */
const MAX_PODS = 12;
/** The addresses that pods share. */
const ANYCAST = ["2001:db8:ffff::53", "2001:db8:ffff::80", "203.0.113.193", "203.0.113.194"];
const NAMESPACES = ["default", "edge-1"];

const OPEN = Object.values(ANYCAST_SPACE).map((cidr) => ({ cidr, namespaces: ["*"] }));
const GUARDS: readonly (readonly [string, readonly Allowed[] | undefined])[] = [
  ["everything of the lab's", OPEN],
  ["anything", undefined],
  ["IPv6 in edge-* only", [
    { cidr: ANYCAST_SPACE.ipv6, namespaces: ["edge-*"] },
    { cidr: ANYCAST_SPACE.ipv4, namespaces: ["*"] },
  ]],
  ["two addresses, one in default only", [
    { cidr: `${ANYCAST[0]}/128`, namespaces: ["*"] },
    { cidr: `${ANYCAST[2]}/32`, namespaces: ["default"] },
  ]],
  ["nothing", []],
];

/** What happens, told in words; undefined: it cannot happen now. */
type Event = () => Promise<string | undefined> | string | undefined;

export class AnycastWalk {
  readonly nodes: readonly WalkNode[];
  /** What happened since the last agreement. */
  events: readonly string[] = [];
  readonly #random: Random;
  readonly #events: readonly Event[];
  /** Those of which only the kernel tells. */
  readonly #spoiling: readonly Event[];
  #pods = 0;

  private constructor(lab: Lab, random: Random) {
    this.#random = random;
    this.nodes = lab.nodes.map((node) => new WalkNode(node, lab));
    this.#spoiling = [
      () => this.#deleteRoutes(),
      () => this.#deleteNexthop(),
      () => this.#plant(),
      () => this.#setLink(),
    ];
    const weights: readonly (readonly [number, Event])[] = [
      [36, () => this.#readiness()],
      [6, () => this.#terminating()],
      [14, () => this.#add()],
      [9, () => this.#remove()],
      [20, () => this.#pick(this.#spoiling)!()],
      [1, () => this.#deleteLink()],
      [8, () => this.#changeConfig()],
      [2, () => this.#stopAgent("SIGKILL")],
      [2, () => this.#stopAgent("SIGTERM")],
      [6, () => this.#startAgent()],
      [1, () => this.#restartBird()],
    ];
    this.#events = weights.flatMap(([weight, event]) => Array<Event>(weight).fill(event));
  }

  /** A walk in a lab whose agents and BIRDs run. */
  static async begin(lab: Lab, random: Random): Promise<AnycastWalk> {
    const walk = new AnycastWalk(lab, random);
    for (const node of walk.nodes) {
      await node.configure({ prefixes: Object.values(node.node.plan.prefixes), allowed: OPEN });
    }
    return walk;
  }

  /** Has one thing happen; what cannot happen now is drawn again. */
  step(): Promise<void> {
    return this.#happen(this.#events);
  }

  /** Has somebody change the kernel's state. */
  spoil(): Promise<void> {
    return this.#happen(this.#spoiling);
  }

  async #happen(events: readonly Event[]): Promise<void> {
    for (;;) {
      const happened = await this.#pick(events)!();
      if (happened === undefined) continue;
      this.events = [...this.events, happened];
      return;
    }
  }

  /** Waits until nobody but the agents and the routing daemons has anything left to do. */
  async settle(): Promise<void> {
    await Promise.all(this.nodes.map((node) => node.settle()));
  }

  /** What was before does not matter any more. */
  agreed(): void {
    this.events = [];
    for (const node of this.nodes) node.agreed();
  }

  /** Removes every pod. */
  async removeAll(): Promise<void> {
    for (const node of this.nodes) {
      for (const pod of [...node.pods]) await node.removePod(pod, this.#random(2) === 0);
    }
    this.events = [...this.events, "all pods removed"];
  }

  async #readiness(): Promise<string | undefined> {
    const pod = this.#pickPod();
    return pod && `${pod.name} is ${await pod.set({ ready: !pod.state.ready })}`;
  }

  async #terminating(): Promise<string | undefined> {
    const pod = this.#pickPod();
    if (pod === undefined || pod.state.terminating) return undefined;
    return `${pod.name} is ${await pod.set({ terminating: true })}`;
  }

  async #add(): Promise<string | undefined> {
    if (this.nodes.flatMap(({ pods }) => pods).length >= MAX_PODS) return undefined;
    const walk = this.#pick(this.nodes)!;
    const number = ++this.#pods;
    // Nobody else asks for these before they have been free for long.
    const own = [`2001:db8:ffff:1::${number}`, `203.0.113.${200 + number % 50}`];
    const options = {
      name: `p${number}`,
      namespace: this.#pick(NAMESPACES)!,
      ready: this.#random(4) > 0,
      anycast: ANYCAST.filter(() => this.#random(2) === 0),
      asked: own.filter(() => this.#random(3) === 0),
      weight: 1 + this.#random(3),
    };
    const pod = await WalkPod.create(walk, options);
    walk.pods.push(pod);
    pod.attach();
    return `added on ${walk.node.name}: ${JSON.stringify(options)} dev ${pod.dev}`;
  }

  async #remove(): Promise<string | undefined> {
    const pod = this.#pickPod();
    const objectFirst = this.#random(2) === 0;
    if (pod === undefined) return undefined;
    await pod.walk.removePod(pod, objectFirst);
    return `${pod.name} is removed, its ${objectFirst ? "object" : "attachment"} first`;
  }

  async #deleteRoutes(): Promise<string> {
    const walk = this.#pick(this.nodes)!;
    const routes = expectedKernel(walk.model).filter((line) => line.startsWith("route "));
    const odds = 1 + this.#random(6);
    const lines = routes.filter(() => this.#random(odds) === 0)
      .map((line) => line.replace("route ", "route del ").split(" by ")[0]!);
    // Some may not be there at this moment.
    const stdin = lines.map((line) => `${line}\n`).join("");
    await walk.node.attempt(["ip", "-force", "-batch", "-"], { stdin });
    return `on ${walk.node.name}: ${lines.join("; ")}`;
  }

  async #deleteNexthop(): Promise<string> {
    const { node } = this.#pick(this.nodes)!;
    const groups = this.#random(2) === 0;
    const number = this.#random(1_000);
    const nexthops = (await nexthopsOf(node)).filter(({ group }) =>
      (group !== undefined) === groups
    );
    const nexthop = nexthops[number % nexthops.length];
    if (nexthop === undefined) return `on ${node.name}: no next hop to delete`;
    await node.attempt(["ip", "nexthop", "del", "id", `${nexthop.id}`]);
    return `on ${node.name}: next hop ${JSON.stringify(nexthop)} deleted`;
  }

  /** What looks like ours and is not wanted: of an agent that ended half-way, say. */
  async #plant(): Promise<string> {
    const { node } = this.#pick(this.nodes)!;
    const number = this.#random(50);
    const line = this.#pick([
      `route add 203.0.113.${200 + number}/32 dev eth0 proto 144 metric ${17 + number}`,
      `route add 2001:db8:ffff:2::${number}/128 dev eth0 proto 143 metric 16`,
      `nexthop add id ${0x666c0000 + number} via 198.51.100.1 dev eth0 proto 144`,
    ])!;
    await node.attempt(["ip", ...line.split(" ")]);
    return `on ${node.name}: ${line}`;
  }

  #setLink(): string | undefined {
    const pod = this.#pickPod();
    const steps = this.#random(2) === 0 ? ["down", "up"] as const : ["down"] as const;
    pod?.setLink(...steps);
    return pod && `link of ${pod.name} is set ${steps.join(" and ")}`;
  }

  #deleteLink(): string | undefined {
    const pod = this.#pickPod();
    pod?.deleteLink();
    return pod && `link of ${pod.name} is deleted`;
  }

  async #changeConfig(): Promise<string> {
    const walk = this.#pick(this.nodes)!;
    const prefixes = Object.values(walk.node.plan.prefixes).flatMap((home) => {
      const away = home.replace("8:f0", "8:f1").replace("244.", "244.10");
      return this.#pick([[home], [home], [home, away], [away]])!;
    });
    const [guard, allowed] = this.#pick(GUARDS)!;
    await walk.configure({ prefixes, allowed });
    return `NodeConfig of ${walk.node.name}: ${prefixes.join(", ")}, may announce ${guard}`;
  }

  async #stopAgent(signal: Deno.Signal): Promise<string | undefined> {
    const walk = this.#pick(this.nodes)!;
    if (!walk.agentRuns) return undefined;
    await walk.stopAgent(signal);
    return `agent of ${walk.node.name} gets ${signal}`;
  }

  async #startAgent(): Promise<string | undefined> {
    const walk = this.#pick(this.nodes)!;
    if (walk.agentRuns) return undefined;
    await walk.startAgent();
    return `agent of ${walk.node.name} is started`;
  }

  #restartBird(): string {
    const walk = this.#pick(this.nodes)!;
    const graceful = this.#random(2) === 0;
    walk.restartBird(graceful);
    return `BIRD of ${walk.node.name} is ${graceful ? "restarted" : "killed and started"}`;
  }

  #pickPod(): WalkPod | undefined {
    return this.#pick(this.nodes.flatMap(({ pods }) => pods));
  }

  #pick<T>(of: readonly T[]): T | undefined {
    return of[this.#random(of.length)];
  }
}
