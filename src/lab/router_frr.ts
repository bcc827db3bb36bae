/**
 * FRR as the router of a lab: zebra, bfdd and bgpd, with sockets of their own.
 *
 * @module
 */
import type { Family } from "../core/cidr.ts";
import type { Background } from "./background.ts";
import type { Host } from "./host.ts";
import { ANYCAST_SPACE, type LabPlan, POD_SPACE } from "./plan.ts";
import type { RouterSession, RoutingDaemon } from "./router.ts";
import { until } from "./wait.ts";

/** Where Debian's package puts the daemons. */
export const FRR_DIR = "/usr/lib/frr";

export class FrrDaemon implements RoutingDaemon {
  readonly #host: Host;
  readonly #plan: LabPlan;
  readonly #extra: string;
  readonly #dir: string;
  #processes: Background[] = [];

  constructor(host: Host, plan: LabPlan, extra: string) {
    this.#host = host;
    this.#plan = plan;
    this.#extra = extra;
    this.#dir = `${host.dir}/frr`;
  }

  async start(): Promise<void> {
    await Deno.mkdir(this.#dir, { recursive: true });
    // The daemons give up root for a user of their own.
    await this.#host.exec(["chown", "frr:frr", this.#dir]);
    const config = `${this.#host.dir}/frr.conf`;
    await Deno.writeTextFile(config, renderFrrRouter(this.#plan) + this.#extra);
    for (const daemon of ["zebra", "bfdd", "bgpd"]) {
      const process = await this.#host.spawn(daemon, [
        `${FRR_DIR}/${daemon}`,
        ...["-u", "frr", "-g", "frr", "-P", "0"],
        ...["-z", `${this.#dir}/zserv.api`, "--vty_socket", this.#dir],
        ...["-i", `${this.#dir}/${daemon}.pid`],
        ...(daemon === "bfdd" ? ["--bfdctl", `${this.#dir}/bfdd.sock`] : []),
      ]);
      this.#processes.push(process);
      // bgpd tries zebra again only after seconds: one after the other.
      await until(`${daemon} of the router`, async () => {
        await process.assertRunning();
        return await this.#vtysh("-d", daemon, "-c", "show version");
      });
    }
    // Else it asks for every route once more, five seconds after it has read its route maps.
    await this.#vtysh("-c", "configure terminal", "-c", "bgp route-map delay-timer 0");
    await this.#vtysh("-f", config);
  }

  async stop(signal: Deno.Signal): Promise<void> {
    // bgpd first: zebra removes the routes of a client that goes.
    for (const process of this.#processes.reverse()) await process.stop(signal);
    this.#processes = [];
  }

  async sessions(): Promise<readonly RouterSession[]> {
    const shown = JSON.parse(await this.#vtysh("-c", "show bgp summary json")) as BgpSummary;
    return this.#plan.families.flatMap((family) => {
      const peers = (family === "ipv6" ? shown.ipv6Unicast : shown.ipv4Unicast)?.peers ?? {};
      return this.#plan.nodes.map((node) => ({
        node: node.name,
        family,
        state: peers[node.addresses[family] ?? ""]?.state ?? "Idle",
      }));
    });
  }

  async #vtysh(...args: string[]): Promise<string> {
    return await vtysh(this.#host, ...args);
  }
}

/** `vtysh ARGS` for the FRR of a host; what it printed. */
export async function vtysh(host: Host, ...args: readonly string[]): Promise<string> {
  return (await host.exec(["vtysh", "--vty_socket", `${host.dir}/frr`, ...args])).stdout;
}

type BgpSummary = Partial<
  Record<"ipv4Unicast" | "ipv6Unicast", { peers: Record<string, { state: string }> }>
>;

/** The router's configuration. */
export function renderFrrRouter(plan: LabPlan): string {
  return `frr defaults traditional
hostname router
!
${plan.families.map(renderPolicy).join("!\n")}!
! eBGP takes and sends nothing without a policy (RFC 8212).
route-map TO-NODE permit 10
!
router bgp ${plan.router.asn}
 bgp router-id ${plan.router.addresses.ipv4 ?? "198.51.100.1"}
 no bgp default ipv4-unicast
 ! Equal routes of nodes whose AS numbers differ.
 bgp bestpath as-path multipath-relax
${plan.families.flatMap((family) => renderNeighbors(plan, family)).join("\n")}
 !
${plan.families.map((family) => renderAddressFamily(plan, family)).join("\n")}
exit
`;
}

function renderPolicy(family: Family): string {
  // From a node only prefixes and addresses of pods, and anycast addresses.
  const ip = family === "ipv6" ? "ipv6" : "ip";
  const [shortest, longest] = family === "ipv6" ? [64, 128] : [24, 32];
  return `${ip} prefix-list NODE-${family} seq 5 permit ${
    POD_SPACE[family]
  } ge ${shortest} le ${longest}
${ip} prefix-list NODE-${family} seq 10 permit ${ANYCAST_SPACE[family]} ge ${longest}
route-map FROM-NODE-${family} permit 10
 match ${ip} address prefix-list NODE-${family}
`;
}

function renderNeighbors(plan: LabPlan, family: Family): string[] {
  const group = ` neighbor NODE-${family}`;
  return [
    `${group} peer-group`,
    `${group} remote-as ${plan.design === "c" ? "internal" : "external"}`,
    `${group} timers 3 9`,
    `${group} timers connect 3`,
    `${group} advertisement-interval 0`,
    ...plan.nodes.map((node) => ` neighbor ${node.addresses[family]} peer-group NODE-${family}`),
  ];
}

function renderAddressFamily(plan: LabPlan, family: Family): string {
  const group = `  neighbor NODE-${family}`;
  return [
    ` address-family ${family} unicast`,
    `${group} activate`,
    `${group} route-map FROM-NODE-${family} in`,
    `${group} route-map TO-NODE out`,
    ...(plan.design === "c" ? [`${group} route-reflector-client`, "  maximum-paths ibgp 16"] : []),
    "  maximum-paths 16",
    "  redistribute connected",
    " exit-address-family",
  ].join("\n");
}
