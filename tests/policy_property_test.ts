/**
 * Properties of verdicts over random worlds, parsed from the API's shape: what adding, removing and
 * rearranging policies may change, and that an independent reading of the specification agrees.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { contains, parseAddress } from "../src/core/cidr.ts";
import type { NetworkPolicy, PolicyPeer, PolicyPort, PolicyRule } from "../src/core/network_policy.ts";
import {
  type Direction,
  type Judgement,
  type Packet,
  type PolicyPod,
  type PolicyWorld,
  selectingPolicies,
  verdict,
} from "../src/core/policy.ts";
import { naivePolicies } from "./naive_policies.ts";
import { packetsOf, showPacket } from "./policy_packets.ts";
import { type DrawnWorld, policyWorldOf, worldRuns, worlds } from "./policy_worlds.ts";

const RUNS = worldRuns(500);
const DIRECTIONS: readonly Direction[] = ["egress", "ingress"];

/** One packet's way through one pod, in a world. */
interface Passage {
  readonly world: PolicyWorld;
  readonly packet: Packet;
  readonly direction: Direction;
  readonly pod: PolicyPod;
  /** Address of the other end. */
  readonly peer: string;
  readonly judgement: Judgement;
}

Deno.test("property: verdict() agrees with sets expanded from the API's objects", () => {
  const met = { allowed: 0, denied: 0 };
  fc.assert(
    fc.property(worlds, (drawn) => {
      const world = policyWorldOf(drawn);
      const packets = packetsIn(drawn, world);
      const naive = naivePolicies(drawn, [...new Set(packets.map(serviceOf))]);
      for (const packet of packets) {
        const { allowed, egress, ingress } = verdict(world, packet);
        const told = naive({
          from: { address: packet.from.address, pod: idOf(packet.from.pod) },
          to: { address: packet.to.address, pod: idOf(packet.to.pod) },
          service: serviceOf(packet),
        });
        assertEquals(allowed, told, showPacket(packet));
        if (!allowed) met.denied++;
        else if (egress.kind === "allowed" || ingress.kind === "allowed") met.allowed++;
      }
    }),
    RUNS,
  );
  assertMet(met);
});

Deno.test("property: without policies everything passes", () => {
  checkPassages(({ world, packet, direction }) => {
    const { allowed, ...judgements } = verdict({ ...world, policies: [] }, packet);
    assert(allowed);
    assert(["open", "exempt"].includes(judgements[direction].kind));
  });
});

Deno.test("property: a packet passes when both ends let it, and each judgement is as it says", () => {
  const met = { open: 0, exempt: 0, allowed: 0, denied: 0 };
  checkPassages(({ world, packet, direction, pod, peer, judgement }) => {
    const { allowed, egress, ingress } = verdict(world, packet);
    assertEquals(allowed, passes(egress) && passes(ingress));
    met[judgement.kind]++;
    const selecting = selectingPolicies(world.policies, pod, direction);
    switch (judgement.kind) {
      case "exempt":
        return assert(
          judgement.why === "node"
            ? world.nodes.get(pod.nodeName!)!.includes(peer)
            : packet.from.pod === packet.to.pod,
        );
      case "open":
        return assertEquals(selecting, []);
      case "denied":
        return assertEquals(
          judgement.policies,
          selecting.map(({ namespace, name }) => ({ namespace, name })),
        );
      case "allowed": {
        const policy = selecting.find(({ name }) => name === judgement.policy.name)!;
        assertEquals(judgement.policy.namespace, policy.namespace);
        const rule = policy[direction]![judgement.rule]!;
        const alone = { ...world, policies: [{ ...policy, [direction]: [rule] }] };
        assertEquals(verdict(alone, packet)[direction], { ...judgement, rule: 0 });
      }
    }
  });
  assertMet(met);
});

Deno.test("property: policies add up, and what does not select a pod does nothing to it", () => {
  const met = { isolated: 0, open: 0 };
  checkPassages(({ world, packet, direction, pod, judgement }) => {
    if (judgement.kind === "exempt") return;
    const selecting = selectingPolicies(world.policies, pod, direction);
    met[selecting.length === 0 ? "open" : "isolated"]++;
    const judged = (policies: readonly NetworkPolicy[]) =>
      verdict({ ...world, policies }, packet)[direction];
    assertEquals(judged(selecting), judgement);
    const any = selecting.some((policy) => passes(judged([policy])));
    assertEquals(passes(judgement), selecting.length === 0 || any);
  });
  assertMet(met);
});

