/**
 * Moments of a node whose tables are golden files: a shop's pods with the policies that a shop has.
 *
 * @module
 */
import type { Labels } from "../src/core/label_selector.ts";
import type { NetworkPolicy } from "../src/core/network_policy.ts";
import type { PolicyPod } from "../src/core/policy.ts";
import type { GuardedLink } from "../src/core/policy_selection.ts";
import { type ApiPolicySpec, networkPolicy, parsePolicy } from "./policy_objects.ts";
import type { PolicyMoment } from "./policy_steps.ts";

function pod(name: string, change: Partial<PolicyPod>): PolicyPod {
  return {
    namespace: "shop",
    name,
    labels: { app: name },
    addresses: [],
    hostNetwork: false,
    ports: [],
    nodeName: "n1",
    ...change,
  };
}

const WEB = pod("web", {
  addresses: ["2001:db8:1::2", "10.244.1.2", "2001:db8:ffff::53"],
  ports: [{ name: "metrics", protocol: "TCP", port: 9_100 }],
});
const DB = pod("db", { addresses: ["2001:db8:1::3", "10.244.1.3"] });
const JOB = pod("job", { addresses: ["10.244.1.4"], labels: { app: "db" } });
const DNS = pod("dns", {
  namespace: "kube-system",
  nodeName: "n2",
  addresses: ["2001:db8:2::2", "10.244.2.2"],
  ports: [{ name: "dns", protocol: "UDP", port: 5_353 }],
});
const PROBE = pod("probe", { namespace: "ops", nodeName: "n2", addresses: ["10.244.2.3"] });
const AGENT = pod("agent", { hostNetwork: true, addresses: ["198.51.100.11"] });

function link(n: number, of: PolicyPod, change: Partial<GuardedLink> = {}): GuardedLink {
  return {
    hostIfname: `flock0000000${n}`,
    namespace: of.namespace,
    podName: of.name,
    addresses: of.addresses,
    pod: of,
    mode: "enforce",
    ...change,
  };
}

function policy(name: string, spec: ApiPolicySpec): NetworkPolicy {
  return parsePolicy(networkPolicy("shop", name, spec));
}

const PRIVATE = ["10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16"];
const DENY_ALL = policy("deny-all", { policyTypes: ["Ingress", "Egress"] });
const TO_WEB = policy("web", {
  podSelector: { matchLabels: { app: "web" } },
  ingress: [
    {
      from: [
        // Enough for a set.
        { ipBlock: { cidr: "0.0.0.0/0", except: PRIVATE } },
        { ipBlock: { cidr: "::/0" } },
      ],
      ports: [{ port: 80 }, { port: 443 }, { protocol: "UDP", port: 443 }],
    },
    {
      from: [{
        namespaceSelector: { matchLabels: { team: "ops" } },
        podSelector: { matchLabels: { app: "probe" } },
      }],
      ports: [{ port: "metrics" }],
    },
  ],
});
const DATA = policy("db", {
  podSelector: { matchLabels: { app: "db" } },
  policyTypes: ["Ingress", "Egress"],
  ingress: [{ from: [{ podSelector: { matchLabels: { app: "web" } } }], ports: [{ port: 5432 }] }],
  egress: [
    {
      to: [{
        namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": "kube-system" } },
      }],
      ports: [{ protocol: "UDP", port: "dns" }],
    },
    { to: [{ ipBlock: { cidr: "198.51.100.7/32" } }] },
  ],
});

const SHOP: PolicyMoment = {
  pods: [WEB, DB, JOB, DNS, PROBE, AGENT],
  namespaces: new Map<string, Labels>([
    ["shop", { "kubernetes.io/metadata.name": "shop" }],
    ["kube-system", { "kubernetes.io/metadata.name": "kube-system" }],
    ["ops", { "kubernetes.io/metadata.name": "ops", team: "ops" }],
  ]),
  policies: [DENY_ALL, TO_WEB, DATA],
  links: [
    link(1, WEB),
    link(2, DB),
    link(3, JOB, { mode: "audit" }),
    // Its pod was deleted while no agent ran.
    link(4, pod("old", { addresses: ["10.244.1.5"] }), { pod: undefined }),
    // Of no pod.
    link(5, pod("", { namespace: "", addresses: ["10.244.1.6"] }), { pod: undefined }),
  ],
  allowSpoofing: false,
};

/** Moments by the names of their golden files. */
export const POLICY_STATES: Readonly<Record<string, PolicyMoment>> = {
  no_policies: { ...SHOP, policies: [] },
  spoofing_allowed: { ...SHOP, policies: [DENY_ALL], allowSpoofing: true },
  shop: SHOP,
};

/** A change: a policy and a pod go, and another pod that had a name for a port is relabelled. */
export const POLICY_CHANGE: readonly [before: PolicyMoment, after: PolicyMoment] = [SHOP, {
  ...SHOP,
  policies: [DENY_ALL, DATA],
  pods: [WEB, DB, { ...DNS, ports: [{ name: "dns", protocol: "UDP", port: 53 }] }, PROBE, AGENT],
  links: SHOP.links.filter(({ podName }) => podName !== "job"),
}];
