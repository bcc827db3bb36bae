import { assertEquals, assertNotStrictEquals, assertStrictEquals } from "@std/assert";
import { attachment } from "../../tests/attachments.ts";
import { fakePod, FakeSource, mirror } from "../../tests/fakes/fake_source.ts";
import type { Attachment } from "../core/attachment.ts";
import { parsePrefix, type Prefix } from "../core/cidr.ts";
import { type NodeConfig, parseNodeConfig } from "../core/node_config.ts";
import type { Pod } from "../core/objects.ts";
import type { PolicyPod } from "../core/policy.ts";
import { configureLog } from "../log.ts";
import { type PolicyFacts, PolicyFactsReader } from "./policy_facts.ts";

const SPEC = { cidr6: ["2001:db8:f001::/64"], cidr4: ["10.244.1.0/24"] };
const MODE = "flock.fritzlab.net/policy-mode";

/** Node `n1`, whose pods `p<n>` have the addresses `10.244.1.<n>`. */
class Fixture {
  readonly source = new FakeSource();
  attachments: readonly Attachment[] = [];
  reserved: readonly Prefix[] = [];
  config: NodeConfig | undefined;
  readonly reader: PolicyFactsReader;

  constructor(spec: Readonly<Record<string, unknown>> = {}) {
    this.configure(spec);
    const self = {
      config: (): NodeConfig | undefined => this.config,
      reserved: (): readonly Prefix[] => this.reserved,
    };
    this.reader = new PolicyFactsReader({
      source: this.source,
      store: { list: () => this.attachments },
      node: {
        get config() {
          return self.config();
        },
        get reserved() {
          return self.reserved();
        },
        nodePrefixes: [...SPEC.cidr6, ...SPEC.cidr4].map(parsePrefix),
      },
      nodeName: "n1",
    });
  }

  configure(spec: Readonly<Record<string, unknown>>): void {
    this.config =
      parseNodeConfig({ name: "n1", annotations: {}, spec: { ...SPEC, ...spec } }).config;
  }

  attach(...numbers: readonly number[]): void {
    this.attachments = numbers.map((n) => attachment(n, { ip4: `10.244.1.${n}` }));
  }

  put(n: number, change: Partial<Pod> = {}): Pod {
    const pod = fakePod({ name: `p${n}`, uid: `u${n}`, nodeName: "n1", ...change });
    this.source.put(pod);
    return pod;
  }

  /** Names of pods with their addresses. */
  get peers(): Readonly<Record<string, readonly string[]>> {
    return Object.fromEntries(
      this.reader.read().pods.map(({ name, addresses }) => [name, addresses]),
    );
  }
}

Deno.test("PolicyFactsReader: pods of this node have the addresses of their attachments", () => {
  const f = new Fixture();
  f.attachments = [attachment(1, {
    ip6: "2001:db8:f001::1",
    ip4: "10.244.1.1",
    addresses: ["203.0.113.1"],
    anycast: ["2001:db8:ffff::53"],
    // Not wired yet, and its pod has no address in the API.
    state: "pending",
  })];
  const all = ["2001:db8:f001::1", "10.244.1.1", "203.0.113.1", "2001:db8:ffff::53"];
  // What the API says is of before.
  f.put(1, { addresses: ["10.244.1.77"], labels: { app: "a" } });
  const { links, pods } = f.reader.read();
  assertEquals(pods.map(({ name, addresses, nodeName }) => [name, addresses, nodeName]), [
    ["p1", all, "n1"],
  ]);
  assertEquals(links, [{
    hostIfname: "flock00000001",
    namespace: "default",
    podName: "p1",
    addresses: all,
    pod: f.source.pod("default", "p1"),
    mode: "enforce",
  }]);
});

Deno.test("PolicyFactsReader: a pod that nobody assigned to a node is this node's when it is attached", () => {
  const f = new Fixture();
  f.attach(1);
  f.put(1, { nodeName: undefined, addresses: ["10.244.1.77"] });
  const { pods } = f.reader.read();
  assertEquals(pods.map(({ addresses, nodeName }) => [addresses, nodeName]), [
    [["10.244.1.1"], "n1"],
  ]);
});

Deno.test("PolicyFactsReader: each link of a container may send from all of its addresses", () => {
  const f = new Fixture();
  f.attachments = [
    attachment(1, { ip4: "10.244.1.1" }),
    attachment(1, { ifname: "net1", hostIfname: "flock00000009", ip4: "10.244.1.9" }),
    attachment(2, { ip4: "10.244.1.2" }),
  ];
  f.put(1);
  const { links } = f.reader.read();
  assertEquals(
    links.map(({ hostIfname, addresses, podName }) => [hostIfname, podName, addresses]),
    [
      ["flock00000001", "p1", ["10.244.1.1", "10.244.1.9"]],
      ["flock00000009", "p1", ["10.244.1.1", "10.244.1.9"]],
      ["flock00000002", "p2", ["10.244.1.2"]],
    ],
  );
  assertEquals(f.peers, { p1: ["10.244.1.1", "10.244.1.9"] });
});

