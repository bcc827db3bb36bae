/**
 * What policies cost the packets of a pod: throughput and new connections between two pods of a node, with
 * and without policies of a hundred rules, the last of which allows them.
 *
 * @module
 */
import type { Family } from "../../src/core/cidr.ts";
import { createLab } from "../../src/lab/lab.ts";
import type { Node } from "../../src/lab/node.ts";
import type { Pod } from "../../src/lab/pod.ts";
import { until } from "../../src/lab/wait.ts";
import { type ApiPeer, type ApiPort, type ApiRule, networkPolicy } from "../policy_objects.ts";
import { type Measurement, median } from "./report.ts";

const RULES = 100;
const IPERF_PORT = 5201;
const CONNECT_PORT = 5300;
const CONNECTIONS = 2_000;
/** Both ways are measured so often, by turns. */
const TURNS = 5;
const SECONDS = 2;
const FAMILIES: readonly Family[] = ["ipv6", "ipv4"];

/** Of both families, by what was measured with and without policies. */
type Samples = Readonly<Record<"with" | "without", Readonly<Record<Family, number[]>>>>;

/** Measures one lab from start to end. */
export async function benchPolicyTraffic(executable: string): Promise<readonly Measurement[]> {
  await using lab = await createLab({ executable, nodes: 1 });
  const node = lab.nodes[0]!;
  await node.startAgent();
  await node.waitReady();
  const [server, client] = [await newPod(node, "server"), await newPod(node, "client")];
  await server.spawn("iperf", ["iperf3", "-s", "-p", `${IPERF_PORT}`]);
  const echo = await server.spawn("accept", deno(acceptor()));
  await until("listeners", async () => {
    await echo.assertRunning();
    const { stdout } = await server.exec(["ss", "-Hltn"]);
    return [IPERF_PORT, CONNECT_PORT].every((port) => stdout.includes(`:${port} `));
  });

  const throughput: Samples = noSamples();
  const connects: Samples = noSamples();
  for (let turn = 0; turn < TURNS; turn++) {
    // What else the machine does falls on both alike.
    const order = ["without", "with"] as const;
    for (const how of turn % 2 === 0 ? order : order.toReversed()) {
      await setPolicies(node, how === "with");
      for (const family of FAMILIES) {
        throughput[how][family].push(await bitsPerSecond(client, server.address(family)!));
        connects[how][family].push(await connectTime(client, server.address(family)!));
      }
    }
  }
  return FAMILIES.flatMap((family) => {
    const [bare, ruled] = [throughput.without[family], throughput.with[family]];
    const share = median(ruled.map((bits, turn) => bits / bare[turn]!));
    const [before, now] = [connects.without, connects.with].map((one) => median(one[family]));
    return [
      {
        name: `throughput lost to ${RULES} rules, ${family}`,
        unit: "%",
        value: (1 - share) * 100,
        budget: 5,
        note: `${(median(ruled) / 1e9).toFixed(1)} of ${(median(bare) / 1e9).toFixed(1)} Gbit/s`,
      },
      {
        name: `a connection through ${RULES} rules, ${family}`,
        unit: "µs",
        value: now! * 1e3,
        note: `${(before! * 1e3).toFixed(0)} µs without policies`,
      },
    ] satisfies Measurement[];
  });
}

async function newPod(node: Node, app: string): Promise<Pod> {
  const pod = await node.createPod({ name: app, labels: { app } });
  await node.add(pod);
  return pod;
}

function noSamples(): Samples {
  return { with: { ipv6: [], ipv4: [] }, without: { ipv6: [], ipv4: [] } };
}

/** Both pods are selected in both directions, or in none. */
async function setPolicies(node: Node, isOn: boolean): Promise<void> {
  await node.writeManifest("policies.yaml", [
    // A file that is never empty.
    networkPolicy("elsewhere", "nobody", { podSelector: {} }),
    ...(isOn
      ? [networkPolicy("default", "many-rules", {
        podSelector: {},
        policyTypes: ["Ingress", "Egress"],
        ingress: rules().map(({ peers, ports }) => ({ from: peers, ports })),
        egress: rules().map(({ peers, ports }) => ({ to: peers, ports })),
      })]
      : []),
  ]);
  await until(`policies ${isOn ? "in force" : "gone"}`, async () => {
    const { stdout } = await node.exec(["nft", "list", "chains", "inet"]);
    return stdout.includes("ingress/default/many-rules") === isOn;
  });
}

/** Rules that are about other peers or other ports, and one that is about this traffic. */
function rules(): readonly (Pick<ApiRule, "ports"> & { readonly peers: readonly ApiPeer[] })[] {
  const others = Array.from({ length: RULES - 1 }, (_, n) => ({
    peers: n % 2 === 0
      ? [{ ipBlock: { cidr: `10.200.${n}.0/24` } }, { ipBlock: { cidr: `2001:db8:200:${n}::/64` } }]
      : [{ podSelector: { matchLabels: { app: `app-${n}` } } }],
    ports: [{ port: 1_000 + n }] as readonly ApiPort[],
  }));
  const last = {
    peers: [{ podSelector: { matchExpressions: [{ key: "app", operator: "Exists" as const }] } }],
    ports: [{ port: IPERF_PORT }, { port: CONNECT_PORT }],
  };
  return [...others, last];
}

async function bitsPerSecond(client: Pod, address: string): Promise<number> {
  const { stdout } = await client.exec(
    ["iperf3", "-J", "-c", address, "-p", `${IPERF_PORT}`, "-t", `${SECONDS}`],
    { timeoutMs: 30_000 },
  );
  return JSON.parse(stdout).end.sum_received.bits_per_second;
}

/** Milliseconds of one connection of many, opened one after the other. */
async function connectTime(client: Pod, address: string): Promise<number> {
  const { stdout } = await client.exec(deno(connector(address)), { timeoutMs: 60_000 });
  return Number(stdout) / CONNECTIONS;
}

function deno(code: string): readonly string[] {
  return [Deno.execPath(), "eval", "--no-config", "--no-lock", code];
}

function acceptor(): string {
  return `for await (const one of Deno.listen({ hostname: "::", port: ${CONNECT_PORT} })) one.close();`;
}

function connector(hostname: string): string {
  return `const began = performance.now();
    for (let n = 0; n < ${CONNECTIONS}; n++) {
      const one = await Deno.connect({ hostname: "${hostname}", port: ${CONNECT_PORT} });
      // The other side closes first: its ports are not used up.
      await one.read(new Uint8Array(1));
      one.close();
    }
    console.log(performance.now() - began);`;
}