Deno.test("property: one policy more loosens for a pod that is isolated, and tightens for another", () => {
  const met = { loosened: 0, tightened: 0, untouched: 0 };
  checkPassages(({ world, packet, direction, pod, judgement: after }) => {
    for (const policy of world.policies) {
      const policies = world.policies.filter((one) => one !== policy);
      const before = verdict({ ...world, policies }, packet)[direction];
      if (selectingPolicies([policy], pod, direction).length === 0) {
        met.untouched++;
        assertEquals(after, before);
      } else if (selectingPolicies(policies, pod, direction).length > 0) {
        assert(passes(after) || !passes(before), "it was allowed");
        if (passes(after) && !passes(before)) met.loosened++;
      } else {
        assert(passes(before) || !passes(after), "it was denied");
        if (passes(before) && !passes(after)) met.tightened++;
      }
    }
  });
  assertMet(met);
});

Deno.test("property: one rule, peer or port more never denies", () => {
  const met = { changed: 0 };
  const shorter = <T>(list: readonly T[] | undefined): readonly T[] | undefined => list?.slice(1);
  const changes: readonly ((rule: PolicyRule, n: number) => readonly PolicyRule[])[] = [
    (rule, n) => n === 0 ? [] : [rule],
    (rule) => [{ ...rule, peers: shorter(rule.peers) }],
    (rule) => [{ ...rule, ports: shorter(rule.ports) }],
  ];
  checkPassages(({ world, packet, direction, judgement }) => {
    for (const change of changes) {
      const less = verdict(mapRules(world, change), packet)[direction];
      assert(passes(judgement) || !passes(less));
      if (passes(judgement) && !passes(less)) met.changed++;
    }
  });
  assertMet(met);
});

Deno.test("property: the order of policies, rules, peers, ports, pods and namespaces does not matter", () => {
  const reversed = <T>(list: readonly T[] | undefined): readonly T[] | undefined =>
    list?.toReversed();
  checkPassages(({ world, packet, direction, judgement }) => {
    const turned: PolicyWorld = mapPolicies({
      pods: world.pods.toReversed(),
      namespaces: new Map([...world.namespaces].toReversed()),
      policies: world.policies.toReversed(),
      nodes: new Map([...world.nodes].toReversed()),
    }, (policy) => ({
      ...policy,
      ingress: reversed(policy.ingress?.map(turnedRule)),
      egress: reversed(policy.egress?.map(turnedRule)),
    }));
    function turnedRule({ peers, ports }: PolicyRule): PolicyRule {
      return { peers: reversed(peers), ports: reversed(ports) };
    }
    const other = verdict(turned, packet)[direction];
    assertEquals(other.kind, judgement.kind);
    if (other.kind === "denied" && judgement.kind === "denied") {
      assertEquals(other.policies.toReversed(), judgement.policies);
    }
  });
});

Deno.test("property: a rule is the sum of rules with one peer and one port each", () => {
  const met = { allowed: 0, denied: 0 };
  const singles = <T>(list: readonly T[] | undefined): readonly (readonly T[] | undefined)[] =>
    list === undefined ? [undefined] : list.map((one) => [one]);
  checkPassages(({ world, packet, direction, judgement }) => {
    const split = mapRules(
      world,
      ({ peers, ports }) =>
        singles(peers).flatMap((peers) => singles(ports).map((ports) => ({ peers, ports }))),
    );
    assertEquals(verdict(split, packet)[direction].kind, judgement.kind);
    if (judgement.kind === "allowed" || judgement.kind === "denied") met[judgement.kind]++;
  });
  assertMet(met);
});

Deno.test("property: selectors of pods and of namespaces in one peer are both to be met", () => {
  const met = { both: 0, podsOnly: 0, namespacesOnly: 0 };
  checkPeers("pods", ({ world, packet, direction }, peer, judge) => {
    if (peer.namespaces === undefined) return;
    const judged = (peers: readonly PolicyPeer[]): boolean =>
      passes(verdict(judge(peers), packet)[direction]);
    const both = judged([peer]);
    const pods = judged([{ ...peer, namespaces: [] }]);
    const namespaces = judged([{ ...peer, pods: [] }]);
    assert(!both || (pods && namespaces));
    // Only an address of several pods can meet one selector as this pod and the other as that.
    const address = direction === "egress" ? packet.to.address : packet.from.address;
    if (world.pods.filter((pod) => pod.addresses.includes(address)).length === 1) {
      assertEquals(both, pods && namespaces);
    }
    if (both) met.both++;
    else if (pods) met.podsOnly++;
    else if (namespaces) met.namespacesOnly++;
  });
  assertMet(met);
});

