/**
 * The CustomResourceDefinition: fresh, such that an API server takes it, and never stricter than the agent.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { CRD_FILE, renderCrd } from "../../scripts/generate_crd.ts";
import { ROOT } from "../../scripts/run.ts";
import { parseNodeConfig } from "../../src/core/node_config.ts";
import { nodeConfigCrd } from "../../src/core/node_config_crd.ts";
import { parseYamlDocuments } from "../../src/std.ts";
import { brokenRules, costBound, MAX_CRD_COST, MAX_RULE_COST, ruleProblem } from "./cel.ts";
import { nodesOf, type OpenApi, schemaProblems, valueProblems } from "./openapi.ts";

interface Crd {
  readonly metadata: { readonly name: string };
  readonly spec: {
    readonly group: string;
    readonly names: { readonly plural: string };
    readonly versions: readonly [{
      readonly schema: { readonly openAPIV3Schema: OpenApi };
      readonly additionalPrinterColumns: readonly {
        readonly name: string;
        readonly jsonPath: string;
      }[];
    }];
  };
}

const crd = nodeConfigCrd() as unknown as Crd;
const [version] = crd.spec.versions;
const root = version.schema.openAPIV3Schema;
const { spec: specSchema, status: statusSchema } = root.properties!;

/** Every field there is. */
const FULL = {
  cidr6: ["2001:db8:f001::/64", "2001:db8:f002::/120"],
  cidr4: ["172.25.214.0/24"],
  defaults: { ipv6: true, ipv4: false },
  mtu: 9000,
  allowSpoofing: false,
  reserved: ["10.96.0.0/12", "2001:db8::/48"],
  bgp: {
    asn: 4200000001,
    allowLocalAS: false,
    routerID: "198.51.100.10",
    import: [{ cidr: "2001:db8::/32", ge: 32, le: 128 }, { cidr: "0.0.0.0/0", le: 24 }],
    peers: [
      { address: "2001:db8:25::1", asn: 65000 },
      {
        address: "198.51.100.1",
        asn: 65000,
        port: 179,
        passive: false,
        multihop: 2,
        ttlSecurity: false,
        holdTime: 9,
        keepaliveTime: 3,
        gracefulRestart: { enabled: true, restartTime: 30 },
        bfd: { enabled: true, interval: 300, multiplier: 3 },
        localAddress: "198.51.100.10",
        localPreference: 100,
        med: 0,
        prepend: 0,
        communities: ["65001:100", "65001:1:2"],
        importDefaultRoute: false,
        importLimit: 20000,
        passwordSecretRef: { namespace: "kube-system", name: "flock-bgp", key: "password" },
      },
    ],
  },
  announce: { allowed: [{ cidr: "2001:db8:ffff::/48", namespaces: ["edge-*"] }] },
};

Deno.test("deploy/crd.yaml is what deno task generate makes", async () => {
  assertEquals(await Deno.readTextFile(`${ROOT}/${CRD_FILE}`), renderCrd());
});

Deno.test("deploy/crd.yaml says in YAML what the definition is", () => {
  assertEquals(parseYamlDocuments(renderCrd()), [nodeConfigCrd()]);
});

Deno.test("crd: the schema is structural and bounded", () => {
  // What every object has is bounded by the API server itself.
  const problems = schemaProblems(root).filter((problem) => !/^(apiVersion|kind): /.test(problem));
  assertEquals(problems, []);
  assertEquals(crd.metadata.name, `${crd.spec.names.plural}.${crd.spec.group}`);
});

Deno.test("crd: what an API server refuses in a schema is found", () => {
  const bad: OpenApi = {
    type: "object",
    properties: {
      a: { description: "nothing else" },
      b: { type: "string" },
      c: { type: "array", maxItems: 1 },
      d: { type: "object", additionalProperties: false } as OpenApi,
      e: { $ref: "#/x", type: "boolean" } as OpenApi,
    },
    required: ["f"],
  };
  const paths = new Set(schemaProblems(bad).map((problem) => problem.split(":")[0]));
  assertEquals([...paths].sort(), ["a", "b", "c", "d", "e", "the root"]);
});

Deno.test("crd: every field is explained", () => {
  const silent = [...nodesOf(specSchema!, "spec")]
    .filter(({ path, schema }) => !path.endsWith("[]") && !schema.description)
    .map(({ path }) => path);
  assertEquals(silent, []);
});

Deno.test("crd: every rule compiles where it is, and their cost is within the API server's limits", () => {
  let total = 0;
  let rules = 0;
  for (const { path, schema, cardinality } of nodesOf(root)) {
    for (const { rule } of schema["x-kubernetes-validations"] ?? []) {
      assertEquals(ruleProblem(rule, schema), undefined, `${path}: ${rule}`);
      const cost = costBound(rule) * cardinality;
      assert(cost < MAX_RULE_COST, `${path}: ${rule} costs ${cost}`);
      total += cost;
      rules += 1;
    }
  }
  assert(rules > 10);
  assert(total < MAX_CRD_COST, `all rules cost ${total}`);
});

