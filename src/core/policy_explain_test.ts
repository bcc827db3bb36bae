import { assertEquals, assertThrows } from "@std/assert";
import { type ApiPod, namespace, networkPolicy, parseWorld } from "../../tests/policy_objects.ts";
import { explainPolicies } from "./policy_explain.ts";
import type { PolicyExplanation, PolicyPath } from "./policy_inspection.ts";
import type { PolicySelection } from "./policy_selection.ts";

function pod(
  name: string,
  ips: readonly string[],
  change: Partial<ApiPod["spec"]> & { app?: string } = {},
): ApiPod {
  const { app = name, ...spec } = change;
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { namespace: "web", name, labels: { app } },
    spec: { nodeName: "n1", containers: [], ...spec },
    status: { phase: "Running", podIPs: ips.map((ip) => ({ ip })) },
  };
}

const PORTS = { name: "c", ports: [{ name: "sql", containerPort: 5432 }] };
const WORLD = parseWorld({
  namespaces: [namespace("web")],
  pods: [
    pod("front", ["2001:db8::1", "10.0.0.1"]),
    pod("db", ["2001:db8::2", "10.0.0.2"], { containers: [PORTS] }),
    pod("far", ["10.0.0.3"], { app: "db", nodeName: "n2" }),
    pod("agent", ["198.51.100.11"], { hostNetwork: true }),
    pod("six", ["2001:db8::6"]),
    pod("new", []),
  ],
  policies: [
    networkPolicy("web", "deny-all", { podSelector: {}, policyTypes: ["Ingress"] }),
    networkPolicy("web", "db", {
      podSelector: { matchLabels: { app: "db" } },
      ingress: [
        { from: [{ ipBlock: { cidr: "192.0.2.0/24" } }] },
        { from: [{ podSelector: { matchLabels: { app: "front" } } }], ports: [{ port: "sql" }] },
      ],
    }),
  ],
  nodes: { n1: ["198.51.100.11"], n2: ["198.51.100.12"] },
  // Two pods share an anycast address.
  extra: [["203.0.113.1"], ["203.0.113.1"]],
});

function explain(text: string, selections: readonly PolicySelection[] = []): PolicyExplanation {
  const state = { world: WORLD, selections, inForce: true, error: undefined };
  return explainPolicies(text, { node: "n1", state });
}

function told({ egress, ingress }: PolicyPath): readonly string[] {
  return [egress.text, ingress.text];
}

Deno.test("explainPolicies() names the rule that allows, in both families", () => {
  const { passes, items } = explain("web/front web/db tcp/5432");
  assertEquals([passes, items.map(({ family }) => family)], [true, ["ipv6", "ipv4"]]);
  assertEquals(items[1], {
    family: "ipv4",
    protocol: "tcp",
    port: 5432,
    from: { address: "10.0.0.1", pod: "web/front", hostNetwork: undefined, node: "n1" },
    to: { address: "10.0.0.2", pod: "web/db", hostNetwork: undefined, node: "n1" },
    allowed: true,
    passes: true,
    egress: {
      outcome: "open",
      policies: [],
      rule: undefined,
      mode: undefined,
      passes: true,
      text: "no policy selects the pod: everything passes",
    },
    ingress: {
      outcome: "allowed",
      policies: ["web/db"],
      rule: 2,
      mode: undefined,
      passes: true,
      text: "allowed by web/db, ingress rule 2: from pods app=front of this namespace, on tcp/sql",
    },
  });
});

Deno.test("explainPolicies() takes a port by its name, TCP unless told, and ICMP", () => {
  const of = (text: string): unknown[] =>
    explain(text).items.map(({ protocol, port, allowed }) => [protocol, port, allowed]);
  assertEquals(of("web/front web/db sql"), [["tcp", 5432, true], ["tcp", 5432, true]]);
  assertEquals(of("10.0.0.1 web/db UDP/5432"), [["udp", 5432, false]]);
  assertEquals(of("web/front web/db icmp"), [
    ["icmpv6", undefined, false],
    ["icmp", undefined, false],
  ]);
  assertEquals(of("web/front web/db icmpv6"), [["icmpv6", undefined, false]]);
});

