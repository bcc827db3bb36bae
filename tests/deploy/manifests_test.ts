/**
 * The manifests say what the code has: flags, paths, probes, capabilities, rights.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { ROOT, run } from "../../scripts/run.ts";
import { main, type Programs } from "../../src/cli/main.ts";
import { AGENT_FLAGS, parseAgentSettings } from "../../src/core/agent_settings.ts";
import { DEFAULT_CONFLIST, DEFAULT_PLUGIN_DIR, IMAGE_EXECUTABLE } from "../../src/core/config.ts";
import { parseObject } from "../../src/core/manifest.ts";
import { mergeDefault, parseNodeConfig } from "../../src/core/node_config.ts";
import { parseYamlDocuments } from "../../src/std.ts";
import { VERSION } from "../../src/version.ts";
import { testWith } from "../support.ts";
import { type Container, readDaemonSet, readManifest, readObjects } from "./manifests.ts";

const agentSet = await readDaemonSet("agent.yaml");
const birdSet = await readDaemonSet("bird.yaml");
const agentPod = agentSet.spec.template.spec;
const birdPod = birdSet.spec.template.spec;
const [agent] = agentPod.containers as [Container];
const [bird] = birdPod.containers as [Container];
const [installer] = agentPod.initContainers as [Container];

/** What a command line makes of arguments: which program it calls, with what. */
async function called(
  args: readonly string[],
): Promise<[program: string, options: Record<string, unknown>]> {
  let call: [string, Record<string, unknown>] | undefined;
  const note = (name: string) => (options: Record<string, unknown>): Promise<number> => {
    call = [name, options];
    return Promise.resolve(0);
  };
  const programs = {
    birdRun: note("birdRun"),
    birdStop: note("birdStop"),
    install: note("install"),
  } as unknown as Programs;
  assertEquals(await main(args, programs), 0);
  if (call === undefined) throw new Error(`"${args.join(" ")}" called nothing`);
  return call;
}

function settingsOf({ args, env = [] }: Container): ReturnType<typeof parseAgentSettings> {
  const [command, ...flags] = args;
  assertEquals(command, "agent");
  const given = flags.map((flag) => /^--([a-z-]+)=(.*)$/.exec(flag)!.slice(1));
  for (const [name] of given) assert(AGENT_FLAGS.some((flag) => flag.name === name), name);
  assertEquals(env.map(({ name }) => name), ["NODE_NAME"]);
  // What the manifest sets, and what kubelet adds for every container.
  const variables: Readonly<Record<string, string>> = {
    NODE_NAME: "host001",
    KUBERNETES_SERVICE_HOST: "10.96.0.1",
  };
  return parseAgentSettings(
    Object.fromEntries(given),
    (name) => variables[name],
    () => "elsewhere",
  );
}

Deno.test("deploy: the agent's arguments are what the agent takes", () => {
  const settings = settingsOf(agent);
  assertEquals(settings.node, "host001");
  assertEquals(settings.source, { kind: "kubernetes", kubeconfig: undefined });
  assertEquals(settings.conflist, DEFAULT_CONFLIST);
});

Deno.test("deploy: the agent may write where it writes, and has the mounts it needs and no more", () => {
  const { socket, stateDir, birdConfig, birdSocket, conflist } = settingsOf(agent);
  const writable = agent.volumeMounts.filter(({ readOnly }) => !readOnly)
    .map(({ mountPath }) => mountPath);
  for (const path of [socket, `${stateDir}/lock`, birdConfig, birdSocket, conflist!]) {
    assert(writable.some((dir) => path.startsWith(`${dir}/`)), path);
  }
  assertEquals(agent.volumeMounts.map(({ mountPath }) => mountPath), [
    "/run/netns",
    "/run/flock",
    "/var/lib/flock",
    DEFAULT_PLUGIN_DIR,
    "/etc/cni/net.d",
  ]);
  const netns = agent.volumeMounts.find(({ mountPath }) => mountPath === "/run/netns");
  assertEquals(netns?.mountPropagation, "HostToContainer");
});

