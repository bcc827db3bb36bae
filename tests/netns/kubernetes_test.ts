/**
 * A node of a cluster: an agent of the executable, BIRD and a router, with an API server as the source of
 * Pods and NodeConfigs and as the place where the node says how it is.
 *
 * @module
 */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { NODE_LABEL } from "../../src/core/config.ts";
import { createBirdc } from "../../src/io/birdc.ts";
import { createLab } from "../../src/lab/lab.ts";
import { delay, until } from "../../src/lab/wait.ts";
import { parseYamlDocuments } from "../../src/std.ts";
import { EXECUTABLE } from "../executable.ts";
import type { JsonObject } from "../fakes/server_side_apply.ts";
import { testWith } from "../support.ts";
import { ApiCluster } from "./api_cluster.ts";
import { stored } from "./node_probe.ts";

/** What deploy/rbac.yaml grants: `get pods`, `patch nodes/status`. */
async function granted(): Promise<readonly string[]> {
  const text = await Deno.readTextFile(new URL("../../deploy/rbac.yaml", import.meta.url));
  const rules = (parseYamlDocuments(text) as { rules?: readonly Rule[] }[])
    .flatMap(({ rules = [] }) => rules);
  return rules.flatMap(({ apiGroups, resources, verbs }) =>
    apiGroups.flatMap((group) =>
      resources.flatMap((resource) =>
        verbs.map((verb) => `${verb} ${resource}${group === "" ? "" : `.${group}`}`)
      )
    )
  ).sort();
}

interface Rule {
  readonly apiGroups: readonly string[];
  readonly resources: readonly string[];
  readonly verbs: readonly string[];
}

