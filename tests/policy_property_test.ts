/**
 * Properties of verdicts over random worlds, parsed from the API's shape: what adding, removing and
 * rearranging policies may change, and that an independent reading of the specification agrees.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { contains, parseAddress } from "../src/core/cidr.ts";
import type { NetworkPolicy, PolicyPort, PolicyRule } from "../src/core/network_policy.ts";
import {
  type Packet,
  type PolicyPod,
  type PolicyWorld,
  selectingPolicies,
  verdict,
} from "../src/core/policy.ts";
import { naivePolicies } from "./naive_policies.ts";
import { showPacket } from "./policy_packets.ts";
import {
  assertMet,
  checkPassages,
  checkPeers,
  mapRules,
  packetsIn,
  passes,
  RUNS,
} from "./policy_passages.ts";
import { policyWorldOf, worlds } from "./policy_worlds.ts";

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
        if (allowed !== told) assertEquals(allowed, told, showPacket(packet));
        if (!allowed) met.denied++;
        else if (egress.kind === "allowed" || ingress.kind === "allowed") met.allowed++;
      }
    }),
    RUNS,
  );
  assertMet(met);
});

Deno.test("property: without policies everything passes", () => {
  checkPassages((world) => {
    const free: PolicyWorld = { ...world, policies: [] };
    return ({ packet, direction }) => {
      const { allowed, ...judgements } = verdict(free, packet);
      assert(allowed);
      assert(["open", "exempt"].includes(judgements[direction].kind));
    };
  });
});

Deno.test("property: a packet passes when both ends let it, and each judgement is as it says", () => {
  const met = { open: 0, exempt: 0, allowed: 0, denied: 0 };
  checkPassages((world) => ({ packet, direction, pod, peer, judgement }) => {
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

Deno.test("property: policies add up, and those that do not select a pod do nothing to it", () => {
  const met = { isolated: 0, open: 0 };
  checkPassages((world) => ({ packet, direction, pod, judgement }) => {
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
  checkPassages((world) => {
    const without = world.policies.map((policy): [NetworkPolicy, PolicyWorld] => [
      policy,
      { ...world, policies: world.policies.filter((one) => one !== policy) },
    ]);
    return ({ packet, direction, pod, judgement: after }) => {
      for (const [policy, others] of without) {
        const before = verdict(others, packet)[direction];
        if (selectingPolicies([policy], pod, direction).length === 0) {
          met.untouched++;
          assertEquals(after, before);
        } else if (selectingPolicies(others.policies, pod, direction).length > 0) {
          assert(passes(after) || !passes(before), "it was allowed");
          if (passes(after) && !passes(before)) met.loosened++;
        } else {
          assert(passes(before) || !passes(after), "it was denied");
          if (passes(before) && !passes(after)) met.tightened++;
        }
      }
    };
  });
  assertMet(met);
});

Deno.test("property: one rule, peer or port more never denies", () => {
  const met = { rule: 0, peer: 0, port: 0 };
  type What = keyof typeof met;
  const changes: Record<What, (rule: PolicyRule, n: number) => readonly PolicyRule[]> = {
    rule: (rule, n) => n === 0 ? [] : [rule],
    peer: (rule) => [{ ...rule, peers: rule.peers?.slice(1) }],
    port: (rule) => [{ ...rule, ports: rule.ports?.slice(1) }],
  };
  checkPassages((world) => {
    const less = Object.entries(changes)
      .map(([what, change]) => [what as What, mapRules(world, change)] as const);
    return ({ packet, direction, judgement }) => {
      for (const [what, world] of less) {
        const passed = passes(verdict(world, packet)[direction]);
        assert(passes(judgement) || !passed, `one ${what} more`);
        if (passes(judgement) && !passed) met[what]++;
      }
    };
  });
  assertMet(met);
});

Deno.test("property: the order of policies, rules, peers, ports, pods and namespaces does not matter", () => {
  const turned = ({ peers, ports }: PolicyRule): PolicyRule => ({
    peers: peers?.toReversed(),
    ports: ports?.toReversed(),
  });
  checkPassages((world) => {
    const other: PolicyWorld = {
      pods: world.pods.toReversed(),
      namespaces: new Map([...world.namespaces].toReversed()),
      policies: world.policies.toReversed().map((policy) => ({
        ...policy,
        ingress: policy.ingress?.toReversed().map(turned),
        egress: policy.egress?.toReversed().map(turned),
      })),
      nodes: new Map([...world.nodes].toReversed()),
    };
    return ({ packet, direction, judgement }) => {
      const judged = verdict(other, packet)[direction];
      assertEquals(judged.kind, judgement.kind);
      if (judged.kind === "denied" && judgement.kind === "denied") {
        assertEquals(judged.policies.toReversed(), judgement.policies);
      }
    };
  });
});

Deno.test("property: a rule is the sum of rules with one peer and one port each", () => {
  const met = { allowed: 0, denied: 0 };
  const singles = <T>(list: readonly T[] | undefined): readonly (readonly T[] | undefined)[] =>
    list === undefined ? [undefined] : list.map((one) => [one]);
  checkPassages((world) => {
    const split = mapRules(
      world,
      ({ peers, ports }) =>
        singles(peers).flatMap((peers) => singles(ports).map((ports) => ({ peers, ports }))),
    );
    return ({ packet, direction, judgement }) => {
      assertEquals(verdict(split, packet)[direction].kind, judgement.kind);
      if (judgement.kind === "allowed" || judgement.kind === "denied") met[judgement.kind]++;
    };
  });
  assertMet(met);
});

Deno.test("property: selectors of pods and of namespaces in one peer are both to be met", () => {
  const met = { both: 0, podsOnly: 0, namespacesOnly: 0 };
  checkPeers("pods", ({ world, peer: address }, peer, judge) => {
    if (peer.namespaces === undefined) return;
    const both = judge(peer);
    const pods = judge({ ...peer, namespaces: [] });
    const namespaces = judge({ ...peer, pods: [] });
    assert(!both || (pods && namespaces));
    // Only an address of several pods can meet one selector as this pod and the other as that.
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
  checkPeers("block", ({ peer }, block, judge) => {
    const address = parseAddress(peer);
    const whole = contains(block.cidr, address);
    const excepted = block.except.some((part) => contains(part, address));
    assertEquals(judge(block), whole && !excepted);
    assertEquals(judge({ ...block, except: [] }), whole);
    met[!whole ? "outside" : excepted ? "excepted" : "inside"]++;
  });
  assertMet(met);
});

Deno.test("property: a range of ports is the sum of its ports", () => {
  const met = { allowed: 0, denied: 0 };
  checkPassages((world, tried) => {
    const single = mapRules(world, (rule) => [{
      ...rule,
      ports: rule.ports?.flatMap((port): PolicyPort[] =>
        port.kind === "named" ? [port] : tried
          .filter((number) => port.first <= number && number <= port.last)
          .map((number) => ({ ...port, first: number, last: number }))
      ),
    }]);
    return ({ packet, direction, judgement }) => {
      assertEquals(verdict(single, packet)[direction].kind, judgement.kind);
      if (judgement.kind === "allowed" || judgement.kind === "denied") met[judgement.kind]++;
    };
  });
  assertMet(met);
});

function serviceOf({ protocol, port }: Packet): string {
  return port === undefined ? protocol : `${protocol}/${port}`;
}

function idOf(pod: PolicyPod | undefined): string | undefined {
  return pod && `${pod.namespace}/${pod.name}`;
}