Deno.test("crd: rules that an API server refuses are found", () => {
  const peer = specSchema!.properties!.bgp!.properties!.peers!.items!;
  for (
    const rule of ["self.nope == 1", "self.asn == 'x'", "self.asn + 1", "isMac(self.address)", "("]
  ) {
    assert(ruleProblem(rule, peer) !== undefined, rule);
  }
  assert(costBound("self.all(a, self.all(b, self.all(c, self.all(d, a == d))))") > MAX_RULE_COST);
});

Deno.test("crd: columns show fields that exist", () => {
  for (const { name, jsonPath } of version.additionalPrinterColumns) {
    if (name === "Age") continue;
    const path = jsonPath.replace(/\[\?\(@\.type=="\w+"\)\]/, "[]").slice(1);
    assert([...nodesOf(root)].some((node) => node.path === path), `${name}: ${jsonPath}`);
  }
});

Deno.test("crd: the API server takes every field, and what existing clusters have", () => {
  for (const spec of [FULL, {}, existing()]) assertEquals(apiProblems(spec), []);
});

Deno.test("crd: the API server refuses what is wrong, naming the field", async (t) => {
  const cases: readonly (readonly [path: string, value: unknown, problem: string])[] = [
    ["cidr6", ["10.0.0.0/8"], "spec.cidr6[0]: must be an IPv6 prefix of at most /120"],
    ["cidr6", ["2001:db8::/121"], "spec.cidr6[0]: must be an IPv6 prefix of at most /120"],
    ["cidr4", ["2001:db8::/64"], "spec.cidr4[0]: must be an IPv4 prefix of at most /30"],
    ["cidr4", ["10.0.0.0"], "spec.cidr4[0]: must be an IPv4 prefix of at most /30"],
    ["cidr4", ["10.0.0.0/8", "10.1.0.0/16"], "spec.cidr4: must not overlap each other"],
    ["cidr4", ["10.1.0.0/16", "10.2.3.4/8"], "spec.cidr4: must not overlap each other"],
    ["cidr6", ["2001:db8:1::/64", "2001:db8::/32"], "spec.cidr6: must not overlap each other"],
    ["cidr4", ["10.0.0.0/8", "10.0.0.0/8"], "spec.cidr4: must not overlap each other"],
    ["reserved", ["x"], "spec.reserved[0]: must be a prefix in CIDR notation"],
    ["mtu", 1279, "spec.mtu: too small"],
    ["bgp.asn", 23456, "spec.bgp.asn: is AS_TRANS, nobody's number (RFC 6793)"],
    ["bgp.asn", 4294967296, "spec.bgp.asn: too large"],
    ["bgp.asn", "65001", "spec.bgp.asn: not of type integer"],
    [
      "bgp.routerID",
      "::1",
      "spec.bgp.routerID: must be written as an IPv4 address and not be zero (RFC 6286)",
    ],
    ["bgp.import.0.ge", 31, "spec.bgp.import[0]: ge must be at least the prefix's length"],
    ["bgp.import.0.le", 31, "spec.bgp.import[0]: le must be at least ge, or the prefix's length"],
    ["bgp.import.1.le", 33, "spec.bgp.import[1]: ge and le of an IPv4 prefix must be at most 32"],
    [
      "bgp.peers.0.address",
      "fe80::1",
      "spec.bgp.peers[0].address: must be an IPv4 or IPv6 address that a host can have",
    ],
    [
      "bgp.peers.0.address",
      "1.2.3.4 }",
      "spec.bgp.peers[0].address: must be an IPv4 or IPv6 address that a host can have",
    ],
    ["bgp.peers.0.address", "198.51.100.1", "spec.bgp.peers: must have different addresses"],
    ["bgp.peers.0.address", undefined, "spec.bgp.peers[0]: address is missing"],
    [
      "bgp.peers.1.ttlSecurity",
      true,
      "spec.bgp.peers[1]: multihop and ttlSecurity exclude each other",
    ],
    ["bgp.peers.1.holdTime", 2, "spec.bgp.peers[1].holdTime: must be 0 or at least 3"],
    [
      "bgp.peers.0.keepaliveTime",
      4,
      "spec.bgp.peers[0]: keepaliveTime must be at most a third of holdTime",
    ],
    [
      "bgp.peers.0.keepaliveTime",
      0,
      "spec.bgp.peers[0]: keepaliveTime can be 0 only where holdTime is",
    ],
    [
      "bgp.peers.1.localAddress",
      "2001:db8::1",
      "spec.bgp.peers[1]: localAddress must be of the family of address",
    ],
    ["bgp.peers.1.communities", ["1"], "spec.bgp.peers[1].communities[0]: must be a:b or a:b:c"],
    [
      "announce.allowed.0.cidr",
      "::",
      "spec.announce.allowed[0].cidr: must be a prefix in CIDR notation",
    ],
    ["announce.allowed.0.namespaces", [], "spec.announce.allowed[0].namespaces: too few items"],
  ];
  for (const [path, value, problem] of cases) {
    await t.step(`${path} ${JSON.stringify(value)}`, () => {
      const spec = changed(path, value);
      const problems = apiProblems(spec);
      assert(problems.includes(problem), `${problem} is not in ${JSON.stringify(problems)}`);
      assert(!agentTakes(spec), "the agent takes it");
    });
  }
});

