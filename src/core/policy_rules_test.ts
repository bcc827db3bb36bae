import { assert, assertEquals, assertNotEquals, assertStrictEquals } from "@std/assert";
import { parsePrefix } from "./cidr.ts";
import { fnv1a32 } from "./iid.ts";
import type { NetworkPolicy, PolicyPeer, PolicyPort, PolicyRule } from "./network_policy.ts";
import type { Direction } from "./policy.ts";
import { NameTable, type PolicyRules, policyRules } from "./policy_rules.ts";

const PODS: PolicyPeer = {
  kind: "pods",
  pods: [{ key: "app", operator: "In", values: ["a"] }],
};
const RED: PolicyPeer = {
  kind: "pods",
  namespaces: [{ key: "team", operator: "In", values: ["red"] }],
  pods: [],
};

function block(cidr: string, ...except: readonly string[]): PolicyPeer {
  return { kind: "block", cidr: parsePrefix(cidr), except: except.map(parsePrefix) };
}

function tcp(first: number, last = first): PolicyPort {
  return { kind: "range", protocol: "TCP", first, last };
}

function udp(first: number, last = first): PolicyPort {
  return { ...tcp(first, last), protocol: "UDP" } as PolicyPort;
}

function named(name: string, protocol: "TCP" | "UDP" = "TCP"): PolicyPort {
  return { kind: "named", protocol, name };
}

function policy(direction: Direction, ...rules: readonly PolicyRule[]): NetworkPolicy {
  return {
    namespace: "x",
    name: "one",
    uid: "",
    podSelector: [],
    [direction]: rules,
    problems: [],
  };
}

/** Names sets by what they are of, in the order in which they are first used. */
function compile(direction: Direction, ...rules: readonly PolicyRule[]): PolicyRules {
  const names = new Map<string, string>();
  return policyRules(policy(direction, ...rules), direction, (prefix, key) => {
    const whole = `${prefix} ${key}`;
    if (!names.has(whole)) names.set(whole, `${prefix}-${names.size + 1}`);
    return names.get(whole)!;
  });
}

function elementsOf({ fixed }: PolicyRules): Readonly<Record<string, readonly string[]>> {
  return Object.fromEntries(
    Array.from(fixed, ([name, { elements }]) => [name, [...elements.keys()]]),
  );
}

Deno.test("policyRules() has a form for each rule of numbered ports", async (t) => {
  const ports: Readonly<Record<string, readonly [readonly PolicyPort[] | undefined, ...string[]]>> =
    {
      "every protocol": [undefined, "accept"],
      "no port that was understood": [[]],
      "one port": [[tcp(80)], "tcp dport 80 accept"],
      "a range": [[udp(8_000, 8_999)], "udp dport 8000-8999 accept"],
      "every port": [[tcp(0, 65_535)], "meta l4proto tcp accept"],
      "every port and another": [[tcp(80), tcp(0, 65_535)], "meta l4proto tcp accept"],
      "every port that can be written": [[tcp(1, 65_535)], "tcp dport 1-65535 accept"],
      "ranges that overlap": [[tcp(90, 110), tcp(80, 100)], "tcp dport 80-110 accept"],
      "ranges that adjoin": [[tcp(81), tcp(80), tcp(82, 90)], "tcp dport 80-90 accept"],
      "a range in another": [[tcp(80, 100), tcp(90)], "tcp dport 80-100 accept"],
      "one twice": [[tcp(80), tcp(80)], "tcp dport 80 accept"],
      "several protocols": [
        [{ ...tcp(7), protocol: "SCTP" } as PolicyPort, udp(53), tcp(53)],
        "tcp dport 53 accept",
        "udp dport 53 accept",
        "sctp dport 7 accept",
      ],
      "several ports": [[tcp(443), tcp(80)], "tcp dport @ports-1 accept"],
    };
  for (const direction of ["ingress", "egress"] as const) {
    for (const [name, [list, ...expected]] of Object.entries(ports)) {
      await t.step(`${direction}: ${name}`, () => {
        assertEquals(compile(direction, { ports: list }).rules, expected);
      });
    }
  }
  await t.step("a set of ports is one of ranges where one of them is", () => {
    const { fixed: single } = compile("ingress", { ports: [tcp(443), tcp(80)] });
    assertEquals(single.get("ports-1")?.spec, ["type inet_service"]);
    const { fixed } = compile("ingress", { ports: [tcp(443), tcp(80), tcp(8_000, 8_010)] });
    assertEquals(fixed.get("ports-1"), {
      kind: "set",
      spec: ["type inet_service", "flags interval"],
      elements: new Map([["80", ""], ["443", ""], ["8000-8010", ""]]),
    });
  });
});

