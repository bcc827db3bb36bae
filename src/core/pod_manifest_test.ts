import { assert, assertEquals, assertThrows } from "@std/assert";
import { parsePeerPod, parsePod } from "./pod_manifest.ts";

const METADATA = { name: "web", namespace: "shop", uid: "u1", labels: { app: "web" } };

function pod(spec: object = {}, status: object = {}): unknown {
  return { metadata: METADATA, spec: { nodeName: "n1", ...spec }, status };
}

Deno.test("parsePeerPod() takes what policies look at, and parsePod() has the same", () => {
  const raw = pod({
    hostNetwork: true,
    containers: [{
      name: "web",
      image: "x",
      ports: [{ name: "http", containerPort: 8080, protocol: "TCP" }],
    }],
  }, { podIPs: [{ ip: "10.244.1.2" }, { ip: "2001:db8::2" }] });
  const peer = parsePeerPod(raw);
  assertEquals(peer, {
    namespace: "shop",
    name: "web",
    uid: "u1",
    nodeName: "n1",
    labels: { app: "web" },
    annotations: {},
    addresses: ["10.244.1.2", "2001:db8::2"],
    hostNetwork: true,
    ports: [{ name: "http", protocol: "TCP", port: 8080 }],
    finished: false,
  });
  assertEquals(parsePod(raw), { ...peer, image: "x", ready: false, terminating: false });
});

Deno.test("parsePeerPod() takes addresses canonically, and what is none not at all", async (t) => {
  const cases: readonly [string, object, readonly string[]][] = [
    ["none", {}, []],
    ["null", { podIPs: null, podIP: null }, []],
    ["both fields", { podIP: "10.0.0.1", podIPs: [{ ip: "10.0.0.1" }, { ip: "fd00::1" }] }, [
      "10.0.0.1",
      "fd00::1",
    ]],
    ["podIP alone", { podIP: "10.0.0.1" }, ["10.0.0.1"]],
    ["podIP and an empty list", { podIP: "10.0.0.1", podIPs: [] }, ["10.0.0.1"]],
    ["not canonical", { podIP: "2001:DB8:0::0001" }, ["2001:db8::1"]],
    ["twice", { podIPs: [{ ip: "fd00::1" }, { ip: "fd00:0::1" }] }, ["fd00::1"]],
    ["IPv4-mapped", { podIPs: [{ ip: "::ffff:10.0.0.1" }, { ip: "fd00::1" }] }, ["fd00::1"]],
    ["no addresses", { podIPs: [{ ip: "web" }, { ip: "" }, { ip: "010.0.0.1" }, {}] }, []],
    ["of another type", { podIP: 7 }, []],
  ];
  for (const [name, status, addresses] of cases) {
    await t.step(name, () => assertEquals(parsePeerPod(pod({}, status)).addresses, addresses));
  }
});

Deno.test("parsePeerPod() takes named ports of what runs as long as the pod", () => {
  const port = (name: string, containerPort: number, more: object = {}): object => ({
    name,
    containerPort,
    ...more,
  });
  const { ports } = parsePeerPod(pod({
    containers: [
      { ports: [port("http", 80), { containerPort: 81 }, port("", 82)] },
      { ports: [port("dns", 53, { protocol: "UDP" }), port("dns", 53)] },
      { ports: null },
      {},
    ],
    initContainers: [
      { ports: [port("setup", 1)] },
      { restartPolicy: "Always", ports: [port("mesh", 15_090, { protocol: "SCTP" })] },
    ],
  }));
  assertEquals(ports, [
    { name: "http", protocol: "TCP", port: 80 },
    { name: "dns", protocol: "UDP", port: 53 },
    { name: "dns", protocol: "TCP", port: 53 },
    { name: "mesh", protocol: "SCTP", port: 15_090 },
  ]);
});

Deno.test("parsePeerPod() sees that a pod runs no more", () => {
  const finished = (phase: unknown): boolean => parsePeerPod(pod({}, { phase })).finished;
  assertEquals(
    ["Pending", "Running", "Unknown", undefined, null].map(finished),
    Array(5).fill(false),
  );
  assertEquals(["Succeeded", "Failed"].map(finished), [true, true]);
});

Deno.test("parsePeerPod() names the field that is wrong", async (t) => {
  const ports = (port: object): unknown => pod({ containers: [{}, { ports: [port] }] });
  const cases: readonly [unknown, string][] = [
    [{ metadata: { ...METADATA, labels: { app: 1 } } }, 'metadata.labels["app"] is 1, not a text'],
    [{ metadata: { ...METADATA, labels: [] } }, "metadata.labels is a list, not an object"],
    [pod({ hostNetwork: "yes" }), 'spec.hostNetwork is "yes", not true or false'],
    [pod({ initContainers: {} }), "spec.initContainers is an object, not a list"],
    [pod({}, { podIPs: "10.0.0.1" }), 'status.podIPs is "10.0.0.1", not a list'],
    [pod({}, { podIPs: ["10.0.0.1"] }), 'status.podIPs[0] is "10.0.0.1", not an object'],
    [pod({}, { phase: 1 }), "status.phase is 1, not a text"],
    [
      ports({ name: "a", containerPort: 0 }),
      "spec.containers[1].ports[0].containerPort is 0, not a port (1 to 65535)",
    ],
    [ports({ name: "a", containerPort: "80" }), 'containerPort is "80", not a port'],
    [ports({ name: "a", containerPort: 1, protocol: "tcp" }), 'protocol is "tcp", not TCP, UDP'],
    [ports({ name: 1, containerPort: 1 }), "spec.containers[1].ports[0].name is 1, not a text"],
  ];
  for (const [raw, message] of cases) {
    await t.step(message, () => {
      const error = assertThrows(() => parsePeerPod(raw), TypeError);
      assert(error.message.includes(message), error.message);
    });
  }
});