Deno.test("crd: the API server takes whatever the agent takes", () => {
  const leaves = [...leavesOf(FULL, [])];
  const value = fc.oneof(
    fc.integer({ min: -1, max: 300 }),
    fc.constantFrom(...[0, 3, 65535, 4294967295, 4294967296, 1.5, true, "", "x", null]),
    fc.constantFrom(...["::", "0.0.0.0", "::1", "192.0.2.7", "2001:DB8::A", "10.0.0.1/8", "::/0"]),
    fc.constantFrom(...["0.0.0.0/0", "2001:db8:f001::1/64", "fd00::/8", "1:2", "01:2", "1:2:3"]),
    fc.ipV4(),
    fc.ipV6(),
    fc.tuple(fc.ipV4(), fc.nat(33)).map((parts) => parts.join("/")),
    fc.tuple(fc.ipV6(), fc.nat(129)).map((parts) => parts.join("/")),
  );
  let taken = 0;
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.constantFrom(...leaves), value), { maxLength: 3 }),
      (edits) => {
        const spec = edits.reduce((at, [path, to]) => changed(path, to, at), FULL as object);
        if (!agentTakes(spec)) return;
        taken += 1;
        assertEquals(apiProblems(withoutNulls(spec)), []);
      },
    ),
    { numRuns: 600, seed: 7 },
  );
  assert(taken > 100, `only ${taken} were taken`);
});

Deno.test("crd: a status that the agent may write is taken", () => {
  const status = {
    observedGeneration: 3,
    conditions: [{
      type: "Accepted",
      status: "True",
      observedGeneration: 3,
      lastTransitionTime: "2026-01-01T00:00:00Z",
      reason: "Valid",
      message: "",
    }],
    addresses: {
      ipv6: { allocated: 2, capacity: "18446744073709551615" },
      ipv4: { allocated: 0, capacity: "253" },
    },
    anycast: [{ address: "2001:db8:ffff::1", announced: true, pods: ["edge-a/web-0"] }],
    bgp: [{ peer: "2001:db8:25::1", asn: 65000, state: "Established" }],
  };
  assertEquals(valueProblems(statusSchema!, status, "status"), []);
  assert(valueProblems(statusSchema!, { conditions: [{ type: "A" }] }, "status").length > 0);
});

function existing(): object {
  const { cidr6, cidr4, defaults } = FULL;
  return {
    cidr6,
    cidr4,
    defaults,
    bgp: { asn: 65001, peers: [{ address: "192.0.2.1", asn: 65000 }] },
  };
}

function apiProblems(spec: object): string[] {
  const problems = valueProblems(specSchema!, spec, "spec");
  // The API server evaluates rules only on values that are of the right form.
  return problems.length > 0 ? problems : brokenRules(specSchema!, spec, "spec");
}

function agentTakes(spec: object): boolean {
  try {
    parseNodeConfig({ name: "a", annotations: {}, spec });
    return true;
  } catch (error) {
    assert(error instanceof SyntaxError, String(error));
    return false;
  }
}

/** A copy of a specification with another value at a path; undefined removes it. */
function changed(path: string, value: unknown, spec: object = FULL): object {
  const copy = structuredClone(spec);
  const keys = path.split(".");
  const last = keys.pop()!;
  const parent: unknown = keys.reduce<unknown>((at, key) => Reflect.get(Object(at), key), copy);
  if (typeof parent === "object" && parent !== null) {
    if (value === undefined) Reflect.deleteProperty(parent, last);
    else Reflect.set(parent, last, value);
  }
  return copy;
}

function* leavesOf(value: unknown, path: readonly string[]): Iterable<string> {
  if (typeof value !== "object" || value === null) yield path.join(".");
  else for (const [key, inner] of Object.entries(value)) yield* leavesOf(inner, [...path, key]);
}

/** The API server drops fields that are null where null is not allowed. */
function withoutNulls(value: object): object {
  return JSON.parse(JSON.stringify(value, (_, field) => field === null ? undefined : field));
}
