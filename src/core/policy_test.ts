import { assertEquals } from "@std/assert";
import {
  type ApiNamespace,
  type ApiPod,
  type ApiPolicySpec,
  namespace,
  networkPolicy,
  parseWorld,
} from "../../tests/policy_objects.ts";
import { formatAddress, parseAddress } from "./cidr.ts";
import {
  type Endpoint,
  endpointOf,
  type Judgement,
  ownersOf,
  type Packet,
  type PolicyWorld,
  selectingPolicies,
  verdict,
} from "./policy.ts";

type Ports = NonNullable<ApiPod["spec"]["containers"][number]["ports"]>;

function pod(
  id: string,
  addresses: readonly string[],
  { labels = {}, node = "n1", hostNetwork = false, finished = false, ports = [] }: {
    readonly labels?: Readonly<Record<string, string>>;
    readonly node?: string;
    readonly hostNetwork?: boolean;
    readonly finished?: boolean;
    readonly ports?: Ports;
  } = {},
): ApiPod {
  const [namespace = "", name = ""] = id.split("/");
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { namespace, name, labels },
    spec: { nodeName: node, hostNetwork, containers: [{ name: "main", ports }] },
    status: {
      phase: finished ? "Succeeded" : "Running",
      podIPs: addresses.map((ip) => ({ ip })),
    },
  };
}

const NODES = { n1: ["10.0.8.1", "2001:db8:8::1"], n2: ["10.0.8.2"] };
const NAMESPACES: readonly ApiNamespace[] = [
  namespace("default"),
  namespace("ours", { project: "ours" }),
  namespace("others", { project: "others" }),
];
const PODS: readonly ApiPod[] = [
  pod("default/db", ["10.0.1.1", "2001:db8:1::1"], { labels: { role: "db" } }),
  pod("default/front", ["10.0.1.2", "2001:db8:1::2"], { labels: { role: "frontend" } }),
  pod("default/other", ["10.0.1.3"]),
  pod("ours/front", ["10.0.2.1"], { labels: { role: "frontend" }, node: "n2" }),
  pod("ours/other", ["10.0.2.2"], { node: "n2" }),
  pod("others/front", ["10.0.3.1"], { labels: { role: "frontend" } }),
];

/** `default/NAME`, by the name of the policy. */
function worldWith(
  policies: Readonly<Record<string, ApiPolicySpec>>,
  pods: readonly ApiPod[] = PODS,
  extra?: readonly (readonly string[])[],
): PolicyWorld {
  return parseWorld({
    namespaces: NAMESPACES,
    pods,
    policies: Object.entries(policies).map(([name, spec]) => networkPolicy("default", name, spec)),
    nodes: NODES,
    extra,
  });
}

/** An address, or `namespace/name` with the pod's first address or with another one: `ns/pod=ADDRESS`. */
function end(world: PolicyWorld, text: string): Endpoint {
  const [id = "", other] = text.split("=");
  if (!id.includes("/")) return { address: formatAddress(parseAddress(id)) };
  const pod = world.pods.find(({ namespace, name }) => `${namespace}/${name}` === id)!;
  return { address: other ?? pod.addresses[0]!, pod };
}

/** `FROM → TO PROTOCOL[/PORT]` */
function packet(world: PolicyWorld, text: string): Packet {
  const [, from = "", to = "", protocol = "", port] = /^(\S+) → (\S+) (\w+)(?:\/(\d+))?$/.exec(
    text,
  )!;
  return {
    from: end(world, from),
    to: end(world, to),
    protocol,
    ...(port === undefined ? {} : { port: Number(port) }),
  };
}

function assertPasses(world: PolicyWorld, expected: Readonly<Record<string, boolean>>): void {
  const got = Object.keys(expected).map((
    text,
  ) => [text, verdict(world, packet(world, text)).allowed]);
  assertEquals(Object.fromEntries(got), expected);
}

