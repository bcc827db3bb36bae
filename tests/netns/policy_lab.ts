/**
 * Worlds of policies made real: pods attached by the plugin on the nodes of a lab, labels and policies
 * written as manifests, and everything asked that could go between them.
 *
 * @module
 */
import { formatAddress, parseAddress } from "../../src/core/cidr.ts";
import { ANNOTATION_PREFIX } from "../../src/core/config.ts";
import type { Lab } from "../../src/lab/lab.ts";
import type { Node } from "../../src/lab/node.ts";
import type { Pod } from "../../src/lab/pod.ts";
import { until } from "../../src/lab/wait.ts";
import { type ApiPod, namespace, networkPolicy } from "../policy_objects.ts";
import { type DrawnWorld, type PodSlot, policyWorldOf, type WorldFrame } from "../policy_worlds.ts";
import { waitReplicas } from "./anycast_lab.ts";
import { PolicyProber, type ProbeHost } from "./policy_prober.ts";
import {
  type Disagreement,
  disagreementsOf,
  POLICY_PORTS,
  policyQuestions,
} from "./policy_questions.ts";
import { listTable, waitInForce, writePolicies } from "./policy_table.ts";
import { forgetFlows } from "./sockets.ts";
import { waitRoutes } from "./test_lab.ts";

/** A pod to make. */
export interface PodPlan {
  readonly node: string;
  readonly name: string;
  readonly namespace: string;
  /** Keys without their prefix. */
  readonly annotations?: Readonly<Record<string, string>>;
}

/** A pod of each node in a namespace of its own, whom a policy selects that names the world. */
const CANARY = "canary";

/** Slots of pods without a sandbox, given the addresses of those that have one. */
type OtherSlots = (addresses: readonly (readonly string[])[]) => readonly PodSlot[];

interface RealPod {
  readonly plan: PodPlan;
  readonly node: Node;
  readonly pod: Pod;
  /** `status.podIPs`, canonical. */
  readonly addresses: readonly string[];
  readonly extra: readonly string[];
}

/** What came of asking everything. */
export interface Comparison {
  readonly disagreements: readonly Disagreement[];
  /** How many packets should come through, and how many should not. */
  readonly allowed: number;
  readonly denied: number;
}

export class PolicyLab implements Disposable {
  readonly #pods: RealPod[] = [];
  readonly #others: OtherSlots;
  #prober: PolicyProber | undefined;
  #serial = 0;

  private constructor(readonly lab: Lab, others: OtherSlots) {
    this.#others = others;
  }

  /**
   * Attaches pods to nodes that are ready.
   *
   * @param others slots of pods that have no sandbox: of a node's network, or finished
   */
  static async create(
    lab: Lab,
    plans: readonly PodPlan[],
    others: OtherSlots = () => [],
  ): Promise<PolicyLab> {
    const pods: RealPod[] = [];
    for (const plan of plans) pods.push(await attach(lab, plan));
    const made = new PolicyLab(lab, others);
    made.#pods.push(...pods);
    for (const node of lab.nodes) {
      await attach(lab, { node: node.name, name: `${CANARY}-${node.name}`, namespace: CANARY });
    }
    return made;
  }

  [Symbol.dispose](): void {
    this.#prober?.[Symbol.dispose]();
  }

