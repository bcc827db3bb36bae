import { assert, assertEquals, assertNotEquals, assertStrictEquals } from "@std/assert";
import { POLICY_STATES } from "../../tests/policy_states.ts";
import { inputOf, type PolicyMoment, PolicySteps } from "../../tests/policy_steps.ts";
import { seededRandom } from "../../tests/seed.ts";
import type { LabelSelector } from "./label_selector.ts";
import type { NetworkPolicy } from "./network_policy.ts";
import { type NftTable, renderDifference, renderTable } from "./nftables.ts";
import { PeerSets } from "./peer_sets.ts";
import { PolicyCompiler, type PolicyRuleset } from "./policy_ruleset.ts";
import { enforcedPolicies, type GuardedLink, type PolicyMode } from "./policy_selection.ts";

const A: LabelSelector = [{ key: "app", operator: "In", values: ["a"] }];

function policy(name: string, change: Partial<NetworkPolicy> = {}): NetworkPolicy {
  return {
    namespace: "x",
    name,
    uid: "",
    podSelector: [],
    ingress: [],
    problems: [],
    ...change,
  };
}

function link(n: number, change: Partial<GuardedLink> = {}): GuardedLink {
  return {
    hostIfname: `flock0000000${n}`,
    namespace: "x",
    podName: `p${n}`,
    addresses: [`10.0.0.${n}`, `2001:db8::${n}`],
    pod: { labels: { app: "a" }, ports: [] },
    mode: "enforce",
    ...change,
  };
}

function compile(
  links: readonly GuardedLink[],
  policies: readonly NetworkPolicy[],
  allowSpoofing = false,
): PolicyRuleset {
  return new PolicyCompiler().compile({ links, policies, peers: new PeerSets(), allowSpoofing });
}

function elements({ sets }: NftTable, name: string): readonly string[] {
  return Array.from(
    sets.get(name)!.elements,
    ([key, value]) => value === "" ? key : `${key} ${value}`,
  );
}

/** The rules that a link's packets go through in a direction; undefined: none. */
function rulesOf(
  { sets, chains }: NftTable,
  direction: "ingress" | "egress",
  n: number,
): readonly string[] | undefined {
  const verdict = sets.get(direction)!.elements.get(`"flock0000000${n}"`);
  return verdict === undefined ? undefined : chains.get(verdict.replace("goto ", ""))?.rules;
}

Deno.test("PolicyCompiler selects pods of a policy's namespace by their labels, by direction", () => {
  const { table, selections } = compile(
    [
      link(1),
      link(2, { pod: { labels: { app: "b" }, ports: [] } }),
      link(3, { namespace: "y" }),
    ],
    [
      policy("both", { podSelector: A, egress: [] }),
      policy("out", { ingress: undefined, egress: [{}] }),
    ],
  );
  assertEquals(
    selections.map(({ podName, ingress, egress }) => [
      podName,
      ingress?.map(({ name }) => name),
      egress?.map(({ name }) => name),
    ]),
    [["p1", ["both"], ["both", "out"]], ["p2", undefined, ["out"]], ["p3", undefined, undefined]],
  );
  assertEquals(rulesOf(table, "ingress", 1), ["jump ingress/x/both", "goto drop-ingress"]);
  assertEquals(rulesOf(table, "egress", 1), [
    "jump egress/x/both",
    "jump egress/x/out",
    "goto drop-egress",
  ]);
  assertEquals(rulesOf(table, "ingress", 2), undefined);
  assertEquals(rulesOf(table, "egress", 3), undefined);
  assertEquals(table.chains.get("egress/x/out")?.rules, ["accept"]);
  assertEquals(table.chains.has("ingress/x/out"), false);
  // Of all links: what was counted of a pod stays while nothing selects it.
  const all = ['"flock00000001"', '"flock00000002"', '"flock00000003"'];
  for (const set of ["dropped-ingress", "dropped-egress", "audited-ingress", "audited-egress"]) {
    assertEquals(elements(table, set), all);
  }
  assertEquals(elements(table, "itself"), all.map((one) => `${one} . ${one}`));
});

