/**
 * Policies of every size and awkwardness: the kernel has what the verdict says, all the same.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { EXECUTABLE } from "../executable.ts";
import {
  type ApiPeer,
  type ApiPod,
  type ApiPolicy,
  namespace,
  networkPolicy,
} from "../policy_objects.ts";
import type { DrawnWorld, WorldFrame } from "../policy_worlds.ts";
import { testSource, testWith } from "../support.ts";
import { PolicyLab } from "./policy_lab.ts";
import { describeDisagreements } from "./policy_questions.ts";
import { askPolicies } from "./policy_table.ts";
import { createTestLab } from "./test_lab.ts";

/** Addresses of a pod: IPv6, IPv4. */
type Both = readonly [string, string];
/** Policies, given the addresses of the pods. */
type Case = (addresses: readonly [Both, Both, Both]) => readonly ApiPolicy[];

const FIRST = { matchLabels: { name: "a" } };
const inward = (name: string, from: readonly ApiPeer[], ports?: readonly object[]): ApiPolicy =>
  networkPolicy("x", name, { podSelector: FIRST, ingress: [{ from, ports }] });
const block = (cidr: string, ...except: readonly string[]): ApiPeer => ({
  ipBlock: { cidr, ...(except.length === 0 ? {} : { except }) },
});
const numbers = (count: number): number[] => Array.from({ length: count }, (_, n) => n);

const CASES: Readonly<Record<string, Case>> = {
  "1,000 rules": ([, [b6], [, c4]]) => [
    networkPolicy("x", "rules", {
      podSelector: {},
      policyTypes: ["Ingress", "Egress"],
      ingress: numbers(1_000).map((n) => ({
        from: [block(`10.9.${n >> 8}.${n & 255}/32`), ...(n === 999 ? [block(`${b6}/128`)] : [])],
        ports: [{ port: 80 + n % 2 }],
      })),
      egress: numbers(1_000).map((n) => ({
        to: [block(n === 500 ? `${c4}/32` : `2001:db8:9:${n.toString(16)}::/64`)],
        ports: [{ protocol: "UDP", port: 1_000 + 8 * n, endPort: 1_005 + 8 * n }, { port: 80 }],
      })),
    }),
  ],
  "300 selectors and 300 names of ports in a rule": () => {
    const selectors = numbers(300).map((n): ApiPeer => ({
      podSelector: { matchLabels: { name: n === 299 ? "b" : `nobody-${n}` } },
    }));
    const ports = [...numbers(300).map((n) => ({ port: `port-${n}` })), { port: 80 }];
    return [
      inward("in", selectors, ports),
      networkPolicy("x", "out", {
        podSelector: { matchLabels: { name: "c" } },
        policyTypes: ["Egress"],
        egress: [{ to: selectors, ports }],
      }),
    ];
  },
  "blocks in blocks, some taken out of them": ([, [b6, b4], [c6, c4]]) => [
    inward("v4", [
      block("10.244.0.0/16", `${b4}/32`, "10.244.2.0/24"),
      block("10.0.0.0/8", "10.244.0.0/16", "10.0.0.0/9"),
      block("10.244.2.0/24", `${c4}/31`),
      block("203.0.113.0/24", "203.0.113.0/25", "203.0.113.0/26"),
    ]),
    inward("v6", [
      block("2001:db8:f000::/36", "2001:db8:f002::/48", `${b6}/128`),
      block("2001:db8:f002::/48", `${c6}/127`, "2001:db8:f002::/64"),
      block("2001:db8:c::/64"),
    ]),
  ],
  "everybody but some": ([, [b6, b4]]) => [
    inward("but", [
      block("0.0.0.0/0", `${b4}/32`, "203.0.113.0/24"),
      block("::/0", `${b6}/128`, "2001:db8:c::/64"),
    ]),
  ],
  "both halves of everything": () => [
    inward("v4", [block("0.0.0.0/1"), block("128.0.0.0/1")], [{ port: 80 }]),
    inward("v6", [block("::/1"), block("8000::/1")], [{ port: 81 }]),
  ],
  "1,000 taken out": ([, [b6, b4]]) => [
    inward("v4", [
      block(
        "0.0.0.0/0",
        `${b4}/32`,
        ...numbers(999).map((n) => `10.9.${n >> 8}.${n & 255}`)
          .map((address) => `${address}/32`),
      ),
    ]),
    inward("v6", [
      block("::/0", `${b6}/128`, ...numbers(999).map((n) => `2001:db8:9:${n.toString(16)}::/64`)),
    ]),
  ],
  "the same again, and what adjoins": ([, [b6, b4]]) => [
    inward("twice", [
      ...[block(`${b4}/32`), block(`${b4}/32`), block(`${b4}/31`), block(`${b6}/128`)],
      ...[block("10.244.2.0/25"), block("10.244.2.128/25"), block("010.244.002.000/24")],
    ], [
      ...[{ port: 80 }, { port: 80 }, { port: 80, endPort: 80 }],
      ...[{ port: 79, endPort: 80 }, { port: 81, endPort: 90 }, { port: 85, endPort: 8_079 }],
      ...[{ protocol: "UDP", port: 1, endPort: 65_535 }, { protocol: "SCTP" }],
    ]),
  ],
  "what is between": () => [
    inward("ports", [{ podSelector: {} }], [
      ...[{ port: 80 }, { port: 82, endPort: 90 }, { port: 8_079 }, { port: 8_081 }],
      ...[{ protocol: "UDP", port: 80 }, { protocol: "UDP", port: 82 }],
    ]),
  ],
  "the longest names, alike for 200 characters": () => {
    const stem = `${"a-name.".repeat(35)}tail`.slice(0, 245);
    return [
      inward(`${stem}.80`, [{ podSelector: {} }], [{ port: 80 }]),
      inward(`${stem}.81`, [{ podSelector: {} }], [{ port: 81 }]),
      networkPolicy("x", `${stem}.out.put`, {
        podSelector: FIRST,
        policyTypes: ["Egress"],
        egress: [{ ports: [{ protocol: "UDP" }] }],
      }),
      networkPolicy("x", "0", { podSelector: {}, policyTypes: ["Egress"], egress: [{}] }),
    ];
  },
  "100 policies for one pod": ([, [b6], [, c4]]) =>
    numbers(100).map((n) =>
      inward(`policy-${n}`, [
        block(n === 99 ? `${b6}/128` : n === 98 ? `${c4}/32` : `10.9.9.${n}/32`),
      ], [
        { port: 80 },
        { protocol: "UDP", port: 8_000 + n },
      ])
    ),
};