Deno.test("PolicyFactsReader: what finished, or has its node's network, is nobody's peer", () => {
  const f = new Fixture();
  f.attach(1);
  const host = { hostNetwork: true, addresses: ["198.51.100.12"] };
  f.put(1, { finished: true });
  f.put(2, { nodeName: "n2", finished: true, addresses: ["10.244.2.2"] });
  const { pods, links } = (f.put(3, { nodeName: "n2", ...host }), f.reader.read());
  assertEquals(pods.map(({ name, hostNetwork }) => [name, hostNetwork]), [["p3", true]]);
  assertEquals(links[0]?.pod?.labels, {}, "policies select it as long as it has a link");
});

Deno.test("PolicyFactsReader: addresses of other nodes' annotations count where they may be had", () => {
  const f = new Fixture({
    announce: { allowed: [{ cidr: "203.0.113.0/24", namespaces: ["default"] }] },
  });
  const annotations = {
    "flock.fritzlab.net/anycast": "203.0.113.53, 198.51.100.1",
    "flock.fritzlab.net/addresses": "203.0.113.9",
  };
  const far = { nodeName: "n2", addresses: ["10.244.2.2"], annotations };
  f.put(2, far);
  f.put(3, { ...far, namespace: "other" });
  f.put(4, { ...far, addresses: [] });
  f.put(5, { ...far, hostNetwork: true });
  f.put(6, { ...far, annotations: { "flock.fritzlab.net/anycast": "203.0.113.53, nonsense" } });
  const own = ["10.244.2.2"];
  assertEquals(f.peers, {
    p2: ["10.244.2.2", "203.0.113.9", "203.0.113.53"],
    p3: own,
    p4: [],
    p5: own,
    p6: own,
  });
  // What is reserved is no pod's, from when on it is.
  f.reserved = [parsePrefix("203.0.113.53/32")];
  assertEquals(f.peers.p2, ["10.244.2.2", "203.0.113.9"]);
  f.reserved = [];
  f.configure({});
  assertEquals(f.peers.p3, ["10.244.2.2", "203.0.113.9", "203.0.113.53", "198.51.100.1"]);
});

Deno.test("PolicyFactsReader: of this node's pods that flock did not attach, other addresses count", () => {
  const f = new Fixture();
  // Detached a moment ago, as the API does not know yet; the address may be given again.
  f.put(1, { addresses: ["10.244.1.1"] });
  f.put(2, { addresses: ["10.88.0.2"] });
  f.put(3, { hostNetwork: true, addresses: ["10.244.1.1"] });
  assertEquals(f.peers, { p1: [], p2: ["10.88.0.2"], p3: ["10.244.1.1"] });
});

Deno.test("PolicyFactsReader: an address that another pod was attached with is not the former one's", () => {
  const f = new Fixture();
  const addresses = ["203.0.113.9", "203.0.113.10"];
  // Detached, and still there for the API server.
  f.put(1, { terminating: true, addresses });
  assertEquals(f.peers, { p1: addresses });
  f.put(2);
  f.attachments = [attachment(2, { ip4: "203.0.113.9" })];
  assertEquals(f.peers, { p1: ["203.0.113.10"], p2: ["203.0.113.9"] });
  f.attachments = [];
  assertEquals(f.peers, { p1: addresses, p2: [] });
});

Deno.test("PolicyFactsReader keeps a pod that was deleted until it is detached", () => {
  const f = new Fixture();
  f.attach(1);
  f.put(1, { labels: { app: "a" } });
  f.reader.read();
  f.source.remove("default", "p1");
  const { links, pods } = f.reader.read();
  assertEquals(links[0]?.pod?.labels, { app: "a" });
  assertEquals(pods.map(({ labels }) => labels), [{ app: "a" }]);
  // One of the same name that is made next is another pod.
  f.attachments = [
    ...f.attachments,
    attachment(2, { podName: "p1", podUid: "u2", ip4: "10.244.1.2" }),
  ];
  f.put(1, { uid: "u2", labels: { app: "b" } });
  const both = f.reader.read();
  assertEquals(both.links.map(({ pod }) => pod?.labels), [{ app: "a" }, { app: "b" }]);
  assertEquals(both.pods.map(({ labels, addresses }) => [labels, addresses]), [
    [{ app: "a" }, ["10.244.1.1"]],
    [{ app: "b" }, ["10.244.1.2"]],
  ]);
  f.attachments = f.attachments.slice(1);
  assertEquals(f.reader.read().pods.map(({ labels }) => labels), [{ app: "b" }]);
});

Deno.test("PolicyFactsReader: a pod that nobody knows is unknown, also when another has its name", () => {
  const f = new Fixture();
  f.attachments = [attachment(1), attachment(2, { namespace: "", podName: "", podUid: "" })];
  assertEquals(f.reader.read().links.map(({ pod }) => pod), [undefined, undefined]);
  f.put(1, { uid: "u9", annotations: { [MODE]: "audit" } });
  const { links } = f.reader.read();
  assertEquals(links.map(({ pod, mode }) => [pod, mode]), [
    [undefined, "enforce"],
    [undefined, "enforce"],
  ]);
});