Deno.test("explainPolicies() names all that select a pod which is denied", () => {
  const { passes, items } = explain("10.0.0.2 10.0.0.1 80");
  assertEquals([passes, items.map(told)], [false, [[
    "no policy selects the pod: everything passes",
    "denied: the pod is selected by web/deny-all, which does not allow it",
  ]]]);
  const [item] = explain("198.51.100.77 web/db 5432").items;
  assertEquals(told(item!), [
    "no pod has this address, and policies are about pods",
    "denied: the pod is selected by web/db, web/deny-all; none of them allows it",
  ]);
  assertEquals(item?.ingress.policies, ["web/db", "web/deny-all"]);
});

Deno.test("explainPolicies() says that audit mode lets it pass", () => {
  const link = { hostIfname: "flock1", namespace: "web", podName: "front", ingress: [] } as const;
  const { passes, items: [item] } = explain("10.0.0.2 10.0.0.1 80", [{ ...link, mode: "audit" }]);
  assertEquals([passes, item?.allowed, item?.passes, item?.ingress.mode], [
    true,
    false,
    true,
    "audit",
  ]);
  assertEquals(
    item?.ingress.text,
    "denied: the pod is selected by web/deny-all, which does not allow it; " +
      "the pod is in audit mode: the packet is counted, and passes",
  );
  assertEquals(explain("10.0.0.2 10.0.0.1 80", [{ ...link, mode: "enforce" }]).passes, false);
  // Of a mode in the direction that does not deny nothing is told.
  const open = { ...link, ingress: undefined, egress: [], mode: "audit" } as const;
  assertEquals(explain("10.0.0.2 10.0.0.1 80", [open]).passes, false);
});

Deno.test("explainPolicies() says who enforces it for a pod of another node", () => {
  const { items: [item] } = explain("web/db web/far 80");
  assertEquals(
    item?.ingress.text,
    "denied: the pod is selected by web/db, web/deny-all; none of them allows it; " +
      "its node n2 enforces this, and knows whether the pod is in audit mode",
  );
  assertEquals(item?.to.node, "n2");
});

Deno.test("explainPolicies() knows what policies are not asked of", () => {
  assertEquals(explain("web/db web/db 80").items.map(({ ingress }) => ingress.text), [
    "a pod's packets to itself pass",
    "a pod's packets to itself pass",
  ]);
  const [own] = explain("198.51.100.11 web/db 80").items;
  assertEquals([own?.ingress.text, own?.from], [
    "packets between a pod and its own node pass",
    { address: "198.51.100.11", pod: undefined, hostNetwork: undefined, node: "n1" },
  ]);
  const [host] = explain("web/db web/agent 80").items;
  assertEquals([host?.ingress.text, host?.to], [
    "the pod has its node's network, and policies are not about such pods",
    { address: "198.51.100.11", pod: "web/agent", hostNetwork: true, node: "n1" },
  ]);
  // From another node's address it is like any other.
  assertEquals(explain("198.51.100.12 web/db 80").passes, false);
});

Deno.test("explainPolicies() judges every pod that shares an address", () => {
  const { passes, items } = explain("10.0.0.1 203.0.113.1 5432");
  assertEquals(passes, true);
  assertEquals(items.map(({ to, ingress }) => [to.pod, to.address, ingress.outcome]), [
    ["web/front", "203.0.113.1", "exempt"],
    ["web/db", "203.0.113.1", "allowed"],
  ]);
  assertEquals(explain("10.0.0.3 203.0.113.1 5432").passes, false);
});

Deno.test("explainPolicies() judges each of two pods of one name, by its own link", () => {
  // The old one, of another Deployment's labels, is not yet detached.
  const [old] = parseWorld({
    namespaces: [],
    pods: [pod("front", ["10.0.0.9"], { app: "db" })],
    policies: [],
  }).pods;
  const world = { ...WORLD, pods: [...WORLD.pods, old!] };
  const link = { namespace: "web", podName: "front", mode: "enforce" } as const;
  const links = [
    { ...link, hostIfname: "flock1", addresses: ["2001:db8::1", "10.0.0.1"], pod: WORLD.pods[0] },
    { ...link, hostIfname: "flock9", addresses: ["10.0.0.9"], pod: old },
  ];
  const selections: PolicySelection[] = [
    { ...link, hostIfname: "flock1", ingress: [] },
    { ...link, hostIfname: "flock9", ingress: [], mode: "audit" },
  ];
  const ask = (text: string) =>
    explainPolicies(text, {
      node: "n1",
      state: { world, links, selections, inForce: true, error: undefined },
    });
  const to = ask("web/db web/front 80");
  assertEquals(to.items.map((one) => [one.to.address, one.ingress.mode, one.passes]), [
    ["2001:db8::1", "enforce", false],
    ["10.0.0.1", "enforce", false],
    ["10.0.0.9", "audit", true],
  ]);
  assertEquals(to.passes, false);
  // They are not one and the same to the kernel either.
  assertEquals(ask("10.0.0.9 10.0.0.1 80").items.map(({ ingress }) => ingress.outcome), ["denied"]);
});