Deno.test("verdict() takes a policy with blocks, namespaces, pods and ports at its word", () => {
  const world = worldWith({
    db: {
      podSelector: { matchLabels: { role: "db" } },
      policyTypes: ["Ingress", "Egress"],
      ingress: [{
        from: [
          { ipBlock: { cidr: "172.17.0.0/16", except: ["172.17.1.0/24"] } },
          { namespaceSelector: { matchLabels: { project: "ours" } } },
          { podSelector: { matchLabels: { role: "frontend" } } },
        ],
        ports: [{ protocol: "TCP", port: 6379 }],
      }],
      egress: [{
        to: [{ ipBlock: { cidr: "10.0.0.0/24" } }],
        ports: [{ protocol: "TCP", port: 5978 }],
      }],
    },
  });
  assertPasses(world, {
    "172.17.0.1 → default/db tcp/6379": true,
    "172.17.0.255 → default/db tcp/6379": true,
    "172.17.1.0 → default/db tcp/6379": false,
    "172.17.1.255 → default/db tcp/6379": false,
    "172.17.2.0 → default/db tcp/6379": true,
    "172.18.0.0 → default/db tcp/6379": false,
    "ours/front → default/db tcp/6379": true,
    "ours/other → default/db tcp/6379": true,
    "default/front → default/db tcp/6379": true,
    "default/front=2001:db8:1::2 → default/db=2001:db8:1::1 tcp/6379": true,
    "default/other → default/db tcp/6379": false,
    "others/front → default/db tcp/6379": false,
    "default/front → default/db tcp/6380": false,
    "default/front → default/db udp/6379": false,
    "default/front → default/db icmp": false,
    "default/front=2001:db8:1::2 → default/db=2001:db8:1::1 icmpv6": false,
    "default/db → 10.0.0.7 tcp/5978": true,
    "default/db → 10.0.0.7 tcp/5979": false,
    "default/db → 10.0.1.2 tcp/5978": false,
    "default/db → default/front tcp/5978": false,
    "default/front → default/other tcp/1": true,
    "default/other → 10.0.0.7 udp/53": true,
  });
});

Deno.test("verdict() knows selectors in one entry from selectors in two", () => {
  const namespaceSelector = { matchLabels: { project: "ours" } };
  const podSelector = { matchLabels: { role: "frontend" } };
  const one = worldWith({ p: { ingress: [{ from: [{ namespaceSelector, podSelector }] }] } });
  const two = worldWith({ p: { ingress: [{ from: [{ namespaceSelector }, { podSelector }] }] } });
  const froms = ["ours/front", "ours/other", "default/front", "others/front"];
  const passing = (world: PolicyWorld): string[] =>
    froms.filter((from) => verdict(world, packet(world, `${from} → default/db tcp/1`)).allowed);
  assertEquals(passing(one), ["ours/front"]);
  assertEquals(passing(two), ["ours/front", "ours/other", "default/front"]);
});

Deno.test("verdict() isolates in the directions that a policy is about", async (t) => {
  type Case = readonly [spec: ApiPolicySpec, ingress: boolean, egress: boolean];
  const cases: Readonly<Record<string, Case>> = {
    "default deny ingress": [{ policyTypes: ["Ingress"] }, false, true],
    "allow all ingress": [{ policyTypes: ["Ingress"], ingress: [{}] }, true, true],
    "default deny egress": [{ policyTypes: ["Egress"] }, true, false],
    "allow all egress": [{ policyTypes: ["Egress"], egress: [{}] }, true, true],
    "default deny both": [{ policyTypes: ["Ingress", "Egress"] }, false, false],
    "no types, nothing else": [{}, false, true],
    "no types, egress rules": [{ egress: [{}] }, false, true],
    "no types, an egress rule that fits nothing": [
      { egress: [{ to: [{ podSelector: { matchLabels: { no: "body" } } }] }] },
      false,
      false,
    ],
    "no types, no egress rules": [{ egress: [] }, false, true],
    "rules of a direction that is not among the types": [
      { policyTypes: ["Egress"], ingress: [], egress: [{}] },
      true,
      true,
    ],
    "rules that are null": [
      { policyTypes: ["Ingress", "Egress"], ingress: null, egress: null },
      false,
      false,
    ],
    "a rule whose lists are empty": [
      {
        policyTypes: ["Ingress", "Egress"],
        ingress: [{ from: [], ports: [] }],
        egress: [{ to: [] }],
      },
      true,
      true,
    ],
    "a rule of which nothing can be understood": [
      { ingress: [{ from: [{ ipBlock: { cidr: "10.0.0.0/33" } }] }] },
      false,
      true,
    ],
    "a rule of whose ports nothing can be understood": [
      { ingress: [{ ports: [{ protocol: "ICMP" }] }] },
      false,
      true,
    ],
  };
  for (const [name, [spec, ingress, egress]] of Object.entries(cases)) {
    await t.step(name, () => {
      const world = worldWith({ p: { podSelector: { matchLabels: { role: "db" } }, ...spec } });
      assertPasses(world, {
        "203.0.113.9 → default/db tcp/80": ingress,
        "ours/other → default/db icmp": ingress,
        "default/db → 203.0.113.9 udp/53": egress,
        "default/db → ours/other icmp": egress,
        "default/other → ours/front tcp/80": true,
      });
    });
  }
});

