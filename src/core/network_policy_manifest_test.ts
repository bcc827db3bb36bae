import { assertEquals, assertThrows } from "@std/assert";
import { formatPrefix } from "./cidr.ts";
import type { LabelSelector } from "./label_selector.ts";
import type { NetworkPolicy, PolicyPeer, PolicyPort, PolicyRule } from "./network_policy.ts";
import { parseNetworkPolicy } from "./network_policy_manifest.ts";

const WEB = { matchLabels: { app: "web" } };
const WEB_SELECTOR: LabelSelector = [{ key: "app", operator: "In", values: ["web"] }];

function parse(spec: unknown, metadata: object = {}): NetworkPolicy {
  return parseNetworkPolicy({ metadata: { name: "p", namespace: "shop", ...metadata }, spec });
}

Deno.test("parseNetworkPolicy() takes the example of the Kubernetes documentation", () => {
  const { podSelector, ingress, egress, ...rest } = parse({
    podSelector: { matchLabels: { role: "db" } },
    policyTypes: ["Ingress", "Egress"],
    ingress: [{
      from: [
        { ipBlock: { cidr: "172.17.0.0/16", except: ["172.17.1.0/24"] } },
        { namespaceSelector: { matchLabels: { project: "myproject" } } },
        { podSelector: { matchLabels: { role: "frontend" } } },
      ],
      ports: [{ protocol: "TCP", port: 6379 }],
    }],
    egress: [{
      to: [{ ipBlock: { cidr: "10.0.0.0/24" } }],
      ports: [{ protocol: "TCP", port: 5978 }],
    }],
  }, { uid: "u1" });
  assertEquals(rest, { namespace: "shop", name: "p", uid: "u1", problems: [] });
  assertEquals(podSelector, [{ key: "role", operator: "In", values: ["db"] }]);
  assertEquals(ingress?.map(shown), [
    "from 172.17.0.0/16 except 172.17.1.0/24, pods [] in project In myproject, " +
    "pods role In frontend, ports TCP 6379-6379",
  ]);
  assertEquals(egress?.map(shown), ["from 10.0.0.0/24, ports TCP 5978-5978"]);
});

Deno.test("parseNetworkPolicy() takes one written by hand", () => {
  const bare = { namespace: "default", name: "p", uid: "", podSelector: [], problems: [] };
  assertEquals(parseNetworkPolicy({ metadata: { name: "p" } }), { ...bare, ingress: [] });
});

Deno.test("parseNetworkPolicy() infers directions as an API server does", async (t) => {
  const ALL = [{}];
  const cases: readonly [string, object, readonly string[]][] = [
    ["nothing", {}, ["ingress 0"]],
    ["an empty list of types", { policyTypes: [] }, ["ingress 0"]],
    ["null", { policyTypes: null, ingress: null, egress: null }, ["ingress 0"]],
    ["ingress", { ingress: ALL }, ["ingress 1"]],
    ["egress", { egress: ALL }, ["ingress 0", "egress 1"]],
    ["both", { ingress: ALL, egress: ALL }, ["ingress 1", "egress 1"]],
    // The API stores an empty list as none.
    ["an empty egress", { egress: [] }, ["ingress 0"]],
    ["type Egress alone", { policyTypes: ["Egress"] }, ["egress 0"]],
    ["type Egress, with ingress", { policyTypes: ["Egress"], ingress: ALL }, ["egress 0"]],
    ["type Ingress, with egress", { policyTypes: ["Ingress"], egress: ALL }, ["ingress 0"]],
    ["both types", { policyTypes: ["Egress", "Ingress"] }, ["ingress 0", "egress 0"]],
    ["a type twice", { policyTypes: ["Ingress", "Ingress"] }, ["ingress 0"]],
  ];
  for (const [name, spec, directions] of cases) {
    await t.step(name, () => {
      const policy = parse(spec);
      const found = (["ingress", "egress"] as const)
        .filter((section) => policy[section] !== undefined)
        .map((section) => `${section} ${policy[section]!.length}`);
      assertEquals([found, policy.problems], [directions, []]);
    });
  }
});

