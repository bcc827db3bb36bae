import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { apiPod, createClusterFixture, WATCHES } from "../../tests/fakes/cluster.ts";
import { createAuthority } from "../../tests/fakes/certificates.ts";
import { ApiServer } from "../../tests/fakes/api_server.ts";
import { kubeconfig } from "../../tests/fakes/kubeconfig.ts";
import { TerminalError } from "../core/errors.ts";
import { KubeClient, KubeError } from "./kube_client.ts";
import {
  inClusterCredentials,
  kubeconfigCredentials,
  parseKubeconfig,
} from "./kube_credentials.ts";

const signal = new AbortController().signal;

/** A pod's own directory and variables. */
async function podOf(
  server: Pick<ApiServer, "port">,
  files: { ca: string; token: string },
): Promise<{ root: string; dir: string } & AsyncDisposable> {
  const root = await Deno.makeTempDir();
  const dir = `${root}/var/run/secrets/kubernetes.io/serviceaccount`;
  await Deno.mkdir(dir, { recursive: true });
  await Deno.writeTextFile(`${dir}/ca.crt`, files.ca);
  await Deno.writeTextFile(`${dir}/token`, `${files.token}\n`);
  Deno.env.set("KUBERNETES_SERVICE_HOST", "127.0.0.1");
  Deno.env.set("KUBERNETES_SERVICE_PORT", String(server.port));
  return {
    root,
    dir,
    [Symbol.asyncDispose]: async () => {
      Deno.env.delete("KUBERNETES_SERVICE_HOST");
      Deno.env.delete("KUBERNETES_SERVICE_PORT");
      await Deno.remove(root, { recursive: true });
    },
  };
}

Deno.test("inClusterCredentials() reads the token again, at once when the old one is refused", async () => {
  await using server = await ApiServer.start();
  await using pod = await podOf(server, { ca: server.ca, token: "token" });
  await using client = new KubeClient(await inClusterCredentials(pod.root));
  await client.json({ path: "/api/v1/pods", signal });
  // kubelet replaces the file by a rename.
  await Deno.writeTextFile(`${pod.dir}/token.new`, "fresh");
  await Deno.rename(`${pod.dir}/token.new`, `${pod.dir}/token`);
  server.tokens.clear();
  server.tokens.add("fresh");
  const error = await assertRejects(
    () => client.json({ path: "/api/v1/pods", signal }),
    KubeError,
    'Cannot read "/api/v1/pods": 401 Unauthorized',
  );
  assertEquals(error.status, 401);
  await client.json({ path: "/api/v1/pods", signal });
});

Deno.test("inClusterCredentials() goes on with a rotated token without anybody's help", async () => {
  const pods: AsyncDisposable[] = [];
  let tokenFile = "";
  await using f = await createClusterFixture({
    credentials: async (server) => {
      const pod = await podOf(server, { ca: server.ca, token: "token" });
      pods.push(pod);
      tokenFile = `${pod.dir}/token`;
      return await inClusterCredentials(pod.root);
    },
  });
  await f.until(() => f.source.synced && f.server.watches === WATCHES);
  f.server.tokens.clear();
  f.server.tokens.add("fresh");
  f.server.endWatches();
  f.server.store.put("pods", apiPod("a"));
  await new Promise((resolve) => setTimeout(resolve, 50));
  assertEquals(f.source.pod("default", "a"), undefined);
  await Deno.writeTextFile(tokenFile, "fresh");
  await f.until(() => f.source.pod("default", "a") !== undefined);
  for (const pod of pods) await pod[Symbol.asyncDispose]();
});

Deno.test("inClusterCredentials() takes over another authority", async () => {
  await using server = await ApiServer.start();
  const stranger = await createAuthority("stranger");
  await using pod = await podOf(server, { ca: stranger.ca, token: "token" });
  await using client = new KubeClient(await inClusterCredentials(pod.root));
  await assertRejects(
    () => client.json({ path: "/api/v1/pods", signal }),
    Error,
    'Cannot read "/api/v1/pods": unable to verify the first certificate',
  );
  await Deno.writeTextFile(`${pod.dir}/ca.crt`, server.ca);
  await client.json({ path: "/api/v1/pods", signal });
  await Deno.writeTextFile(`${pod.dir}/ca.crt`, "");
  await assertRejects(
    () => client.json({ path: "/api/v1/pods", signal }),
    Error,
    "the file of certificate authorities holds no certificate",
  );
});