testWith("netns: a node of a cluster", ["root", "bird", "ping"], async (t) => {
  await using lab = await createLab({ executable: EXECUTABLE, nodes: 1 });
  const node = lab.node("n1");
  const cluster = await ApiCluster.create(lab);
  const { server } = cluster;
  const ownConditions = (): Readonly<Record<string, string>> =>
    cluster.conditions("nodeconfigs", "n1");
  const network = (): string | undefined => cluster.conditions("nodes", "n1").NetworkUnavailable;

  const setLabels = (labels: JsonObject): void => {
    const object = server.store.get("nodes", "n1")!;
    const metadata = { ...object.metadata as JsonObject, labels };
    server.store.put("nodes", { ...object, metadata });
  };
  setLabels({ [NODE_LABEL]: "" });

  await t.step("takes pods while BIRD is absent, and says that nobody can reach them", async () => {
    await node.startAgent();
    await node.waitReady();
    await until("status written", () => Promise.resolve(ownConditions().Accepted !== undefined));
    await until("failure told", () => {
      return Promise.resolve(ownConditions().Programmed === "False BirdFailed");
    }, { timeoutMs: 20_000 });
    const { Accepted, PeersEstablished } = ownConditions();
    assertEquals([Accepted, PeersEstablished], ["True Valid", "False AllDown"]);
    assertEquals(network(), "True NoRouteCreated");
  });

  await t.step("is available once its prefixes are announced", async () => {
    await node.startBird();
    await lab.router.waitSessions(undefined, { timeoutMs: 30_000 });
    await until("available", () => Promise.resolve(network() === "False FlockReady"));
    assertEquals(cluster.conditions("nodes", "n1").Ready, "True KubeletReady");
    await until("status true", () => {
      const { Programmed, PeersEstablished } = ownConditions();
      return Promise.resolve(
        Programmed === "True Applied" && PeersEstablished === "True Established",
      );
    }, { timeoutMs: 20_000 });
  });

  const pod = await node.createPod({ name: "web" });
  await t.step("connects a pod that the watch brings", async () => {
    const { ips = [] } = await node.add(pod);
    for (const { address } of ips) {
      assert(await lab.router.ping(address.replace(/\/.*/, "")) !== undefined, address);
    }
  });

  await t.step("asks for a pod that the watch does not bring", async () => {
    // Of no node yet, as right after the scheduler's decision: the selector does not take it.
    const late = await node.createPod({ name: "late" });
    await until(
      "pod served",
      () => Promise.resolve(server.store.get("pods", "default/late") !== undefined),
    );
    const object = server.store.get("pods", "default/late") as JsonObject;
    server.store.put("pods", { ...object, spec: { ...object.spec as JsonObject, nodeName: "" } });
    const { code, stdout } = await node.cni("ADD", late);
    assertEquals(code, 1, "a pod of no node was attached");
    assertStringIncludes(stdout, 'belongs to node \\"\\"');
    server.store.put("pods", object);
    await node.add(late);
    await node.del(late);
    await node.removePod(late);
  });

  await t.step("tells a pod's owner what is wrong with it", async () => {
    const annotations = { "flock.fritzlab.net/ipv6": "perhaps" };
    const bad = await node.createPod({ name: "bad", annotations });
    assertEquals((await node.cni("ADD", bad)).code, 1);
    await until(
      "event",
      () =>
        Promise.resolve(cluster.events().some((event) => event.startsWith("Pod bad Annotation"))),
    );
    await node.removePod(bad);
  });

  await t.step("refuses a bad NodeConfig, says why, and works on", async () => {
    const good = server.store.get("nodeconfigs", "n1") as JsonObject;
    const spec = { ...good.spec as JsonObject, mtu: 12 };
    server.store.put("nodeconfigs", { ...good, spec });
    await until("refused", () => Promise.resolve(ownConditions().Accepted === "False Invalid"), {
      timeoutMs: 20_000,
    });
    assert(cluster.events().some((event) => event.startsWith("NodeConfig n1 Refused: ")));
    await node.check(pod);
    assertEquals(
      await lab.router.ping(pod.result?.ips?.[0]?.address.replace(/\/.*/, "") ?? "") !== undefined,
      true,
    );
    server.store.put("nodeconfigs", good);
    await until("accepted", () => Promise.resolve(ownConditions().Accepted === "True Valid"), {
      timeoutMs: 20_000,
    });
  });

  await t.step(
    "leaves out a peer whose Secret is not granted, and takes it in with it",
    async () => {
      const good = server.store.get("nodeconfigs", "n1") as JsonObject;
      const bgp = (good.spec as JsonObject).bgp as JsonObject;
      const extra = {
        address: "198.51.100.99",
        asn: 65_099,
        passwordSecretRef: { namespace: "routing", name: "bgp", key: "password" },
      };
      const peers = [...bgp.peers as readonly JsonObject[], extra];
      server.refuse = ({ resource }) => resource === "secrets";
      const spec = { ...good.spec as JsonObject, bgp: { ...bgp, peers } };
      server.store.put("nodeconfigs", { ...good, spec });
      await until("forbidden", () => {
        return Promise.resolve(ownConditions().Programmed === "False SecretForbidden");
      }, { timeoutMs: 20_000 });
      assertEquals(network(), "False FlockReady");
      assert(!(await Deno.readTextFile(node.birdConfig)).includes("198.51.100.99"));
      server.refuse = () => false;
      server.store.put("secrets", {
        apiVersion: "v1",
        kind: "Secret",
        metadata: { namespace: "routing", name: "bgp" },
        data: { password: btoa("s3cret") },
      });
      // A change of the NodeConfig has it look again at once.
      server.store.put("nodeconfigs", { ...good, spec: { ...spec, mtu: 1400 } });
      await until(
        "taken in",
        async () => (await Deno.readTextFile(node.birdConfig)).includes('password "s3cret"'),
      );
      assertEquals((await Deno.stat(node.birdConfig)).mode! & 0o777, 0o640);
      assert(!(await Deno.readTextFile(`${node.dir}/agent.log`)).includes("s3cret"));
      server.store.put("nodeconfigs", good);
      await until(
        "taken out",
        async () => !(await Deno.readTextFile(node.birdConfig)).includes("s3cret"),
      );
    },
  );

  await t.step(
    "serves DEL and known pods while the API server is away, and catches up",
    async () => {
      const known = await node.createPod({ name: "known" });
      const gone = await node.createPod({ name: "gone" });
      await node.add(gone);
      await until(
        "pod served",
        () => Promise.resolve(server.store.get("pods", "default/known") !== undefined),
      );
      // A watch needs milliseconds.
      await delay(200);
      await server.stop();
      await node.add(known);
      await node.del(gone);
      const left = (await stored(node)).map(({ podName }) => podName).sort();
      assertEquals(left, ["known", "web"]);
      const unknown = await node.createPod({ name: "unknown" });
      const refused = await node.cni("ADD", unknown);
      assertEquals(refused.json?.code, 11, refused.stdout);
      assertEquals((await node.cni("STATUS")).code, 0);
      await node.removePod(gone);
      server.resume();
      await until("attached", async () => (await node.cni("ADD", unknown)).code === 0);
      await until("status", () => {
        const { addresses } = server.store.get("nodeconfigs", "n1")?.status as JsonObject;
        return Promise.resolve(((addresses as JsonObject).ipv6 as JsonObject).allocated === 3);
      }, { timeoutMs: 20_000 });
    },
  );

  await t.step("starts while the API server is away, and touches nothing", async () => {
    const address = pod.result?.ips?.[0]?.address.replace(/\/.*/, "") ?? "";
    const birdc = createBirdc({ socket: node.birdSocket });
    // What BIRD runs is read again; what is the same changes nothing.
    const sessions = async (): Promise<readonly unknown[]> =>
      (await birdc.protocols()).filter(({ proto }) => proto === "BGP");
    const before = await sessions();
    await server.stop();
    await node.stopAgent();
    await node.startAgent();
    await until("agent answers", async () => {
      const { json } = await node.cni("STATUS");
      return json?.code === 50 && String(json.msg).includes("not in sync");
    });
    assert(await lab.router.ping(address) !== undefined, "the pod is not reached any more");
    server.resume();
    await node.waitReady();
    await node.check(pod);
    await delay(1_000);
    assertEquals(await sessions(), before, "sessions were restarted");
    assert(await lab.router.ping(address) !== undefined, "the pod is not reached any more");
  });

  await t.step("tells of a peer that is down, and stays available", async () => {
    await node.stopBird();
    await until(
      "event",
      () =>
        Promise.resolve(
          cluster.events().some((event) => event.includes("NodeConfig n1 PeerDown: ")),
        ),
    );
    assertEquals(network(), "False FlockReady");
  });

  await t.step("asks for the pods of all nodes when there is a policy", async () => {
    const all = (): boolean =>
      server.requests.some(({ verb, resource, query }) =>
        verb === "watch" && resource === "pods" && query.fieldSelector === undefined
      );
    assertEquals(all(), false);
    const apiVersion = "networking.k8s.io/v1";
    const policy = {
      apiVersion,
      kind: "NetworkPolicy",
      metadata: { name: "p", namespace: "shop" },
      spec: { podSelector: {}, egress: [{ ports: [{ port: 53 }] }] },
    };
    const namespace = { apiVersion: "v1", kind: "Namespace", metadata: { name: "shop" } };
    const labels = (): unknown =>
      (server.store.get("namespaces", "shop")?.metadata as JsonObject | undefined)?.labels;
    const named = { "kubernetes.io/metadata.name": "shop" };
    await node.writeManifest("policy.json", [policy]);
    await until("watch of all pods", () => Promise.resolve(all()));
    assertEquals(server.store.get("networkpolicies", "shop/p")?.spec, {
      podSelector: {},
      policyTypes: ["Ingress", "Egress"],
      egress: [{ ports: [{ protocol: "TCP", port: 53 }] }],
    });
    assertEquals(labels(), named);
    const labelled = { ...namespace, metadata: { name: "shop", labels: { team: "a" } } };
    await node.writeManifest("namespace.json", [labelled]);
    await until(
      "labels",
      () => Promise.resolve(JSON.stringify(labels())?.includes("team") === true),
    );
    await node.writeManifest("namespace.json", []);
    await until(
      "no labels",
      () => Promise.resolve(JSON.stringify(labels()) === JSON.stringify(named)),
    );
    await node.writeManifest("policy.json", []);
    await until(
      "no policy",
      () => Promise.resolve(server.store.get("networkpolicies", "shop/p") === undefined),
    );
  });

  await t.step("takes its condition away when the node loses the label", async () => {
    setLabels({});
    await until("no condition", () => Promise.resolve(network() === undefined));
    assertEquals(cluster.conditions("nodes", "n1").Ready, "True KubeletReady");
  });

  await t.step("needs what deploy/rbac.yaml grants, all of it and nothing else", async () => {
    // An event is counted on only when it comes again a minute later.
    assertEquals([...server.verbs, "patch events"].sort(), await granted());
  });
});
