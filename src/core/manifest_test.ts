import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  checkSize,
  parseNode,
  parseNodeConfigObject,
  parseObject,
  parseObjects,
} from "./manifest.ts";

const POD = {
  apiVersion: "v1",
  kind: "Pod",
  metadata: {
    name: "web-5d4f9c7b6d-x2x9k",
    namespace: "shop",
    uid: "8c5f1c1e-0000-4000-8000-000000000001",
    resourceVersion: "7",
    labels: { "pod-template-hash": "5d4f9c7b6d", app: "web" },
    annotations: { "flock.fritzlab.net/anycast": "2001:db8:ffff::1" },
    ownerReferences: [
      { apiVersion: "v1", kind: "ConfigMap", name: "other", uid: "o0" },
      {
        apiVersion: "apps/v1",
        kind: "ReplicaSet",
        name: "web-5d4f9c7b6d",
        uid: "o1",
        controller: true,
      },
    ],
  },
  spec: {
    nodeName: "host001",
    containers: [{ name: "web", image: "nginx:1.27" }, { name: "side", image: "x" }],
  },
  status: {
    phase: "Running",
    conditions: [{ type: "PodScheduled", status: "True" }, { type: "Ready", status: "True" }],
  },
};

const NODE_CONFIG = {
  apiVersion: "flock.fritzlab.net/v1alpha1",
  kind: "NodeConfig",
  metadata: {
    name: "host001",
    generation: 3,
    annotations: { "flock.fritzlab.net/ip-algo": "app" },
  },
  spec: { cidr6: ["2001:db8:f001::/64"] },
};

Deno.test("parseObject() takes what is used of a Pod", () => {
  assertEquals(parseObject(POD), {
    kind: "Pod",
    pod: {
      namespace: "shop",
      name: "web-5d4f9c7b6d-x2x9k",
      uid: "8c5f1c1e-0000-4000-8000-000000000001",
      nodeName: "host001",
      labels: { "pod-template-hash": "5d4f9c7b6d", app: "web" },
      annotations: { "flock.fritzlab.net/anycast": "2001:db8:ffff::1" },
      addresses: [],
      hostNetwork: false,
      ports: [],
      finished: false,
      owner: { kind: "ReplicaSet", name: "web-5d4f9c7b6d", uid: "o1" },
      templateHash: "5d4f9c7b6d",
      image: "nginx:1.27",
      ready: true,
      terminating: false,
    },
  });
});

Deno.test("parseObject() takes a Pod written by hand", () => {
  assertEquals(parseObject({ apiVersion: "v1", kind: "Pod", metadata: { name: "a" } }), {
    kind: "Pod",
    pod: {
      namespace: "default",
      name: "a",
      uid: "",
      labels: {},
      annotations: {},
      addresses: [],
      hostNetwork: false,
      ports: [],
      finished: false,
      ready: false,
      terminating: false,
    },
  });
});

Deno.test("parseObject() sees Ready and deletionTimestamp", () => {
  const pod = (metadata: object, conditions: unknown): unknown => {
    const object = parseObject({
      ...POD,
      metadata: { ...POD.metadata, ...metadata },
      status: { conditions },
    });
    return object.kind === "Pod" ? [object.pod.ready, object.pod.terminating] : undefined;
  };
  const ready = [{ type: "Ready", status: "True" }];
  assertEquals(pod({ deletionTimestamp: "2026-01-01T00:00:00Z" }, ready), [true, true]);
  assertEquals(pod({ deletionTimestamp: new Date(0) }, ready), [true, true]);
  assertEquals(pod({ deletionTimestamp: null }, [{ type: "Ready", status: "False" }]), [
    false,
    false,
  ]);
  assertEquals(pod({}, [{ type: "ContainersReady", status: "True" }]), [false, false]);
  assertEquals(pod({}, undefined), [false, false]);
});

