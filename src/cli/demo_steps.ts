/**
 * The steps of the demo. Each one throws when something did not hold, and returns lines that say what
 * was seen. The plugin is exec'd exactly as a container runtime does it; the router's own tables are
 * the witness for what was announced.
 *
 * @module
 */
import { FAMILIES, type Family, parseAddress } from "../core/cidr.ts";
import { appName, layoutIid, parseIpAlgo } from "../core/iid.ts";
import { ANNOTATION_PREFIX } from "../core/config.ts";
import { gatewaysOf, type Host } from "../lab/host.ts";
import { createLab, type Lab } from "../lab/lab.ts";
import type { Node } from "../lab/node.ts";
import type { Pod, PodOptions } from "../lab/pod.ts";
import { ANYCAST, followReadiness } from "./demo_anycast.ts";

/** What the steps work on. */
export interface Demo {
  readonly lab: Lab;
  /** The attached pods and their nodes. */
  readonly pods: { readonly pod: Pod; readonly node: Node }[];
}

export interface Step {
  readonly title: string;
  readonly run: (demo: Demo) => string[] | Promise<string[]>;
}

/** Makes the lab: BIRD as the router, and an AS number for each node. */
export async function createDemo(
  options: { executable: string; signal: AbortSignal },
): Promise<Demo> {
  return { lab: await createLab({ ...options, router: "bird", design: "b" }), pods: [] };
}

const IP_ALGO = "namespace,app";
const TEMPLATE_HASH = "7d4b9c6f5";
const WEB = {
  namespace: "shop",
  annotations: {
    [`${ANNOTATION_PREFIX}ip-algo`]: IP_ALGO,
    [`${ANNOTATION_PREFIX}anycast`]: Object.values(ANYCAST).join(),
  },
  labels: { "pod-template-hash": TEMPLATE_HASH },
  owner: { kind: "ReplicaSet", name: `web-${TEMPLATE_HASH}` },
} as const satisfies Partial<PodOptions>;

/** Two replicas of one workload, on different nodes, and two others. */
const PODS: readonly (PodOptions & { readonly node: string })[] = [
  { node: "n1", name: `web-${TEMPLATE_HASH}-x2k8p`, ...WEB },
  { node: "n1", name: "db-0", namespace: "shop", owner: { kind: "StatefulSet", name: "db" } },
  { node: "n2", name: `web-${TEMPLATE_HASH}-m7wqz`, ...WEB },
  { node: "n2", name: "shell" },
];

export const STEPS: readonly Step[] = [
  { title: "Start BIRD and the agent on each node", run: startNodes },
  { title: "The router learns both nodes' prefixes", run: learnPrefixes },
  { title: "Add four pods through the plugin", run: addPods },
  { title: "Pods ping each other across the nodes", run: pingAcross },
  { title: "The router and a client behind it ping every pod", run: pingFromOutside },
  { title: "Read a pod's address", run: explainAddress },
  { title: "An anycast address follows its pods' readiness", run: followReadiness },
  { title: "CHECK every pod", run: checkPods },
  { title: "DEL every pod, twice", run: deletePods },
];

async function startNodes({ lab }: Demo): Promise<string[]> {
  await lab.start();
  const { router, nodes } = lab.plan;
  return [
    ...nodes.map((node) =>
      `${node.name}: AS ${node.asn}, ${Object.values(node.prefixes).join(", ")}`
    ),
    `router: AS ${router.asn}, ${nodes.length * FAMILIES.length} BGP sessions established`,
  ];
}

async function learnPrefixes({ lab }: Demo): Promise<string[]> {
  const lines: string[] = [];
  for (const { name, prefixes } of lab.plan.nodes) {
    for (const prefix of Object.values(prefixes)) {
      const route = await lab.router.waitRoute(prefix);
      lines.push(`${prefix} via ${gatewaysOf(route).join(", ")} (${name})`);
    }
  }
  // Design b: a node reaches the other's pods directly, by the next hop that BGP told it.
  for (const node of lab.nodes) {
    for (const other of lab.plan.nodes.filter(({ name }) => name !== node.name)) {
      for (const prefix of Object.values(other.prefixes)) await node.waitRoute(prefix);
    }
  }
  return [...lines, "and each node the other's, with a next hop on the shared link"];
}

async function addPods(demo: Demo): Promise<string[]> {
  const lines: string[] = [];
  for (const { node: name, ...options } of PODS) {
    const node = demo.lab.node(name);
    const pod = await node.createPod(options);
    const started = performance.now();
    await node.add(pod);
    const ms = performance.now() - started;
    demo.pods.push({ pod, node });
    const addresses = FAMILIES.map((family) => addressOf(pod, family).padEnd(34)).join(" ");
    lines.push(`${pod.key.padEnd(24)} ${name}  ${addresses} ${ms.toFixed(0)} ms`);
  }
  return lines;
}