Deno.test("parseNetworkPolicy() tells everybody from nobody", async (t) => {
  const cases: readonly [string, object, PolicyRule][] = [
    ["an empty rule", {}, {}],
    ["empty lists", { from: [], ports: [] }, {}],
    ["null", { from: null, ports: null }, {}],
    ["only what was refused", { from: [{}], ports: [{ port: 0 }] }, { peers: [], ports: [] }],
    ["pods of its namespace", { from: [{ podSelector: {} }] }, {
      peers: [{ kind: "pods", pods: [] }],
    }],
    ["pods of all namespaces", { from: [{ namespaceSelector: {} }] }, {
      peers: [{ kind: "pods", namespaces: [], pods: [] }],
    }],
    ["null beside a selector", {
      from: [{ podSelector: null, namespaceSelector: {}, ipBlock: null }],
    }, {
      peers: [{ kind: "pods", namespaces: [], pods: [] }],
    }],
    ["both selectors", { from: [{ podSelector: WEB, namespaceSelector: WEB }] }, {
      peers: [{ kind: "pods", namespaces: WEB_SELECTOR, pods: WEB_SELECTOR }],
    }],
    ["an empty port", { ports: [{}] }, {
      ports: [{ kind: "range", protocol: "TCP", first: 0, last: 65_535 }],
    }],
  ];
  for (const [name, rule, parsed] of cases) {
    await t.step(name, () => assertEquals(parse({ ingress: [rule] }).ingress, [parsed]));
  }
});

Deno.test("parseNetworkPolicy() takes selectors as requirements", () => {
  const { podSelector } = parse({
    podSelector: {
      matchLabels: { app: "web", empty: "" },
      matchExpressions: [
        { key: "tier", operator: "In", values: ["a", "b"] },
        { key: "tier", operator: "NotIn", values: ["c"] },
        { key: "x/y", operator: "Exists" },
        { key: "z", operator: "DoesNotExist", values: [] },
      ],
    },
  });
  assertEquals(podSelector, [
    { key: "app", operator: "In", values: ["web"] },
    { key: "empty", operator: "In", values: [""] },
    { key: "tier", operator: "In", values: ["a", "b"] },
    { key: "tier", operator: "NotIn", values: ["c"] },
    { key: "x/y", operator: "Exists", values: [] },
    { key: "z", operator: "DoesNotExist", values: [] },
  ]);
});

Deno.test("parseNetworkPolicy() takes blocks as API servers did for years", async (t) => {
  const cases: readonly [object, string][] = [
    [{ cidr: "0.0.0.0/0" }, "0.0.0.0/0"],
    [{ cidr: "::/0", except: null }, "::/0"],
    [{ cidr: "10.0.0.0/8", except: [] }, "10.0.0.0/8"],
    [{ cidr: "10.1.2.3/8" }, "10.0.0.0/8"],
    [{ cidr: "010.020.003.000/024" }, "10.20.3.0/24"],
    [{ cidr: "000.000.000.000/00" }, "0.0.0.0/0"],
    [{ cidr: "192.0.2.1/32" }, "192.0.2.1/32"],
    [{ cidr: "2001:0DB8:0::1/032" }, "2001:db8::/32"],
    [{ cidr: "0100::/64" }, "100::/64"],
    [
      { cidr: "0.0.0.0/0", except: ["10.9.9.9/8", "10.0.0.0/8", "192.168.1.0/24"] },
      "0.0.0.0/0 except 10.0.0.0/8 10.0.0.0/8 192.168.1.0/24",
    ],
  ];
  for (const [ipBlock, block] of cases) {
    await t.step(JSON.stringify(ipBlock), () => {
      const { ingress, problems } = parse({ ingress: [{ from: [{ ipBlock }] }] });
      assertEquals([ingress?.map(shown), problems], [[`from ${block}`], []]);
    });
  }
});

Deno.test("parseNetworkPolicy() takes ports as ranges or names", async (t) => {
  const cases: readonly [object, string][] = [
    [{ port: 80 }, "TCP 80-80"],
    [{ port: 1, protocol: null, endPort: null }, "TCP 1-1"],
    [{ port: 65_535, protocol: "UDP" }, "UDP 65535-65535"],
    [{ port: 32_000, endPort: 32_768, protocol: "SCTP" }, "SCTP 32000-32768"],
    [{ port: 80, endPort: 80 }, "TCP 80-80"],
    [{ protocol: "UDP" }, "UDP 0-65535"],
    [{ port: "http" }, "TCP http"],
    [{ port: "8080-http-alt2", protocol: "UDP" }, "UDP 8080-http-alt2"],
  ];
  for (const [port, shownPort] of cases) {
    await t.step(JSON.stringify(port), () => {
      const { egress, problems } = parse({ egress: [{ ports: [port] }] });
      assertEquals([egress?.map(shown), problems], [[`ports ${shownPort}`], []]);
    });
  }
});

