/**
 * What a node's table of policies is made of, changing step by step: pods, labels, ports, namespaces and
 * policies come, change and go. What a step leaves alone is the same object in the next one.
 *
 * @module
 */
import fc from "fast-check";
import type { Labels } from "../src/core/label_selector.ts";
import type { NetworkPolicy } from "../src/core/network_policy.ts";
import type { PeerSets } from "../src/core/peer_sets.ts";
import type { PolicyPod, PolicyWorld } from "../src/core/policy.ts";
import type { PolicyInput } from "../src/core/policy_ruleset.ts";
import type { GuardedLink } from "../src/core/policy_selection.ts";
import { networkPolicy, parsePolicy } from "./policy_objects.ts";
import { policyWorldOf, type WorldFrame, worldOf } from "./policy_worlds.ts";
import type { Random } from "./seed.ts";

/** Pods of this node are those on `n1`. Some addresses are ones that programs print in more than one way. */
const FRAME: WorldFrame = {
  slots: [
    { node: "n1", name: "p0", addresses: ["10.244.1.2", "2001:db8:1::2"] },
    { node: "n1", name: "p1", addresses: ["10.244.1.3", "2001:db8:1::3"], extra: ["10.9.0.1"] },
    { node: "n1", name: "p2", addresses: ["2001:db8:0:1:1:1:1:1"], extra: ["::102:304"] },
    { node: "n2", name: "p3", addresses: ["10.244.2.2", "64:ff9b::102:304"] },
    { node: "n2", name: "p4", addresses: ["10.244.2.3"], extra: ["10.9.0.1", "2001:db8::1:0:0:1"] },
    { node: "n2", name: "p5", addresses: ["10.0.8.2", "2001:db8:8::2"], hostNetwork: true },
  ],
  namespaces: ["x", "y"],
  nodes: { n1: ["10.0.8.1", "2001:db8:8::1"], n2: ["10.0.8.2", "2001:db8:8::2"] },
  outside: ["203.0.113.9", "255.255.255.255", "::1:0", "::ffff:0:1:1", "fec0::1"],
  ports: [80, 81, 8080, 65_535],
  maxPolicies: 4,
};

/** What is seldom drawn: sets of ranges, up to the ends of both families, and sets of ports. */
const SELDOM = FRAME.namespaces.flatMap((namespace) => [
  parsePolicy(networkPolicy(namespace, "ranges", {
    ingress: [{
      from: [
        {
          ipBlock: {
            cidr: "0.0.0.0/0",
            except: ["10.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "192.168.0.0/16"],
          },
        },
        {
          ipBlock: {
            cidr: "::/0",
            except: [
              "::102:304/128",
              "fec0::/10",
              "64:ff9b::/96",
              "2001:db8::/32",
              "fe80::/10",
            ],
          },
        },
      ],
      ports: [{ port: 80 }, { port: 8_000, endPort: 8_999 }, { port: 65_535 }],
    }],
  })),
  parsePolicy(networkPolicy(namespace, "addresses", {
    policyTypes: ["Egress"],
    egress: [{
      to: ["10.9.0.1/32", "10.9.0.3/32", "10.9.0.5/32", "10.9.0.7/32", "0.0.0.0/32", "::/128"]
        .map((cidr) => ({ ipBlock: { cidr } })),
      ports: [{ port: 80 }, { port: 443 }, { protocol: "UDP", port: "dns" }],
    }],
  })),
]);

/** All of one moment. */
export interface PolicyMoment extends Omit<PolicyInput, "peers"> {
  readonly pods: readonly PolicyPod[];
  readonly namespaces: ReadonlyMap<string, Labels>;
}

/** A node that goes through random moments. */
export class PolicySteps {
  readonly #random: Random;
  /** What is taken over, piece by piece. */
  readonly #pool: readonly PolicyWorld[];
  readonly #pods: (PolicyPod | undefined)[] = FRAME.slots.map(() => undefined);
  readonly #policies = new Map<string, NetworkPolicy>();
  readonly #modes = new Set<number>();
  readonly #unknown = new Set<number>();
  readonly #doubled = new Set<number>();
  #namespaces: ReadonlyMap<string, Labels> = new Map();
  #allowSpoofing = false;

  constructor(random: Random) {
    this.#random = random;
    const seed = random(2 ** 31);
    this.#pool = fc.sample(worldOf(FRAME), { seed, numRuns: 10 }).map(policyWorldOf);
  }

  /** Changes one to four things. */
  step(): PolicyMoment {
    for (let n = this.#random(4); n >= 0; n--) this.#change();
    return this.moment;
  }

  /** Everything as it is now. */
  get moment(): PolicyMoment {
    return {
      links: this.#links(),
      policies: [...this.#policies.values()],
      allowSpoofing: this.#allowSpoofing,
      pods: this.#pods.filter((pod) => pod !== undefined),
      namespaces: this.#namespaces,
    };
  }

  #change(): void {
    const world = this.#pool[this.#random(this.#pool.length)]!;
    const slot = this.#random(FRAME.slots.length);
    const what = this.#random(22);
    if (what < 6) this.#pods[slot] = world.pods[slot];
    else if (what < 7) this.#pods[slot] = undefined;
    else if (what < 9) this.#namespaces = world.namespaces;
    else if (what < 14) {
      for (const policy of world.policies) {
        // The longest name that there can be, now and then.
        const name = this.#random(4) > 0 ? policy.name : policy.name.padEnd(253, "x");
        this.#policies.set(`${policy.namespace}/${name}`, { ...policy, name });
      }
    } else if (what < 16) {
      const keys = [...this.#policies.keys()];
      this.#policies.delete(keys[this.#random(keys.length)] ?? "");
    } else if (what < 17) toggle(this.#modes, slot);
    else if (what < 18) toggle(this.#unknown, slot);
    else if (what < 19) toggle(this.#doubled, slot);
    else if (what < 20) this.#allowSpoofing = !this.#allowSpoofing;
    else {
      const policy = SELDOM[this.#random(SELDOM.length)]!;
      this.#policies.set(`${policy.namespace}/${policy.name}`, policy);
    }
  }

  #links(): readonly GuardedLink[] {
    return this.#pods.flatMap((pod, n) => {
      if (pod === undefined || pod.nodeName !== "n1") return [];
      const link: GuardedLink = {
        hostIfname: `flock0000000${n}`,
        namespace: pod.namespace,
        podName: pod.name,
        addresses: pod.addresses,
        pod: this.#unknown.has(n) ? undefined : pod,
        mode: this.#modes.has(n) ? "audit" : "enforce",
      };
      if (!this.#doubled.has(n)) return [link];
      return [link, { ...link, hostIfname: `flock1000000${n}` }];
    });
  }
}

/** What a moment's table is computed from. */
export function inputOf(
  { pods, namespaces, ...input }: PolicyMoment,
  peers: PeerSets,
): PolicyInput {
  peers.update(pods, namespaces);
  return { ...input, peers };
}

function toggle(set: Set<number>, n: number): void {
  if (!set.delete(n)) set.add(n);
}