/** What cannot be understood is refused, and nothing else. */
const REFUSED: Case = ([, [b6, b4]]) => [
  inward("refused", [
    ...[block("10.0.0.0/33"), block("300.0.0.0/8"), block("10.0.0.0"), block("::/129")],
    ...[block("0.0.0.0/0", "::/0"), block("10.0.0.0/8", "11.0.0.0/8"), {}],
    { podSelector: {}, ...block("0.0.0.0/0") },
    block(`${b4}/32`),
    block(`${b6}/128`),
  ], [{ port: 80 }, { port: 0 }, { port: 81, endPort: 80 }, { protocol: "ICMP" }]),
];

testWith(
  "netns: awkward policies are enforced as they are written",
  ["root", "bird"],
  async (t) => {
    await using lab = await createTestLab({ executable: EXECUTABLE });
    await lab.start();
    using policyLab = await PolicyLab.create(lab, [
      { node: "n1", name: "a", namespace: "x" },
      { node: "n1", name: "b", namespace: "x" },
      { node: "n2", name: "c", namespace: "x" },
    ]);
    const frame = policyLab.frame({ maxPolicies: 0 });
    const both = (n: number): Both => {
      const [ipv6 = "", ipv4 = ""] = frame.slots[n]?.addresses ?? [];
      return [ipv6, ipv4];
    };
    const addresses = [both(0), both(1), both(2)] as const;
    for (const [name, policiesFor] of Object.entries(CASES)) {
      await t.step(name, () => enforced(policyLab, worldWith(frame, policiesFor(addresses))));
    }
    // An API server lets none of it in.
    await t.step({
      name: "what is refused, without the rest",
      ignore: testSource() !== "manifests",
      fn: async () => {
        await enforced(policyLab, worldWith(frame, REFUSED(addresses)));
        const { items } = await askPolicies(lab.nodes[0]!);
        const problems = items.find(({ name }) => name === "refused")?.problems ?? [];
        assertEquals(problems.length, 11, problems.join("\n"));
      },
    });
  },
);

/** The kernel agrees with the verdict, which is neither "all" nor "nothing". */
async function enforced(policyLab: PolicyLab, world: DrawnWorld): Promise<void> {
  await policyLab.become(world);
  const { disagreements, allowed, denied } = await policyLab.compare(world);
  assertEquals(disagreements.length, 0, describeDisagreements(disagreements));
  assert(allowed > 0 && denied > 0, `${allowed} are allowed, ${denied} denied`);
}

function worldWith(frame: WorldFrame, policies: readonly ApiPolicy[]): DrawnWorld {
  const pods = frame.slots.map((slot): ApiPod => ({
    apiVersion: "v1",
    kind: "Pod",
    metadata: { namespace: slot.namespace ?? "x", name: slot.name, labels: { name: slot.name } },
    spec: { nodeName: slot.node, containers: [{ name: "main" }] },
    status: { phase: "Running", podIPs: slot.addresses.map((ip) => ({ ip })) },
  }));
  return { frame, namespaces: [namespace("x")], pods, policies };
}