Deno.test("parseObject() takes a NodeConfig and does not judge its spec", () => {
  assertEquals(parseObject(NODE_CONFIG), {
    kind: "NodeConfig",
    nodeConfig: {
      name: "host001",
      generation: 3,
      annotations: { "flock.fritzlab.net/ip-algo": "app" },
      spec: { cidr6: ["2001:db8:f001::/64"] },
    },
  });
  const bare = { ...NODE_CONFIG, metadata: { name: "default" }, spec: undefined };
  assertEquals(parseObject(bare), {
    kind: "NodeConfig",
    nodeConfig: { name: "default", annotations: {}, spec: {} },
  });
});

Deno.test("parseObject() takes a Namespace, with the label of its name", () => {
  const parse = (metadata: object): unknown => {
    const object = parseObject({ apiVersion: "v1", kind: "Namespace", metadata });
    return object.kind === "Namespace" && object.namespace;
  };
  const own = { "kubernetes.io/metadata.name": "shop" };
  assertEquals(parse({ name: "shop" }), { name: "shop", labels: own, annotations: {} });
  const annotations = { "flock.fritzlab.net/policy-mode": "audit" };
  // Nobody can give a namespace the name of another one.
  const labels = { team: "a", "kubernetes.io/metadata.name": "kube-system" };
  assertEquals(parse({ name: "shop", labels, annotations }), {
    name: "shop",
    labels: { team: "a", ...own },
    annotations,
  });
  assertThrows(() => parse({ name: "a b" }), TypeError, 'metadata.name is "a b", not a name');
  assertThrows(
    () => parse({ name: "a", labels: { n: 1 } }),
    TypeError,
    'metadata.labels["n"] is 1, not a text',
  );
});

Deno.test("parseObject() ignores other kinds, and says which", () => {
  const kinds = [
    ["v1", "Secret"],
    ["v2", "Pod"],
    ["v1", "NetworkPolicy"],
    ["networking.k8s.io/v1beta1", "NetworkPolicy"],
    ["flock.fritzlab.net/v2", "NodeConfig"],
  ] as const;
  for (const [apiVersion, kind] of kinds) {
    const what = `${apiVersion} ${kind}`;
    assertEquals(parseObject({ apiVersion, kind }), { kind: "Ignored", what });
  }
});

Deno.test("parseObjects() takes lists, also those whose items do not say what they are", () => {
  const { apiVersion: _a, kind: _k, ...item } = POD;
  const kinds = (raw: unknown): unknown => parseObjects(raw).map((object) => object.kind);
  assertEquals(kinds(POD), ["Pod"]);
  assertEquals(kinds({ apiVersion: "v1", kind: "List", items: [POD, NODE_CONFIG] }), [
    "Pod",
    "NodeConfig",
  ]);
  assertEquals(kinds({ apiVersion: "v1", kind: "PodList", items: [item, POD] }), ["Pod", "Pod"]);
  assertEquals(kinds({ apiVersion: "v1", kind: "List", items: [] }), []);
  const list = { apiVersion: "v1", kind: "List", items: [POD] };
  assertEquals(parseObjects({ ...list, items: [list] }), [
    { kind: "Ignored", what: "v1 List" },
  ]);
  assertEquals(kinds({ apiVersion: "example.org/v1", kind: "AllowList" }), ["Ignored"]);
});

