/**
 * The reference plugins `portmap` and `bandwidth` work behind flock, on its result.
 *
 * @module
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { ConflistKeeper } from "../../src/agent/conflist.ts";
import type { Host } from "../../src/lab/host.ts";
import { until } from "../../src/lab/wait.ts";
import { testWith } from "../support.ts";
import { createCniHost, createTestPod, EXECUTABLE, picture, withoutLo } from "./cni_host.ts";
import { deafen } from "./node_probe.ts";
import { addToList, checkList, type Conflist, deleteFromList } from "./conflist_driver.ts";

const NEEDS = ["root", "bird", "referencePlugins"] as const;
const HOST_PORT = 18_080;
const PORT = 8_080;

/** Says its line to whoever connects, over both families. */
const SERVER = `
  const listener = Deno.listen({ hostname: "::", port: ${PORT} });
  console.log("listening");
  for await (const conn of listener) {
    await conn.write(new TextEncoder().encode("hello from the pod\\n"));
    conn.close();
  }`;

for (const choice of ["0.3.1", "the highest that the agent's list offers"]) {
  testWith(`netns: flock, portmap and bandwidth as a list in ${choice}`, NEEDS, async (t) => {
    // libcni takes the highest for every plugin of the list, for DEL too.
    const cniVersion = choice === "0.3.1" ? choice : await highestOffered();
    await using host = await createCniHost({ defaultRoutes: true });
    const { node, lab } = host;
    const list: Conflist = {
      cniVersion,
      name: "flock",
      plugins: [
        { type: "flock", socket: node.socket, stateDir: node.stateDir },
        { type: "portmap", capabilities: { portMappings: true } },
        { type: "bandwidth", capabilities: { bandwidth: true } },
      ],
      executables: {
        flock: EXECUTABLE,
        portmap: "/usr/lib/cni/portmap",
        bandwidth: "/usr/lib/cni/bandwidth",
      },
      runtimeConfig: {
        portMappings: [{ hostPort: HOST_PORT, containerPort: PORT, protocol: "tcp" }],
        bandwidth: {
          ingressRate: 8_000_000,
          ingressBurst: 800_000,
          egressRate: 8_000_000,
          egressBurst: 800_000,
        },
      },
    };
    await using made = await createTestPod(node);
    const { pod } = made;
    const before = await picture(node, pod);

    const result = await addToList(list, node, pod) as {
      interfaces: { name: string; sandbox?: string }[];
    };
    const hostIfname = result.interfaces[0]!.name;
    await t.step("the last result holds ours", () => {
      assertMatch(hostIfname, /^flock[0-9a-f]{8}$/);
      assertEquals(result.interfaces[1], { ...result.interfaces[1]!, name: "eth0" });
    });

    await t.step("a host port reaches the pod's server from outside the node", async () => {
      const server = await pod.spawn("server", [
        Deno.execPath(),
        "run",
        "--no-config",
        "--allow-net",
        `data:text/typescript,${encodeURIComponent(SERVER)}`,
      ]);
      await until("the pod's server", async () => (await server.tail(5)).includes("listening"));
      for (const address of Object.values(node.plan.addresses)) {
        assertEquals(await read(lab.client, address, HOST_PORT), "hello from the pod\n", address);
      }
      await server.stop();
    });

    await t.step("the limits are on the node's end and on its mirror", async () => {
      const links = await node.ipJson("link", "show");
      const shaped = links.filter(({ qdisc }) => qdisc === "tbf").map(({ ifname }) => ifname);
      assertEquals(shaped.length, 2, JSON.stringify(links));
      assert(shaped.includes(hostIfname));
    });

    await t.step("CHECK passes on the list, and names what is ours in it", async () => {
      if (cniVersion < "0.4.0") return;
      assertEquals((await checkList(list, node, pod, result)).filter(isNotKnown), []);
      await deafen(node);
      await node.ip("neigh", "flush", "dev", hostIfname, "nud", "permanent");
      const [problem, ...more] = (await checkList(list, node, pod, result)).filter(isNotKnown);
      assertEquals(more, []);
      assertMatch(problem ?? "", /by plugin "flock".*"code":104.*neighbor entry/);
    });

    await t.step("DEL in reverse leaves nothing, twice", async () => {
      await deleteFromList(list, node, pod, result);
      await deleteFromList(list, node, pod, result);
      for (const address of Object.values(node.plan.addresses)) {
        assertEquals(await read(lab.client, address, HOST_PORT), "", "the host port is closed");
      }
      assertEquals(withoutLo(await picture(node, pod)), withoutLo(before));
    });
  });
}

/** The version that a runtime which knows `cniVersions` takes of the list that the agent writes here. */
async function highestOffered(): Promise<string> {
  const dir = await Deno.makeTempDir({ prefix: "flock-chain-" });
  try {
    const file = `${dir}/01-flock.conflist`;
    const conflist = new ConflistKeeper({
      ...{ file, socket: "/run/flock/flock.sock", stateDir: "/var/lib/flock" },
      ...{ pluginDir: "/usr/lib/cni", ready: () => true, attached: () => false },
    });
    await conflist.update();
    const { cniVersions, plugins } = JSON.parse(await Deno.readTextFile(file));
    assertEquals(plugins.map(({ type }: { type: string }) => type), ["flock", "portmap"]);
    return cniVersions.at(-1);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

/** False for what portmap says before 1.2.0 of every pod (containernetworking/plugins#819). */
function isNotKnown(problem: string): boolean {
  return !(problem.includes('"portmap"') && problem.includes("could not check ipv6 dnat"));
}

/** What a server says to a host that connects; empty when nobody answers. */
async function read(from: Host, address: string, port: number): Promise<string> {
  const script = 'exec 3<>"/dev/tcp/$1/$2" && cat <&3';
  const argv = ["timeout", "5", "bash", "-c", script, "bash", address, String(port)];
  return (await from.attempt(argv)).stdout;
}