Deno.test("PolicyCompiler lets a container's packets to itself pass, from each link to each", () => {
  const { addresses } = link(1);
  const { table } = compile([link(1), link(2, { addresses }), link(3)], []);
  const [one, two, three] = [1, 2, 3].map((n) => `"flock0000000${n}"`);
  assertEquals(elements(table, "itself"), [
    `${one} . ${one}`,
    `${one} . ${two}`,
    `${two} . ${one}`,
    `${two} . ${two}`,
    `${three} . ${three}`,
  ]);
});

Deno.test("PolicyCompiler refuses what there is no room for, the largest, and takes it again", () => {
  const peers = new PeerSets();
  const pods = Array.from({ length: 1_000 }, (_, n) => ({
    namespace: "x",
    name: `p${n}`,
    labels: {},
    addresses: [`10.0.${n >> 8}.${n & 255}`],
    hostNetwork: false,
    ports: [],
  }));
  peers.update(pods, new Map([["x", {}]]));
  // Each of these selectors selects every pod.
  const huge = policy("huge", {
    ingress: [{
      peers: Array.from({ length: 600 }, (_, n) => ({
        kind: "pods",
        pods: [{ key: `k${n}`, operator: "DoesNotExist", values: [] }],
      })),
    }],
    egress: [{}],
  });
  const small = policy("small", { ingress: [{ peers: [{ kind: "pods", pods: [] }] }] });
  const compiler = new PolicyCompiler();
  const of = (...policies: readonly NetworkPolicy[]): PolicyRuleset =>
    compiler.compile({ links: [link(1)], policies, peers, allowSpoofing: false });
  const { table, refused, selections } = of(huge, small);
  assertEquals(refused.map(({ policy, direction }) => [policy.name, direction]), [
    ["huge", "ingress"],
  ]);
  assert(refused[0]!.size > 600_000, String(refused[0]!.size));
  assertEquals(table.chains.get("ingress/x/huge")?.rules, []);
  assertEquals(table.chains.get("egress/x/huge")?.rules, ["accept"]);
  assertEquals(table.chains.get("ingress/x/small")?.rules.length, 2);
  assertEquals(selections[0]?.ingress?.map(({ name }) => name), ["huge", "small"]);
  const [told] = enforcedPolicies([huge, small], refused);
  assertEquals([told?.ingress, told?.egress, told?.problems.length], [[], [{}], 1]);
  // It stays refused while nothing changes, and is taken when it has become smaller.
  assertEquals(of(huge, small).refused.length, 1);
  const smaller = { ...huge, ingress: [{ peers: huge.ingress![0]!.peers!.slice(0, 400) }] };
  assertEquals(of(smaller, small).refused, []);
});

Deno.test("PolicyCompiler: pods that the same policies select share a chain", () => {
  const only = policy("only", { podSelector: [{ key: "app", operator: "In", values: ["b"] }] });
  const other = link(3, { pod: { labels: { app: "b" }, ports: [] } });
  const { table } = compile([link(1), link(2), other], [policy("all"), only]);
  const [one, two, three] = elements(table, "ingress").map((text) => text.split(" ")[2]);
  assertEquals(one, two);
  assertNotEquals(one, three);
  assertEquals([...table.chains.keys()].filter((name) => name.startsWith("pods-")).length, 2);
});

Deno.test("PolicyCompiler: policies of the same names in two namespaces share nothing", () => {
  const { table } = compile(
    [link(1), link(2, { namespace: "y" })],
    [policy("one", { ingress: [{}] }), policy("one", { namespace: "y" })],
  );
  assertEquals(rulesOf(table, "ingress", 1)?.[0], "jump ingress/x/one");
  assertEquals(rulesOf(table, "ingress", 2)?.[0], "jump ingress/y/one");
  assertEquals(table.chains.get("ingress/y/one")?.rules, []);
});