Deno.test("deploy: volumes are the host's directories of the same path, each used and explained", async () => {
  for (
    const [file, { initContainers = [], containers, volumes }] of [
      ["agent.yaml", agentPod],
      ["bird.yaml", birdPod],
    ] as const
  ) {
    const mounts = [...initContainers, ...containers].flatMap(({ volumeMounts }) => volumeMounts);
    assertEquals(
      new Set(mounts.map(({ name, mountPath }) => `${name} ${mountPath}`)),
      new Set(volumes.map(({ name, hostPath }) => `${name} ${hostPath.path}`)),
    );
    assert(volumes.every(({ hostPath }) => hostPath.type === "DirectoryOrCreate"));
    const text = await readManifest(file);
    const explained = [...text.matchAll(/\n([^\n]*)\n *- name: [a-z]+\n *mountPath: /g)];
    assertEquals(explained.length, mounts.length);
    for (const [, above] of explained) {
      assert(/^ *# /.test(above!), `no reason above a mount of ${file}: ${above}`);
    }
  }
});

Deno.test("deploy: probes ask where the agent answers", () => {
  const { metricsAddress } = settingsOf(agent);
  const asked = [agent.startupProbe, agent.livenessProbe, agent.readinessProbe].map((probe) => {
    const { host, port, path } = probe!.httpGet!;
    assertEquals({ hostname: host, port }, metricsAddress);
    return path;
  });
  assertEquals(asked, ["/healthz", "/healthz", "/readyz"]);
});

Deno.test("deploy: the installer puts the plugin where the host's runtime looks", async () => {
  const [command, { pluginDir, exclusive }] = await called(installer.args);
  assertEquals([command, pluginDir, exclusive], ["install", DEFAULT_PLUGIN_DIR, undefined]);
  assertEquals(installer.volumeMounts.map(({ mountPath }) => mountPath), [DEFAULT_PLUGIN_DIR]);
});

Deno.test("deploy: BIRD and the agent mean the same files", async () => {
  const { birdConfig, birdSocket } = settingsOf(agent);
  assertEquals(await called(bird.args), ["birdRun", { config: birdConfig, socket: birdSocket }]);
  const [executable, ...args] = bird.lifecycle!.preStop.exec.command;
  assertEquals(executable, IMAGE_EXECUTABLE);
  assertEquals(await called(args), ["birdStop", { socket: birdSocket, mode: undefined }]);
  assertEquals(bird.readinessProbe!.exec!.command, ["birdc", "-s", birdSocket, "show", "status"]);
  // Probed at once, it has no socket yet.
  assert(bird.readinessProbe!.initialDelaySeconds! >= 5);
  assertEquals(bird.livenessProbe, undefined);
  const [birdDir] = bird.volumeMounts;
  assert(birdSocket.startsWith(`${birdDir!.mountPath}/`) && !birdDir!.readOnly);
});

Deno.test("deploy: each container has the rights it needs and no more", () => {
  const { privileged, ...rest } = agent.securityContext;
  assertEquals([privileged, rest], [true, { readOnlyRootFilesystem: true }]);
  for (const { name, securityContext } of [bird, installer]) {
    assertEquals(securityContext.privileged, undefined, name);
    assertEquals(securityContext.allowPrivilegeEscalation, false, name);
    assertEquals(securityContext.readOnlyRootFilesystem, true, name);
    assertEquals(securityContext.capabilities?.drop, ["ALL"], name);
  }
  assertEquals(installer.securityContext.capabilities?.add, undefined);
  assertEquals(bird.securityContext.capabilities?.add, [
    "NET_ADMIN",
    "NET_RAW",
    "NET_BIND_SERVICE",
  ]);
  assertEquals([agentPod.hostPID, birdPod.hostPID], [true, undefined]);
  assertEquals([birdPod.automountServiceAccountToken, birdPod.serviceAccountName], [
    false,
    undefined,
  ]);
});

Deno.test("deploy: both DaemonSets run on nodes that opted in, whatever their taints, and say what they use", () => {
  for (const { metadata, spec } of [agentSet, birdSet]) {
    const pod = spec.template.spec;
    assertEquals(metadata.namespace, "kube-system");
    assertEquals(spec.selector.matchLabels, spec.template.metadata.labels);
    assertEquals(pod.nodeSelector["flock.fritzlab.net/agent"], "");
    assertEquals(pod.tolerations, [{ operator: "Exists" }]);
    assertEquals([pod.priorityClassName, pod.hostNetwork], ["system-node-critical", true]);
    for (const { name, image, resources } of [...pod.initContainers ?? [], ...pod.containers]) {
      assertEquals(image, "flock", name);
      assertEquals(Object.keys(resources.requests), ["cpu", "memory"], name);
      assertEquals(Object.keys(resources.limits), ["memory"], name);
    }
  }
  assertEquals(agentSet.spec.updateStrategy, {
    type: "RollingUpdate",
    rollingUpdate: { maxUnavailable: 1 },
  });
  assertEquals(birdSet.spec.updateStrategy, { type: "OnDelete" });
  // Requests under way get 10 s, BIRD gets 5 s.
  assert(agentPod.terminationGracePeriodSeconds > 10 && birdPod.terminationGracePeriodSeconds > 5);
});

Deno.test("deploy: RBAC grants a list of rights and no more", async () => {
  interface Rbac {
    readonly kind: string;
    readonly rules?: readonly {
      readonly apiGroups: readonly string[];
      readonly resources: readonly string[];
      readonly resourceNames?: readonly string[];
      readonly verbs: readonly string[];
    }[];
    readonly subjects?: readonly { readonly name: string; readonly namespace: string }[];
  }
  const objects = await readObjects<Rbac>("rbac.yaml");
  const granted = objects.flatMap(({ kind, rules = [] }) =>
    rules.map(({ apiGroups, resources, resourceNames = [], verbs }) =>
      [kind, apiGroups.join(), resources.join(), resourceNames.join(), verbs.join()].join(" ")
    )
  );
  assertEquals(granted, [
    "ClusterRole  pods  get,list,watch",
    "ClusterRole  namespaces  list,watch",
    "ClusterRole networking.k8s.io networkpolicies  list,watch",
    "ClusterRole  nodes  list,watch",
    "ClusterRole  nodes/status  patch",
    "ClusterRole flock.fritzlab.net nodeconfigs  list,watch",
    "ClusterRole flock.fritzlab.net nodeconfigs/status  patch",
    "ClusterRole  events  create,patch",
    "Role  secrets flock-bgp get",
  ]);
  for (const { subjects = [] } of objects) {
    for (const { name, namespace } of subjects) {
      assertEquals([name, namespace], [agentPod.serviceAccountName, "kube-system"]);
    }
  }
});

Deno.test("deploy: the kustomization has every file, this version, and fields that every kubectl knows", async () => {
  interface Kustomization {
    readonly resources: readonly string[];
    readonly images: readonly { readonly name: string; readonly newTag: string }[];
  }
  const [kustomization] = await readObjects<Kustomization>("kustomization.yaml");
  assertEquals(Object.keys(kustomization!), [
    ...["apiVersion", "kind", "namespace", "resources", "images"],
  ]);
  const files = await Array.fromAsync(Deno.readDir(`${ROOT}/deploy`), ({ name }) => name);
  assertEquals(
    files.filter((name) => !kustomization!.resources.includes(name)).sort(),
    ["example-nodeconfig.yaml", "kustomization.yaml", "monitoring"],
  );
  assertEquals(kustomization!.images, [{ name: "flock", newTag: VERSION }]);
});

testWith("deploy: kubectl kustomize renders every object, and the image", ["kubectl"], async () => {
  const { code, stdout, stderr } = await run(["kubectl", "kustomize", `${ROOT}/deploy`]);
  assertEquals([code, stderr], [0, ""]);
  const objects = parseYamlDocuments(stdout) as {
    kind: string;
    metadata: { namespace?: string };
  }[];
  const kinds = objects.map(({ kind, metadata }) => `${kind} ${metadata.namespace ?? ""}`.trim());
  assertEquals(kinds.sort(), [
    "ClusterRole",
    "ClusterRoleBinding",
    "CustomResourceDefinition",
    "DaemonSet kube-system",
    "DaemonSet kube-system",
    "Role kube-system",
    "RoleBinding kube-system",
    "ServiceAccount kube-system",
  ]);
  const images = new Set([...stdout.matchAll(/image: (.*)/g)].map(([, image]) => image));
  assertEquals([...images], [`flock:${VERSION}`]);
});

Deno.test("deploy: the example is accepted, and guards what may be announced", async () => {
  const objects = (await readObjects("example-nodeconfig.yaml")).map((raw) => {
    const parsed = parseObject(raw);
    if (parsed.kind !== "NodeConfig") throw new TypeError(parsed.kind);
    return parsed.nodeConfig;
  });
  const [fallback, own] = objects;
  assertEquals(objects.map(({ name }) => name), ["default", "host001"]);
  const { config, warnings } = parseNodeConfig(mergeDefault(own!, fallback));
  assertEquals(warnings, []);
  assertEquals(config.announce.allowed?.length, 2);
  assertEquals(config.bgp.peers.length, 2);
});
