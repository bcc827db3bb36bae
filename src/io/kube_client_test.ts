import { createServer } from "node:https";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { ApiServer } from "../../tests/fakes/api_server.ts";
import { createAuthority } from "../../tests/fakes/certificates.ts";
import { kubeconfig } from "../../tests/fakes/kubeconfig.ts";
import { KubeClient, KubeError } from "./kube_client.ts";
import { parseKubeconfig } from "./kube_credentials.ts";

const signal = new AbortController().signal;

/** What a kubeconfig makes of a request to a server that shows who asks. */
async function whoAsks(user: Record<string, unknown>): Promise<Headers> {
  const { promise, resolve } = Promise.withResolvers<Headers>();
  const authority = await createAuthority("ca");
  const server = Deno.serve({
    hostname: "127.0.0.1",
    port: 0,
    ...await authority.issue("server", ["127.0.0.1"]),
    onListen: () => {},
  }, ({ headers }) => {
    resolve(headers);
    return Response.json({});
  });
  const cluster = {
    server: `https://127.0.0.1:${server.addr.port}`,
    "certificate-authority-data": btoa(authority.ca),
  };
  const login = parseKubeconfig(kubeconfig(cluster, user), "/");
  {
    await using client = new KubeClient(() => Promise.resolve(login));
    await client.json({ path: "/api", signal });
  }
  await server.shutdown();
  return await promise;
}

Deno.test("KubeClient sends names, passwords and whom to act as", async () => {
  const named = await whoAsks({ username: "me", password: "secret" });
  assertEquals(named.get("authorization"), `Basic ${btoa("me:secret")}`);
  const nameOnly = await whoAsks({ username: "me" });
  assertEquals(nameOnly.get("authorization"), `Basic ${btoa("me:")}`);
  const other = await whoAsks({ token: "t", as: "system:admin" });
  assertEquals(
    [other.get("authorization"), other.get("impersonate-user")],
    ["Bearer t", "system:admin"],
  );
});

Deno.test("KubeClient takes a name for the certificate, and can leave it unverified", async () => {
  const authority = await createAuthority("ca");
  const server = Deno.serve({
    hostname: "127.0.0.1",
    port: 0,
    ...await authority.issue("server", ["api.example.net"]),
    onListen: () => {},
  }, () => Response.json({ here: true }));
  const ask = async (extra: Record<string, unknown>): Promise<unknown> => {
    const url = `https://127.0.0.1:${server.addr.port}`;
    const login = parseKubeconfig(kubeconfig({ server: url, ...extra }), "/");
    await using client = new KubeClient(() => Promise.resolve(login));
    return await client.json({ path: "/api", signal });
  };
  const ca = { "certificate-authority-data": btoa(authority.ca) };
  await assertRejects(() => ask(ca), Error, 'Cannot read "/api": ');
  await assertRejects(() => ask({}), Error, 'Cannot read "/api": ');
  assertEquals(await ask({ ...ca, "tls-server-name": "api.example.net" }), { here: true });
  assertEquals(await ask({ "insecure-skip-tls-verify": true }), { here: true });
  await server.shutdown();
});

Deno.test("KubeClient gives up in time when a server lets nobody finish connecting", async () => {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr as Deno.NetAddr;
  const login = parseKubeconfig(kubeconfig({ server: `https://127.0.0.1:${port}` }), "/");
  await using client = new KubeClient(() => Promise.resolve(login));
  const started = performance.now();
  await assertRejects(
    () => client.json({ path: "/api", signal, timeoutMs: 100 }),
    Error,
    'Cannot read "/api": nothing came for 0.1 s',
  );
  const stop = new AbortController();
  const reason = new Error("enough");
  setTimeout(() => stop.abort(reason), 100);
  const lines = client.lines({ path: "/api", signal: stop.signal });
  assertEquals(await assertRejects(() => lines.next()), reason);
  assert(performance.now() - started < 2_000);
});

Deno.test("KubeClient sends its credentials to nobody that the server names", async () => {
  await using elsewhere = await ApiServer.start();
  const authority = await createAuthority("ca");
  const server = Deno.serve({
    hostname: "127.0.0.1",
    port: 0,
    ...await authority.issue("server", ["127.0.0.1"]),
    onListen: () => {},
  }, () => Response.redirect(`${elsewhere.url}/api/v1/pods`, 307));
  const url = `https://127.0.0.1:${server.addr.port}`;
  const cluster = { server: url, "insecure-skip-tls-verify": true };
  const login = parseKubeconfig(kubeconfig(cluster, { token: "token" }), "/");
  {
    await using client = new KubeClient(() => Promise.resolve(login));
    const ask = (): Promise<unknown> => client.json({ path: "/api/v1/pods", signal });
    await assertRejects(ask, KubeError, 'Cannot read "/api/v1/pods": 307');
  }
  assertEquals(elsewhere.requests, []);
  await server.shutdown();
});

