/**
 * The ways of packets through the pods of random worlds: what properties of verdicts are checked on.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import fc from "fast-check";
import type { NetworkPolicy, PolicyPeer, PolicyRule } from "../src/core/network_policy.ts";
import {
  type Direction,
  type Judgement,
  type Packet,
  type PolicyPod,
  type PolicyWorld,
  selectingPolicies,
  verdict,
} from "../src/core/policy.ts";
import { DIRECTIONS } from "../src/core/policy_rules.ts";
import { packetsOf } from "./policy_packets.ts";
import { type DrawnWorld, policyWorldOf, worldRuns, worlds } from "./policy_worlds.ts";

/** One packet's way out of a pod or into one. */
export interface Passage {
  readonly packet: Packet;
  readonly direction: Direction;
  readonly pod: PolicyPod;
  /** Address of the other end. */
  readonly peer: string;
  readonly judgement: Judgement;
}

/** Seed and number of worlds of these tests. */
export const RUNS = worldRuns(500);

/** Of so many packets one is looked at; no pair of addresses has a multiple of it. */
const STRIDE = 13;

/**
 * Checks a property on some packets of each world, which ones is drawn.
 *
 * @param prepare is called once for a world, with the ports that are tried
 */
export function checkPassages(
  prepare: (world: PolicyWorld, ports: readonly number[]) => (passage: Passage) => void,
): void {
  fc.assert(
    fc.property(worlds, fc.nat(STRIDE - 1), (drawn, rest) => {
      const world = policyWorldOf(drawn);
      const property = prepare(world, portsOf(drawn));
      for (const [n, packet] of packetsIn(drawn, world).entries()) {
        if (n % STRIDE !== rest) continue;
        const judgements = verdict(world, packet);
        for (const direction of DIRECTIONS) {
          const [subject, peer] = direction === "egress"
            ? [packet.from, packet.to]
            : [packet.to, packet.from];
          if (subject.pod === undefined) continue;
          const judgement = judgements[direction];
          property({ packet, direction, pod: subject.pod, peer: peer.address, judgement });
        }
      }
    }),
    RUNS,
  );
}

/**
 * Checks a property of every peer of a kind that is in a policy which selects the pod.
 *
 * @param property `judge` says whether that policy alone, with other peers and all ports, lets the packet
 */
export function checkPeers<K extends PolicyPeer["kind"]>(
  kind: K,
  property: (
    passage: Passage & { readonly world: PolicyWorld },
    peer: PolicyPeer & { readonly kind: K },
    judge: (peer: PolicyPeer) => boolean,
  ) => void,
): void {
  checkPassages((world) => (passage) => {
    const { packet, direction, pod, judgement } = passage;
    if (judgement.kind === "exempt") return;
    for (const policy of selectingPolicies(world.policies, pod, direction)) {
      const judge = (peer: PolicyPeer): boolean => {
        const policies = [{ ...policy, [direction]: [{ peers: [peer] }] }];
        return passes(verdict({ ...world, policies }, packet)[direction]);
      };
      for (const peer of policy[direction]!.flatMap(({ peers }) => peers ?? [])) {
        if (peer.kind !== kind) continue;
        property({ ...passage, world }, peer as PolicyPeer & { readonly kind: K }, judge);
      }
    }
  });
}

/** Packets of a drawn world: also to ports next to those that policies name, and to one far from them. */
export function packetsIn(drawn: DrawnWorld, world: PolicyWorld): readonly Packet[] {
  return packetsOf(world, { outside: drawn.frame.outside, ports: portsOf(drawn) });
}

function portsOf({ frame }: DrawnWorld): readonly number[] {
  return [...frame.ports, 82, 9000];
}

/** A world with other rules. */
export function mapRules(
  world: PolicyWorld,
  change: (rule: PolicyRule, n: number) => readonly PolicyRule[],
): PolicyWorld {
  const policies = world.policies.map((policy): NetworkPolicy => ({
    ...policy,
    ingress: policy.ingress?.flatMap(change),
    egress: policy.egress?.flatMap(change),
  }));
  return { ...world, policies };
}

/** True for what lets a packet pass. */
export function passes({ kind }: Judgement): boolean {
  return kind !== "denied";
}

/** Checks that a property was not true for want of cases. Few worlds may have none. */
export function assertMet(met: Readonly<Record<string, number>>): void {
  if (RUNS.numRuns < 200) return;
  assertEquals(Object.entries(met).filter(([, times]) => times === 0).map(([name]) => name), []);
}