Deno.test("parseNetworkPolicy() refuses what makes no sense, keeps the rest, and says so", async (t) => {
  const peers: readonly [unknown, string][] = [
    [{}, " is empty: it says nobody"],
    [{ podSelector: null }, " is empty: it says nobody"],
    [null, " is null, not an object"],
    ["10.0.0.0/8", ' is "10.0.0.0/8", not an object'],
    [{ podSelektor: WEB, namespaceSelector: {} }, ' has an unknown field "podSelektor"'],
    [{ ipBlock: { cidr: "10.0.0.0/8" }, podSelector: {} }, " has both an ipBlock and a selector"],
    [{ ipBlock: {} }, ".ipBlock.cidr is missing, not a text"],
    [{ ipBlock: { cidr: 10 } }, ".ipBlock.cidr is 10, not a text"],
    [{ ipBlock: [] }, ".ipBlock is a list, not an object"],
    ...["10.0.0.0/33", "10.0.0.0", "10.0.0/8", "256.0.0.0/8", "::/129", "::ffff:10.0.0.0/104", ""]
      .concat([
        " 10.0.0.0/8",
        "10.0.0.0/-1",
        "fe80::%eth0/64",
        "10.0.0.0/255.0.0.0",
        "0x0a.0.0.0/8",
      ])
      .map((cidr): [unknown, string] => [
        { ipBlock: { cidr } },
        `.ipBlock.cidr is "${cidr}", not a prefix (address/length)`,
      ]),
    [
      { ipBlock: { cidr: "10.0.0.0/8", except: ["10.1.0.0/16", "10.2.0.0/40"] } },
      '.ipBlock.except[1] is "10.2.0.0/40", not a prefix (address/length)',
    ],
    ...["11.0.0.0/16", "10.0.0.0/8", "0.0.0.0/0", "fd00::/64"].map((part): [unknown, string] => [
      { ipBlock: { cidr: "10.0.0.0/8", except: [part] } },
      `.ipBlock.except[0] is "${part}", not a part of 10.0.0.0/8`,
    ]),
    [
      { ipBlock: { cidr: "10.0.0.0/8", except: "10.1.0.0/16" } },
      '.ipBlock.except is "10.1.0.0/16", not a list',
    ],
    [{ ipBlock: { cidr: "10.0.0.0/8", exept: [] } }, '.ipBlock has an unknown field "exept"'],
    [{ podSelector: [] }, ".podSelector is a list, not an object"],
    [{ podSelector: { app: "web" } }, '.podSelector has an unknown field "app"'],
    [
      { podSelector: { matchLabels: { app: 1 } } },
      '.podSelector.matchLabels["app"] is 1, not a text',
    ],
    [
      { namespaceSelector: { matchExpressions: [{ key: "a", operator: "Gt", values: ["1"] }] } },
      '.namespaceSelector.matchExpressions[0].operator is "Gt", not In, NotIn, Exists or DoesNotExist',
    ],
  ];
  const ports: readonly [unknown, string][] = [
    [null, " is null, not an object"],
    [80, " is 80, not an object"],
    [{ port: 0 }, ".port is 0, not a port (1 to 65535)"],
    [{ port: 65_536 }, ".port is 65536, not a port (1 to 65535)"],
    [{ port: -1 }, ".port is -1, not a port (1 to 65535)"],
    [{ port: 80.5 }, ".port is 80.5, not a port (1 to 65535)"],
    [{ port: true }, ".port is true, not a port (1 to 65535)"],
    ...["80", "", "Http", "a--b", "-a", "a-", "a_b", "a".repeat(16)].map(
      (
        port,
      ): [unknown, string] => [{ port }, `.port is "${port}", not a name of a port (RFC 6335)`],
    ),
    [{ port: 80, protocol: "ICMP" }, '.protocol is "ICMP", not TCP, UDP or SCTP'],
    [{ port: 80, protocol: "tcp" }, '.protocol is "tcp", not TCP, UDP or SCTP'],
    [{ port: 80, endPort: 79 }, ".endPort is 79, not a port (80 to 65535)"],
    [{ port: 80, endPort: 65_536 }, ".endPort is 65536, not a port (80 to 65535)"],
    [{ port: 80, endPort: "90" }, '.endPort is "90", not a port (80 to 65535)'],
    [{ port: "http", endPort: 90 }, " has an endPort without a port that is a number"],
    [{ endPort: 90 }, " has an endPort without a port that is a number"],
    [{ ports: 80 }, ' has an unknown field "ports"'],
  ];
  for (const [peer, problem] of peers) {
    await t.step(`peer ${JSON.stringify(peer)}`, () => {
      const good = { ipBlock: { cidr: "192.0.2.0/24" } };
      const policy = parse({ egress: [{}, { to: [good, peer, good] }] });
      assertEquals(policy.egress?.[1]?.peers?.map(shownPeer), ["192.0.2.0/24", "192.0.2.0/24"]);
      assertEquals(policy.problems, [`spec.egress[1].to[1]${problem}`]);
    });
  }
  for (const [port, problem] of ports) {
    await t.step(`port ${JSON.stringify(port)}`, () => {
      const policy = parse({ ingress: [{ ports: [port, { port: 80 }] }] });
      assertEquals(policy.ingress?.map(shown), ["ports TCP 80-80"]);
      assertEquals(policy.problems, [`spec.ingress[0].ports[0]${problem}`]);
    });
  }
});