Deno.test("parseObjects() names the field that is wrong", async (t) => {
  const pod = (change: object): object => ({ ...POD, metadata: { ...POD.metadata, ...change } });
  const list = (...items: unknown[]): object => ({ apiVersion: "v1", kind: "List", items });
  const cases: readonly [unknown, string][] = [
    ["text", 'the document is "text", not an object'],
    [null, "the document is null, not an object"],
    [[POD], "the document is a list, not an object"],
    [{}, "kind is missing, not a text"],
    [{ kind: "Pod" }, "apiVersion is missing, not a text"],
    [{ ...POD, metadata: undefined }, "metadata is missing, not an object"],
    [pod({ name: undefined }), "metadata.name is missing, not a text"],
    [pod({ name: "a/b" }), 'metadata.name is "a/b", not a name'],
    [pod({ name: "a\nb" }), 'metadata.name is "a\\nb", not a name'],
    [pod({ name: "a".repeat(254) }), "not a name (RFC 1123)"],
    [pod({ namespace: "../x" }), 'metadata.namespace is "../x", not a name'],
    [pod({ uid: 7 }), "metadata.uid is 7, not a text"],
    [pod({ uid: "x\nlink" }), 'metadata.uid is "x\\nlink", not a UID'],
    [pod({ annotations: [] }), "metadata.annotations is a list, not an object"],
    [
      pod({ annotations: { "flock.fritzlab.net/ipv6": false } }),
      'metadata.annotations["flock.fritzlab.net/ipv6"] is false, not a text',
    ],
    [pod({ ownerReferences: {} }), "metadata.ownerReferences is an object, not a list"],
    [
      pod({ ownerReferences: [{ controller: true, kind: "Job" }] }),
      "metadata.ownerReferences[0].name is missing",
    ],
    [{ ...POD, spec: { nodeName: 1 } }, "spec.nodeName is 1, not a text"],
    [{ ...POD, spec: { containers: [1] } }, "spec.containers[0] is 1, not an object"],
    [
      { ...POD, spec: { containers: [{ image: 1n }] } },
      "spec.containers[0].image is 1, not a text",
    ],
    [{ ...POD, status: { conditions: "x" } }, 'status.conditions is "x", not a list'],
    [
      { ...NODE_CONFIG, metadata: { name: "n", generation: "3" } },
      'metadata.generation is "3", not a whole number',
    ],
    [{ ...NODE_CONFIG, metadata: { name: "}\n" } }, "metadata.name is"],
    [list(POD, 1), "items[1] is 1, not an object"],
    [list(POD, pod({ name: 1 })), "items[1].metadata.name is 1, not a text"],
    [{ apiVersion: "v1", kind: "List", items: {} }, "items is an object, not a list"],
  ];
  for (const [raw, message] of cases) {
    await t.step(message.replaceAll("\n", " "), () => {
      const error = assertThrows(() => parseObjects(raw), TypeError);
      assert(error.message.includes(message), error.message);
    });
  }
});

Deno.test("checkSize() refuses what is endless or far larger than its text", () => {
  checkSize(POD);
  const self: unknown[] = [];
  self.push(self);
  assertThrows(() => checkSize(self), TypeError, "nested more than 100 deep");
  let doubled: unknown = "x";
  for (let n = 0; n < 60; n++) doubled = [doubled, doubled];
  assertThrows(() => checkSize(doubled), TypeError, "more than 1000000 values");
});

Deno.test("parseNode() takes prefixes, addresses and the network's condition", () => {
  const metadata = { name: "n1" };
  assertEquals(parseNode({ metadata, spec: { podCIDRs: ["10.1.0.0/24", "2001:db8::/64"] } }), {
    name: "n1",
    podCidrs: ["10.1.0.0/24", "2001:db8::/64"],
    addresses: [],
  });
  assertEquals(parseNode({ metadata, spec: { podCIDR: "10.1.0.0/24" } }).podCidrs, ["10.1.0.0/24"]);
  const conditions = [
    { type: "Ready", status: "True" },
    { type: "NetworkUnavailable", status: "False", reason: "FlockReady", lastTransitionTime: "t" },
  ];
  assertEquals(parseNode({ metadata, status: { conditions } }), {
    name: "n1",
    podCidrs: [],
    addresses: [],
    networkUnavailable: { status: "False", reason: "FlockReady", lastTransitionTime: "t" },
  });
  const addresses = [
    { type: "Hostname", address: "n1" },
    { type: "InternalIP", address: "198.51.100.11" },
    { type: "ExternalIP", address: "2001:db8:25::11" },
  ];
  assertEquals(parseNode({ metadata, status: { addresses } }).addresses, [
    "198.51.100.11",
    "2001:db8:25::11",
  ]);
  assertThrows(
    () => parseNode({ metadata, spec: { podCIDRs: "10.1.0.0/24" } }),
    TypeError,
    'spec.podCIDRs is "10.1.0.0/24", not a list',
  );
});

Deno.test("parseNodeConfigObject() keeps the UID that events name", () => {
  assertEquals(parseNodeConfigObject({ metadata: { name: "n1", uid: "u1" } }).uid, "u1");
});