Deno.test("policyRules() has a form for each list of peers", async (t) => {
  const peers: Readonly<Record<string, readonly [readonly PolicyPeer[] | undefined, ...string[]]>> =
    {
      everybody: [undefined, "accept"],
      "nobody that was understood": [[]],
      "an address": [[block("10.0.0.7/32")], "ip saddr 10.0.0.7 accept"],
      "an IPv6 address": [[block("2001:db8::7/128")], "ip6 saddr 2001:db8::7 accept"],
      "a prefix": [[block("10.0.0.0/8")], "ip saddr 10.0.0.0/8 accept"],
      "a family": [[block("0.0.0.0/0")], "meta nfproto ipv4 accept"],
      "both families": [
        [block("0.0.0.0/0"), block("::/0")],
        "meta nfproto ipv6 accept",
        "meta nfproto ipv4 accept",
      ],
      "a family in two halves": [
        [block("128.0.0.0/1"), block("0.0.0.0/1")],
        "meta nfproto ipv4 accept",
      ],
      "two blocks that make a prefix": [
        [block("10.0.1.0/24"), block("10.0.0.0/24")],
        "ip saddr 10.0.0.0/23 accept",
      ],
      "two blocks that make none": [
        [block("10.0.1.0/24"), block("10.0.2.0/24")],
        "ip saddr 10.0.1.0-10.0.2.255 accept",
      ],
      "a block without its end": [
        [block("2001:db8::/32", "2001:db8:8000::/33")],
        "ip6 saddr 2001:db8::/33 accept",
      ],
      "a block without itself": [[block("10.0.0.0/8", "10.0.0.0/8")]],
      "a block without a part, and that part": [
        [block("10.0.0.0/8", "10.1.0.0/16"), block("10.1.0.0/16")],
        "ip saddr 10.0.0.0/8 accept",
      ],
      "a block without a part": [
        [block("0.0.0.0/0", "10.0.0.0/8")],
        "ip saddr 0.0.0.0-9.255.255.255 accept",
        "ip saddr 11.0.0.0-255.255.255.255 accept",
      ],
      pods: [[PODS], "ip6 saddr @pods6-1 accept", "ip saddr @pods4-2 accept"],
      "pods and a block": [
        [block("10.0.0.0/8"), RED],
        "ip6 saddr @pods6-1 accept",
        "ip saddr @pods4-2 accept",
        "ip saddr 10.0.0.0/8 accept",
      ],
    };
  for (const [name, [list, ...expected]] of Object.entries(peers)) {
    await t.step(name, () => {
      assertEquals(compile("ingress", { peers: list }).rules, expected);
      const to = expected.map((rule) => rule.replace("saddr", "daddr"));
      assertEquals(compile("egress", { peers: list }).rules, to);
    });
  }
  await t.step("many ranges are a set, few are a rule each", () => {
    const made = compile("ingress", {
      peers: [
        block("0.0.0.0/0", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"),
        block("2001:db8::/32", "2001:db8:1::/48"),
        block("10.1.0.0/16"),
      ],
    });
    assertEquals(made.rules, [
      "ip6 saddr 2001:db8::/48 accept",
      "ip6 saddr 2001:db8:2::-2001:db8:ffff:ffff:ffff:ffff:ffff:ffff accept",
      "ip saddr @blocks4-1 accept",
    ]);
    assertEquals(made.fixed.get("blocks4-1")?.spec, ["type ipv4_addr", "flags interval"]);
    assertEquals(elementsOf(made), {
      "blocks4-1": [
        "0.0.0.0-9.255.255.255",
        "10.1.0.0/16",
        "11.0.0.0-172.15.255.255",
        "172.32.0.0-192.167.255.255",
        "192.169.0.0-255.255.255.255",
      ],
    });
  });
});

Deno.test("policyRules() asks a set for pods, of the policy's namespace where no other is named", () => {
  const made = compile("ingress", { peers: [PODS, RED] });
  assertEquals(
    Array.from(made.peers, ([name, { selector, aspect }]) => [name, selector, aspect]),
    [
      ["pods6-1", { namespace: "x", pods: PODS.kind === "pods" && PODS.pods }, { family: "ipv6" }],
      ["pods6-2", { namespaces: RED.kind === "pods" && RED.namespaces, pods: [] }, {
        family: "ipv6",
      }],
      ["pods4-3", { namespace: "x", pods: PODS.kind === "pods" && PODS.pods }, { family: "ipv4" }],
      ["pods4-4", { namespaces: RED.kind === "pods" && RED.namespaces, pods: [] }, {
        family: "ipv4",
      }],
    ],
  );
  const keys = Array.from(made.peers.values(), ({ selectorKey }) => selectorKey);
  assertEquals(new Set(keys).size, 2, "both families' sets are kept up to date together");
});

Deno.test("policyRules() allows each of the peers each of the ports, and equal things once", () => {
  const ports = [tcp(80), udp(53)];
  const made = compile(
    "egress",
    { peers: [block("10.0.0.0/8"), block("2001:db8::/32")], ports },
    { peers: [block("10.0.0.0/8")], ports: [tcp(80)] },
    { ports: [named("http"), tcp(81)] },
  );
  assertEquals(made.rules, [
    "ip6 daddr 2001:db8::/32 tcp dport 80 accept",
    "ip6 daddr 2001:db8::/32 udp dport 53 accept",
    "ip daddr 10.0.0.0/8 tcp dport 80 accept",
    "ip daddr 10.0.0.0/8 udp dport 53 accept",
    "tcp dport 81 accept",
    "ip6 daddr . tcp dport @named6-1 accept",
    "ip daddr . tcp dport @named4-2 accept",
  ]);
});

Deno.test("policyRules() puts ports that many peers share into a chain of their own", () => {
  const peers = Array.from({ length: 300 }, (_, n): PolicyPeer => ({
    kind: "pods",
    pods: [{ key: "n", operator: "In", values: [`${n}`] }],
  }));
  const ports = Array.from({ length: 300 }, (_, n) => named(`port-${n}`));
  for (const direction of ["ingress", "egress"] as const) {
    const made = compile(direction, { peers, ports });
    assertEquals(made.rules.length, 600, "each peer's addresses of each family");
    const ofFamily = direction === "ingress" ? 1 : 2;
    assertEquals(made.chains.size, ofFamily, "the ports are the same for both, or addresses' own");
    for (const [name, rules] of made.chains) {
      assertEquals(rules.length, 300);
      assert(made.rules.some((rule) => rule.endsWith(` jump ${name}`)));
    }
  }
});

Deno.test("policyRules() looks names of ports up in the pod that packets go to", async (t) => {
  await t.step("ingress: the link's", () => {
    const made = compile("ingress", {
      peers: [PODS, block("::/0")],
      ports: [named("http"), tcp(80), named("dns", "UDP")],
    });
    assertEquals(made.rules, [
      "ip6 saddr @pods6-1 tcp dport 80 accept",
      "ip6 saddr @pods6-1 oifname . tcp dport @port-2 accept",
      "ip6 saddr @pods6-1 oifname . udp dport @port-3 accept",
      "meta nfproto ipv6 tcp dport 80 accept",
      "meta nfproto ipv6 oifname . tcp dport @port-2 accept",
      "meta nfproto ipv6 oifname . udp dport @port-3 accept",
      "ip saddr @pods4-4 tcp dport 80 accept",
      "ip saddr @pods4-4 oifname . tcp dport @port-2 accept",
      "ip saddr @pods4-4 oifname . udp dport @port-3 accept",
    ]);
    assertEquals(Object.fromEntries(made.ports), {
      "port-2": { protocol: "TCP", name: "http" },
      "port-3": { protocol: "UDP", name: "dns" },
    });
  });
  await t.step("ingress from everybody, and from nobody", () => {
    const rule = { ports: [named("http")] };
    assertEquals(compile("ingress", rule).rules, ["oifname . tcp dport @port-1 accept"]);
    assertEquals(compile("ingress", { ...rule, peers: [] }).rules, []);
  });
  await t.step("egress: those of the pods that it goes to", () => {
    const made = compile("egress", { peers: [PODS], ports: [named("http")] });
    assertEquals(made.rules, [
      "ip6 daddr @pods6-1 ip6 daddr . tcp dport @named6-2 accept",
      "ip daddr @pods4-3 ip daddr . tcp dport @named4-4 accept",
    ]);
    const port = { kind: "named", protocol: "TCP", name: "http" };
    assertEquals(made.peers.get("named6-2")?.aspect, { family: "ipv6", port } as unknown);
    assertEquals(made.peers.get("named4-4")?.selector, { pods: [] });
    assertEquals(made.peers.get("pods4-3")?.selector.namespace, "x");
    assertEquals(made.ports.size, 0);
  });
  await t.step("egress to everybody: of every pod", () => {
    const made = compile("egress", { ports: [named("http")] });
    assertEquals(made.rules, [
      "ip6 daddr . tcp dport @named6-1 accept",
      "ip daddr . tcp dport @named4-2 accept",
    ]);
    assertEquals(made.peers.get("named4-2")?.selector, { pods: [] });
    assertEquals(compile("egress", { peers: [], ports: [named("http")] }).rules, []);
  });
  await t.step("egress to blocks: of every pod inside", () => {
    const rules = (...peers: readonly PolicyPeer[]): readonly string[] =>
      compile("egress", { peers, ports: [named("dns", "UDP")] }).rules;
    assertEquals(rules(block("0.0.0.0/0")), ["ip daddr . udp dport @named4-1 accept"]);
    assertEquals(rules(block("2001:db8::/32")), [
      "ip6 daddr 2001:db8::/32 ip6 daddr . udp dport @named6-1 accept",
    ]);
    assertEquals(rules(block("0.0.0.0/0", "10.0.0.0/8")), [
      "ip daddr 0.0.0.0-9.255.255.255 ip daddr . udp dport @named4-1 accept",
      "ip daddr 11.0.0.0-255.255.255.255 ip daddr . udp dport @named4-1 accept",
    ]);
  });
});

Deno.test("policyRules() has nothing for a direction that a policy is not about", () => {
  const nothing = {
    rules: [],
    chains: new Map(),
    fixed: new Map(),
    peers: new Map(),
    ports: new Map(),
  };
  assertEquals(policyRules(policy("ingress", {}), "egress", new NameTable().nameOf), nothing);
  assertEquals(policyRules(policy("ingress"), "ingress", new NameTable().nameOf), nothing);
});

Deno.test("policyRules() names equal sets alike, also of other policies and directions", () => {
  const { nameOf } = new NameTable();
  const rule: PolicyRule = { peers: [RED], ports: [tcp(80), tcp(443)] };
  const one = policyRules(policy("ingress", rule), "ingress", nameOf);
  const two = policyRules({ ...policy("egress", rule), namespace: "y" }, "egress", nameOf);
  assertEquals([...one.peers.keys()], [...two.peers.keys()]);
  assertEquals([...one.fixed.keys()], [...two.fixed.keys()]);
  // A selector of pods alone is another one in each namespace.
  const own: PolicyRule = { peers: [PODS] };
  const x = policyRules(policy("ingress", own), "ingress", nameOf);
  const y = policyRules({ ...policy("ingress", own), namespace: "y" }, "ingress", nameOf);
  assertEquals(new Set([...x.peers.keys(), ...y.peers.keys()]).size, 4);
  for (const name of [...one.peers.keys(), ...one.fixed.keys()]) {
    assert(/^(pods[46]|ports)-[0-9a-f]{8}$/.test(name), name);
  }
});

Deno.test("NameTable keeps apart what has the same hash, and remembers its names", () => {
  assertEquals(fnv1a32("2217,2387"), fnv1a32("2448,2550"));
  const [a, b] = [[tcp(2217), tcp(2387)], [tcp(2448), tcp(2550)]];
  const names = new NameTable();
  const made = policyRules(policy("ingress", { ports: a }, { ports: b }), "ingress", names.nameOf);
  const [first, second] = [...made.fixed.keys()];
  assertEquals(second, `${first}-2`);
  assertEquals(made.rules, [`tcp dport @${first} accept`, `tcp dport @${second} accept`]);
  assertNotEquals(made.fixed.get(first!)?.elements, made.fixed.get(second!)?.elements);
  // In whatever order they are asked for again.
  const again = policyRules(policy("ingress", { ports: b }, { ports: a }), "ingress", names.nameOf);
  assertEquals([...again.fixed.keys()], [second, first]);
  // The second is kept when the first is gone; whoever comes then gets the free one.
  names.keep(new Set([second!]));
  const key = (list: readonly PolicyPort[]): string =>
    list.map((port) => port.kind === "range" ? port.first : "").join(",");
  assertEquals(names.nameOf("ports", key(b!)), second);
  assertEquals(names.nameOf("ports", key(a!)), first);
  assertStrictEquals(names.nameOf("blocks4", key(a!)).startsWith("blocks4-"), true);
});