Deno.test("parseNetworkPolicy() lets a rule that makes no sense allow nothing", () => {
  const { ingress, problems } = parse({
    ingress: [null, { form: [] }, { from: {} }, { ports: 80 }, { from: [{ podSelector: WEB }] }],
  });
  assertEquals(ingress?.map(shown), ["from pods app In web"]);
  assertEquals(problems, [
    "spec.ingress[0] is null, not an object",
    'spec.ingress[1] has an unknown field "form"',
    "spec.ingress[2].from is an object, not a list",
    "spec.ingress[3].ports is 80, not a list",
  ]);
});

Deno.test("parseNetworkPolicy() refuses a policy of which the pods or the directions are unclear", async (t) => {
  const selector = (requirement: object): object => ({
    podSelector: { matchExpressions: [requirement] },
  });
  const at = "spec.podSelector.matchExpressions[0]";
  const cases: readonly [unknown, string][] = [
    ["x", 'spec is "x", not an object'],
    [{ podSelector: "web" }, 'spec.podSelector is "web", not an object'],
    [{ podSelector: { matchLabel: {} } }, 'spec.podSelector has an unknown field "matchLabel"'],
    [
      { podSelector: { matchLabels: { a: 1 } } },
      'spec.podSelector.matchLabels["a"] is 1, not a text',
    ],
    [selector({ operator: "Exists" }), `${at}.key is missing, not a text`],
    [selector({ key: "a" }), `${at}.operator is missing, not In, NotIn, Exists or DoesNotExist`],
    [selector({ key: "a", operator: "In" }), `${at}.values is empty, and the operator is In`],
    [
      selector({ key: "a", operator: "NotIn", values: [] }),
      `${at}.values is empty, and the operator is NotIn`,
    ],
    [
      selector({ key: "a", operator: "Exists", values: ["b"] }),
      `${at}.values is not empty, and the operator is Exists`,
    ],
    [selector({ key: "a", operator: "In", values: [1] }), `${at}.values[0] is 1, not a text`],
    [{ policyTypes: ["ingress"] }, 'spec.policyTypes[0] is "ingress", not Ingress or Egress'],
    [{ policyTypes: ["toString"] }, 'spec.policyTypes[0] is "toString", not Ingress or Egress'],
    [{ policyTypes: "Ingress" }, 'spec.policyTypes is "Ingress", not a list'],
    [{ ingress: {} }, "spec.ingress is an object, not a list"],
    [{ egress: "all" }, 'spec.egress is "all", not a list'],
  ];
  for (const [spec, message] of cases) {
    await t.step(message, () => {
      assertEquals(assertThrows(() => parse(spec), TypeError).message, message);
    });
  }
  assertThrows(() => parse({}, { name: "a/b" }), TypeError, 'metadata.name is "a/b", not a name');
});

function shown({ peers, ports }: PolicyRule): string {
  return [
    ...(peers === undefined ? [] : [`from ${peers.map(shownPeer).join(", ")}`]),
    ...(ports === undefined ? [] : [`ports ${ports.map(shownPort).join(", ")}`]),
  ].join(", ");
}

function shownPeer(peer: PolicyPeer): string {
  if (peer.kind === "pods") {
    const namespaces = peer.namespaces && ` in ${shownSelector(peer.namespaces)}`;
    return `pods ${shownSelector(peer.pods)}${namespaces ?? ""}`;
  }
  const except = peer.except.map(formatPrefix).join(" ");
  return `${formatPrefix(peer.cidr)}${except === "" ? "" : ` except ${except}`}`;
}

function shownPort(port: PolicyPort): string {
  return `${port.protocol} ${port.kind === "named" ? port.name : `${port.first}-${port.last}`}`;
}

function shownSelector(selector: LabelSelector): string {
  const terms = selector.map(({ key, operator, values }) => `${key} ${operator} ${values}`);
  return terms.length === 0 ? "[]" : terms.join(", ");
}
