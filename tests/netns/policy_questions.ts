/**
 * Whether kernel and verdict agree: what is asked of a world of policies, what should become of each packet,
 * and what did.
 *
 * @module
 */
import {
  type Judgement,
  type Packet,
  type PolicyPod,
  type PolicyWorld,
  type Verdict,
  verdict,
} from "../../src/core/policy.ts";
import type { Outcome, Probe, ProbeHost } from "./policy_prober.ts";

/** Ports that all serve. */
export const POLICY_PORTS = [80, 81, 8080] as const;
const QUESTIONS = [
  ...(["tcp", "udp", "sctp"] as const).flatMap((protocol) =>
    POLICY_PORTS.map((port) => ({ protocol, port }))
  ),
  { protocol: "icmp" as const, port: 0 },
];

/** What is to become of a packet at a host that it may come to. */
interface Judged {
  readonly host: string;
  readonly verdict: Verdict;
  /** It comes through: what audited pods are denied, does. */
  readonly allowed: boolean;
}

/** A probe, and what is to become of it at each host that may get it. */
export interface JudgedProbe extends Probe {
  readonly judged: readonly Judged[];
}

/** Where the kernel and the verdict are not of one opinion. */
export interface Disagreement {
  readonly outcome: Outcome<JudgedProbe>;
  readonly why: string;
}

/**
 * Everything that could go between hosts in a world, from each address to each other, and what the verdict
 * on it is.
 *
 * @param audited names of hosts that are pods in audit mode
 */
export function policyQuestions(
  world: PolicyWorld,
  hosts: readonly ProbeHost[],
  audited: ReadonlySet<string>,
): readonly JudgedProbe[] {
  const podOf = ({ name }: ProbeHost): PolicyPod | undefined =>
    world.pods.find((pod) => `${pod.namespace}/${pod.name}` === name);
  const shared = (address: string): boolean => owners(address).length > 1;
  const owners = (address: string): readonly ProbeHost[] =>
    hosts.filter(({ addresses }) => addresses.includes(address));
  const sources = hosts.flatMap((host) =>
    host.addresses.filter((address) => !shared(address)).map((from) => ({ host, from }))
  );
  const targets = [...new Set(hosts.flatMap(({ addresses }) => addresses))];
  return sources.flatMap(({ host, from }) =>
    targets.filter((to) => to.includes(":") === from.includes(":") && !host.addresses.includes(to))
      .flatMap((to) =>
        QUESTIONS.map(({ protocol, port }): JudgedProbe => {
          const judged = owners(to).map((target) => {
            const packet: Packet = {
              from: { address: from, pod: podOf(host) },
              to: { address: to, pod: podOf(target) },
              protocol: protocol !== "icmp" ? protocol : to.includes(":") ? "icmpv6" : "icmp",
              port: protocol === "icmp" ? undefined : port,
            };
            const said = verdict(world, packet);
            const lets = (judgement: Judgement, of: ProbeHost): boolean =>
              judgement.kind !== "denied" || audited.has(of.name);
            const allowed = lets(said.egress, host) && lets(said.ingress, target);
            return { host: target.name, verdict: said, allowed };
          });
          const expected = judged.every(({ allowed }) => allowed);
          return { host: host.name, from, to, protocol, port, judged, expected };
        })
      )
  );
}

/** The outcomes that are not as the verdict says. */
export function disagreementsOf(
  outcomes: readonly Outcome<JudgedProbe>[],
): readonly Disagreement[] {
  return outcomes.flatMap((outcome) => {
    const why = disagreement(outcome);
    return why === undefined ? [] : [{ outcome, why }];
  });
}

/** What is wrong about an outcome; undefined when nothing is. */
function disagreement(
  { probe, arrived, answered, error }: Outcome<JudgedProbe>,
): string | undefined {
  const at = probe.judged.find(({ host }) => host === arrived);
  if (arrived !== undefined && at?.allowed !== true) return `it came to ${arrived}, and must not`;
  if (arrived !== undefined && !answered) return "its answer did not come back";
  const denied = probe.judged.some(({ allowed }) => !allowed);
  if (arrived === undefined && !denied) return `it did not come through (${error ?? "dropped"})`;
}

/** For people to read: what was asked, and what came of it. */
export function describeDisagreements(disagreements: readonly Disagreement[]): string {
  const told = disagreements.slice(0, 5).map(({ outcome: { probe }, why }) => {
    const { host, from, to, protocol, port, judged } = probe;
    const said = judged.map(({ host, verdict }) => `${host}: ${JSON.stringify(verdict)}`);
    return `${host} ${from} to ${to} ${protocol}/${port}: ${why} (${said.join("; ")})`;
  });
  return [`${disagreements.length} disagreements:`, ...told].join("\n");
}