Deno.test("explainPolicies() denies what a policy could deny to a pod that nobody knows any more", () => {
  const link = { namespace: "web", podName: "gone", mode: "enforce" } as const;
  const addresses = ["10.0.0.7"];
  const links = [
    { ...link, hostIfname: "flock7", addresses },
    { ...link, hostIfname: "flock8", addresses },
    { ...link, namespace: "", podName: "", hostIfname: "flock5", addresses: ["10.0.0.5"] },
  ];
  const selections: PolicySelection[] = [{ ...link, hostIfname: "flock7", ingress: [] }];
  const ask = (text: string) =>
    explainPolicies(text, {
      node: "n1",
      state: { world: WORLD, links, selections, inForce: true, error: undefined },
    });
  for (const text of ["10.0.0.1 10.0.0.7 80", "web/front web/gone 80"]) {
    const { passes, items } = ask(text);
    assertEquals([passes, items.length, items[0]?.to.pod], [false, 1, "web/gone"], text);
    assertEquals(
      items[0]?.ingress.text,
      "denied: the pod's labels are not known any more, so that it is taken to be selected by " +
        "web/db, web/deny-all",
    );
  }
  // No policy is about this direction.
  assertEquals(ask("web/gone 198.51.100.77 80").passes, true);
  // As a peer it is nobody's.
  assertEquals(ask("web/gone web/db 5432").items[0]?.ingress.outcome, "denied");
  // A container without a pod is not policies' business.
  const { passes, items: [item] } = ask("10.0.0.7 10.0.0.5 80");
  assertEquals([passes, item?.to.pod], [true, undefined]);
});

Deno.test("explainPolicies() says what is wrong with a question", () => {
  const cases: Readonly<Record<string, string>> = {
    "web/front": 'Cannot explain "web/front": it has to be FROM TO [PROTOCOL/]PORT, as in ' +
      '"web/front-0 web/db-0 tcp/5432"',
    "web/front web/db 80 81": "it has to be FROM TO [PROTOCOL/]PORT",
    "web web/db 80": 'Cannot explain "web": it is neither NAMESPACE/NAME nor an address',
    "web/a/b web/db 80": 'Cannot read pod "web/a/b": it has to be NAMESPACE/NAME',
    "web/front web/db 65536": 'Cannot read port "65536": it has to be [tcp/|udp/|sctp/] and',
    "web/front web/db gre/1": 'Cannot read port "gre/1"',
    "web/front web/db tcp/0": 'Cannot read port "tcp/0": it has to be',
    "web/front 0.0.0.0/0 80":
      'Cannot explain "0.0.0.0/0": it is a prefix, and a packet has a single address',
    "2001:db8::/32 web/db 80": 'Cannot explain "2001:db8::/32": it is a prefix',
    "web/front web/no 80": 'Cannot explain pod "web/no": the agent knows no pod of this name',
    "web/front web/db udp/sql": 'Cannot find port "udp/sql": pod "web/db" names tcp/sql',
    "web/db web/front sql": 'Cannot find port "tcp/sql": pod "web/front" names no port',
    "web/db 192.0.2.1 sql": 'Cannot find port "sql": only pods name ports, and no pod is there',
    "web/six web/far 80":
      "Cannot explain web/six to web/far: a packet has addresses of one family, and web/six has " +
      "only IPv6, web/far has only IPv4",
    "web/front web/new 80":
      "a packet has addresses of one family, and web/front has IPv6 and IPv4, web/new has none",
    "10.0.0.1 10.0.0.2 icmpv6":
      "Cannot explain 10.0.0.1 to 10.0.0.2: ICMPv6 is between IPv6 addresses, and 10.0.0.1 has " +
      "only IPv4, 10.0.0.2 has only IPv4",
  };
  for (const [text, message] of Object.entries(cases)) {
    const error = assertThrows(() => explain(text), Error, message);
    assertEquals(error instanceof SyntaxError || error instanceof RangeError, true, text);
  }
});