Deno.test("inClusterCredentials() says what is missing outside of a pod", async () => {
  await assertRejects(
    () => inClusterCredentials(),
    TerminalError,
    "Cannot find API server: this is not a pod (KUBERNETES_SERVICE_HOST is not set); use --kubeconfig",
  );
  await using pod = await podOf({ port: 443 }, { ca: "x", token: "y" });
  await assertRejects(
    () => inClusterCredentials("/nowhere"),
    TerminalError,
    'Cannot use service account "/nowhere/var/run/secrets/kubernetes.io/serviceaccount": file',
  );
  Deno.env.set("KUBERNETES_SERVICE_HOST", "fd00::1");
  const login = await (await inClusterCredentials(pod.root))();
  assertEquals(login.getCurrentCluster()?.server, "https://[fd00::1]:443");
  // The client takes some ports for plain HTTP.
  Deno.env.set("KUBERNETES_SERVICE_PORT", "8080");
  await assertRejects(
    () => inClusterCredentials(pod.root),
    TerminalError,
    'Cannot find API server: server "http://[fd00::1]:8080" is not an https address',
  );
});

Deno.test("kubeconfigCredentials() reads what belongs to the current context", async () => {
  await using server = await ApiServer.start();
  const dir = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(`${dir}/ca.pem`, server.ca);
    await Deno.writeTextFile(`${dir}/token`, "token");
    const path = `${dir}/kubeconfig`;
    await Deno.writeTextFile(
      path,
      [
        "apiVersion: v1",
        "kind: Config",
        "current-context: here",
        "contexts:",
        "- { name: there, context: { cluster: b, user: b } }",
        "- { name: here, context: { cluster: a, user: a } }",
        "clusters:",
        `- { name: a, cluster: { server: "${server.url}/", certificate-authority: ca.pem } }`,
        "users:",
        "- { name: a, user: { tokenFile: token } }",
      ].join("\n"),
    );
    const credentials = await kubeconfigCredentials(path);
    assertEquals((await credentials()).getCurrentCluster()?.server, server.url);
    await using client = new KubeClient(credentials);
    await client.json({ path: "/api/v1/pods", signal });
    await assertRejects(
      () => kubeconfigCredentials(`${dir}/none`),
      TerminalError,
      `Cannot use kubeconfig "${dir}/none": there is no such file`,
    );
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

Deno.test("parseKubeconfig() makes paths relative to the file", () => {
  const user = {
    "client-certificate": "me.crt",
    "client-key": "/keys/me.key",
    tokenFile: "token",
  };
  const login = parseKubeconfig(kubeconfig({ "certificate-authority": "ca" }, user), "/etc/kube");
  assertEquals(login.getCurrentCluster()?.caFile, "/etc/kube/ca");
  const { certFile, keyFile, authProvider } = login.getCurrentUser() ?? {};
  assertEquals([certFile, keyFile, authProvider?.config.tokenFile], [
    "/etc/kube/me.crt",
    "/keys/me.key",
    "/etc/kube/token",
  ]);
});

Deno.test("parseKubeconfig() refuses what it cannot honour", async (t) => {
  const cases: readonly (readonly [text: string, message: string])[] = [
    ["[]", "it is not an object"],
    ["{}", "current-context is missing"],
    [JSON.stringify({ "current-context": "x" }), 'there is no context "x"'],
    [kubeconfig({ server: "http://h" }), 'server "http://h" is not an https address'],
    [
      kubeconfig({}, { exec: { command: "x" } }),
      "exec of its user runs a program, and flock's permissions allow its own tools only",
    ],
    [
      kubeconfig({}, { "auth-provider": { name: "gcp", config: {} } }),
      'auth-provider "gcp" of its user runs a program',
    ],
    [kubeconfig({}, { "as-groups": ["g"] }), "as-groups of its user is not supported"],
    [
      kubeconfig({}, { "client-key": "k" }),
      "client-certificate and client-key belong together, and one is missing",
    ],
  ];
  for (const [text, message] of cases) {
    await t.step(
      message,
      () => void assertThrows(() => parseKubeconfig(text, "/"), SyntaxError, message),
    );
  }
});
