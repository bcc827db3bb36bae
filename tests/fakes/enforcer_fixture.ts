/**
 * A policy enforcer beside a packet filter, a source and attachments in memory.
 *
 * @module
 */
import { assert } from "@std/assert";
import { PolicyEnforcer, type PolicyEnforcerOptions } from "../../src/agent/policies.ts";
import type { Attachment } from "../../src/core/attachment.ts";
import { parsePrefix } from "../../src/core/cidr.ts";
import type { NetworkPolicy } from "../../src/core/network_policy.ts";
import { type NodeConfig, parseNodeConfig } from "../../src/core/node_config.ts";
import type { Pod } from "../../src/core/objects.ts";
import { until } from "../../src/lab/wait.ts";
import { configureLog } from "../../src/log.ts";
import { attachment } from "../attachments.ts";
import { FakeNft } from "./fake_nft.ts";
import { fakePod, FakeSource } from "./fake_source.ts";

export const SPEC = { cidr6: ["2001:db8:f001::/64"], cidr4: ["10.244.1.0/24"] };
/** For what takes no time. */
export const SOON = { everyMs: 2, timeoutMs: 5_000 };
export const DENY: NetworkPolicy = {
  namespace: "default",
  name: "deny",
  uid: "",
  podSelector: [{ key: "app", operator: "In", values: ["a"] }],
  ingress: [],
  problems: [],
};

/** Node `n1` with a policy that nothing reaches pods with the label `app=a`. */
export class EnforcerFixture implements AsyncDisposable {
  readonly source = new FakeSource();
  readonly nft: FakeNft;
  readonly attachments: Attachment[] = [];
  config: NodeConfig | undefined = parseNodeConfig({ name: "n1", annotations: {}, spec: SPEC })
    .config;
  /** How often everything was looked at. */
  looks = 0;
  /** Outcomes of changes that were tried, and when they were. */
  readonly results: string[] = [];
  readonly at: number[] = [];
  readonly logged: string[] = [];
  readonly enforcer: PolicyEnforcer;
  readonly #stop = new AbortController();
  #running: Promise<void> | undefined;

  constructor(options: Partial<PolicyEnforcerOptions> & { readonly kernel?: FakeNft } = {}) {
    const { kernel = new FakeNft(), ...others } = options;
    this.nft = kernel;
    configureLog({
      level: "warn",
      format: "json",
      write: (line) => void this.logged.push(JSON.parse(line).msg),
    });
    this.source.putPolicy(DENY);
    const config = (): NodeConfig | undefined => this.config;
    this.enforcer = new PolicyEnforcer({
      source: this.source,
      store: {
        list: () => {
          this.looks++;
          return [...this.attachments];
        },
      },
      node: {
        get config() {
          return config();
        },
        nodePrefixes: [...SPEC.cidr6, ...SPEC.cidr4].map(parsePrefix),
        reserved: [],
      },
      nodeName: "n1",
      nft: this.nft,
      intervalMs: 0,
      onApply: (result) => {
        this.results.push(result);
        this.at.push(performance.now());
      },
      ...others,
    });
  }

  /** Stores an attachment of pod `p<n>`, and has the source know the pod. */
  attach(n: number, change: Partial<Pod> = {}): Pod {
    const pod = fakePod({
      name: `p${n}`,
      uid: `u${n}`,
      labels: { app: "a" },
      nodeName: "n1",
      ...change,
    });
    this.attachments.push(attachment(n, { ip4: `10.244.1.${n}`, state: "pending" }));
    this.source.put(pod);
    return pod;
  }

  /** Attaches a pod and waits for its rules. */
  async admit(n: number): Promise<void> {
    await this.enforcer.admit(this.attach(n), new AbortController().signal);
  }

  run(): void {
    this.source.onChange(() => this.enforcer.wake());
    this.#running = this.enforcer.run(this.#stop.signal);
  }

  async inForce(): Promise<void> {
    await until("policies in force", () => Promise.resolve(this.enforcer.inForce), SOON);
  }

  /** The links whose pods nothing reaches. */
  get denied(): readonly string[] {
    return this.nft.elements("dropped-ingress");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#running;
    assert(this.nft.mostAtOnce <= 1, "transactions are made one after the other");
  }
}

/** How an element names the link of pod `p<n>`. */
export const link = (n: number): string => `"flock0000000${n}"`;