Deno.test("PolicyFactsReader: a static pod is known by its mirror pod, once, also when that is made again", () => {
  const f = new Fixture();
  f.attachments = [attachment(1, { podUid: "hash1", ip4: "10.244.1.1" })];
  f.reader.know(fakePod({ name: "p1", uid: "hash1", nodeName: "n1", labels: { app: "a" } }));
  assertEquals(f.reader.read().links[0]?.pod?.labels, { app: "a" });
  for (const uid of ["m1", "m2"]) {
    f.put(1, { uid, annotations: mirror("hash1"), labels: { app: uid } });
    const { links, pods } = f.reader.read();
    assertEquals(links[0]?.pod?.labels, { app: uid });
    assertEquals(pods.map(({ labels, addresses }) => [labels, addresses]), [
      [{ app: uid }, ["10.244.1.1"]],
    ]);
  }
  // Of another configuration: not the pod that is attached.
  f.put(1, { uid: "m3", annotations: mirror("hash2"), labels: { app: "m3" } });
  assertEquals(f.reader.read().links[0]?.pod?.labels, { app: "m2" });
});

Deno.test("PolicyFactsReader.know() tells of a pod that the source has not delivered", () => {
  const f = new Fixture();
  f.attach(1);
  f.reader.know(fakePod({ name: "p1", uid: "u1", nodeName: "n1", labels: { app: "a" } }));
  assertEquals(f.reader.read().links[0]?.pod?.labels, { app: "a" });
  f.put(1, { labels: { app: "b" } });
  assertEquals(f.reader.read().links[0]?.pod?.labels, { app: "b" }, "what the source has is newer");
  // Who is attached no more is forgotten.
  f.attach();
  f.source.remove("default", "p1");
  f.reader.read();
  f.attach(1);
  assertEquals(f.reader.read().links[0]?.pod, undefined);
});

Deno.test("PolicyFactsReader: a pod's mode goes before its namespace's, and a malformed one is enforce", async (t) => {
  const lines: string[] = [];
  configureLog({ level: "warn", format: "json", write: (line) => void lines.push(line) });
  for (
    const [name, ofPod, ofNamespace, mode] of [
      ["nobody says", undefined, undefined, "enforce"],
      ["the namespace says", undefined, "audit", "audit"],
      ["the pod says", "audit", undefined, "audit"],
      ["the pod says otherwise", "enforce", "audit", "enforce"],
      ["the pod says nonsense", "Audit!", "audit", "enforce"],
      ["the namespace says nonsense", undefined, "nothing", "enforce"],
      ["the pod says, the namespace nonsense", "audit", "nothing", "audit"],
    ] as const
  ) {
    await t.step(name, () => {
      lines.length = 0;
      const f = new Fixture();
      f.attach(1);
      const annotations = (text: string | undefined): Readonly<Record<string, string>> =>
        text === undefined ? {} : { [MODE]: text };
      f.put(1, { annotations: annotations(ofPod) });
      f.source.putNamespace({
        name: "default",
        labels: {},
        annotations: annotations(ofNamespace),
      });
      for (let n = 0; n < 3; n++) assertEquals(f.reader.read().links[0]?.mode, mode);
      const isMalformed = name.endsWith("says nonsense");
      assertEquals(lines.length, isMalformed ? 1 : 0, "it is said once");
      if (!isMalformed) return;
      const { msg, object } = JSON.parse(lines[0]!);
      assertEquals(msg, "Ignored policy-mode, enforcing policies");
      assertEquals(object, name.includes("pod") ? "Pod default/p1" : "Namespace default");
    });
  }
});

Deno.test("PolicyFactsReader: what has not changed is the same object", () => {
  const f = new Fixture();
  f.attach(1);
  f.put(1);
  f.put(2, { nodeName: "n2", addresses: ["10.244.2.2"] });
  f.source.putNamespace({ name: "default", labels: { a: "1" }, annotations: {} });
  const byName = ({ pods }: PolicyFacts): ReadonlyMap<string, PolicyPod> =>
    new Map(pods.map((pod) => [pod.name, pod]));
  const first = f.reader.read();
  const before = byName(first);
  // The same again, as new objects: a heartbeat, an annotation that says nothing of addresses.
  f.put(1, { ready: false });
  f.put(2, { nodeName: "n2", addresses: ["10.244.2.2"], annotations: { note: "new" } });
  f.source.putNamespace({ name: "default", labels: { a: "1" }, annotations: { note: "new" } });
  const second = f.reader.read();
  for (const [name, pod] of byName(second)) assertStrictEquals(pod, before.get(name));
  assertStrictEquals(second.namespaces, first.namespaces);
  // A label of each.
  f.put(1, { labels: { app: "a" } });
  f.source.putNamespace({ name: "default", labels: { a: "2" }, annotations: {} });
  const third = f.reader.read();
  assertNotStrictEquals(byName(third).get("p1"), before.get("p1"));
  assertStrictEquals(byName(third).get("p2"), before.get("p2"));
  assertEquals(third.namespaces.get("default"), { a: "2" });
  assertEquals(first.namespaces.get("default"), { a: "1" }, "what was given out stays");
});