  /** What worlds are drawn over. */
  frame(options: Pick<WorldFrame, "maxPolicies" | "refused">): WorldFrame {
    const slots = this.#pods.map(({ plan, addresses, extra, pod }): PodSlot => ({
      node: plan.node,
      name: plan.name,
      namespace: plan.namespace,
      addresses,
      extra,
      annotations: pod.options.annotations,
    }));
    return {
      slots: [...slots, ...this.#others(this.#pods.map(({ addresses }) => addresses))],
      namespaces: [...new Set(this.#pods.map(({ plan }) => plan.namespace))].sort(),
      nodes: Object.fromEntries(
        this.lab.plan.nodes.map(({ name, addresses }) => [name, Object.values(addresses)]),
      ),
      outside: Object.values(this.lab.plan.client.addresses),
      ports: POLICY_PORTS,
      ...options,
    };
  }

  /** Detaches a pod and attaches another of its name, with other addresses. */
  async replace(index: number): Promise<void> {
    const { plan, node, pod } = this.#pods[index]!;
    await node.del(pod);
    await node.removePod(pod);
    this.#pods[index] = await attach(this.lab, plan);
    this.#prober?.[Symbol.dispose]();
    this.#prober = undefined;
  }

  /** Writes a world's objects and waits until the kernel of every node has them. */
  async become(drawn: DrawnWorld): Promise<void> {
    const serial = `world-${++this.#serial}`;
    const world = this.#labelled(drawn, serial);
    const marker = networkPolicy(CANARY, serial, {
      ingress: [{
        from: [{
          namespaceSelector: { matchLabels: { world: serial } },
          podSelector: { matchLabels: { world: serial } },
        }],
      }],
    });
    const [node] = this.lab.nodes;
    for (const [i, object] of world.pods.entries()) {
      const real = this.#pods[i];
      const file = `pod-${real?.pod.name ?? object.metadata.name}.json`;
      await node!.writeManifest(file, [
        real === undefined ? withUid(object) : merged(real, object),
      ]);
    }
    const uids = await writePolicies(node!, [...world.policies, marker], world.namespaces);
    await Promise.all(this.lab.nodes.map(async (node) => {
      await waitInForce(node, uids);
      await this.#waitLabels(node, serial);
    }));
  }

  /** Asks everything of the world that is in force, and compares. */
  async compare(drawn: DrawnWorld): Promise<Comparison> {
    this.#prober ??= new PolicyProber(this.#hosts(), POLICY_PORTS);
    for (const node of this.lab.nodes) forgetFlows(node.netnsPath);
    const audited = this.#pods.filter(({ plan }) => plan.annotations?.["policy-mode"] === "audit");
    const outcomes = await this.#prober.run(policyQuestions(
      policyWorldOf(drawn),
      this.#hosts(),
      new Set(audited.map(({ pod }) => pod.key)),
    ));
    const disagreements = disagreementsOf(outcomes);
    const allowed = outcomes.filter(({ probe }) => probe.expected).length;
    return { disagreements, allowed, denied: outcomes.length - allowed };
  }

  /** What the kernels have, for a report. */
  async tables(): Promise<string> {
    const texts = this.lab.nodes.map(async (node) =>
      `${node.name}: ${(await listTable(node)).text}`
    );
    return (await Promise.all(texts)).join("\n");
  }

  #hosts(): ProbeHost[] {
    const { lab } = this;
    return [
      ...this.#pods.map(({ pod, addresses, extra }) => ({
        name: pod.key,
        netnsPath: pod.netnsPath,
        addresses: [...addresses, ...extra],
      })),
      ...lab.nodes.map((node) => ({
        name: node.name,
        netnsPath: node.netnsPath,
        addresses: Object.values(node.plan.addresses),
      })),
      {
        name: "client",
        netnsPath: lab.client.netnsPath,
        addresses: Object.values(lab.plan.client.addresses),
      },
    ];
  }

  /** Every object with the world's label. */
  #labelled(drawn: DrawnWorld, world: string): DrawnWorld {
    const labelled = <T extends { readonly metadata: { readonly labels?: object } }>(
      object: T,
    ): T => ({
      ...object,
      metadata: { ...object.metadata, labels: { ...object.metadata.labels, world } },
    });
    return {
      frame: drawn.frame,
      namespaces: [...drawn.namespaces.map(labelled), namespace(CANARY)],
      pods: drawn.pods.map(labelled),
      policies: drawn.policies,
    };
  }

  /** Waits until a node's kernel has every pod's addresses under the labels of this world. */
  async #waitLabels(node: Node, serial: string): Promise<void> {
    const addresses = this.#pods.flatMap(({ addresses }) => addresses);
    await until(`labels of ${serial} on ${node.name}`, async () => {
      const { chains, sets } = await listTable(node);
      const rules = chains.get(`ingress/${CANARY}/${serial}`) ?? "";
      const names = Array.from(rules.matchAll(/@(\S+)/g), ([, name = ""]) => name);
      const known = new Set(names.flatMap((name) => sets.get(name) ?? []));
      const missing = addresses.filter((address) => !known.has(address));
      if (missing.length > 0) throw new Error(`not yet labelled: ${missing.join(", ")}`);
      return true;
    }, { everyMs: 10 });
  }
}

async function attach(lab: Lab, plan: PodPlan): Promise<RealPod> {
  const node = lab.node(plan.node);
  const { name, namespace } = plan;
  const annotations = Object.fromEntries(
    Object.entries(plan.annotations ?? {}).map(([key, value]) => [ANNOTATION_PREFIX + key, value]),
  );
  const pod = await node.createPod({ name, namespace, annotations });
  const { ips = [] } = await node.add(pod);
  const all = ips.map(({ address }) => canonical(address.split("/")[0]!));
  // The kubelet tells the cluster of the first of each family.
  const addresses = ["ipv6", "ipv4"].flatMap((family) =>
    all.find((address) => address.includes(":") === (family === "ipv6")) ?? []
  );
  const [asked, anycast] = ["addresses", "anycast"].map((key) =>
    (plan.annotations?.[key] ?? "").split(",").filter((text) => text !== "").map(canonical)
  ) as [string[], string[]];
  const extra = [...all.filter((address) => !addresses.includes(address)), ...anycast];
  // A test is about policies, not about how long routes take.
  for (const address of anycast) await waitReplicas(node, address, [pod]);
  await waitRoutes(lab, [...asked, ...anycast]);
  return { plan, node, pod, addresses, extra };
}

/** The pod's object as the lab makes it, with what a world says of it. */
function merged({ pod, node }: RealPod, object: ApiPod): unknown {
  const made = pod.manifest(node.name) as { metadata: object; spec: object; status: object };
  return {
    ...made,
    metadata: { ...made.metadata, labels: object.metadata.labels },
    spec: { ...made.spec, containers: object.spec.containers },
    status: { ...made.status, podIPs: object.status.podIPs },
  };
}

function withUid(object: ApiPod): unknown {
  return { ...object, metadata: { ...object.metadata, uid: `uid-${object.metadata.name}` } };
}

function canonical(address: string): string {
  return formatAddress(parseAddress(address));
}

/** A world for people to read, an object a line. */
export function describeWorld({ namespaces, pods, policies }: DrawnWorld): string {
  return [...namespaces, ...pods, ...policies].map((object) => JSON.stringify(object)).join("\n");
}