Deno.test("PolicyCompiler: what audit does not allow is logged, counted and let through", () => {
  const policies = [policy("b"), policy("a"), policy("c", { ingress: undefined, egress: [] })];
  const { table } = compile([link(1, { mode: "audit" }), link(2)], policies);
  assertEquals(rulesOf(table, "ingress", 1), [
    "jump ingress/x/a",
    "jump ingress/x/b",
    'oifname @audited-ingress log prefix "flock ingress x/a,x/b: " group 7 accept',
    "accept",
  ]);
  assertEquals(rulesOf(table, "egress", 1), [
    "jump egress/x/c",
    'iifname @audited-egress log prefix "flock egress x/c: " group 7 accept',
    "accept",
  ]);
  assertEquals(rulesOf(table, "ingress", 2)?.at(-1), "goto drop-ingress");
});

Deno.test("PolicyCompiler: a log's prefix has at most 64 bytes and nothing that ends it", () => {
  for (let length = 1; length <= 253; length++) {
    const name = "n".repeat(length);
    const { table } = compile([link(1, { mode: "audit" })], [policy(name), policy("z")]);
    const rule = rulesOf(table, "ingress", 1)!.find((text) => text.includes("log prefix"));
    const prefix = /log prefix "([^"]*)" group 7 accept$/.exec(rule ?? "")?.[1] ?? "";
    assert(prefix.length <= 64, prefix);
    assert(/^flock ingress x\/n+(,x\/z|[n,/xz]*\.\.\.)?: $/.test(prefix), prefix);
    assert(length > 40 || prefix === `flock ingress x/${name},x/z: `, prefix);
  }
});

Deno.test("PolicyCompiler: a pod that nobody knows any more is denied what its namespace could be", () => {
  const gone = link(1, { pod: undefined });
  const ingress = policy("in", { podSelector: A, ingress: [{}] });
  const { table, selections } = compile([gone, link(2, { pod: undefined, namespace: "y" })], [
    ingress,
  ]);
  assertEquals(rulesOf(table, "ingress", 1), ["goto drop-ingress"]);
  assertEquals(rulesOf(table, "egress", 1), undefined);
  assertEquals(rulesOf(table, "ingress", 2), undefined, "its namespace has no policy");
  assertEquals(selections[0]?.ingress, []);
  assertEquals(table.chains.has("ingress/x/in"), false);
});

Deno.test("PolicyCompiler: a container of no pod is selected by nothing, and sends as itself only", () => {
  const alone = link(1, { namespace: "", podName: "", pod: undefined });
  const { table } = compile([alone], [policy("all", { namespace: "", egress: [] })]);
  assertEquals([rulesOf(table, "ingress", 1), rulesOf(table, "egress", 1)], [undefined, undefined]);
  assertEquals(elements(table, "sources4"), ['"flock00000001" . 10.0.0.1']);
  assertEquals(elements(table, "spoofed"), ['"flock00000001"']);
});

Deno.test("PolicyCompiler: every link of a pod is its own way to the same rules", () => {
  const ports = [{ name: "http", protocol: "TCP", port: 80 }] as const;
  const pod = { labels: {}, ports };
  const addresses = ["10.0.0.1", "10.0.0.2"];
  const both = [link(1, { pod, addresses }), link(2, { pod, addresses, podName: "p1" })];
  const rule = { ports: [{ kind: "named", protocol: "TCP", name: "http" }] } as const;
  const { table } = compile(both, [policy("http", { ingress: [rule] })]);
  assertEquals(rulesOf(table, "ingress", 1), rulesOf(table, "ingress", 2));
  assertEquals(elements(table, "sources4"), [
    '"flock00000001" . 10.0.0.1',
    '"flock00000001" . 10.0.0.2',
    '"flock00000002" . 10.0.0.1',
    '"flock00000002" . 10.0.0.2',
  ]);
  const set = [...table.sets.keys()].find((name) => name.startsWith("port-"))!;
  assertEquals(elements(table, set), ['"flock00000001" . 80', '"flock00000002" . 80']);
  assertEquals(table.sets.get(set)?.spec, ["type ifname . inet_service"]);
});