async function pingAcross({ pods }: Demo): Promise<string[]> {
  const pairs = pods.flatMap((from) =>
    pods.filter((to) => to.node !== from.node).map((to) => [from.pod, to.pod] as const)
  );
  return [await pingAll(pairs)];
}

async function pingFromOutside({ lab, pods }: Demo): Promise<string[]> {
  const lines: string[] = [];
  for (const host of [lab.router, lab.client]) {
    const who = host === lab.router ? "router" : "client";
    lines.push(`${who}: ${await pingAll(pods.map(({ pod }) => [host, pod] as const))}`);
  }
  return lines;
}

async function pingAll(pairs: readonly (readonly [Host, Pod])[]): Promise<string> {
  const times: number[] = [];
  for (const family of FAMILIES) {
    for (const [from, to] of pairs) {
      const address = addressOf(to, family);
      const ms = await from.ping(address);
      if (ms === undefined) throw new Error(`Cannot ping ${address} from ${from.name}: no answer`);
      times.push(ms);
    }
  }
  const each = pairs.length;
  return `${each} of ${each} over IPv6, ${each} of ${each} over IPv4, slowest ${
    Math.max(...times)
  } ms`;
}

function explainAddress({ lab, pods }: Demo): string[] {
  const lines: string[] = [];
  const bases = new Set<bigint>();
  for (const { pod, node } of pods.filter(({ pod }) => pod.options.annotations !== undefined)) {
    const { owner, name } = pod.options;
    const app = appName({
      name,
      owner: owner && { ...owner, uid: "" },
      templateHash: TEMPLATE_HASH,
    });
    const values = { namespace: pod.namespace, app, containerId: pod.containerId };
    const layout = layoutIid(parseIpAlgo(IP_ALGO), values, 64);
    const address = addressOf(pod, "ipv6");
    const iid = parseAddress(address).value & 0xffff_ffff_ffff_ffffn;
    if (layout === undefined || (iid | 15n) !== (layout.base | 15n)) {
      throw new Error(`Cannot explain address "${address}" by ip-algo "${IP_ALGO}"`);
    }
    bases.add(layout.base);
    if (lines.length > 0) continue;
    const digits = iid.toString(16).padStart(16, "0");
    lines.push(`${pod.key} asks for ip-algo "${IP_ALGO}" and has ${address}`);
    lines.push(`  ${"prefix of its node".padEnd(20)} ${lab.node(node.name).plan.prefixes.ipv6}`);
    let at = 0;
    for (const { field, nibbles, text } of layout.parts) {
      const part = digits.slice(at, at += nibbles);
      lines.push(`  ${`${field} "${text}"`.padEnd(20)} ${".".repeat(at - nibbles)}${part}`);
    }
    lines.push(`  ${"instance".padEnd(20)} ${".".repeat(at)}${digits.slice(at)}`);
  }
  if (bases.size !== 1) throw new Error("Cannot see the workload in the addresses of its replicas");
  return [...lines, "its replica on the other node has the same digits behind another prefix"];
}

async function checkPods({ pods }: Demo): Promise<string[]> {
  for (const { pod, node } of pods) await node.check(pod);
  return [`${pods.length} of ${pods.length} as their ADD left them`];
}

async function deletePods({ lab, pods }: Demo): Promise<string[]> {
  for (const { pod, node } of pods) {
    await node.del(pod);
    // Runtimes repeat it: it succeeds when there is nothing left to do.
    await node.del(pod);
  }
  for (const node of lab.nodes) {
    const links = (await node.ipJson("link", "show")).map((link) => String(link.ifname));
    const left = links.filter((link) => link.startsWith("flock"));
    for (const family of FAMILIES) {
      const host = family === "ipv6" ? "/128" : "/32";
      const routes = (await node.routes(family)).map((route) => route.dst);
      left.push(...routes.filter((route) => route.endsWith(host)));
    }
    if (left.length > 0) {
      throw new Error(`Cannot see ${node.name} clean: it has ${left.join(", ")}`);
    }
  }
  return ["their links, routes and addresses are gone from both nodes"];
}

function addressOf(pod: Pod, family: Family): string {
  const address = pod.address(family);
  if (address === undefined) throw new Error(`Cannot find ${family} address of pod "${pod.key}"`);
  return address;
}
