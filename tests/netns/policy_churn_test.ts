/**
 * Policies under traffic: pods are protected from their first packet, a change holds once it is in the
 * kernel, and connections that are established go on.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { ANNOTATION_PREFIX } from "../../src/core/config.ts";
import type { Lab } from "../../src/lab/lab.ts";
import type { Node } from "../../src/lab/node.ts";
import type { Pod, PodOptions } from "../../src/lab/pod.ts";
import { until } from "../../src/lab/wait.ts";
import { EXECUTABLE } from "../executable.ts";
import { type ApiPolicySpec, networkPolicy } from "../policy_objects.ts";
import { testWith } from "../support.ts";
import { countDatagrams, countedDatagrams, Hammer } from "./hammer.ts";
import { hostIfname } from "./node_probe.ts";
import { PolicyProber, type Probe, type ProbeHost } from "./policy_prober.ts";
import { listTable, putPolicies } from "./policy_table.ts";
import { poll, POLLIN, Socket, withinNetwork } from "./sockets.ts";
import { createTestLab, waitRoutes } from "./test_lab.ts";

/** Inside the prefixes of n1: routed to it before any pod has them. */
const FIXED = ["2001:db8:f001::200", "10.244.1.200"];
const PORT = 80;

const DENY_IN = networkPolicy("default", "deny-in", {
  podSelector: { matchLabels: { app: "locked" } },
  policyTypes: ["Ingress"],
});

testWith("netns: policies hold under traffic", ["root", "bird"], async (t) => {
  await using lab = await createTestLab({
    executable: EXECUTABLE,
    spec: ({ prefixes }) => ({
      announce: {
        allowed: Object.values(prefixes).map((cidr) => ({ cidr, namespaces: ["*"] })),
      },
    }),
  });
  await lab.start();
  await waitRoutes(lab);
  const [n1, n2] = lab.nodes as [Node, Node];

  await t.step("a selected pod is denied from its first packet", async () => {
    await putPolicies(lab, [DENY_IN]);
    for (const [from, app] of [["client", "locked"], ["n2", "locked"], ["client", "open"]]) {
      await using hammer = new Hammer(from === "client" ? lab.client : n2, FIXED, PORT);
      await hammer.more(20);
      const pod = await createFixed(n1, `first-${from}-${app}`, { app: app! });
      await countDatagrams(pod);
      await n1.add(pod);
      if (app === "locked") {
        const { sets } = await listTable(n1);
        assert(sets.get("ingress")?.some((text) => text.includes(hostIfname(pod))), "after ADD");
      }
      // Both families, and no more than what was on its way.
      await hammer.more(100);
      const heard = await countedDatagrams(pod);
      if (app === "locked") assertEquals(heard, 0, `from ${from}`);
      else assert(heard >= 90, `${heard} of 100 came to a pod that no policy selects`);
      await detach(n1, pod);
    }
    await putPolicies(lab, []);
  });

  await t.step("connections that are established go on, new ones are denied", async () => {
    const pod = await createFixed(n1, "server", { app: "locked" });
    await n1.add(pod);
    using connection = await Connection.open(lab, pod, FIXED[1]!);
    await connection.exchange();
    await putPolicies(lab, [DENY_IN]);
    await connection.exchange();
    assertEquals(await passing(lab, [[lab.client.name, pod]]), []);
    await connection.exchange();
    // From the pod outwards no policy says anything, and the answers come.
    assertEquals(await passing(lab, [[pod, lab.client.name]]), ["tcp", "udp", "sctp", "icmp"]);
    await detach(n1, pod);
    await putPolicies(lab, []);
  });

  await t.step("answers pass where nothing else may come or go", async () => {
    const isolated: ApiPolicySpec = { podSelector: {}, policyTypes: ["Ingress", "Egress"] };
    const peer = (app: string) => [{ podSelector: { matchLabels: { app } } }];
    const [asks, answers] = await Promise.all([
      attachLabelled(n1, "asks", { app: "asks" }),
      attachLabelled(n2, "answers", { app: "answers" }),
    ]);
    await putPolicies(lab, [
      networkPolicy("default", "isolated", isolated),
      networkPolicy("default", "may-ask", {
        podSelector: { matchLabels: { app: "asks" } },
        policyTypes: ["Egress"],
        egress: [{ to: peer("answers") }],
      }),
      networkPolicy("default", "may-be-asked", {
        podSelector: { matchLabels: { app: "answers" } },
        ingress: [{ from: peer("asks") }],
      }),
    ]);
    assertEquals(await passing(lab, [[asks, answers]]), ["tcp", "udp", "sctp", "icmp"]);
    assertEquals(await passing(lab, [[answers, asks]]), []);
    await detach(n1, asks);
    await detach(n2, answers);
    await putPolicies(lab, []);
  });

  await t.step("an address is nobody's friend when its pod is gone", async () => {
    const server = await attachLabelled(n1, "server", { app: "server" });
    await countDatagrams(server);
    await putPolicies(lab, [
      networkPolicy("default", "friends", {
        podSelector: { matchLabels: { app: "server" } },
        ingress: [{ from: [{ podSelector: { matchLabels: { app: "friend" } } }] }],
      }),
    ]);
    for (const app of ["friend", "stranger", "friend", "stranger"]) {
      const before = await countedDatagrams(server);
      const pod = await createFixed(n1, `${app}-${crypto.randomUUID().slice(0, 4)}`, { app });
      // Sent as soon as it has its address: before ADD returns.
      await using hammer = new Hammer(pod, addressesOf(server), PORT);
      await n1.add(pod);
      await hammer.more(50);
      const heard = await countedDatagrams(server) - before;
      if (app === "stranger") assertEquals(heard, 0);
      else assert(heard >= 45, `${heard} of 50 came from a friend`);
      await hammer[Symbol.asyncDispose]();
      await detach(n1, pod);
    }
    await detach(n1, server);
    await putPolicies(lab, []);
  });

  await t.step("what is acknowledged holds, however often it changes", async () => {
    const pod = await createFixed(n1, "changing", { app: "locked" });
    await n1.add(pod);
    await countDatagrams(pod);
    await using _noise = new Hammer(n2, FIXED, PORT);
    for (let round = 0; round < 10; round++) {
      await putPolicies(lab, [DENY_IN]);
      const denied = await countedDatagrams(pod);
      await using hammer = new Hammer(lab.client, FIXED, PORT);
      await hammer.more(30);
      assertEquals(await countedDatagrams(pod) - denied, 0, `round ${round}, denied`);
      await putPolicies(lab, []);
      const allowed = await countedDatagrams(pod);
      await hammer.more(30);
      const heard = await countedDatagrams(pod) - allowed;
      assert(heard >= 30, `round ${round}: ${heard} came where nothing is denied`);
    }
    await detach(n1, pod);
  });
});