Deno.test("verdict() says because of what", () => {
  const world = worldWith({
    first: { ingress: [{ ports: [{ port: 1 }] }, { ports: [{ port: 2 }] }] },
    second: { ingress: [{ ports: [{ port: 2 }] }, { ports: [{ port: 3 }] }] },
    third: { podSelector: { matchLabels: { role: "db" } }, policyTypes: ["Egress"] },
  });
  const name = (name: string) => ({ namespace: "default", name });
  const judged: Readonly<Record<string, readonly [egress: Judgement, ingress: Judgement]>> = {
    "203.0.113.9 → default/db tcp/2": [
      { kind: "open" },
      { kind: "allowed", policy: name("first"), rule: 1 },
    ],
    "ours/front → default/db tcp/3": [
      { kind: "open" },
      { kind: "allowed", policy: name("second"), rule: 1 },
    ],
    "default/db → default/front tcp/4": [
      { kind: "denied", policies: [name("third")] },
      { kind: "denied", policies: [name("first"), name("second")] },
    ],
    "default/db → default/db tcp/4": [
      { kind: "exempt", why: "itself" },
      { kind: "exempt", why: "itself" },
    ],
    "default/db → 10.0.8.1 tcp/4": [{ kind: "exempt", why: "node" }, { kind: "open" }],
    "10.0.8.1 → default/db tcp/4": [{ kind: "open" }, { kind: "exempt", why: "node" }],
    "10.0.8.2 → default/db tcp/4": [
      { kind: "open" },
      { kind: "denied", policies: [name("first"), name("second")] },
    ],
    "default/front → ours/front tcp/4": [{ kind: "open" }, { kind: "open" }],
  };
  for (const [text, [egress, ingress]] of Object.entries(judged)) {
    const allowed = egress.kind !== "denied" && ingress.kind !== "denied";
    assertEquals(verdict(world, packet(world, text)), { allowed, egress, ingress }, text);
  }
});

Deno.test("verdict() resolves names of ports in the pod that the packet goes to", () => {
  const web = (containerPort: number, protocol?: string): Ports => [
    { name: "web", containerPort, protocol },
  ];
  const world = worldWith({
    in: { ingress: [{ ports: [{ port: "web" }] }] },
    out: {
      podSelector: { matchLabels: { role: "client" } },
      policyTypes: ["Egress"],
      egress: [
        { ports: [{ port: "web" }] },
        { to: [{ ipBlock: { cidr: "10.0.2.0/24" } }], ports: [{ protocol: "UDP", port: "web" }] },
      ],
    },
  }, [
    pod("default/client", ["10.0.1.1"], { labels: { role: "client" }, ports: web(9) }),
    pod("default/a", ["10.0.1.2"], { ports: web(80) }),
    pod("default/b", ["10.0.1.3"], { ports: web(81) }),
    pod("default/none", ["10.0.1.4"]),
    pod("ours/c", ["10.0.2.1"], { ports: web(53, "UDP") }),
    pod("others/d", ["10.0.3.1"], { ports: web(53, "UDP") }),
  ]);
  assertPasses(world, {
    "default/client → default/a tcp/80": true,
    "default/client → default/a tcp/81": false,
    "default/client → default/b tcp/80": false,
    "default/client → default/b tcp/81": true,
    "default/client → default/none tcp/80": false,
    "default/client → default/a tcp/9": false,
    "203.0.113.9 → default/a udp/80": false,
    "default/client → ours/c udp/53": true,
    "default/client → ours/c tcp/53": false,
    "default/client → others/d udp/53": false,
    // An address of no pod has no names.
    "default/client → 10.0.2.9 udp/53": false,
    "default/client → 203.0.113.9 tcp/80": false,
  });
});

