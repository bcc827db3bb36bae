/**
 * The router of a lab: a host with a routing daemon, BIRD or FRR, that speaks BGP with every node, and
 * what tests ask of it. It is the independent view: what it has in its own kernel's tables was really
 * announced.
 *
 * @module
 */
import type { Family } from "../core/cidr.ts";
import { Host, type Site } from "./host.ts";
import type { LabPlan } from "./plan.ts";
import { BirdDaemon } from "./router_bird.ts";
import { FrrDaemon } from "./router_frr.ts";
import { until, type WaitOptions } from "./wait.ts";

export type RouterKind = "bird" | "frr";

/** One BGP session as the router sees it. */
export interface RouterSession {
  /** `n1` */
  readonly node: string;
  readonly family: Family;
  /** State of BGP's state machine (RFC 4271, section 8.2.2), `Established` when it is up. */
  readonly state: string;
}

/** What differs between the routing daemons. */
export interface RoutingDaemon {
  /** Starts it; resolves when it can be asked. */
  start(): Promise<void>;
  stop(signal: Deno.Signal): Promise<void>;
  sessions(): Promise<readonly RouterSession[]>;
}

export class Router extends Host {
  readonly #daemon: RoutingDaemon;

  /** @param extra further lines for the daemon's configuration, in its own language */
  constructor(site: Site, readonly plan: LabPlan, readonly kind: RouterKind, extra: string) {
    super(site, "rtr");
    this.#daemon = kind === "bird"
      ? new BirdDaemon(this, plan, extra)
      : new FrrDaemon(this, plan, extra);
  }

  /** Starts the routing daemon. */
  start(): Promise<void> {
    return this.#daemon.start();
  }

  /** Stops the routing daemon: SIGTERM says goodbye to the nodes, SIGKILL does not. */
  stop(signal: Deno.Signal = "SIGTERM"): Promise<void> {
    return this.#daemon.stop(signal);
  }

  /** The sessions with all nodes, as the daemon tells. */
  sessions(): Promise<readonly RouterSession[]> {
    return this.#daemon.sessions();
  }

  /** Waits until every session with the nodes named, or with all of them, is established. */
  async waitSessions(
    nodes: readonly string[] = this.plan.nodes.map((node) => node.name),
    options: WaitOptions = {},
  ): Promise<void> {
    const wanted = nodes.length * this.plan.families.length;
    await until(`${wanted} BGP sessions of ${nodes.join(", ")} at the router`, async () => {
      const up = (await this.sessions()).filter((session) =>
        session.state === "Established" && nodes.includes(session.node)
      );
      if (up.length < wanted) throw new Error(`${up.length} are established`);
      return true;
    }, options);
  }
}
