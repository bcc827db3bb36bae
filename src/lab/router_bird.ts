/**
 * BIRD 2 as the router of a lab.
 *
 * @module
 */
import { parseBirdReply, parseProtocols } from "../core/bird_reply.ts";
import type { Family } from "../core/cidr.ts";
import { runCommand } from "../io/command.ts";
import type { Background } from "./background.ts";
import type { Host } from "./host.ts";
import { ANYCAST_SPACE, type LabPlan, type NodePlan, POD_SPACE } from "./plan.ts";
import type { RouterSession, RoutingDaemon } from "./router.ts";
import { until } from "./wait.ts";

export class BirdDaemon implements RoutingDaemon {
  readonly #host: Host;
  readonly #plan: LabPlan;
  readonly #extra: string;
  readonly #dir: string;
  #process: Background | undefined;

  constructor(host: Host, plan: LabPlan, extra: string) {
    this.#host = host;
    this.#plan = plan;
    this.#extra = extra;
    this.#dir = host.dir;
  }

  async start(): Promise<void> {
    const config = `${this.#dir}/bird.conf`;
    await Deno.mkdir(this.#dir, { recursive: true });
    await Deno.writeTextFile(config, renderBirdRouter(this.#plan) + this.#extra);
    const process = this.#process = await this.#host.spawn(
      "bird",
      ["bird", "-f", "-c", config, "-s", this.#socket, "-P", `${this.#dir}/bird.pid`],
    );
    await until("BIRD of the router", async () => {
      await process.assertRunning();
      return await this.#ask("status");
    });
  }

  async stop(signal: Deno.Signal): Promise<void> {
    await this.#process?.stop(signal);
  }

  async sessions(): Promise<readonly RouterSession[]> {
    return parseProtocols(parseBirdReply(await this.#ask("protocols"))).flatMap((protocol) => {
      const [, node, family] = /^(n\d+)_(ipv[46])$/.exec(protocol.name) ?? [];
      return node === undefined ? [] : { node, family: family as Family, state: protocol.info };
    });
  }

  get #socket(): string {
    return `${this.#dir}/bird.ctl`;
  }

  async #ask(what: string): Promise<string> {
    const args = ["-s", this.#socket, "-v", "show", what];
    return (await runCommand("birdc", args, { timeoutMs: 2_000 })).stdout;
  }
}

/** The router's configuration. */
export function renderBirdRouter(plan: LabPlan): string {
  return `log stderr { info, remote, warning, error, auth, fatal, bug };
router id ${plan.router.addresses.ipv4 ?? "198.51.100.1"};

protocol device { scan time 10; }
protocol direct { ${plan.families.map((f) => `${f};`).join(" ")} interface "eth0", "cli0"; }

# "merge paths" makes ECMP: without it one node gets everything.
${plan.families.map(renderFamily).join("\n")}
template bgp flock_node {
  hold time 9; keepalive time 3; graceful restart on;
  connect delay time 1; connect retry time 5; error wait time 1, 10;
${plan.design === "c" ? "  rr client;\n" : ""}}
${plan.nodes.flatMap((node) => plan.families.map((f) => renderNode(plan, node, f))).join("\n")}
`;
}

function renderFamily(family: Family): string {
  // From a node only prefixes and addresses of pods, and anycast addresses.
  const [shortest, longest] = family === "ipv6" ? [64, 128] : [24, 32];
  return `protocol kernel kernel_${family} {
  merge paths on limit 16;
  ${family} { import none; export where source = RTS_BGP; };
}
filter from_node_${family} {
  # GRACEFUL_SHUTDOWN (RFC 8326): the node is being drained, others are preferred.
  if (65535, 0) ~ bgp_community then bgp_local_pref = 0;
  if net ~ [ ${POD_SPACE[family]}{${shortest},${longest}},
             ${ANYCAST_SPACE[family]}{${longest},${longest}} ] then accept;
  reject;
}`;
}

function renderNode(plan: LabPlan, node: NodePlan, family: Family): string {
  return `protocol bgp ${node.name}_${family} from flock_node {
  local ${plan.router.addresses[family]} as ${plan.router.asn};
  neighbor ${node.addresses[family]} as ${node.asn};
  ${plan.design === "c" ? "direct;" : ""}
  ${family} { import filter from_node_${family}; export all; };
}`;
}