/** A pod with the fixed addresses, not attached yet. */
async function createFixed(node: Node, name: string, labels: PodOptions["labels"]): Promise<Pod> {
  return await node.createPod({
    name,
    labels,
    annotations: { [`${ANNOTATION_PREFIX}addresses`]: FIXED.join(",") },
  });
}

/** A pod whose addresses the cluster knows, as a kubelet tells it. */
async function attachLabelled(
  node: Node,
  name: string,
  labels: PodOptions["labels"],
): Promise<Pod> {
  const pod = await node.createPod({ name, labels });
  await node.add(pod);
  const manifest = pod.manifest(node.name) as { status: object };
  const podIPs = addressesOf(pod).map((ip) => ({ ip }));
  const status = { ...manifest.status, podIPs };
  await node.writeManifest(`pod-${pod.name}.json`, [{ ...manifest, status }]);
  return pod;
}

async function detach(node: Node, pod: Pod): Promise<void> {
  await node.del(pod);
  await node.removePod(pod);
}

function addressesOf(pod: Pod): string[] {
  return (pod.result?.ips ?? []).map(({ address }) => address.split("/")[0]!);
}

/** The protocols of which everything comes through, asked in both families. */
async function passing(
  lab: Lab,
  pairs: readonly (readonly [Pod | string, Pod | string])[],
): Promise<readonly string[]> {
  const hostOf = (of: Pod | string): ProbeHost =>
    typeof of === "string"
      ? {
        name: of,
        netnsPath: lab.client.netnsPath,
        addresses: Object.values(lab.plan.client.addresses),
      }
      : { name: of.key, netnsPath: of.netnsPath, addresses: addressesOf(of) };
  const ends = pairs.map(([from, to]) => [hostOf(from), hostOf(to)] as const);
  using prober = new PolicyProber(ends.flat(), [PORT]);
  const probes = ends.flatMap(([{ name: host, addresses }, to]) =>
    addresses.flatMap((from) =>
      to.addresses.filter((address) => address.includes(":") === from.includes(":")).flatMap(
        (address) =>
          (["tcp", "udp", "sctp", "icmp"] as const).map((protocol): Probe => ({
            ...{ host, from, to: address, protocol },
            port: protocol === "icmp" ? 0 : PORT,
          })),
      )
    )
  );
  const outcomes = await prober.run(probes);
  const groups = Map.groupBy(outcomes, ({ probe }) => probe.protocol);
  for (const [protocol, group] of groups) {
    const through = group.filter(({ arrived, answered }) => arrived !== undefined || answered);
    const isAll = group.every(({ answered }) => answered);
    if (!isAll && through.length > 0) throw new Error(`Cannot tell of ${protocol}: some passed`);
  }
  return [...groups].filter(([, group]) => group.every(({ answered }) => answered))
    .map(([protocol]) => protocol);
}

/** A TCP connection from the client to a pod, of which the test has both ends. */
class Connection implements Disposable {
  private constructor(readonly from: Socket, readonly to: Socket) {}

  static async open(lab: Lab, pod: Pod, address: string): Promise<Connection> {
    using listener = withinNetwork(
      pod.netnsPath,
      () => Socket.open("tcp").bind(address, 81).listen(),
    );
    const from = withinNetwork(lab.client.netnsPath, () => Socket.open("tcp"));
    from.connect(address, 81);
    const to = await until("connection", () => Promise.resolve(listener.accept()?.socket), {
      everyMs: 5,
    });
    return new Connection(from, to);
  }

  /** Both ends say something, and the other hears it. */
  async exchange(): Promise<void> {
    for (const [a, b] of [[this.from, this.to], [this.to, this.from]] as const) {
      a.send(crypto.getRandomValues(new Uint8Array(8)));
      const ready = await poll([{ socket: b, events: POLLIN, ready: () => {} }], 3_000);
      assertEquals([ready, b.receive()?.bytes.length], [1, 8]);
    }
  }

  [Symbol.dispose](): void {
    this.from[Symbol.dispose]();
    this.to[Symbol.dispose]();
  }
}