Deno.test("verdict() knows pods with their node's network by addresses alone", () => {
  const world = worldWith({
    p: {
      policyTypes: ["Ingress", "Egress"],
      ingress: [{ from: [{ podSelector: {} }] }],
      egress: [{ to: [{ podSelector: {} }, { ipBlock: { cidr: "10.0.8.2/32" } }] }],
    },
  }, [
    pod("default/a", ["10.0.1.1"]),
    pod("default/host", ["10.0.8.2"], { node: "n2", hostNetwork: true }),
  ]);
  assertPasses(world, {
    "10.0.8.2 → default/a tcp/80": false,
    "default/a → 10.0.8.2 tcp/80": true,
    // Even with its pod named: nothing is enforced there.
    "203.0.113.9 → default/host tcp/80": true,
    "default/host → 203.0.113.9 tcp/80": true,
  });
  assertEquals(ownersOf(world, "10.0.8.2"), []);
  assertEquals(selectingPolicies(world.policies, world.pods[1]!, "ingress"), []);
  assertEquals(endpointOf(world.pods[1]!, "ipv4"), { address: "10.0.8.2" });
});

Deno.test("verdict() takes an address for each of the pods that have it, and a link for its pod", () => {
  const anycast = "10.0.9.1";
  const world = worldWith({
    in: {
      podSelector: { matchLabels: { app: "a" } },
      ingress: [{ from: [{ podSelector: { matchLabels: { app: "b" } } }] }],
    },
  }, [
    pod("default/a", ["10.0.1.1"], { labels: { app: "a" } }),
    pod("default/b", ["10.0.1.2"], { labels: { app: "b" } }),
    pod("default/c", ["10.0.1.3"], { labels: { app: "c" } }),
    pod("default/old", ["10.0.1.3"], { labels: { app: "b" }, finished: true }),
  ], [[anycast], [anycast], [anycast]]);
  assertPasses(world, {
    "default/b → default/a tcp/80": true,
    "default/c → default/a tcp/80": false,
    // The policy follows the link to whatever address of the pod.
    [`default/b → default/a=${anycast} tcp/80`]: true,
    [`default/c → default/a=${anycast} tcp/80`]: false,
    [`default/c → default/b=${anycast} tcp/80`]: true,
    // From an address that b has as well, nobody can tell c from b.
    [`default/c=${anycast} → default/a tcp/80`]: true,
    [`default/a → default/a=${anycast} tcp/80`]: true,
  });
  assertEquals(ownersOf(world, anycast).map(({ name }) => name), ["a", "b", "c"]);
});

Deno.test("verdict() selects no namespace that is not known", () => {
  const world = worldWith({
    all: { ingress: [{ from: [{ namespaceSelector: {} }] }] },
  }, [pod("default/a", ["10.0.1.1"]), pod("ghost/b", ["10.0.1.2"])]);
  assertPasses(world, { "ghost/b → default/a tcp/80": false });
});

Deno.test("selectingPolicies() gives a pod's policies of one direction", () => {
  const world = worldWith({
    b: { policyTypes: ["Egress"] },
    a: { podSelector: { matchLabels: { role: "db" } }, policyTypes: ["Ingress", "Egress"] },
    c: { podSelector: { matchLabels: { role: "frontend" } } },
  });
  const names = (id: string, direction: "ingress" | "egress"): string[] =>
    selectingPolicies(world.policies, end(world, id).pod!, direction).map(({ name }) => name);
  assertEquals(names("default/db", "egress"), ["b", "a"]);
  assertEquals(names("default/db", "ingress"), ["a"]);
  assertEquals(names("default/other", "ingress"), []);
  assertEquals(names("ours/front", "ingress"), []);
});

Deno.test("endpointOf() is a pod's first address of a family", () => {
  const world = worldWith({}, [pod("default/a", ["10.0.1.1"])], [["10.0.9.1"]]);
  const [a] = world.pods;
  assertEquals(endpointOf(a!, "ipv4"), { address: "10.0.1.1", pod: a });
  assertEquals(endpointOf(a!, "ipv6"), undefined);
});