Deno.test("KubeClient shows its certificate to a server that asks for one", async () => {
  const authority = await createAuthority("ca");
  const own = await authority.issue("server", ["127.0.0.1"]);
  const asking = { ...own, ca: authority.ca, requestCert: true, rejectUnauthorized: true };
  const server = createServer(asking, (_, response) => response.end("{}"));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  const ask = async (user: Record<string, unknown>): Promise<unknown> => {
    const cluster = {
      server: `https://127.0.0.1:${port}`,
      "certificate-authority-data": btoa(authority.ca),
    };
    const login = parseKubeconfig(kubeconfig(cluster, user), "/");
    await using client = new KubeClient(() => Promise.resolve(login));
    return await client.json({ path: "/api", signal });
  };
  const { cert, key } = await authority.issue("flock");
  const user = { "client-certificate-data": btoa(cert), "client-key-data": btoa(key) };
  assertEquals(await ask(user), {});
  await assertRejects(() => ask({}), Error, 'Cannot read "/api": ');
  await new Promise((resolve) => server.close(resolve));
});

Deno.test("KubeClient goes through a proxy, to which the connection stays a secret", async () => {
  await using server = await ApiServer.start();
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const proxied = (async () => {
    const inside = await listener.accept();
    const request = new Uint8Array(4_096);
    const length = await inside.read(request) ?? 0;
    await inside.write(new TextEncoder().encode("HTTP/1.1 200 OK\r\n\r\n"));
    const outside = await Deno.connect({ hostname: "127.0.0.1", port: server.port });
    await Promise.allSettled([
      inside.readable.pipeTo(outside.writable),
      outside.readable.pipeTo(inside.writable),
    ]);
    return new TextDecoder().decode(request.subarray(0, length));
  })();
  const cluster = {
    server: server.url,
    "certificate-authority-data": btoa(server.ca),
    "proxy-url": `http://127.0.0.1:${(listener.addr as Deno.NetAddr).port}`,
  };
  const login = parseKubeconfig(kubeconfig(cluster, { token: "token" }), "/");
  {
    await using client = new KubeClient(() => Promise.resolve(login));
    await client.json({ path: "/api/v1/pods", signal });
  }
  const said = await proxied;
  assert(said.startsWith(`CONNECT 127.0.0.1:${server.port} HTTP/1.1`), said);
  assert(!said.toLowerCase().includes("authorization"), said);
});

Deno.test("KubeClient trusts the cluster's authority, and not the machine's", async () => {
  await using server = await ApiServer.start();
  const stranger = await createAuthority("stranger");
  const dir = await Deno.makeTempDir();
  try {
    // The machine trusts the server's authority, the kubeconfig another one.
    await Deno.writeTextFile(`${dir}/machine.pem`, server.ca);
    const cluster = { server: server.url, "certificate-authority-data": btoa(stranger.ca) };
    const user = { token: "token" };
    await Deno.writeTextFile(`${dir}/named`, kubeconfig(cluster, user));
    await Deno.writeTextFile(`${dir}/unnamed`, kubeconfig({ server: server.url }, user));
    await Deno.writeTextFile(
      `${dir}/ask.ts`,
      `import { KubeClient } from "${import.meta.resolve("./kube_client.ts")}";
      import { kubeconfigCredentials } from "${import.meta.resolve("./kube_credentials.ts")}";
      const { signal } = new AbortController();
      const said = [];
      for (const file of ["named", "unnamed"]) {
        const client = new KubeClient(await kubeconfigCredentials(\`${dir}/\${file}\`));
        said.push(await client.json({ path: "/api/v1/pods", signal }).then(() => "read", String));
      }
      await Deno.stdout.write(new TextEncoder().encode(JSON.stringify(said)));`,
    );
    const config = new URL("../../deno.json", import.meta.url).pathname;
    const { stdout } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "--quiet", "--no-check", "-A", "--config", config, `${dir}/ask.ts`],
      env: { DENO_CERT: `${dir}/machine.pem` },
      stderr: "inherit",
    }).output();
    assertEquals(JSON.parse(new TextDecoder().decode(stdout)), [
      'Error: Cannot read "/api/v1/pods": unable to verify the first certificate',
      "read",
    ]);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});
