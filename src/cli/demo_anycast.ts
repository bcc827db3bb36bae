/**
 * The demo's anycast step: two pods on two nodes share an address, which the router has from each node
 * for as long as its pod is Ready.
 *
 * @module
 */
import { FAMILIES, type Family } from "../core/cidr.ts";
import { gatewaysOf } from "../lab/host.ts";
import { until } from "../lab/wait.ts";
import type { Demo } from "./demo_steps.ts";

/** One address of each family, inside what the lab's nodes may announce. */
export const ANYCAST: Readonly<Record<Family, string>> = {
  ipv6: "2001:db8:ffff::53",
  ipv4: "203.0.113.200",
};

/** Takes a replica's readiness away and gives it back, and looks at the router's table each time. */
export async function followReadiness({ lab, pods }: Demo): Promise<string[]> {
  const replicas = pods.filter(({ pod }) => pod.options.namespace === "shop" && isReplica(pod));
  const all = replicas.map(({ node }) => node.name);
  await waitAnnounced(lab, all);
  const [first, ...others] = replicas;
  if (first === undefined) throw new Error("Cannot find a pod with an anycast address");
  const lines = [
    `the router has ${Object.values(ANYCAST).join(" and ")} from ${all.join(" and ")}`,
  ];
  for (const ready of [false, true]) {
    const names = [...(ready ? [first] : []), ...others].map(({ node }) => node.name);
    const started = performance.now();
    await first.node.updatePod(first.pod, { ready });
    await waitAnnounced(lab, names);
    const ms = (performance.now() - started).toFixed(0);
    lines.push(
      `${first.pod.key} ${ready ? "is Ready again" : "is not Ready"}: from ${
        names.join(" and ")
      }, ${ms} ms later`,
    );
  }
  return lines;
}

function isReplica(pod: Demo["pods"][number]["pod"]): boolean {
  return Object.keys(pod.options.annotations ?? {}).some((key) => key.endsWith("/anycast"));
}

/** Waits until the router sends to exactly these nodes, in both families. */
async function waitAnnounced(
  { router, plan }: Demo["lab"],
  names: readonly string[],
): Promise<void> {
  const nodes = plan.nodes.filter(({ name }) => names.includes(name));
  for (const family of FAMILIES) {
    const wanted = nodes.map(({ addresses }) => addresses[family]).sort().join(" ");
    const prefix = `${ANYCAST[family]}/${family === "ipv6" ? 128 : 32}`;
    await until(
      `${prefix} via ${wanted} at the router`,
      async () => gatewaysOf(await router.route(prefix)).join(" ") === wanted,
    );
  }
}
