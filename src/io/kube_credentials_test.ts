import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { apiPod, createClusterFixture } from "../../tests/fakes/cluster.ts";
import { createAuthority } from "../../tests/fakes/certificates.ts";
import { ApiServer } from "../../tests/fakes/api_server.ts";
import { TerminalError } from "../core/errors.ts";
import { KubeClient, KubeError } from "./kube_client.ts";
import {
  inClusterCredentials,
  kubeconfigCredentials,
  parseKubeconfig,
} from "./kube_credentials.ts";

const signal = new AbortController().signal;

async function serviceAccount(
  ca: string,
  token: string,
): Promise<{ dir: string } & AsyncDisposable> {
  const dir = await Deno.makeTempDir();
  await Deno.writeTextFile(`${dir}/ca.crt`, ca);
  await Deno.writeTextFile(`${dir}/token`, `${token}\n`);
  return { dir, [Symbol.asyncDispose]: () => Deno.remove(dir, { recursive: true }) };
}

function podEnvironment(server: ApiServer): (name: string) => string | undefined {
  const env: Record<string, string> = {
    KUBERNETES_SERVICE_HOST: "127.0.0.1",
    KUBERNETES_SERVICE_PORT: String(server.port),
  };
  return (name) => env[name];
}

Deno.test("inClusterCredentials() reads the token again for each request", async () => {
  await using server = await ApiServer.start();
  await using account = await serviceAccount(server.ca, "token");
  const credentials = await inClusterCredentials(podEnvironment(server), account.dir);
  using client = new KubeClient(credentials);
  await client.json({ path: "/api/v1/pods", signal });
  server.tokens.clear();
  server.tokens.add("fresh");
  const error = await assertRejects(
    () => client.json({ path: "/api/v1/pods", signal }),
    KubeError,
    'Cannot read "/api/v1/pods": 401 Unauthorized',
  );
  assertEquals(error.status, 401);
  // kubelet replaces the file by a rename.
  await Deno.writeTextFile(`${account.dir}/token.new`, "fresh");
  await Deno.rename(`${account.dir}/token.new`, `${account.dir}/token`);
  await client.json({ path: "/api/v1/pods", signal });
});

Deno.test("inClusterCredentials() goes on with a rotated token without anybody's help", async () => {
  await using account = await serviceAccount("", "token");
  await using f = await createClusterFixture({
    credentials: async (server) => {
      await Deno.writeTextFile(`${account.dir}/ca.crt`, server.ca);
      return await inClusterCredentials(podEnvironment(server), account.dir);
    },
  });
  await f.until(() => f.source.synced && f.server.watches === 4);
  f.server.tokens.clear();
  f.server.tokens.add("fresh");
  f.server.endWatches();
  f.server.store.put("pods", apiPod("a"));
  await new Promise((resolve) => setTimeout(resolve, 50));
  assertEquals(f.source.pod("default", "a"), undefined);
  await Deno.writeTextFile(`${account.dir}/token`, "fresh");
  await f.until(() => f.source.pod("default", "a") !== undefined);
});

Deno.test("inClusterCredentials() takes over another authority", async () => {
  await using server = await ApiServer.start();
  const stranger = await createAuthority("stranger");
  await using account = await serviceAccount(stranger.ca, "token");
  using client = new KubeClient(await inClusterCredentials(podEnvironment(server), account.dir));
  await assertRejects(
    () => client.json({ path: "/api/v1/pods", signal }),
    Error,
    'Cannot read "/api/v1/pods": client error (Connect): invalid peer certificate',
  );
  await Deno.writeTextFile(`${account.dir}/ca.crt`, server.ca);
  await client.json({ path: "/api/v1/pods", signal });
  await Deno.writeTextFile(`${account.dir}/ca.crt`, "");
  await assertRejects(
    () => client.json({ path: "/api/v1/pods", signal }),
    Error,
    "the file of certificate authorities holds no certificate",
  );
});

Deno.test("inClusterCredentials() says what is missing outside of a pod", async () => {
  await assertRejects(
    () => inClusterCredentials(() => undefined),
    TerminalError,
    "Cannot find API server: this is not a pod (KUBERNETES_SERVICE_HOST is not set); use --kubeconfig",
  );
  const env = (name: string): string | undefined =>
    ({ KUBERNETES_SERVICE_HOST: "fd00::1", KUBERNETES_SERVICE_PORT: "443" })[name];
  await assertRejects(
    () => inClusterCredentials(env, "/nowhere"),
    TerminalError,
    'Cannot use service account "/nowhere": file "/nowhere/ca.crt" is missing',
  );
  await using account = await serviceAccount("x", "y");
  assertEquals((await inClusterCredentials(env, account.dir)).server, "https://[fd00::1]");
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
    assertEquals(credentials.server, server.url);
    using client = new KubeClient(credentials);
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

function kubeconfig(cluster: Record<string, unknown>, user: Record<string, unknown> = {}): string {
  return JSON.stringify({
    "current-context": "x",
    contexts: [{ name: "x", context: { cluster: "c", user: "u" } }],
    clusters: [{ name: "c", cluster: { server: "https://h:6443", ...cluster } }],
    users: [{ name: "u", user }],
  });
}

Deno.test("parseKubeconfig() takes data before files, and paths relative to the file", () => {
  const data = btoa("PEM");
  assertEquals(
    parseKubeconfig(
      kubeconfig(
        { "certificate-authority-data": data, "certificate-authority": "/ca" },
        { "client-certificate": "me.crt", "client-key": "/keys/me.key", "token": "t" },
      ),
      "/etc/kube",
    ),
    {
      server: "https://h:6443",
      ca: { text: "PEM" },
      certificate: { file: "/etc/kube/me.crt" },
      key: { file: "/keys/me.key" },
      token: { text: "t" },
      basic: undefined,
    },
  );
  assertEquals(
    parseKubeconfig(kubeconfig({}, { username: "me", password: "secret" }), "/").basic,
    "me:secret",
  );
});

Deno.test("parseKubeconfig() refuses what it cannot honour", async (t) => {
  const cases: readonly (readonly [text: string, message: string])[] = [
    ["[]", "it is not an object"],
    ["{}", "current-context is missing"],
    [JSON.stringify({ "current-context": "x" }), 'there is no context "x"'],
    [kubeconfig({ server: "http://h" }), 'server "http://h" is not an https address'],
    [kubeconfig({ server: 5 }), "server is not a text"],
    [
      kubeconfig({ "insecure-skip-tls-verify": true }),
      "insecure-skip-tls-verify of its cluster is not supported",
    ],
    [kubeconfig({ "tls-server-name": "h" }), "tls-server-name of its cluster is not supported"],
    [kubeconfig({}, { exec: { command: "x" } }), "exec of its user is not supported"],
    [kubeconfig({}, { as: "root" }), "as of its user is not supported"],
    [
      kubeconfig({}, { "client-key": "k" }),
      "client-certificate and client-key belong together, and one is missing",
    ],
    [
      kubeconfig({ "certificate-authority-data": "%" }),
      "certificate-authority-data is not base64",
    ],
  ];
  for (const [text, message] of cases) {
    await t.step(
      message,
      () => void assertThrows(() => parseKubeconfig(text, "/"), SyntaxError, message),
    );
  }
});