Deno.test("property: a block is its addresses but for those of its exceptions", () => {
  const met = { inside: 0, excepted: 0, outside: 0 };
  checkPeers("block", ({ packet, direction, peer }, block, judge) => {
    const address = parseAddress(peer);
    const whole = contains(block.cidr, address);
    const excepted = block.except.some((part) => contains(part, address));
    assertEquals(passes(verdict(judge([block]), packet)[direction]), whole && !excepted);
    const plain = passes(verdict(judge([{ ...block, except: [] }]), packet)[direction]);
    assertEquals(plain, whole);
    met[!whole ? "outside" : excepted ? "excepted" : "inside"]++;
  });
  assertMet(met);
});

Deno.test("property: a range of ports is the sum of its ports", () => {
  const met = { allowed: 0, denied: 0 };
  checkPassages(({ world, packet, direction, judgement }, tried) => {
    const single = mapRules(world, (rule) => [{
      ...rule,
      ports: rule.ports?.flatMap((port): PolicyPort[] =>
        port.kind === "named" ? [port] : tried
          .filter((number) => port.first <= number && number <= port.last)
          .map((number) => ({ ...port, first: number, last: number }))
      ),
    }]);
    assertEquals(verdict(single, packet)[direction].kind, judgement.kind);
    if (judgement.kind === "allowed" || judgement.kind === "denied") met[judgement.kind]++;
  });
  assertMet(met);
});

/** Checks a property on a seventh of the packets of each world, which seventh is drawn. */
function checkPassages(
  property: (passage: Passage, ports: readonly number[]) => void,
): void {
  fc.assert(
    fc.property(worlds, fc.nat(6), (drawn, rest) => {
      const world = policyWorldOf(drawn);
      for (const [n, packet] of packetsIn(drawn, world).entries()) {
        if (n % 7 !== rest) continue;
        const judgements = verdict(world, packet);
        for (const direction of DIRECTIONS) {
          const [subject, peer] = direction === "egress"
            ? [packet.from, packet.to]
            : [packet.to, packet.from];
          if (subject.pod === undefined) continue;
          const judgement = judgements[direction];
          property(
            { world, packet, direction, pod: subject.pod, peer: peer.address, judgement },
            portsOf(drawn),
          );
        }
      }
    }),
    RUNS,
  );
}

/**
 * Checks a property of every peer of a kind that is in a policy which selects the pod. `judge` makes the
 * world in which that policy is alone, with other peers and every port.
 */
function checkPeers<K extends PolicyPeer["kind"]>(
  kind: K,
  property: (
    passage: Passage,
    peer: PolicyPeer & { readonly kind: K },
    judge: (peers: readonly PolicyPeer[]) => PolicyWorld,
  ) => void,
): void {
  checkPassages((passage) => {
    const { world, direction, pod, judgement } = passage;
    if (judgement.kind === "exempt") return;
    for (const policy of selectingPolicies(world.policies, pod, direction)) {
      for (const peer of policy[direction]!.flatMap(({ peers }) => peers ?? [])) {
        if (peer.kind !== kind) continue;
        property(passage, peer as PolicyPeer & { readonly kind: K }, (peers) => ({
          ...world,
          policies: [{ ...policy, [direction]: [{ peers }] }],
        }));
      }
    }
  });
}

function mapPolicies(
  world: PolicyWorld,
  change: (policy: NetworkPolicy) => NetworkPolicy,
): PolicyWorld {
  return { ...world, policies: world.policies.map(change) };
}

function mapRules(
  world: PolicyWorld,
  change: (rule: PolicyRule, n: number) => readonly PolicyRule[],
): PolicyWorld {
  return mapPolicies(world, (policy) => ({
    ...policy,
    ingress: policy.ingress?.flatMap(change),
    egress: policy.egress?.flatMap(change),
  }));
}

function packetsIn(drawn: DrawnWorld, world: PolicyWorld): readonly Packet[] {
  return packetsOf(world, { outside: drawn.frame.outside, ports: portsOf(drawn) });
}

/** Also ports next to those that policies name, and one that is far from them. */
function portsOf({ frame }: DrawnWorld): readonly number[] {
  return [...frame.ports, 82, 9000];
}

function serviceOf({ protocol, port }: Packet): string {
  return port === undefined ? protocol : `${protocol}/${port}`;
}

function idOf(pod: PolicyPod | undefined): string | undefined {
  return pod && `${pod.namespace}/${pod.name}`;
}

function passes({ kind }: Judgement): boolean {
  return kind !== "denied";
}

/** Checks that a property was not true for want of cases. Few worlds may have none. */
function assertMet(met: Readonly<Record<string, number>>): void {
  if (RUNS.numRuns < 200) return;
  assertEquals(Object.entries(met).filter(([, times]) => times === 0).map(([name]) => name), []);
}
