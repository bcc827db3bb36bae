/**
 * A cluster with many policies, as an API server serves it: teams with a namespace each, their apps' pods on
 * twenty nodes, and policies that each select at least one pod of the own node.
 *
 * @module
 */
import { apiNamespace, apiPod } from "../fakes/cluster.ts";
import type { JsonObject } from "../fakes/server_side_apply.ts";
import { type ApiPolicy, networkPolicy } from "../policy_objects.ts";

/** How much there is. */
export const WORLD = { teams: 50, pods: 5_000, ownPods: 250, policies: 1_000 } as const;

/** Of each team; the own node has a pod of each of the first. */
const APPS = 20;
const OWN_APPS = WORLD.ownPods / WORLD.teams;
const OTHER_NODES = 19;
const TIERS = ["front", "back", "db"];

/** A pod's place in the cluster: the own node's are the first ones. */
export interface Place {
  readonly namespace: string;
  readonly labels: Readonly<Record<string, string>>;
}

/** Namespace and labels of the n-th pod. */
export function placeOf(n: number): Place {
  return { namespace: teamOf(n), labels: labelsOf(Math.floor(n / WORLD.teams) % APPS) };
}

/** The labels of an app's pods. */
export function labelsOf(app: number): Readonly<Record<string, string>> {
  return {
    app: appOf(app),
    tier: TIERS[app % TIERS.length]!,
    "app.kubernetes.io/instance": `release-${app}`,
    "pod-template-hash": `7d4b9c${app}`,
  };
}

/** Every team's namespace. */
export function namespaces(): readonly JsonObject[] {
  return Array.from(
    { length: WORLD.teams },
    (_, n) => apiNamespace(teamOf(n), { env: n % 2 === 0 ? "prod" : "dev", team: `${n}` }),
  );
}

/** The n-th pod, on another node, with addresses. */
export function otherPod(n: number): JsonObject {
  const node = `other-${n % OTHER_NODES}`;
  const addresses = [`10.${1 + n % OTHER_NODES}.${n >> 8}.${n & 255}`, `2001:db8:aaaa::${n + 1}`];
  return clusterPod(`pod-${n}`, placeOf(n), { node, addresses });
}

/** A pod of some 4 kB, with two ports that have names. */
export function clusterPod(
  name: string,
  { namespace, labels }: Place,
  { node, uid, addresses }: {
    readonly node: string;
    readonly uid?: string;
    readonly addresses: readonly string[];
  },
): JsonObject {
  const pod = apiPod(name, { node, labels, addresses });
  const env = Array.from({ length: 12 }, (_, n) => ({
    name: `VARIABLE_${n}`,
    value: `the value of variable ${n} of ${name}, of some length`,
  }));
  const ports = [
    { name: "http", containerPort: 8_080, protocol: "TCP" },
    { name: "metrics", containerPort: 9_090, protocol: "TCP" },
  ];
  const managedFields = [{ manager: "kubelet", fieldsV1: { text: "f:status ".repeat(150) } }];
  const containers = [{ name: "main", image: "registry.example.net/main:1", ports, env }];
  return {
    ...pod,
    metadata: { ...pod.metadata as JsonObject, namespace, ...(uid && { uid }), managedFields },
    spec: { ...pod.spec as JsonObject, containers },
  };
}

/** Every policy: of each team as many, for the apps that the own node has pods of. */
export function policies(): readonly ApiPolicy[] {
  return Array.from({ length: WORLD.policies }, (_, n) => {
    const k = Math.floor(n / WORLD.teams);
    const pods = (app: number) => ({ podSelector: { matchLabels: { app: appOf(app % APPS) } } });
    const team = (name: string) => ({
      namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": name } },
    });
    return networkPolicy(teamOf(n), `policy-${n}`, {
      ...pods(k % OWN_APPS),
      policyTypes: ["Ingress", "Egress"],
      ingress: [
        {
          from: [pods(k + 1), {
            namespaceSelector: { matchLabels: { env: "prod" } },
            podSelector: {
              matchExpressions: [{
                key: "tier",
                operator: "In",
                values: [TIERS[n % TIERS.length]!],
              }],
            },
          }],
          ports: [{ port: 80 }, { port: 443 }, { port: "http" }],
        },
        { from: [team(teamOf(n + 1))], ports: [{ port: 9_090 + k }] },
      ],
      egress: [
        {
          to: [{ ...team(teamOf(0)), ...pods(1) }],
          ports: [{ protocol: "UDP", port: 53 }, { port: 53 }],
        },
        { to: [pods(k + 2)], ports: [{ port: "metrics" }] },
        { to: [{ ipBlock: { cidr: "192.0.2.0/24", except: [`192.0.2.${n % 250}/32`] } }] },
      ],
    });
  });
}

function teamOf(n: number): string {
  return `team-${n % WORLD.teams}`;
}

function appOf(app: number): string {
  return `app-${app}`;
}