Deno.test("PolicyCompiler: allowSpoofing takes anti-spoofing away and nothing else", () => {
  const links = [link(1), link(2)];
  const [strict, lax] = [false, true].map((allow) => compile(links, [policy("all")], allow).table);
  const antispoof = ["sources6", "sources4", "spoofed"];
  assertEquals(
    [...lax!.sets.keys()],
    [...strict!.sets.keys()].filter((key) => !antispoof.includes(key)),
  );
  assertEquals(
    [...lax!.chains.keys()],
    [...strict!.chains.keys()].filter((key) => key !== "antispoof"),
  );
  assertEquals(rulesOf(lax!, "ingress", 1), rulesOf(strict!, "ingress", 1));
});

Deno.test("PolicyCompiler: chains of the longest names are as long as nft takes", () => {
  const [one, two] = ["a", "b"].map((end) => policy(`${"n".repeat(252)}${end}`, { ingress: [{}] }));
  const { table } = compile([link(1)], [one!, two!]);
  const jumps = rulesOf(table, "ingress", 1)!.filter((rule) => rule.startsWith("jump "));
  assertEquals(new Set(jumps).size, 2);
  for (const jump of jumps) assertEquals(table.chains.get(jump.slice(5))?.rules, ["accept"]);
  for (const name of table.chains.keys()) assert(name.length <= 128, name);
});

Deno.test("PolicyCompiler has a base chain of its own for each direction, also without policies", () => {
  const { chains } = compile([], []).table;
  const bases = Array.from(chains, ([name, { base }]) => [name, base])
    .filter(([, base]) => base !== undefined);
  assertEquals(bases, [
    ["antispoof", "type filter hook prerouting priority raw; policy accept;"],
    ["ingress", "type filter hook forward priority filter + 1; policy accept;"],
    ["egress", "type filter hook forward priority filter; policy accept;"],
  ]);
});

Deno.test("PolicyCompiler: what has not changed is the same object, and what is used no more is forgotten", () => {
  const [compiler, peers] = [new PolicyCompiler(), new PeerSets()];
  const shop = POLICY_STATES.shop!;
  const compiled = (moment: PolicyMoment): NftTable =>
    compiler.compile(inputOf(moment, peers)).table;
  const first = compiled(shop);
  const second = compiled({ ...shop, policies: [...shop.policies].reverse() });
  assertEquals(renderDifference("t", first, second), "");
  for (const [name, { rules }] of first.chains) {
    if (/^(in|e)gress\//.test(name)) assertStrictEquals(second.chains.get(name)?.rules, rules);
  }
  for (const [name, { elements }] of first.sets) {
    if (/^(pods|named)[46]-/.test(name)) {
      assertStrictEquals(second.sets.get(name)?.elements, elements);
    }
  }
  const nothing = compiled({ ...shop, policies: [] });
  assertEquals(
    [...nothing.sets.keys()].filter((name) => name.includes("-") && !/(in|e)gress$/.test(name)),
    [],
  );
  assertEquals(compiled(shop), first);
});

Deno.test("property: a table that is kept up to date is the one that is computed anew", () => {
  const modes = new Set<PolicyMode>();
  for (let seed = 1; seed <= 12; seed++) {
    const steps = new PolicySteps(seededRandom(seed));
    const [compiler, peers] = [new PolicyCompiler(), new PeerSets()];
    for (let n = 0; n < 40; n++) {
      const moment = steps.step();
      const kept = compiler.compile(inputOf(moment, peers));
      const anew = new PolicyCompiler().compile(inputOf(moment, new PeerSets()));
      const difference = renderDifference("t", kept.table, anew.table);
      assertEquals(difference, "", `seed ${seed}, step ${n}\n${renderTable("t", anew.table)}`);
      assertEquals(kept.selections, anew.selections);
      for (const { mode, ingress } of kept.selections) if (ingress?.length) modes.add(mode);
    }
  }
  assertEquals(modes, new Set<PolicyMode>(["enforce", "audit"]));
});
