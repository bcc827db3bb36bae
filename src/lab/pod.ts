/**
 * A pod of the lab: the network namespace that a runtime would make, and the Pod object that a cluster
 * would have. What the network makes of it is up to the plugin.
 *
 * @module
 */
import { type Family, familyOf } from "../core/cidr.ts";
import { runCommand } from "../io/command.ts";
import { addNetns } from "./network.ts";
import { Host, type Site } from "./host.ts";

export interface PodOptions {
  readonly name: string;
  /** `default` unless told. */
  readonly namespace?: string;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly labels?: Readonly<Record<string, string>>;
  /** The controlling owner. */
  readonly owner?: { readonly kind: string; readonly name: string };
  /** Image of its only container. */
  readonly image?: string;
  /** Condition `Ready`; true unless told. */
  readonly ready?: boolean;
  /** `deletionTimestamp` is set; false unless told. */
  readonly terminating?: boolean;
}

/** What is used of a CNI result (CNI specification 1.1.0, "Add Success"). */
export interface PodResult {
  readonly cniVersion: string;
  readonly interfaces?: readonly {
    readonly name: string;
    readonly mtu?: number;
    readonly sandbox?: string;
  }[];
  readonly ips?: readonly { readonly address: string; readonly gateway?: string }[];
}

export class Pod extends Host {
  readonly uid = crypto.randomUUID();
  /** 64 hexadecimal digits, as containerd and CRI-O give them. */
  readonly containerId = hex(32);
  readonly namespace: string;
  /** What its last ADD returned. */
  result: PodResult | undefined;

  /** @param number the how many-th pod of the lab */
  private constructor(site: Site, number: number, readonly options: PodOptions) {
    super(site, `p${number}`);
    this.namespace = options.namespace ?? "default";
  }

  /** Makes the pod's network namespace. */
  static async create(site: Site, number: number, options: PodOptions): Promise<Pod> {
    const pod = new Pod(site, number, options);
    await addNetns([pod]);
    return pod;
  }

  /** Removes the pod's network namespace. What runs in it goes on without a name for it. */
  async remove(): Promise<void> {
    await runCommand("ip", ["netns", "del", this.netns]);
  }

  /** `namespace/name` */
  get key(): string {
    return `${this.namespace}/${this.options.name}`;
  }

  /** The first address of a family that ADD returned, without its length. */
  address(family: Family): string | undefined {
    const addresses = (this.result?.ips ?? []).map((ip) => ip.address.split("/")[0]!);
    return addresses.find((address) => familyOf(address) === family);
  }

  /** CNI_ARGS as the kubelet's runtimes give it. */
  get cniArgs(): string {
    return [
      "IgnoreUnknown=1",
      `K8S_POD_NAMESPACE=${this.namespace}`,
      `K8S_POD_NAME=${this.options.name}`,
      `K8S_POD_INFRA_CONTAINER_ID=${this.containerId}`,
      `K8S_POD_UID=${this.uid}`,
    ].join(";");
  }

  /** The Pod object as an API server serves it. */
  manifest(nodeName: string, change: Partial<PodOptions> = {}): Record<string, unknown> {
    const { name, annotations, labels, owner, image, ready = true, terminating } = {
      ...this.options,
      ...change,
    };
    return {
      apiVersion: "v1",
      kind: "Pod",
      metadata: {
        namespace: this.namespace,
        name,
        uid: this.uid,
        annotations,
        labels,
        ownerReferences: owner &&
          [{ apiVersion: "apps/v1", ...owner, uid: crypto.randomUUID(), controller: true }],
        deletionTimestamp: terminating ? new Date().toISOString() : undefined,
      },
      spec: { nodeName, containers: [{ name: "main", image: image ?? "example.org/app:1" }] },
      status: {
        phase: "Running",
        conditions: [{ type: "Ready", status: ready ? "True" : "False" }],
      },
    };
  }
}

function hex(bytes: number): string {
  return crypto.getRandomValues(new Uint8Array(bytes)).toHex();
}
